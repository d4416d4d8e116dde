//! Detects floods: more new envelopes than this node may forward to a peer, for a long time.

use std::time::Duration;

use wormhole_kit::Instant;

use super::{
    super::{envelope::Envelope, rate::Bucket},
    settings::Limits,
};

/// The inbound rate of new envelopes, compared with the rate at which a peer may receive them.
#[derive(Debug)]
pub(super) struct FloodDetector {
    envelopes: Bucket,
    bytes: Bucket,
    /// When the current excess began, and when it was last seen.
    excess: Option<(Instant, Instant)>,
}

impl FloodDetector {
    /// No envelopes yet.
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        let envelopes = Bucket::new(now, limits.envelopes_per_peer.to_send());
        let bytes = Bucket::new(now, limits.bytes_per_peer.to_send());
        Self { envelopes, bytes, excess: None }
    }

    /// Records a new envelope. Returns whether the rate has been too high for a minute, so that it is not just the
    /// initial contents of a peer's pool.
    pub(super) fn record(&mut self, now: Instant, envelope: &Envelope) -> bool {
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

/// Duration of an excess that counts as a flood.
const LONG_EXCESS: Duration = Duration::from_secs(60);

/// Time within the limit after which a flood has ended.
const EXCESS_GAP: Duration = Duration::from_secs(2);
