//! Outgoing messages: numbers and encrypts them once the key is confirmed.
//!
//! [`super::mailbox`] makes sure that they arrive.

use std::collections::VecDeque;

use rand_core::CryptoRngCore;

use super::MAX_MESSAGE;
use super::error::ApiMisuse;
use crate::key::Key;
use crate::secretbox;

/// An encrypted message for the mailbox.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) phase: String,
    pub(super) body: Vec<u8>,
}

/// Outgoing messages.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `NoKey` | message | | `NoKey`, stored |
/// | `NoKey` | key | `version` | Unconfirmed |
/// | Unconfirmed | message | | Unconfirmed, stored |
/// | Unconfirmed | confirmed | all stored messages, encrypted | Confirmed |
/// | Confirmed | message | the message, encrypted | Confirmed |
#[derive(Debug)]
pub(super) struct Outgoing {
    state: OutgoingState,
    kept: VecDeque<(Kind, Vec<u8>)>,
    kept_bytes: usize,
    /// The number of the next message of the application.
    next: u64,
    /// The number of the next dilation message.
    next_dilation: u64,
}

/// The two kinds of messages, which are numbered independently.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Application,
    Dilation,
}

#[derive(Debug)]
enum OutgoingState {
    NoKey,
    Unconfirmed(Key),
    Confirmed(Key),
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self {
            state: OutgoingState::NoKey,
            kept: VecDeque::new(),
            kept_bytes: 0,
            next: 0,
            next_dilation: 0,
        }
    }

    /// Sets the key; returns the version message.
    pub(super) fn on_key(
        &mut self,
        key: Key,
        side: &str,
        version: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Sealed {
        let sealed = seal(&key, side, "version".to_owned(), version, rng);
        self.state = OutgoingState::Unconfirmed(key);
        sealed
    }

    /// The peer has the key. [`Self::poll`] now returns the stored messages.
    pub(super) fn on_confirmed(&mut self) {
        if let OutgoingState::Unconfirmed(key) = &self.state {
            self.state = OutgoingState::Confirmed(key.clone());
        }
    }

    /// Whether the key is confirmed.
    pub(super) const fn is_confirmed(&self) -> bool {
        matches!(self.state, OutgoingState::Confirmed(_))
    }

    /// Adds a message. `waiting` is the number of bytes that have not reached the server yet.
    pub(super) fn push(&mut self, message: Vec<u8>, waiting: usize) -> Result<(), ApiMisuse> {
        self.push_kind(Kind::Application, message, waiting)
    }

    /// Adds a dilation message.
    pub(super) fn push_dilation(
        &mut self,
        message: Vec<u8>,
        waiting: usize,
    ) -> Result<(), ApiMisuse> {
        self.push_kind(Kind::Dilation, message, waiting)
    }

    fn push_kind(&mut self, kind: Kind, message: Vec<u8>, waiting: usize) -> Result<(), ApiMisuse> {
        if message.len() > MAX_MESSAGE {
            return Err(ApiMisuse::MessageTooLong(message.len()));
        }
        if self.kept_bytes + waiting + message.len() > MAX_UNSENT {
            return Err(ApiMisuse::TooMuchUnsent);
        }
        self.kept_bytes += message.len();
        self.kept.push_back((kind, message));
        Ok(())
    }

    /// Bytes of stored messages.
    pub(super) const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The next message, numbered and encrypted, if any may be sent.
    pub(super) fn poll(&mut self, side: &str, rng: &mut impl CryptoRngCore) -> Option<Sealed> {
        let OutgoingState::Confirmed(key) = &self.state else { return None };
        let (kind, message) = self.kept.pop_front()?;
        self.kept_bytes -= message.len();
        let phase = match kind {
            Kind::Application => count(&mut self.next).to_string(),
            Kind::Dilation => format!("dilate-{}", count(&mut self.next_dilation)),
        };
        Some(seal(key, side, phase, &message, rng))
    }
}

/// Returns the number and increments it.
const fn count(next: &mut u64) -> u64 {
    let number = *next;
    *next += 1;
    number
}

fn seal(
    key: &Key,
    side: &str,
    phase: String,
    plaintext: &[u8],
    rng: &mut impl CryptoRngCore,
) -> Sealed {
    let body = secretbox::seal(&key.phase_key(side, &phase), plaintext, rng);
    Sealed { phase, body }
}

/// Maximum bytes of waiting messages.
const MAX_UNSENT: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;
    use wormhole_kit::Secret;

    use super::*;

    #[test]
    fn messages_wait_for_the_key_to_be_confirmed_and_are_numbered_from_zero() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut outgoing = Outgoing::new();
        outgoing.push(b"one".to_vec(), 0).unwrap();
        assert!(outgoing.poll("s", rng).is_none());
        assert_eq!(
            outgoing.on_key(Key::new(Secret::new([1; 32])), "s", b"{}", rng).phase,
            "version"
        );
        outgoing.push(b"two".to_vec(), 0).unwrap();
        assert!(outgoing.poll("s", rng).is_none());
        outgoing.on_confirmed();
        assert_eq!(outgoing.poll("s", rng).unwrap().phase, "0");
        outgoing.push_dilation(b"{}".to_vec(), 0).unwrap();
        outgoing.push(b"three".to_vec(), 0).unwrap();
        outgoing.push_dilation(b"{}".to_vec(), 0).unwrap();
        for phase in ["1", "dilate-0", "2", "dilate-1"] {
            assert_eq!(outgoing.poll("s", rng).unwrap().phase, phase);
        }
        assert!(outgoing.poll("s", rng).is_none());
        assert_eq!(outgoing.kept_bytes(), 0);
    }

    #[test]
    fn what_waits_to_be_sent_is_bounded() {
        let mut outgoing = Outgoing::new();
        assert_eq!(
            outgoing.push(vec![0; MAX_MESSAGE + 1], 0),
            Err(ApiMisuse::MessageTooLong(MAX_MESSAGE + 1))
        );
        for _ in 0..MAX_UNSENT / MAX_MESSAGE {
            assert_eq!(outgoing.push(vec![0; MAX_MESSAGE], 0), Ok(()));
        }
        assert_eq!(outgoing.push(vec![0; MAX_UNSENT % MAX_MESSAGE], 0), Ok(()));
        assert_eq!(outgoing.push(vec![0], 0), Err(ApiMisuse::TooMuchUnsent));
        assert_eq!(Outgoing::new().push(vec![0], MAX_UNSENT), Err(ApiMisuse::TooMuchUnsent));
    }
}
