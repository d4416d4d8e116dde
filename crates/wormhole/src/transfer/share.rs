//! Sharing: both sides offer files and directories to each other, any number of times, through one code.
//!
//! Each side accepts or refuses each offer of the other one, and several transfers run at the same time in both directions. The
//! session ends when both sides have announced that they offer nothing more ([`Session::finish`]) and every transfer is over. It
//! survives a changed network, and an interrupted transfer continues in a later session (docs/dilated-transfer.md).
//!
//! ```no_run
//! use wormhole::code::{Code, Wormhole};
//! use wormhole::transfer::share::{self, Event, Settings};
//! use wormhole::transfer::{Destination, OnExists, Outgoing};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let wormhole = Wormhole::create_dilatable(share::config());
//! wormhole.set_code(Code::parse("4-purple-sausages")?)?;
//! let mut session = share::start(wormhole, Settings::default());
//! session.offer(Outgoing::Paths(vec!["photo.jpg".into()])).await?;
//! session.finish();
//! while let Some(event) = session.next().await {
//!     if let Event::Offered { id, .. } = event? {
//!         let folder = "downloads".into();
//!         session.accept(id, Destination::Folder { folder, on_exists: OnExists::KeepBoth });
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod incoming;
mod outgoing;
mod session;
mod transfers;

use std::path::PathBuf;

use serde_json::json;
use tokio::sync::mpsc;
use wormhole_magic::transfer::dilated::Mode;

use super::source::SendItem;
use super::{Destination, Error as TransferError, Offer, Outgoing, Report, Unsendable, thread};
use crate::code::{self, Config, Wormhole};
use crate::dilated;
use crate::transit::Path;

/// Settings of a session.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a list of settings, made by its users")]
pub struct Settings {
    /// How to connect. [`dilated::Settings::subprotocols`] is replaced.
    pub connection: dilated::Settings,
    /// Maximum number of files and folders in a received folder, as in
    /// [`transfer::Settings::max_entries`](super::Settings::max_entries).
    pub max_entries: Option<u64>,
}

/// Identifies a transfer of a session.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransferId(u64);

impl TransferId {
    /// The number of an offer of ours, counted from 0.
    const fn ours(number: u64) -> Self {
        Self(number.saturating_mul(2).saturating_add(1))
    }

    /// The number of an offer of the peer, counted from 0.
    const fn theirs(number: u64) -> Self {
        Self(number.saturating_add(1).saturating_mul(2))
    }

    /// Whether we have made the offer.
    pub const fn is_outgoing(self) -> bool {
        self.0 % 2 == 1
    }

    /// A number that no other transfer of the session has on this side.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// An event of a session.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// There is a connection to the peer, for the first time or again.
    Connected(Path),
    /// The connection is lost. The session waits for the next one.
    ConnectionLost,
    /// The peer makes an offer: answer it with [`Session::accept`] or [`Session::refuse`].
    Offered {
        /// The transfer.
        id: TransferId,
        /// What is offered.
        offer: Offer,
    },
    /// The peer has accepted our offer.
    Accepted(TransferId),
    /// The receiver has parts of an earlier attempt, and only the rest is sent.
    Resuming {
        /// The transfer.
        id: TransferId,
        /// Bytes that it has.
        done: u64,
        /// Total bytes, if known.
        total: Option<u64>,
    },
    /// Progress: at most a few times per second. A sender counts what has arrived.
    Progress {
        /// The transfer.
        id: TransferId,
        /// Transferred bytes.
        done: u64,
        /// Total bytes, if known.
        total: Option<u64>,
    },
    /// A transfer is complete.
    Done {
        /// The transfer.
        id: TransferId,
        /// Its result.
        report: Report,
    },
    /// A transfer failed, was refused ([`TransferError::PeerRefused`]), or was cancelled. The session goes on.
    Failed {
        /// The transfer.
        id: TransferId,
        /// Why.
        error: TransferError,
        /// What is kept for a later attempt.
        kept: Option<PathBuf>,
    },
    /// The peer offers nothing more.
    PeerFinished,
}

/// Why a session has failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection to the peer could not be made, or has ended.
    #[error(transparent)]
    Dilated(#[from] dilated::Error),
    /// The peer's program does not share: it only sends or receives.
    #[error("the other side's program cannot share in both directions")]
    PeerCannotShare,
}

/// Decisions of the application.
enum Command {
    Offer(TransferId, SendItem),
    Answer(TransferId, Option<Destination>),
    Cancel(TransferId),
    Finish,
}

/// Settings of a wormhole for a session.
pub fn config() -> Config {
    let mut app_versions = json!({});
    Mode::Share.announce(&mut app_versions);
    Config { app_versions, ..Config::default() }
}

/// Starts a session through a wormhole of [`config`] whose code was chosen. It runs in the background until it ends, is closed,
/// or is dropped.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(wormhole: Wormhole, settings: Settings) -> Session {
    let (commands, command_queue) = mpsc::unbounded_channel();
    let (event_sender, events) = mpsc::channel(MAX_EVENTS);
    tokio::spawn(session::run(wormhole, settings, command_queue, event_sender));
    Session { commands: Some(commands), events, offers: 0, is_finished: false }
}

/// A running session.
#[derive(Debug)]
pub struct Session {
    /// `None` while it is being closed.
    commands: Option<mpsc::UnboundedSender<Command>>,
    events: mpsc::Receiver<Result<Event, Error>>,
    offers: u64,
    is_finished: bool,
}

impl Session {
    /// Offers files and directories. All paths are checked before this returns, on a thread. Also returns what was left out.
    /// Cancelling offers nothing.
    ///
    /// # Errors
    /// Something cannot be sent, is a text, or comes after [`finish`](Self::finish); nothing was offered.
    pub async fn offer(
        &mut self,
        what: Outgoing,
    ) -> Result<(TransferId, Offer, Vec<Unsendable>), TransferError> {
        if self.is_finished {
            return Err(TransferError::Finished);
        }
        let checking = thread::start(move || SendItem::check(what, true));
        let (item, skipped) = checking.await.unwrap_or(Err(TransferError::NoThread))?;
        if matches!(item, SendItem::Text(_)) {
            return Err(TransferError::NothingToSend);
        }
        let (id, offer) = (TransferId::ours(self.offers), item.offer());
        self.offers = self.offers.saturating_add(1);
        self.command(Command::Offer(id, item));
        Ok((id, offer, skipped))
    }

    /// Accepts an offer of the peer.
    pub fn accept(&self, id: TransferId, destination: Destination) {
        self.command(Command::Answer(id, Some(destination)));
    }

    /// Refuses an offer of the peer.
    pub fn refuse(&self, id: TransferId) {
        self.command(Command::Answer(id, None));
    }

    /// Cancels a transfer of either direction.
    pub fn cancel(&self, id: TransferId) {
        self.command(Command::Cancel(id));
    }

    /// Announces that we offer nothing more. The session ends once the peer has done the same, and every transfer is over.
    pub fn finish(&mut self) {
        self.is_finished = true;
        self.command(Command::Finish);
    }

    /// Waits for the next event; `None` after the end. Cancelling loses nothing.
    ///
    /// # Errors
    /// The session has failed, and ends.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.recv().await
    }

    /// Ends the session at once: cancels all transfers, and notifies the peer. Waits until incomplete files are removed, some seconds
    /// at most. Returns what is kept for later attempts.
    pub async fn close(mut self) -> Vec<PathBuf> {
        drop(self.commands.take());
        let mut kept = Vec::new();
        while let Some(event) = self.events.recv().await {
            if let Ok(Event::Failed { kept: Some(path), .. }) = event {
                kept.push(path);
            }
        }
        kept
    }

    /// A session that has ended ignores commands.
    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ended = commands.send(command);
        }
    }
}

impl From<code::Error> for Error {
    fn from(error: code::Error) -> Self {
        Self::Dilated(error.into())
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Offer(..) => "Offer",
            Self::Answer(..) => "Answer",
            Self::Cancel(_) => "Cancel",
            Self::Finish => "Finish",
        })
    }
}

/// Maximum number of events that wait for the application.
const MAX_EVENTS: usize = 256;
