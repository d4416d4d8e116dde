//! Errors of a transfer, by the party at fault.

use std::io;
use std::path::PathBuf;

use wormhole_magic::transfer::dilated::Violation;
use wormhole_magic::transfer::zip::ZipError;
use wormhole_magic::transfer::{self as core, BadMessage, PeerName, TransferError, UnsafeName};

use crate::code;
use crate::transit::{self, BadRecord};

/// Why a transfer failed. The other side has been notified if possible.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The application cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// The wormhole failed: for example, the other side used a wrong code.
    #[error(transparent)]
    Code(#[from] code::Error),
    /// The destination exists and must not be replaced.
    #[error("{} already exists", .0.display())]
    Exists(PathBuf),
    /// The connection broke before the data was complete.
    #[error("the connection broke after {done} bytes")]
    Interrupted {
        /// Transferred bytes.
        done: u64,
        /// Total bytes, if known.
        total: Option<u64>,
    },
    /// No connection to the peer was established.
    #[error(transparent)]
    NoConnection(transit::Error),
    /// There is not enough space on the disk.
    #[error("{needed} bytes needed, {available} free")]
    NoSpace {
        /// Needed bytes.
        needed: u64,
        /// Free bytes.
        available: u64,
    },
    /// The system cannot start another thread.
    #[error("cannot start a thread: the limit of the system is reached")]
    NoThread,
    /// The session was told that nothing more is offered.
    #[error("nothing more can be offered: this side is done")]
    Finished,
    /// There is nothing to send.
    #[error("nothing to send")]
    NothingToSend,
    /// The other side cancelled or closed without a reason.
    #[error("the other side went away")]
    PeerGone,
    /// The other side violated the protocol.
    #[error("the other side misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The other side gave up with this reason. Escape it before displaying.
    #[error("the other side said: {0}")]
    PeerRefused(String),
    /// We rejected the offer with [`Transfer::reject`](super::Transfer::reject).
    #[error("refused")]
    Rejected,
    /// A stream for a receiver that must know its length could not be stored.
    #[error("cannot store the stream in {}: {why}", .folder.display())]
    Spool {
        /// The folder for temporary files.
        folder: PathBuf,
        /// The error of the system.
        why: SystemError,
    },
    /// The work on the transfer panicked, or did not end in time.
    #[error("the transfer stopped without a result")]
    Stopped,
    /// The text is too long for a message; send it as a file.
    #[error(
        "the text is too long: it needs {bytes} bytes as a message, and a message may have at most {most}"
    )]
    TextTooLong {
        /// Size of the message in bytes: a control character needs six, for example.
        bytes: usize,
        /// Maximum size in bytes.
        most: usize,
    },
    /// The source cannot be read, or changed while it was sent.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    /// The offered folder exceeds this number of files and folders, the limit of
    /// [`Settings::max_entries`](super::Settings::max_entries).
    #[error("the offered directory has more than {0} files and directories")]
    TooManyEntries(u64),
    /// The offered folder has more folders and empty files than this limit, which depends on the offered
    /// bytes and the number of other files. [`Settings::max_entries`](super::Settings::max_entries) replaces
    /// it.
    #[error(
        "the offered directory has more than {0} directories and empty files, too many for its size"
    )]
    TooManyFolders(u64),
    /// The verifiers differ, according to the user: there is a man in the middle.
    #[error("the verification strings differ")]
    VerifierRejected,
    /// The destination cannot be written.
    #[error("cannot write {}: {why}", .path.display())]
    WriteFailed {
        /// The path that could not be written.
        path: PathBuf,
        /// The error of the system.
        why: SystemError,
    },
}

impl Error {
    /// The connection could not be passed to its thread.
    pub(super) fn pipe(error: io::Error) -> Self {
        Self::NoConnection(transit::Error::Lost(error.kind().into()))
    }

    /// Whether the user of the other side refused the offer. A sender that withdraws its offer may send the same words, so this
    /// is meaningful only for an offer of ours that was not accepted.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::PeerRefused(reason) if reason == REJECTED)
    }

    /// The error message for the other side; `None` if it already knows.
    pub(super) fn reply(&self) -> Option<String> {
        let text = match self {
            Self::PeerGone | Self::PeerRefused(_) | Self::Code(_) | Self::Rejected => return None,
            Self::Exists(_) => REJECTED,
            Self::Cancelled => "transfer cancelled",
            Self::VerifierRejected => "sender rejected verification check, abandoned transfer",
            Self::NoSpace { .. } => "not enough space on the receiving side",
            Self::WriteFailed { why, .. } if why.is_no_space() => {
                "not enough space on the receiving side"
            }
            Self::WriteFailed { .. } => "the receiving side could not write the file",
            Self::Spool { .. } => {
                "the sending side has no space for a temporary copy of the stream"
            }
            Self::TooManyEntries(_) | Self::TooManyFolders(_) => {
                "too many files or directories for the receiving side"
            }
            Self::Unsendable(_) => "the sending side could not read what it offered",
            Self::Interrupted { .. } => "the connection failed",
            Self::NoConnection(_) => "no way to connect was found; is the relay up?",
            Self::PeerMisbehaved(PeerMisbehaved::Negotiation(wrong)) => return Some(wrong.reply()),
            Self::PeerMisbehaved(_)
            | Self::Finished
            | Self::NothingToSend
            | Self::NoThread
            | Self::Stopped
            | Self::TextTooLong { .. } => "transfer failed",
        };
        Some(text.to_owned())
    }
}

/// The reason of a side whose user refuses, as in all clients.
pub(super) const REJECTED: &str = "transfer rejected";

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::PeerRefused(text) => Self::PeerRefused(text),
            TransferError::PeerMisbehaved(core::PeerMisbehaved::TooManyMessages) => {
                Self::PeerMisbehaved(PeerMisbehaved::TooManyMessages)
            }
            TransferError::PeerMisbehaved(wrong) => {
                Self::PeerMisbehaved(PeerMisbehaved::Negotiation(wrong))
            }
            TransferError::Rejected => Self::Rejected,
            TransferError::VerifierRejected => Self::VerifierRejected,
            // The data thread and the connection attempt know more about these errors.
            TransferError::CarrierLost | TransferError::NoCarrier => Self::PeerGone,
            TransferError::MailboxClosed => Self::Code(code::Error::Closed),
        }
    }
}

/// How the peer violated the protocol.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The receiver's acknowledgement is invalid or negative.
    #[error("it did not confirm the data: {0}")]
    BadAck(BadMessage),
    /// Data on the connection was modified.
    #[error(transparent)]
    BadRecord(BadRecord),
    /// The zip of a directory is damaged or dangerous.
    #[error("it sent an invalid folder: {0}")]
    BadZip(ZipError),
    /// It violated the protocol of transfers over a dilated connection.
    #[error(transparent)]
    Dilated(Violation),
    /// A message is invalid or out of order.
    #[error(transparent)]
    Negotiation(core::PeerMisbehaved),
    /// It sends messages faster than they can be read.
    #[error("it sent too many messages")]
    TooManyMessages,
    /// The offered name is not allowed.
    #[error("it offers a file named '{name}': {why}")]
    UnsafeName {
        /// The name.
        name: PeerName,
        /// The problem.
        why: UnsafeName,
    },
    /// The receiver's data differs from what was sent.
    #[error("its data differs from what was sent")]
    WrongHash,
    /// More or fewer bytes arrived than offered.
    #[error("it offered {offered} bytes and sent {sent}")]
    WrongSize {
        /// Offered bytes.
        offered: u64,
        /// Bytes sent so far.
        sent: u64,
    },
}

/// A source that cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot send {}: {why}", .path.display())]
pub struct Unsendable {
    /// The file or directory.
    pub path: PathBuf,
    /// The reason.
    pub why: UnsendableReason,
}

/// Why a source cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsendableReason {
    /// A symbolic link refers to a parent directory.
    #[error("it contains itself")]
    ContainsItself,
    /// It has more bytes than offered.
    #[error("it grew while it was being sent")]
    Grew,
    /// It is the root of a file system.
    #[error("it has no name")]
    NoName,
    /// A socket, a pipe or a device.
    #[error("it is neither a file nor a directory")]
    NotAFile,
    /// Its name is not Unicode, as the protocol requires.
    #[error("its name is not valid Unicode")]
    NotUnicode,
    /// Another file now has its name; the original one was sent.
    #[error("another file replaced it while it was being sent")]
    Replaced,
    /// Two of the paths have the same name.
    #[error("another path has the same name")]
    SameName,
    /// It has fewer bytes than offered.
    #[error("it shrank while it was being sent")]
    Shrank,
    /// An error of the system.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Its path is longer than 4096 bytes, or a component is longer than 255.
    #[error("its path is too long")]
    TooLong,
    /// Its size is wrong, as for many files in `/proc` and `/sys`.
    #[error("its size is unknown until it is read")]
    UnknownSize,
}

/// An error of the operating system.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct SystemError {
    /// The kind of error.
    pub kind: io::ErrorKind,
    /// The error message of the system.
    pub text: String,
}

impl SystemError {
    /// Whether the disk, the quota or the file size limit is exhausted.
    fn is_no_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.kind, FileTooLarge | QuotaExceeded | StorageFull)
    }
}

impl From<io::Error> for SystemError {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), text: plain(&error) }
    }
}

/// The message without Rust's `(os error 2)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
