//! The keys of messages that have not arrived yet, although later ones have.

use std::collections::VecDeque;

use wormhole_kit::Secret;

use super::SpqrError;

/// Keys in ascending order of epoch and index.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Skipped {
    pub(super) keys: VecDeque<SkippedKey>,
    /// Keys before this one were deleted.
    pub(super) deleted_before: (u64, u32),
}

/// The key of a message that has not arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SkippedKey {
    pub(super) epoch: u64,
    pub(super) index: u32,
    pub(super) key: Secret<32>,
}

impl SkippedKey {
    pub(super) const fn place(&self) -> (u64, u32) {
        (self.epoch, self.index)
    }
}

/// How a message that was received changes them.
#[derive(Debug)]
pub(super) enum SkippedStep {
    /// Its key was not skipped, but these were, all of one epoch and in ascending order. Perhaps others were not even derived.
    Add { keys: Vec<SkippedKey>, deleted_before: Option<(u64, u32)> },
    /// It uses the key at this position.
    Take(usize),
}

impl Skipped {
    /// The greatest number of keys, the same as in deployed clients for one epoch.
    pub(super) const MAX: u32 = 2000;

    /// Finds the key of a late message.
    pub(super) fn find(
        &self,
        epoch: u64,
        index: u32,
    ) -> Result<(Secret<32>, SkippedStep), SpqrError> {
        let place = (epoch, index);
        // A message before those that were deleted may have been one of them, so it is not a duplicate for sure.
        let is_deleted = place < self.deleted_before;
        let missing = if is_deleted { SpqrError::KeyTrimmed } else { SpqrError::KeyReused };
        let position = self.keys.binary_search_by_key(&place, SkippedKey::place);
        let position = position.map_err(|_| missing)?;
        let found = self.keys.get(position).ok_or(SpqrError::KeyReused)?;
        Ok((found.key.clone(), SkippedStep::Take(position)))
    }

    /// Applies a step.
    pub(super) fn commit(&mut self, step: SkippedStep) {
        match step {
            SkippedStep::Add { keys, deleted_before } => {
                if let Some(place) = deleted_before {
                    self.deleted_before = self.deleted_before.max(place);
                }
                if let Some(first) = keys.first().map(SkippedKey::place) {
                    let position = self.keys.partition_point(|held| held.place() < first);
                    let later = self.keys.split_off(position);
                    self.keys.extend(keys);
                    self.keys.extend(later);
                    self.limit(usize::try_from(Self::MAX).unwrap_or(usize::MAX));
                }
            }
            SkippedStep::Take(position) => {
                self.keys.remove(position);
            }
        }
    }

    /// Deletes the oldest keys above `max`.
    pub(super) fn limit(&mut self, max: usize) {
        let excess = self.keys.len().saturating_sub(max);
        if let Some(last) = self.keys.drain(..excess).next_back() {
            let after = (last.epoch, last.index.saturating_add(1));
            self.deleted_before = self.deleted_before.max(after);
        }
    }

    /// Deletes the keys of epochs before this one.
    pub(super) fn forget_before(&mut self, epoch: u64) {
        let old = self.keys.partition_point(|held| held.epoch < epoch);
        self.keys.drain(..old);
    }
}
