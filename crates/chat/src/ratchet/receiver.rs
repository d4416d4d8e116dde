//! One receiving chain, with the seeds of skipped messages (Double Ratchet §2.6).

use std::collections::VecDeque;

use super::{ChainKey, FindError, MessageSeed, Step};
use crate::key::PublicKey;

/// Seeds of skipped messages in ascending order of their counters.
pub(crate) type Skipped = VecDeque<(u32, MessageSeed)>;

/// The messages of the peer under one of its ratchet keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ReceiverChain {
    pub(crate) theirs: PublicKey,
    pub(crate) chain: ChainKey,
    pub(crate) skipped: Skipped,
    /// Seeds of skipped messages before this one were deleted. 0: none were.
    pub(crate) deleted_before: u32,
}

impl ReceiverChain {
    /// Creates a chain of which no message has been received.
    pub(crate) const fn new(theirs: PublicKey, chain: ChainKey) -> Self {
        Self { theirs, chain, skipped: VecDeque::new(), deleted_before: 0 }
    }

    /// Finds the seed of message `counter`, skipping at most `limit` messages. `receiver` is the
    /// index of this chain, for the step.
    pub(crate) fn find(
        &self,
        receiver: usize,
        counter: u32,
        limit: u32,
    ) -> Result<(Step, MessageSeed), FindError> {
        let Some(jump) = counter.checked_sub(self.chain.index) else {
            return self.find_late(receiver, counter);
        };
        if jump > limit {
            return Err(FindError::TooFarAhead(jump));
        }
        // Seeds that would be dropped at once are not derived.
        let kept_from = counter.saturating_sub(MAX_SKIPPED);
        let mut chain = None;
        let mut skipped = Skipped::new();
        for index in self.chain.index..counter {
            let at = chain.as_ref().unwrap_or(&self.chain);
            if index < kept_from {
                chain = Some(at.skip().ok_or(FindError::TooFarAhead(jump))?);
            } else {
                let (seed, next) = at.step().ok_or(FindError::TooFarAhead(jump))?;
                skipped.push_back((index, seed));
                chain = Some(next);
            }
        }
        let at = chain.as_ref().unwrap_or(&self.chain);
        let (seed, chain) = at.step().ok_or(FindError::TooFarAhead(jump))?;
        Ok((Step::Advance { receiver, chain, skipped }, seed))
    }

    fn find_late(&self, receiver: usize, counter: u32) -> Result<(Step, MessageSeed), FindError> {
        let found = self.skipped.binary_search_by_key(&counter, |(index, _)| *index);
        // A message before those that were deleted may have been one of them, so it must not be taken for a duplicate.
        let is_deleted = counter < self.deleted_before;
        let missing = if is_deleted { FindError::Deleted } else { FindError::Duplicate };
        let position = found.map_err(|_| missing)?;
        let (_, seed) = self.skipped.get(position).ok_or(FindError::Duplicate)?;
        Ok((Step::Late { receiver, position }, seed.clone()))
    }

    /// Applies a step of this chain: advances it, or uses up a skipped message key. Not a Diffie-Hellman step.
    pub(crate) fn commit(&mut self, step: Step) {
        match step {
            Step::Advance { chain, skipped, .. } => {
                if let Some((first, _)) = skipped.front()
                    && *first > self.chain.index
                {
                    // Those before it were not even derived.
                    self.deleted_before = *first;
                }
                self.chain = chain;
                self.skipped.extend(skipped);
                self.limit_skipped(usize::try_from(MAX_SKIPPED).unwrap_or(usize::MAX));
            }
            Step::Late { position, .. } => {
                self.skipped.remove(position);
            }
            Step::DhRatchet { .. } => {}
        }
    }

    /// Deletes the oldest seeds of skipped messages above `max`.
    pub(crate) fn limit_skipped(&mut self, max: usize) {
        let excess = self.skipped.len().saturating_sub(max);
        if let Some((last, _)) = self.skipped.drain(..excess).next_back() {
            self.deleted_before = self.deleted_before.max(last.saturating_add(1));
        }
    }
}

/// Maximum number of seeds per chain, the same as in deployed clients; the oldest is dropped first.
pub(crate) const MAX_SKIPPED: u32 = 2000;
