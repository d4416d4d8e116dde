//! The sender's side of the data: counts it, marks its end, and checks the receiver's
//! acknowledgement.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::abilities::{Abilities, TransferAbility};
use super::super::message::{Ack, BadMessage, Offer, ReceiverRecord};
use super::{DataError, count};

/// The next step of a sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SendStep {
    /// Read the source. Pass each piece to [`DataSender::on_data`] and send it as one record; at the
    /// end of the source call [`DataSender::on_source_end`].
    SendData,
    /// Send an empty record, then call [`DataSender::on_end_sent`].
    SendEnd,
    /// Wait this long for a record of the receiver. If one arrives, pass it to
    /// [`DataSender::on_record`]; if not, send an empty record and call [`DataSender::on_end_sent`].
    SendEndUnlessReceived(Duration),
    /// Wait for a record of the receiver and pass it to [`DataSender::on_record`].
    Receive,
    /// The receiver has everything: close the connection.
    Done,
}

/// The sender's side of the data.
///
/// | state | input | next |
/// |---|---|---|
/// | `Data` | data, no more than offered | same |
/// | `Data` | the end of the source, with as many bytes as offered | `End` (stream), `EndUnlessReceived` (empty file, to another program), else `Ack` |
/// | `End`, `EndUnlessReceived` | the empty record is sent | `Ack` |
/// | `EndUnlessReceived` | a record | as in `Ack` |
/// | `Data`, `Ack` | `{"received":N}`, from a peer that announced it | same |
/// | `Ack`, or `Data` when all was sent | an acknowledgement with our hash, or without a hash | `Done`, once the source has ended |
/// | any | anything else | an error; do not continue |
#[derive(Clone, Debug)]
pub struct DataSender {
    offered: Option<u64>,
    peer: Abilities,
    hash: Sha256,
    sent: u64,
    received: Option<u64>,
    is_acknowledged: bool,
    step: SendStep,
}

impl DataSender {
    /// Starts to send the offered data to a peer with these abilities.
    pub fn new(offer: &Offer, peer: Abilities) -> Self {
        Self {
            offered: offer.transfer_size(),
            peer,
            hash: Sha256::new(),
            sent: 0,
            received: peer.has(TransferAbility::Progress).then_some(0),
            is_acknowledged: false,
            step: SendStep::SendData,
        }
    }

    /// The next step.
    pub const fn step(&self) -> SendStep {
        self.step
    }

    /// Offered bytes; `None` for a stream.
    pub const fn offered(&self) -> Option<u64> {
        self.offered
    }

    /// Bytes sent so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that the receiver has reported; `None` if it does not send reports.
    pub const fn received(&self) -> Option<u64> {
        self.received
    }

    /// Whether to handle records of the receiver while sending, without waiting for them. After everything was sent,
    /// the next record may be the acknowledgement, so the sender waits for it.
    pub fn takes_records_early(&self) -> bool {
        self.received.is_some() && self.offered != Some(self.sent)
    }

    /// Counts and hashes a piece of the source, before it is encrypted.
    ///
    /// # Errors
    /// The data exceeds the offer: do not send it.
    pub fn on_data(&mut self, data: &[u8]) -> Result<(), DataError> {
        let sent = self.sent.saturating_add(count(data));
        if let Some(offered) = self.offered.filter(|offered| sent > *offered) {
            return Err(DataError::SourceTooLong { offered });
        }
        self.hash.update(data);
        self.sent = sent;
        Ok(())
    }

    /// The source has ended, and all of it was sent.
    ///
    /// # Errors
    /// It has fewer bytes than offered.
    pub fn on_source_end(&mut self) -> Result<(), DataError> {
        if let Some(offered) = self.offered.filter(|offered| self.sent < *offered) {
            return Err(DataError::SourceTooShort { offered, sent: self.sent });
        }
        self.step = match self.offered {
            _ if self.is_acknowledged => SendStep::Done,
            None => SendStep::SendEnd,
            Some(0) if !self.peer.has(TransferAbility::Stream) => {
                SendStep::SendEndUnlessReceived(EMPTY_FILE_PATIENCE)
            }
            Some(_) => SendStep::Receive,
        };
        Ok(())
    }

    /// The empty record that marks the end was sent.
    pub fn on_end_sent(&mut self) {
        if matches!(self.step, SendStep::SendEnd | SendStep::SendEndUnlessReceived(_)) {
            self.step = SendStep::Receive;
        }
    }

    /// Handles a record of the receiver.
    ///
    /// # Errors
    /// It is invalid, too early, or acknowledges different data.
    pub fn on_record(&mut self, record: &[u8]) -> Result<(), DataError> {
        match ReceiverRecord::decode(record).map_err(DataError::BadAck)? {
            ReceiverRecord::Received(bytes) => {
                let received = self.received.as_mut().ok_or(NOT_AN_ACK)?;
                // The receiver cannot have more than was sent.
                *received = bytes.min(self.sent);
                Ok(())
            }
            ReceiverRecord::Ack(ack) => self.on_ack(&ack),
        }
    }

    fn on_ack(&mut self, ack: &Ack) -> Result<(), DataError> {
        let is_all_sent = match self.step {
            SendStep::SendData => self.offered == Some(self.sent),
            SendStep::SendEnd => false,
            SendStep::SendEndUnlessReceived(_) | SendStep::Receive | SendStep::Done => true,
        };
        if !is_all_sent {
            return Err(NOT_AN_ACK);
        }
        let ours: [u8; 32] = self.hash.clone().finalize().into();
        if ack.sha256.is_some_and(|theirs| theirs != ours) {
            return Err(DataError::WrongHash);
        }
        self.received = self.received.map(|_| self.sent);
        self.is_acknowledged = true;
        // Before its end, the source may still turn out to be too long.
        if self.step != SendStep::SendData {
            self.step = SendStep::Done;
        }
        Ok(())
    }
}

/// The error for a record that is not an acknowledgement, or arrived at the wrong time.
const NOT_AN_ACK: DataError = DataError::BadAck(BadMessage::Field("ack"));

/// Time for the receiver of an empty file to acknowledge it. An empty file needs no record, but wormhole-william
/// waits for one; other clients acknowledge within this time, and some then close the connection.
const EMPTY_FILE_PATIENCE: Duration = Duration::from_millis(300);
