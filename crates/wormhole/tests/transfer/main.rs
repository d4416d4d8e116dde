//! File transfer between two sides of the SDK, through the real mailbox server and transit relay.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod cancellation;
mod changes;
#[cfg(target_os = "linux")]
#[path = "../support/child.rs"]
mod child;
#[cfg(unix)]
mod compression;
#[cfg(unix)]
mod confirmation;
mod decisions;
#[cfg(unix)]
mod dilated_liars;
#[cfg(target_os = "linux")]
mod disk_errors;
mod endings;
#[cfg(unix)]
mod folders;
mod goods;
mod held;
mod liars;
#[cfg(unix)]
mod links;
mod lying_receivers;
#[cfg(target_os = "linux")]
mod names;
mod network;
mod old_client;
#[cfg(unix)]
mod on_exists;
#[path = "../support/proxy.rs"]
mod proxy;
#[cfg(target_os = "linux")]
mod resume;
#[path = "../support/servers.rs"]
mod servers;
mod share;
#[cfg(target_os = "linux")]
mod spool;
mod streams;
#[cfg(target_os = "linux")]
mod unreadable;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::time::timeout;
use wormhole::code::Code;
use wormhole::transfer::{
    self, CodeSource, Destination, Error, Event, Offer, OnExists, Outgoing, Report, Settings,
    Transfer,
};
use wormhole_server::testing::TestServers;

/// A folder of a test's own, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("wormhole-test-{:016x}", OsRng.next_u64()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// The names of everything in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        Self::names_in(&self.0)
    }

    /// The names of everything in a folder, sorted.
    pub(crate) fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    pub(crate) fn destination(&self, on_exists: OnExists) -> Destination {
        Destination::Folder { folder: self.0.clone(), on_exists }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Settings for servers that run as long as the test, and a code.
pub(crate) async fn settings() -> (Settings, Code) {
    let servers = TestServers::start(&[]).await;
    let settings = settings_for(&servers);
    tokio::spawn(async move {
        let _running = servers;
        std::future::pending::<()>().await;
    });
    settings
}

/// Settings for these servers, without a relay, and a code.
pub(crate) fn settings_for(servers: &TestServers) -> (Settings, Code) {
    let mut settings = Settings::default();
    settings.servers = vec![format!("ws://{}/v1", servers.mailbox()).parse().unwrap()];
    settings.relays.clear();
    let code = Code::parse("4-purple-sausages").unwrap();
    settings.code = Some(code.clone());
    (settings, code)
}

/// Runs a transfer to its end. Whatever is offered is accepted.
pub(crate) async fn finish(
    mut transfer: Transfer,
    destination: Option<Destination>,
) -> (Result<Report, Error>, Vec<Event>) {
    let mut destination = destination;
    let mut events = Vec::new();
    let running = async {
        while let Some(event) = transfer.next().await {
            match event {
                Ok(Event::Done(report)) => return Ok(report),
                Ok(Event::Offer(offer)) => {
                    transfer.accept(destination.take().expect("a second offer"));
                    events.push(Event::Offer(offer));
                }
                Ok(Event::Text(text)) => {
                    transfer.confirm_text();
                    events.push(Event::Text(text));
                }
                Ok(event) => events.push(event),
                Err(error) => return Err(error),
            }
        }
        panic!("the transfer ended without a word")
    };
    let outcome = timeout(PATIENCE, running).await.expect("the transfer is stuck");
    (outcome, events)
}

/// Sends and receives, with the same settings on both sides.
pub(crate) async fn transfer(
    what: Outgoing,
    destination: Destination,
    settings: Settings,
    code: Code,
) -> (Result<Report, Error>, Result<Report, Error>) {
    let sender = transfer::send(what, settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    (sent, received)
}

/// Waits for an offer.
pub(crate) async fn offer(transfer: &mut Transfer) -> Offer {
    let waiting = async {
        loop {
            if let Event::Offer(offer) = transfer.next().await.unwrap().unwrap() {
                return offer;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("no offer came")
}

/// Waits until the transfer reports this number of bytes.
pub(crate) async fn progress(transfer: &mut Transfer, bytes: u64) {
    let waiting = async {
        loop {
            let event = transfer.next().await.unwrap().unwrap();
            if matches!(event, Event::Progress { done, .. } if done == bytes) {
                return;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the bytes did not arrive");
}

pub(crate) fn path(path: &Path) -> Outgoing {
    Outgoing::Paths(vec![path.to_owned()])
}

/// Waits until nothing is left in a folder. Incomplete data is removed by a thread of the receiver.
pub(crate) async fn until_empty(folder: &Folder) {
    let waiting = async {
        while !folder.names().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("incomplete data is left");
}

/// No step takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
