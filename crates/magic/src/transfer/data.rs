//! The data of a transfer: counted, hashed, ended and acknowledged, without moving a byte of it.
//!
//! [`DataSender`] and [`DataReceiver`] run where the bytes are: on a thread that reads a disk, on a
//! dilated subchannel, in a browser. Each says what comes next and is told what happened; sealing,
//! opening, disk work and the connection are the caller's. A session ([`Sender`](super::Sender),
//! [`Receiver`](super::Receiver)) creates one as soon as there is a connection.

mod receiver;
mod sender;

pub use receiver::{ContentHash, DataReceiver};
pub use sender::{DataSender, SendStep};

use super::message::BadMessage;

/// Why the data did not arrive as it was offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DataError {
    /// The receiver's record is invalid, or came before everything was sent.
    #[error("the receiver did not confirm what it received: {0}")]
    BadAck(BadMessage),
    /// Our own source has fewer bytes than were offered.
    #[error("the source has {sent} bytes, and {offered} were offered")]
    SourceTooShort {
        /// Bytes offered.
        offered: u64,
        /// Bytes of the source.
        sent: u64,
    },
    /// Our own source has more bytes than were offered.
    #[error("the source has more than the {offered} bytes that were offered")]
    SourceTooLong {
        /// Bytes offered.
        offered: u64,
    },
    /// The receiver has other bytes than were sent.
    #[error("the receiver has other data than was sent")]
    WrongHash,
    /// More bytes arrived than were offered.
    #[error("{offered} bytes were offered and {sent} sent")]
    WrongSize {
        /// Bytes offered.
        offered: u64,
        /// Bytes that have arrived, with the record that was too much.
        sent: u64,
    },
}

/// A length as the number that is counted. No buffer is longer than 2^64 bytes.
pub(super) fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
