//! Envelopes of our own that wait for their time, so that whoever watches our first packet with
//! them cannot tell when, or that, we made them.

use std::collections::BTreeMap;

use wormhole_kit::Instant;

use super::super::envelope::{EnvelopeHash, ValidEnvelope};

/// Envelopes by the time at which they may leave.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    envelopes: BTreeMap<Instant, Vec<ValidEnvelope>>,
    count: usize,
}

impl Outbox {
    /// Keeps an envelope until `due`.
    pub(super) fn add(&mut self, due: Instant, envelope: ValidEnvelope) {
        self.envelopes.entry(due).or_default().push(envelope);
        self.count += 1;
    }

    /// Takes out what may leave now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<ValidEnvelope> {
        let mut due = Vec::new();
        while let Some(entry) = self.envelopes.first_entry().filter(|entry| *entry.key() <= now) {
            due.append(&mut entry.remove());
        }
        self.count = self.count.saturating_sub(due.len());
        due
    }

    /// Removes what has expired before it could leave, and returns its hashes.
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

    /// Whether this envelope waits here.
    pub(super) fn contains(&self, hash: &EnvelopeHash) -> bool {
        self.iter().any(|valid| valid.envelope().hash() == *hash)
    }

    /// All envelopes, the first to leave first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ValidEnvelope> {
        self.envelopes.values().flatten()
    }

    /// Number of envelopes.
    pub(super) const fn len(&self) -> usize {
        self.count
    }
}
