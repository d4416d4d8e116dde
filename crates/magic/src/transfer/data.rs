//! The data of a transfer: counting, hashing, its end and the acknowledgement, without moving any bytes.
//!
//! [`DataSender`] and [`DataReceiver`] run where the bytes are: on a thread that reads a disk, on a dilated
//! subchannel, or in a browser. Each returns the next step and is notified of results; the caller encrypts,
//! decrypts, reads, writes and connects. A session ([`Sender`](super::Sender), [`Receiver`](super::Receiver))
//! creates one when the connection is open.

mod receiver;
mod sender;

pub use receiver::{ContentHash, DataReceiver};
pub use sender::{DataSender, SendStep};

use super::message::BadMessage;

/// Why the data differs from the offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DataError {
    /// The receiver's record is invalid, or arrived before everything was sent.
    #[error("the receiver did not confirm what it received: {0}")]
    BadAck(BadMessage),
    /// Our source has fewer bytes than offered.
    #[error("the source has {sent} bytes, and {offered} were offered")]
    SourceTooShort {
        /// Offered bytes.
        offered: u64,
        /// Bytes of the source.
        sent: u64,
    },
    /// Our source has more bytes than offered.
    #[error("the source has more than the {offered} bytes that were offered")]
    SourceTooLong {
        /// Offered bytes.
        offered: u64,
    },
    /// The receiver's data differs from what was sent.
    #[error("the receiver got different data than was sent")]
    WrongHash,
    /// More bytes arrived than offered.
    #[error("{offered} bytes were offered and {sent} sent")]
    WrongSize {
        /// Offered bytes.
        offered: u64,
        /// Received bytes, including the record that exceeds the offer.
        sent: u64,
    },
}

/// Converts a length. No buffer is longer than 2^64 bytes.
pub(super) fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
