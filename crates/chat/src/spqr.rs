//! The sparse post-quantum ratchet: keys that a quantum computer cannot compute, renewed as the conversation goes on
//! (docs/chat-protocol.md "Post-quantum ratchet").
//!
//! It runs next to the Double Ratchet, and gives each message a key that goes into the derivation of its message keys. Like
//! there, receiving has two steps: [`Spqr::receive`] computes on copies, and [`Spqr::commit`] assigns them once the MAC of the
//! message is verified.

mod authenticator;
mod braid;
mod chains;
mod erasure;
mod failures;
mod field;
mod kem;
mod skipped;
mod storage;
mod wire;

use rand_core::CryptoRngCore;
use wormhole_kit::Secret;

use braid::Braid;
use chains::Chains;
use failures::Failures;
use skipped::{Skipped, SkippedStep};

pub(crate) use storage::DamagedSpqr;
pub use wire::{SpqrChunk, SpqrDecodeError, SpqrMessage, SpqrPayload};

/// The post-quantum ratchet of one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Spqr {
    role: Role,
    braid: Braid,
    keys: Keys,
    skipped: Skipped,
    failures: Failures,
}

/// The side of the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// Whether both sides use the ratchet.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Keys {
    /// We offer it, and have not received a message. This is the key from the first agreement.
    Offered(Secret<32>),
    /// They do. It can never be turned off again.
    Agreed(Chains),
}

/// The changes from receiving a message. Apply them once the MAC is verified.
#[derive(Debug)]
pub(crate) enum SpqrStep {
    /// The message's data for the exchange of a key is wrong. If the message is authentic, call
    /// [`Spqr::count_failure`], and refuse the message.
    Failed(SpqrError),
    /// The peer does not have the ratchet: the session continues without it.
    FellBack,
    /// Pass it to [`Spqr::commit`].
    Received(Box<SpqrChanges>),
}

/// The state after a message. Assign it once the MAC is verified.
#[derive(Debug)]
pub(crate) struct SpqrChanges {
    braid: Braid,
    chains: Chains,
    skipped: Option<SkippedStep>,
}

/// The part of a message that matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IncomingField<'a> {
    /// The field of the ratchet; empty without the ratchet.
    pub(crate) field: &'a [u8],
    /// Whether it came inside a `PreKeySignalMessage`, under the peer's first ratchet key.
    pub(crate) is_first: bool,
    /// How many messages it may skip.
    pub(crate) limit: u32,
}

impl Spqr {
    /// Offers the ratchet to the responder of a new session. If it is `required`, a responder without it cannot read our
    /// messages; otherwise the first messages are not protected by it.
    pub(crate) fn initiator(
        auth_key: Secret<32>,
        required: bool,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let role = Role::Initiator;
        let braid = Braid::initiator(&auth_key, rng);
        let keys = match required {
            true => Keys::Agreed(Chains::new(role, &auth_key)),
            false => Keys::Offered(auth_key),
        };
        Self { role, braid, keys, skipped: Skipped::default(), failures: Failures::default() }
    }

    /// Accepts the ratchet, if the initiator offers it in the first message.
    pub(crate) fn responder(auth_key: Secret<32>) -> Self {
        let braid = Braid::responder(&auth_key);
        let keys = Keys::Offered(auth_key);
        Self {
            role: Role::Responder,
            braid,
            keys,
            skipped: Skipped::default(),
            failures: Failures::default(),
        }
    }

    /// Whether both sides use it.
    pub(crate) const fn is_agreed(&self) -> bool {
        matches!(self.keys, Keys::Agreed(_))
    }

    /// The field and the key of our next message. No key: the peer may not have the ratchet.
    ///
    /// # Errors
    /// The chain has ended. Nothing has changed.
    pub(crate) fn send(&mut self) -> Result<(Vec<u8>, Option<Secret<32>>), SpqrError> {
        let epoch = self.braid.epoch;
        let (braid, payload, exchanged) = self.braid.sent();
        let (index, key) = match &mut self.keys {
            Keys::Offered(_) => (0, None),
            Keys::Agreed(chains) => {
                let mut next = chains.clone();
                if let Some(exchanged) = exchanged {
                    next.add(self.role, &exchanged);
                }
                let (index, key) = next.send(epoch.saturating_sub(1))?;
                self.skipped.forget_before(next.sending.saturating_sub(1));
                *chains = next;
                (index, Some(key))
            }
        };
        self.braid = braid;
        Ok((SpqrMessage { epoch, index, payload }.encode(), key))
    }

    /// Finds the key of a message. Changes nothing.
    ///
    /// # Errors
    /// The message cannot be decrypted with this ratchet.
    pub(crate) fn receive(
        &self,
        incoming: IncomingField<'_>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(SpqrStep, Option<Secret<32>>), SpqrError> {
        let Some(message) = SpqrMessage::decode(incoming.field)? else {
            return match self.keys {
                Keys::Offered(_) => Ok((SpqrStep::FellBack, None)),
                Keys::Agreed(_) => Err(SpqrError::Downgrade),
            };
        };
        let mut chains = match &self.keys {
            Keys::Offered(auth_key) => Chains::new(self.role, auth_key),
            Keys::Agreed(chains) => chains.clone(),
        };
        let contribution = match self.braid.received(&message, rng) {
            Ok((braid, exchanged)) => {
                if let Some(exchanged) = exchanged {
                    chains.add(self.role, &exchanged);
                }
                Ok(braid)
            }
            // The keys of the message do not depend on it.
            Err(error) if error.is_failed_exchange() => Err(error),
            Err(error) => return Err(error),
        };
        let (key, skipped) = if message.index == 0 {
            if !self.may_lack_key(&message, incoming.is_first) {
                return Err(SpqrError::NoKey);
            }
            (None, None)
        } else {
            let epoch = message.epoch.saturating_sub(1);
            let (key, step) =
                chains.receive(epoch, message.index, incoming.limit, &self.skipped)?;
            (Some(key), Some(step))
        };
        let step = match contribution {
            Ok(braid) => SpqrStep::Received(Box::new(SpqrChanges { braid, chains, skipped })),
            Err(error) => SpqrStep::Failed(error),
        };
        Ok((step, key))
    }

    /// Whether a message may have no key: the initiator did not know yet whether we have the ratchet. Not once the
    /// first exchange is complete, because such a message would not be protected by its key.
    fn may_lack_key(&self, message: &SpqrMessage, is_first: bool) -> bool {
        is_first && message.epoch == 1 && self.braid.epoch == 1 && self.role == Role::Responder
    }

    /// Applies what [`Spqr::receive`] has computed.
    pub(crate) fn commit(&mut self, changes: SpqrChanges) {
        self.braid = changes.braid;
        self.keys = Keys::Agreed(changes.chains);
        self.failures.forget();
        if let Some(step) = changes.skipped {
            self.skipped.commit(step);
        }
    }

    /// Counts an authentic message whose part of the exchange is wrong. `mac` identifies it.
    pub(crate) fn count_failure(&mut self, mac: [u8; 8]) {
        self.failures.add(mac);
    }

    /// Number of such messages, since the last one that was right.
    pub(crate) const fn failures(&self) -> usize {
        self.failures.len()
    }

    /// Whether the exchange has failed for good, so that the session should be replaced.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failures.is_final()
    }

    /// Makes the MACs of what this side will send wrong.
    #[cfg(test)]
    pub(crate) fn break_exchange(&mut self) {
        self.braid.authenticator.mac = Secret::new([9; 32]);
    }

    /// From now on, this side sends nothing for the exchange.
    #[cfg(test)]
    pub(crate) fn contribute_nothing(&mut self) {
        self.braid = Braid::responder(&Secret::new([0; 32]));
    }

    /// How many keys a message with this field would skip at most. Each costs one derivation, before the MAC is verified.
    pub(crate) fn jump(&self, field: &[u8]) -> u32 {
        match (&self.keys, SpqrMessage::decode(field)) {
            (_, Err(_) | Ok(None)) => 0,
            (Keys::Offered(_), Ok(Some(message))) => message.index,
            (Keys::Agreed(chains), Ok(Some(message))) => {
                chains.jump(message.epoch.saturating_sub(1), message.index)
            }
        }
    }

    /// Number of skipped messages whose keys are kept.
    pub(crate) fn skipped_len(&self) -> usize {
        self.skipped.keys.len()
    }

    /// Deletes the oldest keys of skipped messages above `max`.
    pub(crate) fn limit_skipped(&mut self, max: usize) {
        self.skipped.limit(max);
    }
}

/// Whether a field says that the sender does not use the ratchet.
pub(crate) fn is_unused(field: &[u8]) -> bool {
    matches!(SpqrMessage::decode(field), Ok(None))
}

/// Whether a field says that the sender offers the ratchet and does not use it yet.
pub(crate) fn is_offer(field: &[u8]) -> bool {
    matches!(SpqrMessage::decode(field), Ok(Some(SpqrMessage { epoch: 1, index: 0, .. })))
}

/// Why the ratchet has no key for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SpqrError {
    /// A chain has no keys left.
    ChainEnded,
    /// The MAC of the ciphertext is wrong.
    CiphertextMac,
    /// The field is invalid.
    Decode(SpqrDecodeError),
    /// The message does not use the ratchet, although both sides have agreed to use it.
    Downgrade,
    /// The message belongs to an epoch that has not begun.
    EpochTooNew,
    /// The chains of its epoch were deleted.
    EpochTooOld,
    /// The MAC of the header is wrong.
    HeaderMac,
    /// More messages would be skipped than permitted.
    KeyJump(u32),
    /// The encapsulation key does not belong to the header.
    KeyMismatch,
    /// The key was used before.
    KeyReused,
    /// The key was deleted, because too many messages were skipped. Or the message is a duplicate from before that.
    KeyTrimmed,
    /// The message is not protected by the ratchet, although it must be.
    NoKey,
    /// The message uses the ratchet, but this session does not.
    NotAgreed,
}

impl SpqrError {
    /// Whether what the peer has sent for the exchange of a key does not fit together. Its later messages will not
    /// mend that.
    const fn is_failed_exchange(self) -> bool {
        matches!(self, Self::CiphertextMac | Self::HeaderMac | Self::KeyMismatch)
    }
}

impl From<SpqrDecodeError> for SpqrError {
    fn from(error: SpqrDecodeError) -> Self {
        Self::Decode(error)
    }
}

#[cfg(test)]
mod tests;
