//! Filters: keys to try on envelopes, and the messages that they decrypted (docs/whisper-protocol.md "The
//! path of a message").
//!
//! An envelope does not name its recipient. So each key is tried once on each envelope with one of its
//! topics, however many filters share the key. Messages that wait to be polled are limited in bytes, and
//! filters that are not polled expire.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use data_encoding::HEXLOWER;
use rand_core::CryptoRngCore;
use wormhole_kit::Instant;
use zeroize::Zeroizing;

use super::{
    envelope::{Envelope, EnvelopeHash},
    message::Message,
    seal::{self, SymmetricKey},
    topic::Topic,
    work::Work,
};
use crate::devp2p::key::{PrivateKey, PublicKey, keccak256};

/// The conditions of a filter for messages.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// The key that decrypts the messages.
    pub key: FilterKey,
    /// Required signer, if any.
    pub signer: Option<PublicKey>,
    /// Topics; an empty list means all topics.
    pub topics: Vec<Topic>,
    /// Minimum work, except for direct messages.
    pub min_work: Work,
    /// Whether direct messages from trusted peers are accepted.
    pub direct: bool,
}

/// A key that decrypts messages.
#[derive(Clone, Debug)]
pub enum FilterKey {
    /// A private key of this user.
    Private(PrivateKey),
    /// A shared key.
    Symmetric(SymmetricKey),
}

impl FilterKey {
    /// An identifier that does not reveal the key.
    fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Private(key) => keccak256(&[&key.public_key().to_uncompressed()]),
            Self::Symmetric(key) => key.fingerprint(),
        }
    }

    /// The recipient of messages that this key decrypts.
    fn recipient(&self) -> Option<PublicKey> {
        match self {
            Self::Private(key) => Some(key.public_key()),
            Self::Symmetric(_) => None,
        }
    }

    /// Decrypts the bytes; leaves them unchanged on failure.
    fn open(&self, sealed: &mut [u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Private(key) => seal::open_for(key, sealed).ok(),
            Self::Symmetric(key) => {
                let length = key.open_in_place(sealed).ok()?;
                sealed.get(..length).map(|plaintext| Zeroizing::new(plaintext.to_vec()))
            }
        }
    }
}

/// A decrypted message that a filter selected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The message and its signer.
    pub message: Message,
    /// The hash of its envelope.
    pub hash: EnvelopeHash,
    /// Sent time in seconds since 1970, as the sender claims.
    pub sent: u32,
    /// Lifetime in seconds.
    pub ttl: u32,
    /// Topic.
    pub topic: Topic,
    /// Proof of work.
    pub work: Work,
    /// The recipient of an asymmetrically encrypted message.
    pub recipient: Option<PublicKey>,
}

impl Received {
    /// Parses a decrypted message. Invalid messages can only come from a holder of the key, and are dropped.
    fn new(envelope: &Envelope, key: &FilterKey, plaintext: &[u8]) -> Option<Self> {
        Some(Self {
            message: Message::parse(plaintext).ok()?,
            hash: envelope.hash(),
            sent: envelope.sent(),
            ttl: envelope.ttl(),
            topic: envelope.topic(),
            work: envelope.work(),
            recipient: key.recipient(),
        })
    }

    /// Memory that it uses of its filter's share, in bytes.
    const fn cost(&self) -> usize {
        self.message.payload.len() + self.message.padding.len() + OVERHEAD
    }
}

/// All filters of a node.
#[derive(Debug)]
pub struct Filters {
    filters: BTreeMap<FilterId, Filter>,
    /// The keys for each topic, and for all topics (`None`).
    keys: BTreeMap<Option<Topic>, BTreeMap<[u8; 32], Group>>,
    /// Number of topics of all filters together.
    topics: usize,
    /// Memory of all filters together, in bytes.
    capacity: usize,
    /// Time after which an unpolled filter expires.
    timeout: Duration,
}

/// A key and the filters that use it.
#[derive(Debug)]
struct Group {
    key: Arc<FilterKey>,
    filters: Vec<FilterId>,
}

/// A filter and its waiting messages.
#[derive(Debug)]
struct Filter {
    criteria: Criteria,
    messages: VecDeque<Arc<Received>>,
    bytes: usize,
    polled: Instant,
}

impl Filters {
    /// No filters yet; all filters will share `capacity` bytes.
    pub const fn new(capacity: usize) -> Self {
        Self {
            filters: BTreeMap::new(),
            keys: BTreeMap::new(),
            topics: 0,
            capacity,
            timeout: TIMEOUT,
        }
    }

    /// Sets the time after which unpolled filters expire; the default is five minutes.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a filter.
    ///
    /// # Errors
    /// There are too many filters or topics.
    pub fn add(
        &mut self,
        now: Instant,
        criteria: Criteria,
        rng: &mut impl CryptoRngCore,
    ) -> Result<FilterId, FilterError> {
        if self.filters.len() >= MAX_FILTERS {
            return Err(FilterError::TooMany);
        }
        let topics = topics(&criteria);
        if self.topics + topics.len() > MAX_TOPICS {
            return Err(FilterError::TooManyTopics);
        }
        self.topics += topics.len();
        let mut id = FilterId([0; 32]);
        rng.fill_bytes(&mut id.0);
        let key = Arc::new(criteria.key.clone());
        for topic in topics {
            let new = || Group { key: Arc::clone(&key), filters: Vec::new() };
            let group = self.keys.entry(topic).or_default().entry(key.fingerprint());
            group.or_insert_with(new).filters.push(id);
        }
        let filter = Filter { criteria, messages: VecDeque::new(), bytes: 0, polled: now };
        self.filters.insert(id, filter);
        let share = self.share();
        self.filters.values_mut().for_each(|filter| filter.shrink(share));
        Ok(id)
    }

    /// Removes a filter. Returns whether it existed.
    pub fn remove(&mut self, id: &FilterId) -> bool {
        let Some(filter) = self.filters.remove(id) else { return false };
        let fingerprint = filter.criteria.key.fingerprint();
        for topic in topics(&filter.criteria) {
            self.topics = self.topics.saturating_sub(1);
            let Some(groups) = self.keys.get_mut(&topic) else { continue };
            if let Some(group) = groups.get_mut(&fingerprint) {
                group.filters.retain(|other| other != id);
                if group.filters.is_empty() {
                    groups.remove(&fingerprint);
                }
            }
            if groups.is_empty() {
                self.keys.remove(&topic);
            }
        }
        true
    }

    /// Takes all waiting messages of a filter. `None` if the filter does not exist.
    pub fn poll(&mut self, now: Instant, id: &FilterId) -> Option<Vec<Arc<Received>>> {
        self.poll_up_to(now, id, usize::MAX)
    }

    /// Takes waiting messages of a filter, oldest first: up to `bytes`, but at least one. `None` if the filter
    /// does not exist.
    pub fn poll_up_to(
        &mut self,
        now: Instant,
        id: &FilterId,
        bytes: usize,
    ) -> Option<Vec<Arc<Received>>> {
        let filter = self.filters.get_mut(id)?;
        filter.polled = now;
        Some(filter.take(bytes))
    }

    /// Tries all keys on an envelope and adds the message to all filters that match. Returns those filters.
    pub fn deliver(&mut self, envelope: &Envelope, direct: bool) -> Vec<FilterId> {
        let mut delivered = Vec::new();
        let Some((received, candidates)) = self.open(envelope) else { return delivered };
        let share = self.share();
        for id in candidates {
            let Some(filter) = self.filters.get_mut(&id) else { continue };
            // A filter is listed under this topic or under all topics, never both.
            if filter.matches(&received, direct, direct) {
                filter.keep(Arc::clone(&received), share);
                delivered.push(id);
            }
        }
        delivered
    }

    /// Tries the key of one filter on an envelope that was stored before the filter existed. Returns whether
    /// the filter now contains the message.
    pub fn deliver_stored(&mut self, id: &FilterId, envelope: &Envelope) -> bool {
        let share = self.share();
        let Some(filter) = self.filters.get_mut(id) else { return false };
        let (key, topics) = (&filter.criteria.key, &filter.criteria.topics);
        if !topics.is_empty() && !topics.contains(&envelope.topic()) {
            return false;
        }
        let plaintext = key.open(&mut Zeroizing::new(envelope.data().to_vec()));
        let received = plaintext.and_then(|plaintext| Received::new(envelope, key, &plaintext));
        let Some(received) = received.filter(|it| filter.matches(it, false, true)) else {
            return false;
        };
        filter.keep(Arc::new(received), share);
        true
    }

    /// Removes the filters that have not been polled for the configured time.
    pub fn expire(&mut self, now: Instant) {
        let timeout = self.timeout;
        let idle = |filter: &Filter| now.saturating_duration_since(filter.polled) >= timeout;
        let idle: Vec<_> =
            self.filters.iter().filter(|(_, filter)| idle(filter)).map(|(id, _)| *id).collect();
        idle.iter().for_each(|id| {
            self.remove(id);
        });
    }

    /// Whether a filter exists.
    pub fn contains(&self, id: &FilterId) -> bool {
        self.filters.contains_key(id)
    }

    /// Number of filters.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Number of messages that wait to be polled.
    pub fn waiting(&self) -> usize {
        self.filters.values().map(|filter| filter.messages.len()).sum()
    }

    /// Decrypts an envelope. Also returns the filters that have the right key.
    fn open(&self, envelope: &Envelope) -> Option<(Arc<Received>, Vec<FilterId>)> {
        let mut sealed = Zeroizing::new(envelope.data().to_vec());
        let mut groups = self.groups(envelope.topic()).flatten();
        let (fingerprint, key, plaintext) = groups.find_map(|(fingerprint, group)| {
            let plaintext = group.key.open(&mut sealed)?;
            Some((fingerprint, &group.key, plaintext))
        })?;
        let received = Received::new(envelope, key, &plaintext)?;
        let candidates = self.groups(envelope.topic()).filter_map(|keys| keys.get(fingerprint));
        let candidates = candidates.flat_map(|group| group.filters.iter().copied()).collect();
        Some((Arc::new(received), candidates))
    }

    /// The keys to try for a topic.
    fn groups(&self, topic: Topic) -> impl Iterator<Item = &BTreeMap<[u8; 32], Group>> {
        [Some(topic), None].into_iter().filter_map(|topic| self.keys.get(&topic))
    }

    /// Maximum bytes for one filter.
    fn share(&self) -> usize {
        self.capacity / self.filters.len().max(1)
    }
}

impl Filter {
    fn matches(&self, received: &Received, direct: bool, may_be_here: bool) -> bool {
        let signer = self.criteria.signer;
        let enough =
            if direct { self.criteria.direct } else { received.work >= self.criteria.min_work };
        // A direct message may arrive twice; the pool removes other duplicates.
        let new = !may_be_here || self.messages.iter().all(|message| message.hash != received.hash);
        enough && new && (signer.is_none() || signer == received.message.signer)
    }

    /// Adds a message and drops the oldest ones if there is no room.
    fn keep(&mut self, received: Arc<Received>, share: usize) {
        self.bytes += received.cost();
        self.messages.push_back(received);
        self.shrink(share);
    }

    /// Takes the oldest messages: up to `bytes`, but at least one.
    fn take(&mut self, bytes: usize) -> Vec<Arc<Received>> {
        let (mut taken, mut cost) = (Vec::new(), 0_usize);
        while let Some(oldest) = self.messages.front() {
            cost = cost.saturating_add(oldest.cost());
            if cost > bytes && !taken.is_empty() {
                break;
            }
            self.bytes = self.bytes.saturating_sub(oldest.cost());
            taken.extend(self.messages.pop_front());
        }
        taken
    }

    fn shrink(&mut self, share: usize) {
        while self.bytes > share {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.cost());
        }
    }
}

/// The topics under which a filter is indexed.
fn topics(criteria: &Criteria) -> Vec<Option<Topic>> {
    if criteria.topics.is_empty() {
        return vec![None];
    }
    let mut topics: Vec<_> = criteria.topics.iter().copied().map(Some).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// The identifier of a filter: random, so that clients cannot guess each other's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FilterId(pub [u8; 32]);

/// 64 lower-case hexadecimal digits.
impl fmt::Display for FilterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Why a filter was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// The limit of filters is reached.
    #[error("too many filters: the limit is {MAX_FILTERS}")]
    TooMany,
    /// The limit of topics in all filters together is reached.
    #[error("too many topics: the limit is {MAX_TOPICS} in all filters together")]
    TooManyTopics,
}

/// Maximum number of filters. Each costs microseconds for every envelope.
pub const MAX_FILTERS: usize = 10_000;

/// Maximum number of topics of all filters together. Each uses about 200 bytes.
pub const MAX_TOPICS: usize = 200_000;

/// Default time after which an unpolled filter expires (geth `filterTimeout`).
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of memory for a message in addition to its content.
const OVERHEAD: usize = 320;

#[cfg(test)]
mod tests;
