//! The sender keys of one device of a peer for one group.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::{DistributionId, SenderKeyDistributionMessage, SenderKeyMessage};
use crate::cipher;
use crate::ratchet::{FindError, MAX_SKIPPED, ReceiverChain};
use crate::session::MAX_SKIP;

/// The sender keys of one device with one distribution id, and the messages of it that are late. Keep one record for each
/// pair of device and distribution id: only messages of that device belong to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SenderKeyRecord {
    pub(super) distribution: DistributionId,
    /// Newest first.
    pub(super) keys: VecDeque<ReceivedKey>,
}

/// A sender key of a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ReceivedKey {
    pub(super) chain_id: u32,
    /// The chain, whose key `theirs` is the one that signs.
    pub(super) chain: ReceiverChain,
}

impl SenderKeyRecord {
    /// Creates a record without keys.
    pub const fn new(distribution: DistributionId) -> Self {
        Self { distribution, keys: VecDeque::new() }
    }

    /// The id of the sender keys.
    pub const fn distribution(&self) -> DistributionId {
        self.distribution
    }

    /// Adds a key that the device has sent inside its session with us. Older keys stay for late messages. A key that we have
    /// is not replaced by another state of itself, so messages cannot be read twice; except by one that is further ahead than
    /// a message may be. Store the record before the message is acknowledged.
    ///
    /// # Errors
    /// The key has another distribution id. Nothing has changed.
    pub fn accept(&mut self, key: &SenderKeyDistributionMessage) -> Result<(), SenderKeyError> {
        if key.distribution != self.distribution {
            return Err(SenderKeyError::OtherDistribution);
        }
        let same = self
            .keys
            .iter()
            .position(|held| held.chain_id == key.chain_id && held.chain.theirs == key.signing_key);
        let newest = match same.and_then(|position| self.keys.remove(position)) {
            Some(mut held) => {
                // So many messages were lost that the old state is useless.
                if key.chain.index.saturating_sub(held.chain.chain.index) > MAX_SKIP {
                    held.chain.chain = key.chain.clone();
                    held.chain.deleted_before = key.chain.index;
                }
                held
            }
            None => {
                let mut chain = ReceiverChain::new(key.signing_key, key.chain.clone());
                // We never had the keys of earlier messages, so these are not duplicates.
                chain.deleted_before = key.chain.index;
                ReceivedKey { chain_id: key.chain_id, chain }
            }
        };
        // The device has lost its earlier key with this number.
        self.keys.retain(|held| held.chain_id != key.chain_id);
        self.keys.push_front(newest);
        self.keys.truncate(MAX_KEYS);
        Ok(())
    }

    /// Decrypts a message of the device. Store the record before the message is acknowledged.
    ///
    /// # Errors
    /// The message cannot be decrypted. Nothing has changed.
    pub fn decrypt(
        &mut self,
        message: &SenderKeyMessage,
    ) -> Result<Zeroizing<Vec<u8>>, SenderKeyError> {
        if message.distribution != self.distribution {
            return Err(SenderKeyError::OtherDistribution);
        }
        let key = self.keys.iter_mut().find(|held| held.chain_id == message.chain_id);
        let chain = &mut key.ok_or(SenderKeyError::NoKey)?.chain;
        // Before any key is derived: all members can encrypt.
        if !message.is_signed_by(&chain.theirs) {
            return Err(SenderKeyError::BadSignature);
        }
        let (step, seed) = chain.find(0, message.iteration, MAX_SKIP)?;
        let keys = seed.group_keys();
        let plaintext = cipher::decrypt(&keys.cipher, &keys.iv, &message.ciphertext)
            .ok_or(SenderKeyError::Malformed)?;
        chain.commit(step);
        self.limit_skipped(usize::try_from(MAX_SKIPPED).unwrap_or(usize::MAX));
        Ok(plaintext)
    }

    /// Number of skipped messages whose seeds are kept.
    pub fn skipped_len(&self) -> usize {
        self.keys.iter().map(|key| key.chain.skipped.len()).sum()
    }

    /// Deletes the oldest seeds of skipped messages above `max`.
    fn limit_skipped(&mut self, max: usize) {
        let mut room = max;
        for key in &mut self.keys {
            key.chain.limit_skipped(room);
            room -= key.chain.skipped.len();
        }
    }
}

/// Why a message to a group, or a sender key, was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SenderKeyError {
    /// The device that the message names as its sender did not sign it.
    #[error("the signature of the message is invalid")]
    BadSignature,
    /// The key of this message was deleted, or we got the sender key later. It may also be a duplicate from before that.
    #[error("the key of this message is not available any more")]
    DeletedKey,
    /// The message is a duplicate.
    #[error("the message is a duplicate")]
    Duplicate,
    /// The decrypted message is malformed. The sender's program is defective.
    #[error("the message is malformed")]
    Malformed,
    /// We do not have the sender key. Ask the sender for it.
    #[error("the sender key of this message is missing")]
    NoKey,
    /// It has another distribution id than the record. A bug in the caller.
    #[error("the sender key belongs to another group")]
    OtherDistribution,
    /// The message skips more messages than permitted.
    #[error("the message skips {0} others, which is too many")]
    TooFarAhead(u32),
}

impl From<FindError> for SenderKeyError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Deleted => Self::DeletedKey,
            FindError::Duplicate => Self::Duplicate,
            // A chain without a Diffie-Hellman step has no invalid keys.
            FindError::Key(_) => Self::Malformed,
            FindError::TooFarAhead(missing) => Self::TooFarAhead(missing),
        }
    }
}

/// Maximum number of keys of one device and distribution id, the same as in deployed clients; the oldest is dropped first.
pub(super) const MAX_KEYS: usize = 5;
