//! Settings of a node: limits, light mode, privacy.

use std::time::Duration;

use rand_core::RngCore;

use super::super::{rate::Rate, requirements::Requirements, work::Work};
use crate::devp2p::key::NodeId;

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Initial requirements for envelopes.
    pub requirements: Requirements,
    /// Memory for envelopes in bytes.
    pub pool_bytes: usize,
    /// Whether this is a light node, which only sends its own envelopes.
    pub light: bool,
    /// Whether light nodes disconnect each other.
    pub restrict_light: bool,
    /// Whether Bloom filters of peers are tested with all bits, not only go-ethereum's.
    pub strict_bloom: bool,
    /// Whether this node has an archive, so that requests are output.
    pub serves_archive: bool,
    /// Rate limits for peers.
    pub limits: Limits,
    /// Measures that hide our own traffic.
    pub privacy: Privacy,
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
            privacy: Privacy::default(),
        }
    }
}

/// Rate limits for peers. Excess envelopes are dropped and excess bytes are read later, but the peer is not
/// disconnected: it may only forward what others sent. This node sends slightly less than its own limits, so
/// nodes with the same limits never drop each other's envelopes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Envelopes of one peer, new or not.
    pub envelopes_per_peer: Rate,
    /// New envelopes of all peers of one address.
    pub envelopes_per_address: Rate,
    /// Bytes of messages of one peer, compressed or not, whichever is larger. The caller must not read faster.
    pub bytes_per_peer: Rate,
    /// The same for all peers of one address, over all their connections.
    pub bytes_per_address: Rate,
}

impl Default for Limits {
    /// Far above the traffic that was ever seen on the live network (6 envelopes per second), with room for the
    /// pools that peers exchange when they connect.
    fn default() -> Self {
        Self {
            envelopes_per_peer: Rate { per_second: 2_000.0, burst: 100_000.0 },
            envelopes_per_address: Rate { per_second: 4_000.0, burst: 200_000.0 },
            bytes_per_peer: Rate { per_second: 4_194_304.0, burst: 134_217_728.0 },
            bytes_per_address: Rate { per_second: 8_388_608.0, burst: 268_435_456.0 },
        }
    }
}

/// Measures that hide which envelopes are our own. They are not visible in the envelopes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Privacy {
    /// Mean of the random delay of our own envelopes; zero for no delay.
    pub mean_delay: Duration,
    /// Number of peers required before our own envelopes are sent. A node with a single peer has nothing else
    /// to send, so that peer would know that every envelope is ours.
    pub min_peers: usize,
    /// Whether an own envelope is first sent to one peer only. See `stems`.
    pub stem: bool,
    /// Whether the time between two rounds of forwarding is random.
    pub jitter: bool,
}

impl Default for Privacy {
    fn default() -> Self {
        Self { mean_delay: Duration::from_millis(450), min_peers: 1, stem: true, jitter: true }
    }
}

impl Privacy {
    /// No measures, as in go-ethereum: our own envelopes are sent in the next regular round.
    pub const OFF: Self =
        Self { mean_delay: Duration::ZERO, min_peers: 0, stem: false, jitter: false };

    /// The delay of an envelope: exponentially distributed, limited to eight times the mean.
    pub(super) fn delay(&self, rng: &mut impl RngCore) -> Duration {
        self.mean_delay.mul_f64((-(1.0 - fraction(rng)).ln()).min(8.0))
    }

    /// The peer that receives an own envelope first, if only one should.
    pub(super) fn choose_stem(&self, peers: Vec<NodeId>, rng: &mut impl RngCore) -> Option<NodeId> {
        let count = u64::try_from(peers.len()).ok().filter(|count| self.stem && *count > 0)?;
        let drawn = usize::try_from(rng.next_u64() % count).ok()?;
        peers.into_iter().nth(drawn)
    }

    /// Time until the next round: 50 % to 150 % of the regular time.
    pub(super) fn tick(&self, regular: Duration, rng: &mut impl RngCore) -> Duration {
        if self.jitter { regular.mul_f64(0.5 + fraction(rng)) } else { regular }
    }
}

/// A random number from 0 (inclusive) to 1 (exclusive).
fn fraction(rng: &mut impl RngCore) -> f64 {
    f64::from(rng.next_u32()) / 2.0_f64.powi(32)
}

/// Default memory for envelopes in bytes.
pub const DEFAULT_POOL_BYTES: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn own_envelopes_wait_the_configured_time_on_average() {
        let privacy = Privacy { mean_delay: Duration::from_secs(1), ..Privacy::default() };
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let total: Duration = (0..10_000).map(|_| privacy.delay(&mut rng)).sum();
        assert!((9_500..10_500).contains(&total.as_secs()));
        assert_eq!(Privacy::OFF.delay(&mut rng), Duration::ZERO);
    }

    #[test]
    fn rounds_are_regular_only_without_jitter() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let regular = Duration::from_millis(300);
        assert_eq!(Privacy::OFF.tick(regular, &mut rng), regular);
        let ticks: Vec<_> = (0..100).map(|_| Privacy::default().tick(regular, &mut rng)).collect();
        assert!(ticks.iter().all(|tick| (150..=450).contains(&tick.as_millis())));
        assert!(ticks.iter().any(|tick| *tick > regular) && ticks.iter().any(|t| *t < regular));
    }
}
