//! Own envelopes that are delayed, so that an observer of our connections cannot tell when, or whether, we
//! created them.

use std::collections::BTreeMap;

use wormhole_kit::Instant;

use super::super::envelope::{EnvelopeHash, ValidEnvelope};

/// Envelopes by the time at which they may be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    envelopes: BTreeMap<Instant, Vec<ValidEnvelope>>,
    count: usize,
}

impl Outbox {
    /// Adds an envelope that may be sent at `due`.
    pub(super) fn add(&mut self, due: Instant, envelope: ValidEnvelope) {
        self.envelopes.entry(due).or_default().push(envelope);
        self.count += 1;
    }

    /// Removes and returns the envelopes that may be sent now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<ValidEnvelope> {
        let mut due = Vec::new();
        while let Some(entry) = self.envelopes.first_entry().filter(|entry| *entry.key() <= now) {
            due.append(&mut entry.remove());
        }
        self.count = self.count.saturating_sub(due.len());
        due
    }

    /// Removes expired envelopes and returns their hashes.
    pub(super) fn expire(&mut self, second: u32) -> Vec<EnvelopeHash> {
        let mut expired = Vec::new();
        for waiting in self.envelopes.values_mut() {
            let dead = waiting.extract_if(.., |valid| valid.envelope().expiry() < second);
            expired.extend(dead.map(|valid| valid.envelope().hash()));
        }
        self.count = self.count.saturating_sub(expired.len());
        self.envelopes.retain(|_, waiting| !waiting.is_empty());
        expired
    }

    /// Whether an envelope is waiting.
    pub(super) fn contains(&self, hash: &EnvelopeHash) -> bool {
        self.iter().any(|valid| valid.envelope().hash() == *hash)
    }

    /// All envelopes, in the order in which they will be sent.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ValidEnvelope> {
        self.envelopes.values().flatten()
    }

    /// Number of envelopes.
    pub(super) const fn len(&self) -> usize {
        self.count
    }
}
