//! Why a transfer failed, by whose fault it is.

use std::io;
use std::path::PathBuf;

use wormhole_magic::transfer::zip::ZipError;
use wormhole_magic::transfer::{self as core, BadMessage, PeerName, TransferError, UnsafeName};

use crate::code;
use crate::transit::{self, BadRecord};

/// Why a transfer failed. The other side has been told where that was possible.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The application cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// The two sides did not meet, or somebody guessed the code.
    #[error(transparent)]
    Code(#[from] code::Error),
    /// The destination is there already and may not be replaced.
    #[error("{} already exists", .0.display())]
    Exists(PathBuf),
    /// The connection broke before everything was there.
    #[error("the connection broke after {done} bytes")]
    Interrupted {
        /// Bytes carried.
        done: u64,
        /// Bytes to carry, if known.
        total: Option<u64>,
    },
    /// No connection to the peer came about.
    #[error(transparent)]
    NoConnection(transit::Error),
    /// The disk has too little room.
    #[error("{needed} bytes are needed and {available} are free")]
    NoSpace {
        /// Bytes it takes.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The system has no thread left to carry the data.
    #[error("the system is out of threads")]
    NoThread,
    /// There is nothing to send.
    #[error("nothing to send")]
    NothingToSend,
    /// The other side cancelled or closed without saying why.
    #[error("the other side went away")]
    PeerGone,
    /// The other side broke the protocol, or lied.
    #[error("the other side misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The other side gave up and says why. Show it escaped.
    #[error("the other side said: {0}")]
    PeerRefused(String),
    /// We refused the offer, by [`Transfer::reject`](super::Transfer::reject).
    #[error("refused")]
    Rejected,
    /// A stream for a receiver that must know its length has no place to wait in.
    #[error("cannot keep what is read in {}: {why}", .folder.display())]
    Spool {
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the system says.
        why: SystemError,
    },
    /// The text does not fit into a message; send it as a file.
    #[error("the text takes {bytes} bytes as a message, and {most} fit")]
    TextTooLong {
        /// Bytes it takes: a control character takes six, for example.
        bytes: usize,
        /// Bytes that fit.
        most: usize,
    },
    /// What is being sent cannot be read, or changed while it was being sent.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    /// The offered folder has more files and folders than this number, which
    /// [`Settings::max_entries`](super::Settings::max_entries) allows.
    #[error("more than {0} files and folders are offered")]
    TooManyEntries(u64),
    /// The offered folder has more folders and empty files than this number, which is all that an offer
    /// of so few bytes and other files may have unless
    /// [`Settings::max_entries`](super::Settings::max_entries) says otherwise.
    #[error(
        "more than {0} folders and empty files, more than the size and the other files justify"
    )]
    TooManyFolders(u64),
    /// The user saw that the verifiers differ: somebody sits in the middle.
    #[error("the verifiers differ")]
    VerifierRejected,
    /// The destination cannot be written.
    #[error("cannot write {}: {why}", .path.display())]
    WriteFailed {
        /// What could not be written.
        path: PathBuf,
        /// What the system says.
        why: SystemError,
    },
}

impl Error {
    /// The connection could not be handed to its thread.
    pub(super) fn pipe(error: io::Error) -> Self {
        Self::NoConnection(transit::Error::Lost(error.kind().into()))
    }

    /// What the other side is told, so that it need not guess; `None` if it knows.
    pub(super) fn reply(&self) -> Option<String> {
        let text = match self {
            Self::PeerGone | Self::PeerRefused(_) | Self::Code(_) | Self::Rejected => return None,
            Self::Exists(_) => "transfer rejected",
            Self::Cancelled => "transfer cancelled",
            Self::VerifierRejected => "sender rejected verification check, abandoned transfer",
            Self::NoSpace { .. } => "not enough space on the receiving side",
            Self::WriteFailed { why, .. } if why.is_no_space() => {
                "not enough space on the receiving side"
            }
            Self::WriteFailed { .. } => "the receiving side could not write the file",
            Self::Spool { .. } => "the sending side has no room for what it offered",
            Self::TooManyEntries(_) | Self::TooManyFolders(_) => {
                "too many files or folders for the receiving side"
            }
            Self::Unsendable(_) => "the sending side could not read what it offered",
            Self::Interrupted { .. } => "the connection failed",
            Self::NoConnection(_) => "no way to connect was found; is the relay up?",
            Self::PeerMisbehaved(PeerMisbehaved::Negotiation(wrong)) => return Some(wrong.reply()),
            Self::PeerMisbehaved(_)
            | Self::NothingToSend
            | Self::NoThread
            | Self::TextTooLong { .. } => "transfer failed",
        };
        Some(text.to_owned())
    }
}

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
            // The thread that moves the data, and the attempt to connect, know more about these.
            TransferError::CarrierLost | TransferError::NoCarrier => Self::PeerGone,
            TransferError::MailboxClosed => Self::Code(code::Error::Closed),
        }
    }
}

/// What the peer did wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The receiver's last word makes no sense, or says that it failed.
    #[error("it did not confirm what it received: {0}")]
    BadAck(BadMessage),
    /// What came over the connection was tampered with.
    #[error(transparent)]
    BadRecord(BadRecord),
    /// The zip of a directory is damaged, or dangerous.
    #[error("the folder it sent is not acceptable: {0}")]
    BadZip(ZipError),
    /// A message makes no sense or came out of turn.
    #[error(transparent)]
    Negotiation(core::PeerMisbehaved),
    /// It sends messages faster than anybody can look at them.
    #[error("it sent too many messages")]
    TooManyMessages,
    /// What it offers has a name that no file should have.
    #[error("it offers a file named '{name}': {why}")]
    UnsafeName {
        /// The name.
        name: PeerName,
        /// What is wrong with it.
        why: UnsafeName,
    },
    /// The receiver got other bytes than we sent.
    #[error("it received other data than was sent")]
    WrongHash,
    /// More or fewer bytes came than were offered.
    #[error("it offered {offered} bytes and sent {sent}")]
    WrongSize {
        /// Bytes offered.
        offered: u64,
        /// Bytes sent so far.
        sent: u64,
    },
}

/// Something that was to be sent and cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot send {}: {why}", .path.display())]
pub struct Unsendable {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: UnsendableReason,
}

/// Why something cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsendableReason {
    /// A symbolic link leads back to a directory above it.
    #[error("it contains itself")]
    ContainsItself,
    /// It has more bytes than when it was offered.
    #[error("it grew while it was being sent")]
    Grew,
    /// It is the root of a file system.
    #[error("it has no name")]
    NoName,
    /// A socket, a pipe or a device.
    #[error("it is neither a file nor a directory")]
    NotAFile,
    /// Its name is not Unicode, which the protocol demands.
    #[error("its name is not valid Unicode")]
    NotUnicode,
    /// Another file has its name now; the one that was offered was sent.
    #[error("another file replaced it while it was being sent")]
    Replaced,
    /// Two of the paths have the same name.
    #[error("another path has the same name")]
    SameName,
    /// It has fewer bytes than when it was offered.
    #[error("it shrank while it was being sent")]
    Shrank,
    /// The system does not let us.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Its path has more than 4096 bytes, or a part of it more than 255.
    #[error("its path is too long")]
    TooLong,
    /// It has more or fewer bytes than its size says, as many files in `/proc` and `/sys` do.
    #[error("its size is not known before it is read")]
    UnknownSize,
}

/// What the operating system said.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct SystemError {
    /// The kind of error.
    pub kind: io::ErrorKind,
    /// The system's own words.
    pub text: String,
}

impl SystemError {
    /// Whether the disk, the quota or the limit on file sizes is used up.
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

/// The system's words without Rust's `(os error 2)` behind them, which says nothing to a person.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
