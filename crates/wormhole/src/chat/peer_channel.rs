//! A wormhole in which two programs of this kind exchange a few messages: to link a device, or to introduce two people.

use std::num::NonZeroU8;
use std::time::Duration;

use tokio::time::timeout;

use super::server::Network;
use crate::code::{self, AppId, Code, Config, MailboxUrl, Wormhole};
use crate::transit;

/// Where the two sides of a wormhole meet. Both must use the same mailbox server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MailboxOptions {
    /// The URLs of one mailbox server, in the order in which to try them.
    pub servers: Vec<MailboxUrl>,
    /// Number of words of a new code. An attacker who controls the mailbox server has one guess.
    pub code_words: NonZeroU8,
    /// How two devices connect to copy contacts and messages.
    pub transit: transit::Settings,
}

impl Default for MailboxOptions {
    fn default() -> Self {
        Self {
            servers: MailboxUrl::public(),
            code_words: CODE_WORDS,
            transit: transit::Settings::default(),
        }
    }
}

/// An open wormhole. Dropping it closes it.
#[derive(Debug)]
pub(super) struct PeerChannel {
    wormhole: Wormhole,
}

/// Why no message has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum PeerChannelError {
    Code(code::Error),
    /// The other side is silent: it was killed, or has lost its connection.
    PeerGone,
}

impl PeerChannel {
    /// Opens a wormhole with this code, or with a new one.
    pub(super) fn open(
        app_id: &str,
        mailbox: &MailboxOptions,
        network: &Network,
        code: Option<Code>,
    ) -> Result<Self, code::Error> {
        let wormhole = Wormhole::create(Config {
            app_id: AppId::new(app_id),
            servers: mailbox.servers.clone(),
            tor: network.tor.clone(),
            ..Config::default()
        });
        match code {
            Some(code) => wormhole.set_code(code)?,
            None => wormhole.allocate_code(mailbox.code_words)?,
        }
        Ok(Self { wormhole })
    }

    /// Waits until the code is known.
    pub(super) async fn code(&self) -> Result<Code, code::Error> {
        self.wormhole.code().await
    }

    /// Waits, indefinitely if necessary, until the other side has proved that it has the same code.
    pub(super) async fn met(&self) -> Result<(), code::Error> {
        self.verifier().await.map(drop)
    }

    /// A value that only the two sides of this wormhole have, once they have met.
    pub(super) async fn verifier(&self) -> Result<[u8; 32], code::Error> {
        self.wormhole.verifier().await.map(|verifier| verifier.0)
    }

    pub(super) async fn send(&self, message: Vec<u8>) -> Result<(), code::Error> {
        self.wormhole.send_message(message).await
    }

    /// Waits for the next message of the other side, which has met us already.
    pub(super) async fn next(&self, limit: Duration) -> Result<Vec<u8>, PeerChannelError> {
        match timeout(limit, self.wormhole.receive_message()).await {
            Ok(message) => message.map_err(PeerChannelError::Code),
            Err(_) => Err(PeerChannelError::PeerGone),
        }
    }

    /// Delivers what was sent, and closes the wormhole.
    pub(super) async fn close(self) {
        // Whether this succeeds changes nothing here.
        let _closed = self.wormhole.close().await;
    }
}

/// How long one side waits for the other one if that must not ask a person or a server.
pub(super) const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one side waits for the other one while that asks a person or a server.
pub(super) const PERSON_TIMEOUT: Duration = Duration::from_secs(180);

/// Words of a new code: 32 bits. A person who guesses it gets an account, so there are more than for a file.
const CODE_WORDS: NonZeroU8 = NonZeroU8::MIN.saturating_add(3);
