//! Cover traffic: envelopes that mean nothing and look like those that pass by, so that a real one
//! of ours does not stand out (go-ethereum's "Achieving Darkness").

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use rand_core::{CryptoRngCore, RngCore};
use wormhole_whisper::{
    devp2p::key::{PrivateKey, UNCOMPRESSED_TAG},
    shh::{
        DEFAULT_TTL, Draft, Envelope, SymmetricKey, Topic,
        message::BLOCK,
        seal::{ASYMMETRIC_OVERHEAD, SYMMETRIC_OVERHEAD, seal_for},
    },
};

use super::draft::rounded_draft;

/// What passed by lately.
#[derive(Debug, Default)]
pub(super) struct TrafficModel(VecDeque<Appearance>);

/// What can be seen of an envelope.
#[derive(Clone, Copy, Debug)]
struct Appearance {
    topic: Topic,
    ttl: u32,
    bytes: usize,
    asymmetric: bool,
}

impl TrafficModel {
    /// An envelope passed by.
    pub(super) fn record(&mut self, envelope: &Envelope) {
        let data = envelope.data();
        let asymmetric = data.len() > ASYMMETRIC_OVERHEAD
            && (data.len() - ASYMMETRIC_OVERHEAD).is_multiple_of(BLOCK)
            && data.first() == Some(&UNCOMPRESSED_TAG);
        if data.len() <= MAX_BYTES && envelope.ttl() <= MAX_TTL {
            self.0.truncate(REMEMBERED - 1);
            let (topic, ttl, bytes) = (envelope.topic(), envelope.ttl(), data.len());
            self.0.push_front(Appearance { topic, ttl, bytes, asymmetric });
        }
    }

    /// An envelope that looks like one of them, still without work. Nobody has its key.
    pub(super) fn draft(&self, rng: &mut impl CryptoRngCore) -> Draft {
        let looks = self.choose(rng).unwrap_or_else(|| {
            let mut topic = Topic([0; 4]);
            rng.fill_bytes(&mut topic.0);
            let bytes = BLOCK + SYMMETRIC_OVERHEAD;
            Appearance { topic, ttl: DEFAULT_TTL, bytes, asymmetric: false }
        });
        let overhead = if looks.asymmetric { ASYMMETRIC_OVERHEAD } else { SYMMETRIC_OVERHEAD };
        let plaintext = vec![0; looks.bytes.saturating_sub(overhead)];
        let data = match looks.asymmetric {
            true => seal_for(&PrivateKey::random(rng).public_key(), &plaintext, rng),
            false => SymmetricKey::random(rng).seal(&plaintext, rng),
        };
        rounded_draft(SystemTime::now().into(), looks.ttl, looks.topic, data)
    }

    fn choose(&self, rng: &mut impl RngCore) -> Option<Appearance> {
        let count = u32::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        let drawn = usize::try_from(rng.next_u32() % count).ok()?;
        self.0.get(drawn).copied()
    }
}

/// Time to the next one: exponential, so that none can be told from the time of another.
pub(super) fn pause(mean: Duration, rng: &mut impl RngCore) -> Duration {
    let fraction = f64::from(rng.next_u32()) / 2.0_f64.powi(32);
    mean.mul_f64((-(1.0 - fraction).ln()).clamp(0.01, 8.0))
}

/// Envelopes that are remembered.
const REMEMBERED: usize = 64;

/// Largest envelope that is imitated, in bytes of data: work is paid by the byte.
const MAX_BYTES: usize = 8 * 1024;

/// Longest life that is imitated, in seconds: work is paid by the second.
const MAX_TTL: u32 = 3600;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn cover_looks_like_what_passed_by() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut model = TrafficModel::default();
        let alone = model.draft(&mut rng);
        assert_eq!((alone.ttl, alone.data.len()), (DEFAULT_TTL, BLOCK + SYMMETRIC_OVERHEAD));
        let data = seal_for(&PrivateKey::random(&mut rng).public_key(), &[0; 512], &mut rng);
        let seen = Draft { expiry: 1000, ttl: 70, topic: Topic([1, 2, 3, 4]), data }.finish(0);
        (0..1000).for_each(|_| model.record(&seen));
        assert!(model.0.len() <= REMEMBERED);
        let drawn = model.draft(&mut rng);
        assert_eq!((drawn.ttl, drawn.topic), (70, seen.topic()));
        assert_eq!(drawn.data.len(), seen.data().len());
        assert_eq!(drawn.data.first(), Some(&UNCOMPRESSED_TAG));
        assert_ne!(drawn.data, seen.data());
        // As what we say ourselves.
        assert!((drawn.expiry - drawn.ttl).is_multiple_of(10));
    }

    #[test]
    fn pauses_have_the_mean_that_was_asked_for() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let total: Duration = (0..10_000).map(|_| pause(Duration::from_secs(1), &mut rng)).sum();
        assert!((9_500..10_500).contains(&total.as_secs()));
    }
}
