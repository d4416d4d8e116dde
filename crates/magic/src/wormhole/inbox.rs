//! Messages of the peer: which side they come from, and their decryption. (client-protocol.md)

use std::collections::VecDeque;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::error::{PeerMisbehaved, WormholeError};
use super::order::{MessageOrder, Phase};
use crate::key::{Key, Verifier};
use crate::mailbox::PeerMessage;
use crate::secretbox;

/// Received messages.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `ExpectPeer` | `pake` of any side | its content | `ExpectKey` with that side as the peer |
/// | `ExpectPeer` | other message | | `ExpectPeer`, stored |
/// | `ExpectKey` | message of the peer | | `ExpectKey`, stored |
/// | `ExpectKey` | key | | Open; stored messages are decrypted |
/// | Open | message of the peer | decrypted, in order | Open |
/// | any | message of a third side | | ignored |
///
/// The side that sends the first `pake` is the peer. Messages of other sides are harmless: those do not have
/// the key, so their messages are ignored.
#[derive(Debug)]
pub(super) struct Inbox {
    state: InboxState,
    /// Encrypted messages, oldest first.
    sealed: VecDeque<PeerMessage>,
    order: MessageOrder,
}

#[derive(Debug)]
enum InboxState {
    ExpectPeer,
    ExpectKey { peer: String },
    Open { peer: String, key: Key, confirmed: bool },
}

/// A decrypted message.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Opened {
    /// The first one that could be decrypted: the peer has our key. The message itself follows.
    Confirmed(Verifier),
    /// The peer's version message.
    Version(Vec<u8>),
    /// The next message for the application.
    Message(Vec<u8>),
    /// The next dilation message with its number.
    Dilation(u64, Vec<u8>),
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            state: InboxState::ExpectPeer,
            sealed: VecDeque::new(),
            order: MessageOrder::default(),
        }
    }

    /// Handles a message of another side; returns the content of the peer's `pake`.
    pub(super) fn on_message(
        &mut self,
        message: PeerMessage,
    ) -> Result<Option<Vec<u8>>, PeerMisbehaved> {
        let is_pake = message.phase == "pake";
        match &self.state {
            InboxState::ExpectPeer if is_pake => {
                let body = decode(&message.body)?;
                self.sealed.retain(|sealed| sealed.side == message.side);
                self.state = InboxState::ExpectKey { peer: message.side };
                return Ok(Some(body));
            }
            InboxState::ExpectPeer => {}
            InboxState::ExpectKey { peer } | InboxState::Open { peer, .. } => {
                if is_pake || *peer != message.side {
                    return Ok(None);
                }
            }
        }
        self.keep(message)?;
        Ok(None)
    }

    /// Stores a message until it can be decrypted. The first one of a phase counts.
    fn keep(&mut self, message: PeerMessage) -> Result<(), PeerMisbehaved> {
        let same = |kept: &PeerMessage| kept.side == message.side && kept.phase == message.phase;
        if self.sealed.iter().any(same) {
            return Ok(());
        }
        let bytes = self.sealed.iter().map(|kept| kept.body.len()).sum::<usize>();
        if self.sealed.len() >= MAX_SEALED || bytes + message.body.len() > MAX_SEALED_BYTES {
            return Err(PeerMisbehaved::TooManyEarlyMessages);
        }
        self.sealed.push_back(message);
        Ok(())
    }

    /// Sets the key.
    pub(super) fn on_key(&mut self, key: Key) {
        if let InboxState::ExpectKey { peer } = &mut self.state {
            let peer = std::mem::take(peer);
            self.state = InboxState::Open { peer, key, confirmed: false };
        }
    }

    /// Decrypts messages and returns the next one in order.
    pub(super) fn poll(&mut self) -> Result<Option<Opened>, WormholeError> {
        let InboxState::Open { peer, key, confirmed } = &mut self.state else { return Ok(None) };
        loop {
            match self.order.next() {
                Some((Phase::Version, plaintext)) => return Ok(Some(Opened::Version(plaintext))),
                Some((Phase::Dilation(number), plaintext)) => {
                    return Ok(Some(Opened::Dilation(number, plaintext)));
                }
                Some((Phase::Number(_), plaintext)) => {
                    return Ok(Some(Opened::Message(plaintext)));
                }
                Some((Phase::Unknown, _)) | None => {}
            }
            let Some(message) = self.sealed.pop_front() else { return Ok(None) };
            let phase = Phase::parse(&message.phase);
            if self.order.has(phase) {
                continue;
            }
            let phase_key = key.phase_key(peer, &message.phase);
            let Ok(plaintext) = secretbox::open(&phase_key, &decode(&message.body)?) else {
                let forged = PeerMisbehaved::Forged.into();
                return Err(if *confirmed { forged } else { WormholeError::WrongCode });
            };
            self.order.put(phase, plaintext)?;
            if !std::mem::replace(confirmed, true) {
                return Ok(Some(Opened::Confirmed(key.verifier())));
            }
        }
    }
}

fn decode(body: &str) -> Result<Vec<u8>, PeerMisbehaved> {
    HEXLOWER_PERMISSIVE.decode(body.as_bytes()).map_err(|_| PeerMisbehaved::NotHex)
}

/// Maximum number of stored messages before the key is known. Two or three are normal: a sender sends them while the
/// receiver still types the code.
const MAX_SEALED: usize = 256;

/// Maximum total length of stored messages in hexadecimal digits.
const MAX_SEALED_BYTES: usize = 64 << 20;
