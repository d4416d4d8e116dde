//! What an application is told while a transfer goes on.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wormhole_magic::transfer::Offer;
use wormhole_magic::transfer::zip::ZipPath;

#[cfg(doc)]
use super::UnsendableReason;
use super::{MetadataLoss, Unsendable};
use crate::code::{Code, CodeInput, MailboxUrl, Verifier, Welcome};
use crate::net::LinkFailure;
use crate::transit::Path;

/// One step of a transfer, in the order in which they usually come.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The mailbox server answered, at this one of its addresses.
    Server(MailboxUrl),
    /// What the mailbox server says to everybody who connects.
    Welcome(Box<Welcome>),
    /// A person types the code into this ([`CodeSource::Input`](super::CodeSource::Input)).
    CodeWanted(CodeInput),
    /// The code is known. Unless it came from there, tell it to the other side.
    Code(Code),
    /// The link to the mailbox server is lost and will be opened again by itself.
    ServerLost,
    /// The link to the mailbox server is still lost.
    ServerRetry {
        /// Why the last link was lost, or could not be opened.
        why: LinkFailure,
        /// Links in a row that were of no use, at least 1.
        failures: u32,
        /// Time until the next attempt.
        pause: Duration,
    },
    /// The link to the mailbox server is back, nothing was lost.
    ServerFound,
    /// The chosen port ([`Settings::listen_port`](super::Settings::listen_port)) cannot be had, so that
    /// the other side cannot connect to us. The transfer goes on: other ways are left.
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// Both sides have met; nobody else can use the code any more.
    CodeConsumed,
    /// A key is there, but the other side has not shown yet that it has the same.
    KeyEstablished,
    /// Both sides have the same key: comparing this by voice rules out a man in the middle.
    ///
    /// With [`Settings::verify`](super::Settings::verify) a sender waits for
    /// [`Transfer::confirm_verifier`](super::Transfer::confirm_verifier) now.
    Verifier(Verifier),
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
