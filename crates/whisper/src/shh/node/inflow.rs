//! What comes from all peers, beside what one may be told: whether it is a flood.

use std::time::Duration;

use wormhole_kit::Instant;

use super::{
    super::{envelope::Envelope, rate::Bucket},
    settings::Limits,
};

/// What comes, beside what a peer may be told.
#[derive(Debug)]
pub(super) struct Inflow {
    envelopes: Bucket,
    bytes: Bucket,
    /// Since when it has been more, and when that was seen last.
    excess: Option<(Instant, Instant)>,
}

impl Inflow {
    /// Nothing has come.
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        let envelopes = Bucket::new(now, limits.envelopes_per_peer.to_send());
        let bytes = Bucket::new(now, limits.bytes_per_peer.to_send());
        Self { envelopes, bytes, excess: None }
    }

    /// One more has come. Returns whether it has been more for long, so that it is no pool that we
    /// are told because we are new.
    pub(super) fn is_too_much(&mut self, now: Instant, envelope: &Envelope) -> bool {
        let bytes = u32::try_from(envelope.encoded().len()).unwrap_or(u32::MAX);
        if self.envelopes.take(now, 1.0) && self.bytes.take(now, bytes.into()) {
            return false;
        }
        let lasts = |(_, seen): &(_, Instant)| now.saturating_duration_since(*seen) < EXCESS_GAP;
        let since = self.excess.filter(lasts).map_or(now, |(since, _)| since);
        self.excess = Some((since, now));
        now.saturating_duration_since(since) >= LONG_EXCESS
    }
}

/// Time after which more than peers may be told is a flood.
const LONG_EXCESS: Duration = Duration::from_secs(60);

/// Time without more than that after which a flood is over.
const EXCESS_GAP: Duration = Duration::from_secs(2);
