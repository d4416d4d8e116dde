//! The errors of a node, one type per operation.

use std::io;

use wormhole_whisper::shh::{EnvelopeError, EnvelopeHash};

/// Why a node did not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StartError {
    /// The archive cannot be opened. The text is that of SQLite, and contains no data of users.
    #[error("archive: {0}")]
    Archive(String),
    /// An archive is configured, but no data folder for it.
    #[error("the archive needs a data directory: set `data`")]
    ArchiveWithoutData,
    /// The data folder, or a file in it, cannot be read or written.
    #[error("cannot read or write the data directory: {0}")]
    Data(io::ErrorKind),
    /// Another node uses the data folder.
    #[error("data directory is in use by another node")]
    DataInUse,
    /// The listening address cannot be used.
    #[error("cannot listen: {0}")]
    Listen(io::ErrorKind),
    /// The key file does not contain a key.
    #[error("the file nodekey does not contain a key")]
    NodeKey,
    /// Discovery or an advertised address is configured, but no listening address.
    #[error("discovery and an advertised address need an address to listen on")]
    NotListening,
}

/// Why an envelope was not posted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PostError {
    /// Too many own envelopes are waiting to be sent.
    #[error("too many envelopes are waiting to be sent")]
    Full,
    /// The envelope does not meet the requirements of the network.
    #[error("{0}")]
    Refused(#[from] EnvelopeError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a packet was not sent to a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DirectError {
    /// Its queue is full.
    #[error("peer is busy")]
    Busy,
    /// The peer is not connected.
    #[error("peer is not connected")]
    NotConnected,
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a peer was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddPeerError {
    /// The enode has no address.
    #[error("enode has no address")]
    NoAddress,
    /// The enode is that of this node.
    #[error("peer is this node")]
    Ourselves,
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The limit of static peers is reached.
    #[error("too many static peers")]
    TooMany,
}

/// Why the reply of a mail server is incomplete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// The mail server has disconnected.
    #[error("peer has disconnected")]
    PeerGone,
}

/// Why the proof of work was not found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MineError {
    /// The runtime is shutting down.
    #[error("proof of work was not computed: the node is stopping")]
    NoThread,
    /// The time was too short.
    #[error("proof of work was not found in the given time, after {tried} tries")]
    TimeOver {
        /// Number of nonces tried.
        tried: u64,
    },
}

/// The node has stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("node has stopped")]
pub struct Stopped;

/// The end of a mail server's reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArchiveComplete {
    /// The last envelope that it sent, if it sent any.
    pub last: Option<EnvelopeHash>,
}
