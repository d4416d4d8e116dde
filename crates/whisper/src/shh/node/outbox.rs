//! Envelopes of our own that wait for their time, so that whoever watches our first packet with
//! them cannot tell when, or that, we made them.

use std::{collections::BTreeMap, time::Instant};

use super::super::envelope::ValidEnvelope;

/// Envelopes by the time at which they may leave.
#[derive(Debug, Default)]
pub(super) struct Outbox(BTreeMap<Instant, Vec<ValidEnvelope>>);

impl Outbox {
    /// Keeps an envelope until `due`.
    pub(super) fn add(&mut self, due: Instant, envelope: ValidEnvelope) {
        self.0.entry(due).or_default().push(envelope);
    }

    /// Takes out what may leave now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<ValidEnvelope> {
        let mut due = Vec::new();
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() <= now) {
            due.append(&mut entry.remove());
        }
        due
    }
}
