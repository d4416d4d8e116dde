//! The receiver's side of the data: checks the amount, reports progress, and creates the
//! acknowledgement.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wormhole_kit::Instant;

use super::super::message::{Ack, Offer, ReceiverRecord};
use super::{DataError, count};

/// Computes a SHA-256. An implementation may use another thread.
pub trait ContentHash {
    /// Adds the next bytes.
    fn update(&mut self, bytes: &[u8]);

    /// The hash of all bytes; `None` if it could not be computed.
    fn finish(self) -> Option<[u8; 32]>;
}

impl ContentHash for Sha256 {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(self, bytes);
    }

    fn finish(self) -> Option<[u8; 32]> {
        Some(self.finalize().into())
    }
}

/// The receiver's side of the data.
///
/// Pass each record to [`on_record`](Self::on_record) and write it; send what
/// [`report`](Self::report) returns; once [`is_complete`](Self::is_complete), make the content
/// durable under its final name and send [`acknowledge`](Self::acknowledge).
///
/// | state | input | next |
/// |---|---|---|
/// | fewer bytes than offered | a record | same, or complete |
/// | fewer bytes than offered | a record with more than the rest | an error |
/// | stream | a record | same |
/// | stream | an empty record | complete |
#[derive(Clone, Debug)]
pub struct DataReceiver<H = Sha256> {
    offered: Option<u64>,
    hash: H,
    received: u64,
    is_complete: bool,
    /// When to send the next progress report; `None` if the sender does not want reports.
    next_report: Option<Instant>,
}

impl DataReceiver {
    /// Starts to receive the offered data. With `reports`, the sender wants progress
    /// reports.
    pub fn new(offer: &Offer, reports: bool, now: Instant) -> Self {
        let offered = offer.transfer_size();
        Self {
            offered,
            hash: Sha256::new(),
            received: 0,
            is_complete: offered == Some(0),
            next_report: reports.then(|| now + REPORT_INTERVAL),
        }
    }

    /// Uses another implementation of the hash. Must be called before any data arrives.
    pub fn with_hash<H: ContentHash>(self, hash: H) -> DataReceiver<H> {
        let Self { offered, received, is_complete, next_report, hash: _ } = self;
        DataReceiver { offered, hash, received, is_complete, next_report }
    }
}

impl<H: ContentHash> DataReceiver<H> {
    /// Offered bytes; `None` for a stream.
    pub const fn offered(&self) -> Option<u64> {
        self.offered
    }

    /// Received bytes.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Whether all data has arrived.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Counts and hashes a record, before it is written.
    ///
    /// # Errors
    /// The data exceeds the offer: close the connection and remove the written data.
    pub fn on_record(&mut self, record: &[u8]) -> Result<(), DataError> {
        let received = self.received.saturating_add(count(record));
        match self.offered {
            Some(offered) if received > offered => {
                return Err(DataError::WrongSize { offered, sent: received });
            }
            Some(offered) => self.is_complete = received == offered,
            None => self.is_complete |= record.is_empty(),
        }
        self.hash.update(record);
        self.received = received;
        Ok(())
    }

    /// The next progress report, if it is due: from time to time, and once when all data has arrived. The transfer
    /// continues if it cannot be sent.
    pub fn report(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.next_report?;
        if self.is_complete {
            self.next_report = None;
        } else if now >= due {
            self.next_report = Some(now + REPORT_INTERVAL);
        } else {
            return None;
        }
        Some(ReceiverRecord::Received(self.received).encode())
    }

    /// The acknowledgement that everything is stored. The content is complete even if it cannot be
    /// sent.
    pub fn acknowledge(self) -> Vec<u8> {
        Ack { sha256: self.hash.finish() }.encode()
    }
}

/// Time between two progress reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
