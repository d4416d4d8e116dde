//! Events of a transfer.

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

/// An event of a transfer, in their usual order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// An event of the wormhole, with the type of the core: server, code, key, verifier, version. Messages of the
    /// wormhole belong to the transfer and are not reported.
    ///
    /// With [`Settings::verify`](super::Settings::verify) a sender waits after
    /// [`code::Event::Verifier`] for
    /// [`Transfer::confirm_verifier`](super::Transfer::confirm_verifier).
    Wormhole(code::Event),
    /// The connection to the mailbox server is still lost: the core's event with this name, with the reason.
    ServerRetry {
        /// Why the last link was lost or could not be opened.
        why: LinkFailure,
        /// Number of failed links in a row, at least 1.
        failures: u32,
        /// Time until the next attempt.
        pause: Duration,
    },
    /// The user must type the code, using this ([`CodeSource::Input`](super::CodeSource::Input)).
    CodeWanted(CodeInput),
    /// The chosen port ([`Settings::listen_port`](super::Settings::listen_port)) is not available, so the other side
    /// cannot connect to us. The transfer continues in other ways.
    PortTaken {
        /// The port.
        port: u16,
        /// The error of the system.
        kind: io::ErrorKind,
    },
    /// The offer to a receiver, except for a text: answer with
    /// [`Transfer::accept`](super::Transfer::accept) or
    /// [`Transfer::reject`](super::Transfer::reject).
    Offer(Offer),
    /// The receiver received a text. The sender waits until
    /// [`Transfer::confirm_text`](super::Transfer::confirm_text) confirms that it has been delivered.
    Text(String),
    /// The receiver accepted the sender's offer.
    Accepted,
    /// The connection to the other side is open, for the first time or again.
    Connected(Path),
    /// The connection to the other side is lost. The transfer waits for the next one.
    ConnectionLost,
    /// The receiver has parts of an earlier attempt, and only the rest is sent.
    Resuming {
        /// Bytes that it has.
        done: u64,
        /// Total bytes; `None` if unknown.
        total: Option<u64>,
    },
    /// The transfer failed, but what has arrived is kept here for some days: receive the same again to continue.
    Kept(PathBuf),
    /// Progress: at most a few times per second, and once at the end. A sender counts the bytes that the receiver
    /// reports; otherwise the bytes that the other end of the connection has acknowledged; and on systems that do not
    /// tell that (all except Linux), the bytes passed to the system.
    Progress {
        /// Transferred bytes.
        done: u64,
        /// Total bytes; `None` if unknown.
        total: Option<u64>,
    },
    /// The sender has sent everything and waits for the receiver's acknowledgement.
    AwaitingConfirmation,
    /// The transfer succeeded. This is the last event.
    Done(Report),
}

impl Event {
    /// Converts an event of the wormhole, if it is for the application.
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

/// The result of a transfer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Transferred bytes: of the file, of the zip of a directory, or of the text.
    pub bytes: u64,
    /// How many of them an earlier attempt had left.
    pub resumed: u64,
    /// Time from the first to the last byte, including the receiver's acknowledgement.
    pub elapsed: Duration,
    /// The connection; `None` for a text, which is sent through the mailbox.
    pub path: Option<Path>,
    /// The path that the receiver created; `None` for the sender, a text and a writer.
    pub written: Option<PathBuf>,
    /// For a sender: files that changed while they were sent. A file that [grew](UnsendableReason::Grew) arrived with its
    /// offered length; a [replaced](UnsendableReason::Replaced) one arrived with its original contents; all others were
    /// omitted.
    pub changed: Vec<Unsendable>,
    /// For a receiver: files of a directory that the sender omitted because it could not read them completely. Escape
    /// them before displaying.
    pub omitted: Vec<ZipPath>,
    /// Number of further omitted files: only the first names are stored.
    pub omitted_more: u64,
    /// Permissions and times that could not be set; the contents are complete.
    pub lost: Option<Box<MetadataLoss>>,
}

impl Report {
    /// Creates the report of a transfer of `bytes` that began at `start` and ends now.
    pub(super) fn new(bytes: u64, start: Instant, path: Option<Path>) -> Self {
        let elapsed = start.elapsed();
        Self {
            bytes,
            resumed: 0,
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
