//! Envelopes of our own that wait for their time, so that whoever watches our first packet with
//! them cannot tell when, or that, we made them.

use std::{collections::BTreeMap, time::Instant};

use super::super::envelope::ValidEnvelope;

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

    /// Forgets what has expired before it could leave.
    pub(super) fn expire(&mut self, second: u32) {
        for waiting in self.envelopes.values_mut() {
            let before = waiting.len();
            waiting.retain(|valid| valid.envelope().expiry() >= second);
            self.count = self.count.saturating_sub(before - waiting.len());
        }
        self.envelopes.retain(|_, waiting| !waiting.is_empty());
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
