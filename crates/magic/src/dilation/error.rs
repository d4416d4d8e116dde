//! Why a dilated connection ends, divided by who is at fault.

use std::time::Duration;

use super::message::MalformedDilationMessage;
use super::record::BadDilationRecord;

/// Why a dilated connection has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DilationError {
    /// The peer sent a mailbox message that cannot be decoded.
    #[error(transparent)]
    Malformed(#[from] MalformedDilationMessage),
    /// No connection was possible for this time.
    #[error("no connection to the peer for {} s", .0.as_secs())]
    PeerGone(Duration),
    /// The peer announced that it leaves.
    #[error("the peer has left")]
    PeerLeft,
    /// The peer broke the rules of the protocol repeatedly.
    #[error("the peer violated the protocol: {0}")]
    PeerMisbehaved(DilationViolation),
    /// Our own messages came back.
    #[error("the peer has our own identity, as if a mirror sent our messages back")]
    Reflected,
    /// One side has sent 2^32 records, and the protocol has no numbers for more.
    #[error("2^32 records have been sent, which is all that one dilated connection can number")]
    TooManyRecords,
}

/// How the peer broke the rules of the protocol on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DilationViolation {
    /// It acknowledged a record that we have not sent.
    #[error("acknowledged record {0}, which was not sent")]
    FutureAck(u32),
    /// It opened a subchannel with a number of ours, or with number 0.
    #[error("opened subchannel {0}, whose number is not the peer's to choose")]
    ForeignSubchannel(u32),
    /// A record is missing.
    #[error("sent record {got} instead of {expected}")]
    Gap {
        /// The number of the next record.
        expected: u64,
        /// The number that arrived.
        got: u32,
    },
    /// It does not acknowledge what it reads.
    #[error("does not acknowledge what it receives")]
    NoAcknowledgements,
    /// A record is invalid.
    #[error(transparent)]
    Record(#[from] BadDilationRecord),
    /// It sent more data on a subchannel than it may.
    #[error("sent more data on subchannel {0} than it may")]
    BeyondCredit(u32),
    /// It confirmed the key again.
    #[error("confirmed the key twice")]
    SecondKcm,
}
