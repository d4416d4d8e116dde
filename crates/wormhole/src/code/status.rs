//! The state of a wormhole, which any number of futures can read.

use serde_json::Value;
use tokio::sync::watch;
use wormhole_magic::wormhole::Event;

use super::{Closed, Code, Error, Key, MailboxUrl, Nameplate, PeerVersion, Verifier, Welcome};

/// The known values.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) server: Option<MailboxUrl>,
    pub(super) welcome: Option<Welcome>,
    pub(super) nameplates: Option<Vec<Nameplate>>,
    pub(super) nameplate_claimed: bool,
    pub(super) code: Option<Code>,
    pub(super) code_consumed: bool,
    pub(super) key: Option<Key>,
    pub(super) verifier: Option<Verifier>,
    pub(super) versions: Option<Value>,
    pub(super) peer_version: Option<PeerVersion>,
    pub(super) server_lost: bool,
    pub(super) end: Option<Result<Closed, Error>>,
}

impl Status {
    /// Updates the status with an event. Messages are not part of it.
    pub(super) fn update(&mut self, event: &Event) {
        match event {
            Event::Server(server) => self.server = Some(server.clone()),
            Event::Welcome(welcome) => self.welcome = Some(welcome.clone()),
            Event::ServerLost | Event::ServerRetry { .. } => self.server_lost = true,
            Event::ServerFound => self.server_lost = false,
            Event::Nameplates(nameplates) => self.nameplates = Some(nameplates.clone()),
            Event::NameplateClaimed => self.nameplate_claimed = true,
            Event::Code(code) => self.code = Some(code.clone()),
            Event::CodeConsumed => self.code_consumed = true,
            Event::Key(key) => self.key = Some(key.clone()),
            Event::Verifier(verifier) => self.verifier = Some(*verifier),
            Event::Version(version) => {
                self.versions = Some(version.app_versions().clone());
                self.peer_version = Some(version.clone());
            }
            Event::Message(_) | Event::Dilation { .. } | Event::Closed(_) => {}
            // Later events of the core are not part of the status.
            _ => {}
        }
    }
}

/// Notices when the connection to the mailbox server is lost or back.
#[derive(Debug)]
pub(crate) struct ServerWatch {
    status: watch::Receiver<Status>,
    is_lost: bool,
}

impl ServerWatch {
    /// Begins with a connection.
    pub(super) const fn new(status: watch::Receiver<Status>) -> Self {
        Self { status, is_lost: false }
    }

    /// Waits until the connection is lost or back, and returns whether there is one now. Cancelling loses nothing.
    pub(crate) async fn changed(&mut self) -> bool {
        let is_lost = !self.is_lost;
        if self.status.wait_for(|status| status.server_lost == is_lost).await.is_err() {
            // The wormhole has ended.
            std::future::pending::<()>().await;
        }
        self.is_lost = is_lost;
        !is_lost
    }
}

/// Waits until `look` returns a value.
///
/// # Errors
/// The wormhole has ended.
pub(super) async fn wait<T>(
    status: &mut watch::Receiver<Status>,
    look: impl Fn(&Status) -> Option<T>,
) -> Result<T, Error> {
    loop {
        {
            let status = status.borrow_and_update();
            if let Some(found) = look(&status) {
                return Ok(found);
            }
            if let Some(end) = &status.end {
                return Err(end.clone().err().unwrap_or(Error::Closed));
            }
        }
        // The task only ends without a result if its runtime ends.
        status.changed().await.map_err(|_| Error::Closed)?;
    }
}
