//! The quality of the simulated network.

use std::time::Duration;

use rand_core::RngCore;

/// The quality of the network. Probabilities are in thousandths.
#[derive(Clone, Debug)]
pub struct NetworkConditions {
    /// Maximum latency; each message takes a random time up to that.
    pub latency: Duration,
    /// Probability that a link cannot be opened.
    pub refused: u32,
    /// Average life of a link before it breaks; `None` if links do not break.
    pub link_life: Option<Duration>,
    /// Maximum time until an end notices that its link is broken.
    pub detection_time: Duration,
    /// Average time between restarts of the server; `None` for no restarts.
    pub server_uptime: Option<Duration>,
    /// After this time, links are fast and do not break, so that everything that can succeed
    /// does.
    pub reliable_after: Duration,
}

impl NetworkConditions {
    /// A network with latency only.
    pub const fn latency_only() -> Self {
        Self {
            latency: Duration::from_millis(100),
            refused: 0,
            link_life: None,
            detection_time: Duration::from_millis(100),
            server_uptime: None,
            reliable_after: Duration::ZERO,
        }
    }

    /// A random quality, for half a minute.
    pub fn random(rng: &mut impl RngCore) -> Self {
        let random_duration =
            |rng: &mut dyn RngCore, max: u64| Duration::from_millis(below(rng, max) + 1);
        Self {
            latency: random_duration(rng, 2_000),
            refused: u32::try_from(below(rng, 400)).unwrap_or(0),
            link_life: chance(rng, 800).then(|| random_duration(rng, 10_000)),
            detection_time: random_duration(rng, 5_000),
            server_uptime: chance(rng, 300).then(|| random_duration(rng, 20_000)),
            reliable_after: Duration::from_secs(30),
        }
    }
}

/// A random number from 0 (inclusive) to `limit` (exclusive).
pub(crate) fn below(rng: &mut (impl RngCore + ?Sized), limit: u64) -> u64 {
    rng.next_u64() % limit.max(1)
}

/// Returns true with this probability, in thousandths.
pub(crate) fn chance(rng: &mut (impl RngCore + ?Sized), per_mille: u32) -> bool {
    below(rng, 1000) < u64::from(per_mille)
}

/// A random time with this average; short times are more frequent.
pub(crate) fn around(rng: &mut impl RngCore, average: Duration) -> Duration {
    let part = u32::try_from(below(rng, 1000) * below(rng, 1000) / 1000).unwrap_or(0);
    average * part * 4 / 1000
}
