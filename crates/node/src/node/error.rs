//! Why something was not done, one enum per operation, by whose fault it is.

use std::io;

use wormhole_whisper::shh::{EnvelopeHash, Refusal};

/// Why a node did not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The archive cannot be opened. SQLite's words name no value of a user.
    #[error("archive: {0}")]
    Archive(String),
    /// An archive was asked for without a data folder to keep it in.
    #[error("archive needs a data folder (`data`) to be kept in")]
    ArchiveWithoutData,
    /// The data folder, or what is in it, cannot be read or written.
    #[error("data folder: {0}")]
    Data(io::ErrorKind),
    /// Another node uses the data folder.
    #[error("data folder is in use by another node")]
    DataInUse,
    /// We cannot listen where we were told to.
    #[error("cannot listen: {0}")]
    Listen(io::ErrorKind),
    /// The key file holds no key.
    #[error("node key file does not hold a key")]
    NodeKey,
    /// An address for others, or a search for them, was asked for without one to listen on.
    #[error("discovery and an advertised address need an address to listen on")]
    NotListening,
}

/// Why an envelope was not posted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// Too many of our own envelopes wait to leave already.
    #[error("too many envelopes are waiting to be sent")]
    Full,
    /// No node would take it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why nothing was sent to a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// It has not taken yet what it was sent before.
    #[error("peer is busy")]
    Busy,
    /// It is not connected.
    #[error("peer is not connected")]
    NotConnected,
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a peer was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddPeerError {
    /// The enode does not say where it is.
    #[error("enode has no address")]
    NoAddress,
    /// It is ourselves.
    #[error("peer is this node")]
    Ourselves,
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// There are as many as there may be.
    #[error("too many static peers")]
    TooMany,
}

/// Why a mail server's answer is not complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The link was lost.
    #[error("peer is gone")]
    PeerGone,
}

/// Why no nonce was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MineError {
    /// There is no thread to be had.
    #[error("no thread to search on")]
    NoThread,
    /// The time was over.
    #[error("work was not reached in the time given, after {tried} tries")]
    TimeOver {
        /// Nonces that were tried.
        tried: u64,
    },
}

/// The node has stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("node has stopped")]
pub struct Stopped;

/// Which envelope a mail server came to last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArchiveComplete {
    /// The last one it sent, if it sent any.
    pub last: Option<EnvelopeHash>,
}
