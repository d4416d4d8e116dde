//! What a transfer reports to the application.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wormhole_magic::transfer::Offer;
use wormhole_magic::transfer::zip::ZipPath;

#[cfg(doc)]
use super::UnsendableReason;
use super::{MetadataLoss, Unsendable};
use crate::code::{self, CodeInput};
use crate::net::LinkFailure;
use crate::transit::Path;

/// One step of a transfer, in the order in which they usually come.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// An event of the wormhole below, as the core reports it: server, code, key, verifier, version. Its
    /// messages are the transfer's own and are not passed on.
    ///
    /// With [`Settings::verify`](super::Settings::verify) a sender waits after
    /// [`code::Event::Verifier`] for
    /// [`Transfer::confirm_verifier`](super::Transfer::confirm_verifier).
    Wormhole(code::Event),
    /// The link to the mailbox server is still lost: the core's event of this name, with the reason.
    ServerRetry {
        /// Why the last link was lost, or could not be opened.
        why: LinkFailure,
        /// Links in a row that failed, at least 1.
        failures: u32,
        /// Time until the next attempt.
        pause: Duration,
    },
    /// A person types the code into this ([`CodeSource::Input`](super::CodeSource::Input)).
    CodeWanted(CodeInput),
    /// The chosen port ([`Settings::listen_port`](super::Settings::listen_port)) is taken, so that
    /// the other side cannot connect to us. The transfer goes on: there are other ways.
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// The receiver is offered something other than a text: answer with
    /// [`Transfer::accept`](super::Transfer::accept) or
    /// [`Transfer::reject`](super::Transfer::reject).
    Offer(Offer),
    /// The receiver was sent a text. The sender waits until
    /// [`Transfer::confirm_text`](super::Transfer::confirm_text) says that it has not been lost.
    Text(String),
    /// The sender was told that the receiver wants it.
    Accepted,
    /// There is a connection to the other side.
    Connected(Path),
    /// Data has been carried. Comes at most a few times per second, and once at the end. A sender
    /// counts what the receiver says that it has taken; if its program does not say, what the other
    /// end of the connection has acknowledged; and where the system does not tell that (all but
    /// Linux), what was handed to the system.
    Progress {
        /// Bytes carried.
        done: u64,
        /// Bytes to carry; `None` when nobody knows.
        total: Option<u64>,
    },
    /// The sender has sent everything and waits for the receiver to have it.
    AwaitingConfirmation,
    /// All is well, and this is the last event.
    Done(Report),
}

impl Event {
    /// The event for the application, if this event of the wormhole is for it.
    pub(super) fn of_wormhole(event: code::Event) -> Option<Self> {
        let is_internal = matches!(
            event,
            code::Event::Closed(_)
                | code::Event::Dilation { .. }
                | code::Event::Message(_)
                | code::Event::NameplateClaimed
                | code::Event::Nameplates(_)
        );
        (!is_internal).then_some(Self::Wormhole(event))
    }
}

/// How a transfer went.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes carried: of the file, of the zip of a directory, or of the text.
    pub bytes: u64,
    /// From the first to the last byte, with the receiver's confirmation.
    pub elapsed: Duration,
    /// How it was carried; `None` for a text, which goes through the mailbox.
    pub path: Option<Path>,
    /// What the receiver has created; `None` for the sender, a text and a writer.
    pub written: Option<PathBuf>,
    /// Of the sender: files that did not arrive as they are there, because they changed while they
    /// were sent. One that [grew](UnsendableReason::Grew) arrived as long as it was offered; one that
    /// was [replaced](UnsendableReason::Replaced) arrived as it was; the others were left out.
    pub changed: Vec<Unsendable>,
    /// Of the receiver: files of a directory that the sender left out because it could not read them
    /// to their end. Show them escaped.
    pub omitted: Vec<ZipPath>,
    /// How many more were left out: only the first names are kept.
    pub omitted_more: u64,
    /// Permissions and times that could not be set on what was received; the contents are complete.
    pub lost: Option<MetadataLoss>,
}

impl Report {
    /// Of something that began at `start` and is done now.
    pub(super) fn new(bytes: u64, start: Instant, path: Option<Path>) -> Self {
        let elapsed = start.elapsed();
        Self {
            bytes,
            elapsed,
            path,
            written: None,
            changed: Vec::new(),
            omitted: Vec::new(),
            omitted_more: 0,
            lost: None,
        }
    }
}
