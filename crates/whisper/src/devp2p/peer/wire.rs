//! Messages in RLPx frames: `code ‖ payload`, with a compressed payload after Hello.
//!
//! Splits the received bytes into frames and buffers at most one frame and one read.

use super::PeerMisbehaved;
use crate::devp2p::{
    key::PublicKey,
    rlp::{self, Rlp},
    rlpx::{BodySize, Connected, FrameError, MAX_FRAME, Opener, Sealer},
    snappy,
};

/// Encodes and decodes the messages of a connection after the handshake.
#[derive(Debug)]
pub(super) struct MessageCodec {
    sealer: Sealer,
    opener: Opener,
    remote: PublicKey,
    /// The size of the frame body after its header has been decrypted.
    announced: Option<BodySize>,
    packing: bool,
    /// Maximum size of a received message after decompression, in bytes.
    limit: usize,
}

impl MessageCodec {
    /// Starts without compression, for messages of at most `limit` bytes.
    pub(super) fn new(connected: Connected, limit: usize) -> Self {
        let Connected { remote, sealer, opener } = connected;
        Self { sealer, opener, remote, announced: None, packing: false, limit }
    }

    /// Sets compression and the maximum size of messages in bytes.
    pub(super) fn configure(&mut self, packing: bool, limit: usize) {
        self.packing = packing;
        self.limit = limit.min(MAX_FRAME);
    }

    /// The node at the other end.
    pub(super) const fn remote(&self) -> &PublicKey {
        &self.remote
    }

    /// Encodes a message.
    ///
    /// # Errors
    /// It does not fit into a frame; nothing has changed.
    pub(super) fn seal(&mut self, code: u64, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
        let code = rlp::uint(code);
        if !self.packing {
            return self.sealer.seal(&[&code, payload]);
        }
        let packed = snappy::pack(payload).map_err(|_| FrameError::TooLong(payload.len()))?;
        self.sealer.seal(&[&code, &packed])
    }

    /// Decodes the next header or message from the received bytes.
    ///
    /// # Errors
    /// The other node violated the protocol; close the connection.
    pub(super) fn step(
        &mut self,
        received_bytes: &mut ReceiveBuffer,
    ) -> Result<DecodeStep, PeerMisbehaved> {
        let Some(size) = self.announced.take() else {
            let Some(header) = received_bytes.take_array() else { return Ok(DecodeStep::NeedMore) };
            let size = self.opener.header(&header)?;
            if size.get() > snappy::longest_packed(self.limit).saturating_add(LONGEST_CODE) {
                return Err(PeerMisbehaved::MessageTooLong(size.get()));
            }
            self.announced = Some(size);
            return Ok(DecodeStep::Header);
        };
        let length = size.sealed();
        let Some(sealed) = received_bytes.take(length) else {
            self.announced = Some(size);
            return Ok(DecodeStep::NeedMore);
        };
        let mut body = Rlp::new(self.opener.body(size, sealed)?);
        let (code, payload) = (body.u64()?, body.rest());
        let payload = match self.packing {
            true => snappy::unpack(payload, self.limit)?,
            false if payload.len() > self.limit => {
                return Err(PeerMisbehaved::MessageTooLong(payload.len()));
            }
            false => payload.to_vec(),
        };
        let cost = length.max(payload.len());
        Ok(DecodeStep::Message { code, payload, cost })
    }
}

#[cfg(test)]
impl MessageCodec {
    /// Encodes a frame with any content.
    pub(super) fn seal_body(&mut self, body: &[u8]) -> Vec<u8> {
        self.sealer.seal(&[body]).unwrap()
    }
}

/// The result of [`MessageCodec::step`].
#[derive(Debug)]
pub(super) enum DecodeStep {
    /// A header was decrypted.
    Header,
    /// A message is complete.
    Message {
        /// Its code on this connection.
        code: u64,
        payload: Vec<u8>,
        /// Bytes that were decrypted or decompressed for it.
        cost: usize,
    },
    /// More bytes are needed.
    NeedMore,
}

/// Received bytes that have not been decoded yet.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    /// Number of decoded bytes.
    used: usize,
}

impl ReceiveBuffer {
    /// Appends received bytes.
    pub(super) fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// Discards decoded bytes, and frees the memory of a large message.
    pub(super) fn compact(&mut self) {
        self.bytes.drain(..self.used.min(self.bytes.len()));
        self.used = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(IDLE_CAPACITY);
        }
    }

    /// The bytes that have not been decoded.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Takes the next `count` bytes, if available.
    pub(super) fn take(&mut self, count: usize) -> Option<&mut [u8]> {
        let end = self.used.checked_add(count)?;
        let taken = self.bytes.get_mut(self.used..end)?;
        self.used = end;
        Some(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }
}

/// Capacity of an empty buffer in bytes.
const IDLE_CAPACITY: usize = 4096;

/// Maximum size of an encoded message code in bytes.
const LONGEST_CODE: usize = 9;
