//! Outgoing records with numbers: kept until the peer acknowledges them, and repeated on the next connection.
//!
//! It knows neither connections nor encryption. (dilation-protocol.md "L3", "L4")

use std::collections::VecDeque;

use super::error::{DilationError, DilationViolation};
use super::record::DilationRecord;

/// A record without its number, which follows from its place in the queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outgoing {
    Open { subchannel: u32, subprotocol: String },
    Data { subchannel: u32, data: Vec<u8> },
    Close { subchannel: u32 },
    Credit { subchannel: u32, bytes: u32 },
}

impl Outgoing {
    const fn size(&self) -> usize {
        RECORD_COST
            + match self {
                Self::Open { subprotocol, .. } => subprotocol.len(),
                Self::Data { data, .. } => data.len(),
                Self::Close { .. } | Self::Credit { .. } => 0,
            }
    }
}

/// The records that the peer has not acknowledged.
///
/// | input | effect |
/// |---|---|
/// | `push` | the record gets the next number |
/// | `next` | the next record that has not been sent on this connection |
/// | `restart` | everything in the queue is sent again, in order |
/// | `on_ack` | all records up to this number are forgotten |
#[derive(Debug)]
pub(super) struct Outbound {
    /// The number of the first record in the queue.
    first: u64,
    queue: VecDeque<Outgoing>,
    /// How many records of the queue have been sent on this connection.
    sent: usize,
    bytes: usize,
}

impl Outbound {
    /// An empty queue, whose first record has this number.
    pub(super) const fn starting_at(first: u64) -> Self {
        Self { first, queue: VecDeque::new(), sent: 0, bytes: 0 }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: Outgoing) -> Result<(), DilationError> {
        let number = self.first + u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        if number > u64::from(u32::MAX) {
            return Err(DilationError::TooManyRecords);
        }
        if self.queue.len() >= MAX_RECORDS {
            return Err(DilationError::PeerMisbehaved(DilationViolation::NoAcknowledgements));
        }
        self.bytes += record.size();
        self.queue.push_back(record);
        Ok(())
    }

    /// The next record to send, if any, in two parts: what comes before its data, and the data.
    pub(super) fn next(&mut self) -> Option<(Vec<u8>, &[u8])> {
        let record = self.queue.get(self.sent)?;
        let number = self.first + u64::try_from(self.sent).ok()?;
        let number = u32::try_from(number).ok()?;
        self.sent += 1;
        Some(match record {
            Outgoing::Open { subchannel, subprotocol } => {
                let open = DilationRecord::Open {
                    subchannel: *subchannel,
                    number,
                    subprotocol: subprotocol.clone(),
                };
                (open.encode(), &[])
            }
            Outgoing::Data { subchannel, data } => {
                let (subchannel, empty) = (*subchannel, Vec::new());
                (DilationRecord::Data { subchannel, number, data: empty }.encode(), data)
            }
            Outgoing::Close { subchannel } => {
                (DilationRecord::Close { subchannel: *subchannel, number }.encode(), &[])
            }
            Outgoing::Credit { subchannel, bytes } => {
                let (subchannel, bytes) = (*subchannel, *bytes);
                (DilationRecord::Credit { subchannel, number, bytes }.encode(), &[])
            }
        })
    }

    /// A new connection: everything that is not acknowledged is sent again.
    pub(super) const fn restart(&mut self) {
        self.sent = 0;
    }

    /// All records up to this number have arrived. An old acknowledgement changes nothing. Records that were sent only on
    /// an earlier connection may be acknowledged.
    pub(super) fn on_ack(&mut self, number: u32) -> Result<(), DilationViolation> {
        let end = self.first + u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        if u64::from(number) >= end {
            return Err(DilationViolation::FutureAck(number));
        }
        while self.first <= u64::from(number)
            && let Some(record) = self.queue.pop_front()
        {
            self.bytes -= record.size();
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        Ok(())
    }

    /// Whether everything has been acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the application should wait before it writes more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_UNACKNOWLEDGED || self.queue.len() >= MAX_WRITTEN_RECORDS
    }
}

/// Maximum data without acknowledgement in bytes: then writers wait. It is kept in memory for the next connection.
pub const MAX_UNACKNOWLEDGED: usize = 16 << 20;

/// Memory of a record in addition to its data, in bytes.
const RECORD_COST: usize = 64;

/// Maximum number of records without acknowledgement before writers wait. It limits writers of single bytes.
const MAX_WRITTEN_RECORDS: usize = 1 << 16;

/// Maximum number of records without acknowledgement. A peer that makes us send more, by opening subchannels that we
/// reject, does not acknowledge what it reads.
const MAX_RECORDS: usize = 2 * MAX_WRITTEN_RECORDS;

#[cfg(test)]
mod tests {
    use super::*;

    fn data(byte: u8) -> Outgoing {
        Outgoing::Data { subchannel: 1, data: vec![byte] }
    }

    fn numbers(outbound: &mut Outbound) -> Vec<u32> {
        let mut numbers = Vec::new();
        while let Some((head, _)) = outbound.next() {
            numbers.push(u32::from_be_bytes(head[5..9].try_into().unwrap()));
        }
        numbers
    }

    #[test]
    fn records_are_repeated_on_the_next_connection_until_they_are_acknowledged() {
        let mut outbound = Outbound::starting_at(0);
        for byte in 0..4 {
            outbound.push(data(byte)).unwrap();
        }
        assert_eq!(numbers(&mut outbound), [0, 1, 2, 3]);
        outbound.on_ack(1).unwrap();
        outbound.on_ack(0).unwrap();
        outbound.push(data(4)).unwrap();
        assert_eq!(numbers(&mut outbound), [4]);
        outbound.restart();
        assert_eq!(numbers(&mut outbound), [2, 3, 4]);
        outbound.restart();
        // Acknowledged before it was sent again: it had been sent on the last connection.
        outbound.on_ack(4).unwrap();
        assert!(outbound.is_empty() && outbound.next().is_none());
        assert_eq!(outbound.bytes, 0);
        assert_eq!(outbound.on_ack(5), Err(DilationViolation::FutureAck(5)));
    }

    #[test]
    fn the_last_number_ends_the_connection() {
        let mut outbound = Outbound::starting_at(u64::from(u32::MAX));
        outbound.push(data(0)).unwrap();
        assert_eq!(outbound.push(data(0)), Err(DilationError::TooManyRecords));
        assert_eq!(numbers(&mut outbound), [u32::MAX]);
        outbound.on_ack(u32::MAX).unwrap();
        assert_eq!(outbound.push(data(0)), Err(DilationError::TooManyRecords));
    }

    #[test]
    fn writers_wait_before_the_queue_is_refused() {
        let mut outbound = Outbound::starting_at(0);
        let large = Outgoing::Data { subchannel: 1, data: vec![0; 1 << 20] };
        for _ in 0..16 {
            assert!(!outbound.is_full());
            outbound.push(large.clone()).unwrap();
        }
        assert!(outbound.is_full());
        let mut outbound = Outbound::starting_at(0);
        for _ in 0..MAX_RECORDS {
            outbound.push(Outgoing::Close { subchannel: 1 }).unwrap();
        }
        assert!(outbound.is_full());
        let unacknowledged = DilationError::PeerMisbehaved(DilationViolation::NoAcknowledgements);
        assert_eq!(outbound.push(data(0)), Err(unacknowledged));
    }
}
