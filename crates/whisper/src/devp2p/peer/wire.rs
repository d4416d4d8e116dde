//! Messages over RLPx frames: `code ‖ payload`, the payload packed once both sides have said Hello.
//!
//! Cuts the received bytes into frames, whatever pieces they come in, and never keeps more than one
//! frame and one read.

use super::PeerMisbehaved;
use crate::devp2p::{
    key::PublicKey,
    rlp::{self, Rlp},
    rlpx::{BodySize, Connected, FrameError, MAX_FRAME, Opener, Sealer},
    snappy,
};

/// Both directions of a link after the handshake.
#[derive(Debug)]
pub(super) struct Wire {
    sealer: Sealer,
    opener: Opener,
    remote: PublicKey,
    /// What the last header announced, until its body is whole.
    announced: Option<BodySize>,
    packing: bool,
    /// Most bytes that a received message may have, unpacked.
    limit: usize,
}

impl Wire {
    /// Begins with messages that are not packed and have at most `limit` bytes.
    pub(super) fn new(connected: Connected, limit: usize) -> Self {
        let Connected { remote, sealer, opener } = connected;
        Self { sealer, opener, remote, announced: None, packing: false, limit }
    }

    /// Goes on with messages of at most `limit` bytes, packed or not.
    pub(super) fn open_up(&mut self, packing: bool, limit: usize) {
        self.packing = packing;
        self.limit = limit.min(MAX_FRAME);
    }

    /// The node at the other end.
    pub(super) const fn remote(&self) -> &PublicKey {
        &self.remote
    }

    /// Seals one message.
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

    /// Takes the next step through what was received.
    ///
    /// # Errors
    /// The other node broke the protocol; the link is lost.
    pub(super) fn step(&mut self, inbox: &mut Inbox) -> Result<Step, PeerMisbehaved> {
        let Some(size) = self.announced.take() else {
            let Some(header) = inbox.take_array() else { return Ok(Step::Starved) };
            let size = self.opener.header(&header)?;
            if size.get() > snappy::longest_packed(self.limit).saturating_add(LONGEST_CODE) {
                return Err(PeerMisbehaved::MessageTooLong(size.get()));
            }
            self.announced = Some(size);
            return Ok(Step::Header);
        };
        let length = size.sealed();
        let Some(sealed) = inbox.take(length) else {
            self.announced = Some(size);
            return Ok(Step::Starved);
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
        Ok(Step::Message { code, payload, cost })
    }
}

#[cfg(test)]
impl Wire {
    /// Seals a frame that need not be a message.
    pub(super) fn seal_body(&mut self, body: &[u8]) -> Vec<u8> {
        self.sealer.seal(&[body]).unwrap()
    }
}

/// How far [`Wire::step`] came.
#[derive(Debug)]
pub(super) enum Step {
    /// A header was opened.
    Header,
    /// A message is whole.
    Message {
        /// Its code on this link.
        code: u64,
        payload: Vec<u8>,
        /// Bytes that had to be opened or made for it.
        cost: usize,
    },
    /// More bytes are needed.
    Starved,
}

/// Bytes that were received and not yet used.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// How many have been used.
    used: usize,
}

impl Inbox {
    /// Appends what was received.
    pub(super) fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// Gives back what has been used, and the memory of a large message with it.
    pub(super) fn settle(&mut self) {
        self.bytes.drain(..self.used.min(self.bytes.len()));
        self.used = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(IDLE_CAPACITY);
        }
    }

    /// What has not been used.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Uses the next `count` bytes, if there are so many.
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

/// Bytes that an inbox keeps for the next read while it is empty.
const IDLE_CAPACITY: usize = 4096;

/// Most bytes of an encoded message code.
const LONGEST_CODE: usize = 9;
