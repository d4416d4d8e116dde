//! What whoever runs a node decides: limits, light mode, how dark it shall be.

use std::time::Duration;

use rand_core::RngCore;

use super::super::{rate::Rate, requirements::Requirements, work::Work};
use crate::devp2p::key::NodeId;

/// What whoever runs a node decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// What is asked of envelopes at the start.
    pub requirements: Requirements,
    /// Bytes of memory for envelopes.
    pub pool_bytes: usize,
    /// Whether this node passes on only what it says itself.
    pub light: bool,
    /// Whether a light node refuses another light node.
    pub restrict_light: bool,
    /// Whether peers' Bloom filters are taken to be right; else what go-ethereum makes of them.
    pub strict_bloom: bool,
    /// Whether requests to the archive are handed out.
    pub serves_archive: bool,
    /// What peers may send.
    pub limits: Limits,
    /// What hides our own traffic.
    pub darkness: Darkness,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requirements: Requirements::new(Work::DEFAULT_MINIMUM),
            pool_bytes: DEFAULT_POOL_BYTES,
            light: false,
            restrict_light: true,
            strict_bloom: false,
            serves_archive: false,
            limits: Limits::default(),
            darkness: Darkness::default(),
        }
    }
}

/// What peers may send. Envelopes beyond that are dropped, bytes beyond that are read later; nobody
/// is parted with, for a peer that passes much on may only have been told much. Peers are sent a
/// little less than this, so that nodes with the same limits never drop what they send one another.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Envelopes from one peer, known or not.
    pub envelopes_per_peer: Rate,
    /// New envelopes from all peers of one address together.
    pub envelopes_per_address: Rate,
    /// Bytes of messages from one peer, packed or unpacked, whichever are more. Whoever drives the
    /// node reads no faster than that.
    pub bytes_per_peer: Rate,
    /// The same from all peers of one address together, over all the links that they open.
    pub bytes_per_address: Rate,
}

impl Default for Limits {
    /// Far above what the live network ever saw (6 envelopes a second), with room for the pools
    /// that peers send one another when they meet.
    fn default() -> Self {
        Self {
            envelopes_per_peer: Rate { per_second: 2_000.0, burst: 100_000.0 },
            envelopes_per_address: Rate { per_second: 4_000.0, burst: 200_000.0 },
            bytes_per_peer: Rate { per_second: 4_194_304.0, burst: 134_217_728.0 },
            bytes_per_address: Rate { per_second: 8_388_608.0, burst: 268_435_456.0 },
        }
    }
}

/// What hides that an envelope is our own. Nothing of it can be seen in the envelope itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Darkness {
    /// Mean of the random time that our own envelopes wait; zero for none.
    pub mean_delay: Duration,
    /// Peers that must be there before our own envelopes leave. A single peer knows that whatever
    /// we pass on is our own.
    pub min_peers: usize,
    /// Whether only one peer is told of an own envelope at first. See `stems`.
    pub stem: bool,
    /// Whether the time between two rounds of passing on is random.
    pub jitter: bool,
}

impl Default for Darkness {
    fn default() -> Self {
        Self { mean_delay: Duration::from_millis(450), min_peers: 1, stem: true, jitter: true }
    }
}

impl Darkness {
    /// As the reference: our own envelopes leave on the next tick, which is regular.
    pub const OFF: Self =
        Self { mean_delay: Duration::ZERO, min_peers: 0, stem: false, jitter: false };

    /// How long an own envelope waits: exponential, cut off at eight times the mean.
    pub(super) fn delay(&self, rng: &mut impl RngCore) -> Duration {
        self.mean_delay.mul_f64((-(1.0 - fraction(rng)).ln()).min(8.0))
    }

    /// The peer that is told first, if only one is to be.
    pub(super) fn draw_stem(&self, peers: Vec<NodeId>, rng: &mut impl RngCore) -> Option<NodeId> {
        let count = u64::try_from(peers.len()).ok().filter(|count| self.stem && *count > 0)?;
        let drawn = usize::try_from(rng.next_u64() % count).ok()?;
        peers.into_iter().nth(drawn)
    }

    /// Time to the next round: half to one and a half of the regular one.
    pub(super) fn tick(&self, regular: Duration, rng: &mut impl RngCore) -> Duration {
        if self.jitter { regular.mul_f64(0.5 + fraction(rng)) } else { regular }
    }
}

/// A random number from 0 up to, not including, 1.
fn fraction(rng: &mut impl RngCore) -> f64 {
    f64::from(rng.next_u32()) / 2.0_f64.powi(32)
}

/// Memory for envelopes unless told otherwise, in bytes.
pub const DEFAULT_POOL_BYTES: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn own_envelopes_wait_as_long_as_told_on_average() {
        let darkness = Darkness { mean_delay: Duration::from_secs(1), ..Darkness::default() };
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let total: Duration = (0..10_000).map(|_| darkness.delay(&mut rng)).sum();
        assert!((9_500..10_500).contains(&total.as_secs()));
        assert_eq!(Darkness::OFF.delay(&mut rng), Duration::ZERO);
    }

    #[test]
    fn rounds_are_regular_only_without_jitter() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let regular = Duration::from_millis(300);
        assert_eq!(Darkness::OFF.tick(regular, &mut rng), regular);
        let ticks: Vec<_> = (0..100).map(|_| Darkness::default().tick(regular, &mut rng)).collect();
        assert!(ticks.iter().all(|tick| (150..=450).contains(&tick.as_millis())));
        assert!(ticks.iter().any(|tick| *tick > regular) && ticks.iter().any(|t| *t < regular));
    }
}
