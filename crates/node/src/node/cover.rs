//! Cover traffic: dummy envelopes that look like those of other nodes, so that a real message posted here
//! does not stand out (go-ethereum's "Achieving Darkness").

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use rand_core::{CryptoRngCore, OsRng, RngCore};
use wormhole_whisper::{
    devp2p::key::{PrivateKey, UNCOMPRESSED_TAG},
    shh::{
        DEFAULT_TTL, Draft, Envelope, SymmetricKey, Topic, Work,
        message::BLOCK,
        seal::{ASYMMETRIC_OVERHEAD, SYMMETRIC_OVERHEAD, seal_for},
    },
};

use super::draft::rounded_draft;
use super::{Cover, MineError};
use crate::mine;

/// Makes cover envelopes at random times.
pub(super) struct CoverTraffic {
    settings: Cover,
    model: TrafficModel,
    /// When the next envelope is due.
    next: Instant,
    search: Option<Search>,
}

/// The search for the proof of work of one envelope.
type Search = Pin<Box<dyn Future<Output = Result<Envelope, MineError>> + Send>>;

impl CoverTraffic {
    /// Makes the first envelope after a random pause.
    pub(super) fn new(settings: Cover, now: Instant) -> Self {
        let next = now + pause(settings.mean_interval, &mut OsRng);
        Self { settings, model: TrafficModel::default(), next, search: None }
    }

    /// When the next envelope is due. `None` while one is being made.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.search.is_none().then_some(self.next)
    }

    /// Whether an envelope should be started now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|next| now >= next)
    }

    /// Starts an envelope with this much work.
    pub(super) fn start(&mut self, work: Work) {
        let draft = self.model.draft(&mut OsRng);
        self.search = Some(Box::pin(mine(draft, Some(work), SEARCH_TIME)));
    }

    /// Waits for the envelope that was started; forever if none was. Cancelling loses nothing.
    pub(super) async fn envelope(&mut self) -> Result<Envelope, MineError> {
        let Some(search) = &mut self.search else { return std::future::pending().await };
        let result = search.await;
        self.search = None;
        self.next = Instant::now() + pause(self.settings.mean_interval, &mut OsRng);
        result
    }

    /// Records an envelope that this node accepted. Cover envelopes will look like the recent ones.
    pub(super) fn record(&mut self, envelope: &Envelope) {
        self.model.record(envelope);
    }
}

impl fmt::Debug for CoverTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoverTraffic").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The appearance of recent envelopes.
#[derive(Debug, Default)]
struct TrafficModel(VecDeque<Appearance>);

/// The properties of an envelope that an observer sees.
#[derive(Clone, Copy, Debug)]
struct Appearance {
    topic: Topic,
    ttl: u32,
    bytes: usize,
    asymmetric: bool,
}

impl TrafficModel {
    fn record(&mut self, envelope: &Envelope) {
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

    /// An envelope that looks like a random recent one, without proof of work. Nobody has its key.
    fn draft(&self, rng: &mut impl CryptoRngCore) -> Draft {
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
        let index = usize::try_from(rng.next_u32() % count).ok()?;
        self.0.get(index).copied()
    }
}

/// A random pause with an exponential distribution, so that one envelope says nothing about the time of
/// the next.
fn pause(mean: Duration, rng: &mut impl RngCore) -> Duration {
    let fraction = f64::from(rng.next_u32()) / 2.0_f64.powi(32);
    mean.mul_f64((-(1.0 - fraction).ln()).clamp(0.01, 8.0))
}

/// Longest search for the proof of work of one envelope.
const SEARCH_TIME: Duration = Duration::from_secs(30);

/// How many envelopes are remembered.
const REMEMBERED: usize = 64;

/// Largest envelope to imitate, in bytes of data: the cost of proof of work grows with the size.
const MAX_BYTES: usize = 8 * 1024;

/// Longest time to live to imitate, in seconds: the cost of proof of work grows with it.
const MAX_TTL: u32 = 3600;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn cover_looks_like_recent_envelopes() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut model = TrafficModel::default();
        let alone = model.draft(&mut rng);
        assert_eq!((alone.ttl, alone.data.len()), (DEFAULT_TTL, BLOCK + SYMMETRIC_OVERHEAD));
        let data = seal_for(&PrivateKey::random(&mut rng).public_key(), &[0; 512], &mut rng);
        let seen = Draft { expiry: 1000, ttl: 70, topic: Topic([1, 2, 3, 4]), data }.finish(0);
        (0..1000).for_each(|_| model.record(&seen));
        assert!(model.0.len() <= REMEMBERED);
        let drafted = model.draft(&mut rng);
        assert_eq!((drafted.ttl, drafted.topic), (70, seen.topic()));
        assert_eq!(drafted.data.len(), seen.data().len());
        assert_eq!(drafted.data.first(), Some(&UNCOMPRESSED_TAG));
        assert_ne!(drafted.data, seen.data());
        // Like the time of messages that are posted here.
        assert!((drafted.expiry - drafted.ttl).is_multiple_of(10));
    }

    #[test]
    fn pauses_have_the_configured_mean() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let total: Duration = (0..10_000).map(|_| pause(Duration::from_secs(1), &mut rng)).sum();
        assert!((9_500..10_500).contains(&total.as_secs()));
    }
}
