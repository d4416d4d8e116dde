//! Sends and receives messages through a node: keys, filters, subscriptions, and posting.
//!
//! A [`Messenger`] decrypts the envelopes that a [`Node`] accepts. It does not depend on JSON-RPC:
//! the JSON-RPC server is built on top of it.
//!
//! ```text
//!  Node::envelopes ──► delivery: a task that tries the keys of all filters, on threads that may block
//!                        ├──► filters, until they are polled or expire
//!                        └──► subscriptions, at once
//!  OutgoingMessage ──► pad, sign, encrypt ──► proof of work ──► Node::post or Node::send_direct
//! ```
//!
//! Two people at two nodes:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use wormhole_node::messaging::{Messenger, MessengerSettings, OutgoingMessage, Recipient};
//! use wormhole_node::shh::filter::{Criteria, FilterKey};
//! use wormhole_node::shh::{SymmetricKey, Topic, Work};
//! use wormhole_node::{Node, Settings};
//!
//! let node = Node::start(Settings::loopback()).await?;
//! let mut settings = Settings::loopback();
//! settings.static_peers = vec![node.enode()];
//! let alice = Messenger::new(node, &MessengerSettings::default());
//! let bob = Messenger::new(Node::start(settings).await?, &MessengerSettings::default());
//!
//! let (key, topic) = (SymmetricKey::from_password("hush"), Topic::of_word("room"));
//! let wanted = Criteria {
//!     key: FilterKey::Symmetric(key.clone()),
//!     signer: None,
//!     topics: vec![topic],
//!     min_work: Work::NONE,
//!     direct: false,
//! };
//! let mut inbox = alice.subscribe(wanted).await?;
//! let hash = bob.post(OutgoingMessage::new(Recipient::SymmetricKey(key), topic, b"hello".to_vec())).await?;
//! let Some(messages) = inbox.next().await else { panic!("the node has stopped") };
//! assert_eq!((messages[0].message.payload.as_slice(), messages[0].hash), (&b"hello"[..], hash));
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand_core::OsRng;
use tokio::sync::{Notify, oneshot};
use wormhole_whisper::{
    devp2p::key::PrivateKey,
    shh::{
        Bloom, Filters, SymmetricKey,
        filter::{self, Criteria, FilterError, FilterId, Received},
    },
};
use zeroize::Zeroizing;

use super::scheduler::{Requester, SCHEDULER};
use super::{Node, Stopped};

mod delivery;
mod key_store;
mod outgoing;
mod subscription;

use key_store::KeyStore;
pub use key_store::{KeyId, MAX_KEYS, PasswordError, RawSymmetricKey, TooManyKeys};
pub use outgoing::{OutgoingMessage, Recipient, SendError};
pub use subscription::Subscription;

/// Sends and receives messages through a node. Clones share keys and filters, which are dropped with the
/// last clone and the last subscription.
#[derive(Clone, Debug)]
pub struct Messenger {
    node: Node,
    max_ttl: u32,
    inner: Arc<Inner>,
}

/// The settings of a messenger.
#[derive(Clone, Debug)]
pub struct MessengerSettings {
    /// Maximum number of bytes of decrypted messages in all filters together.
    pub filter_bytes: usize,
    /// Time after which an unpolled filter expires.
    pub filter_timeout: Duration,
    /// Longest TTL of a message to post, in seconds. It should be that of the node.
    pub max_ttl: u32,
}

impl Default for MessengerSettings {
    fn default() -> Self {
        let max_ttl = wormhole_whisper::shh::requirements::DEFAULT_MAX_TTL;
        Self { filter_bytes: DEFAULT_FILTER_BYTES, filter_timeout: filter::TIMEOUT, max_ttl }
    }
}

#[derive(Debug)]
struct Inner {
    keys: Mutex<KeyStore>,
    filters: Mutex<Filters>,
    /// Time after which an unpolled filter expires.
    filter_timeout: Duration,
    subscribers: Mutex<BTreeMap<FilterId, Arc<Notify>>>,
    /// Filters of subscriptions that were dropped, to be removed at the next access.
    abandoned: Mutex<Vec<FilterId>>,
    /// The Bloom filter of the node: full, unless a client has set another one.
    bloom_filter: tokio::sync::Mutex<Bloom>,
    missed: AtomicU64,
    delivered: AtomicU64,
    /// Ends the delivery task when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl Messenger {
    /// Starts a messenger in the background of the current tokio runtime. It receives envelopes that the
    /// node accepts from now on.
    pub fn new(node: Node, settings: &MessengerSettings) -> Self {
        let (alive, over) = oneshot::channel();
        let inner = Arc::new(Inner {
            keys: Mutex::new(KeyStore::new()),
            filters: Mutex::new(
                Filters::new(settings.filter_bytes).with_timeout(settings.filter_timeout),
            ),
            filter_timeout: settings.filter_timeout,
            subscribers: Mutex::default(),
            abandoned: Mutex::default(),
            bloom_filter: tokio::sync::Mutex::new(Bloom::FULL),
            missed: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            _alive: alive,
        });
        delivery::start(&inner, node.envelopes(), over);
        Self { node, max_ttl: settings.max_ttl, inner }
    }

    /// The node of the messenger.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Adds a key pair.
    ///
    /// # Errors
    /// The limit is reached; remove keys first.
    pub fn add_key_pair(&self, key: PrivateKey) -> Result<KeyId, TooManyKeys> {
        lock(&self.inner.keys).key_pairs.add(key)
    }

    /// Creates a key pair.
    ///
    /// # Errors
    /// As for [`Messenger::add_key_pair`].
    pub fn new_key_pair(&self) -> Result<KeyId, TooManyKeys> {
        self.add_key_pair(PrivateKey::random(&mut OsRng))
    }

    /// The key pair with this id.
    pub fn key_pair(&self, id: &KeyId) -> Option<PrivateKey> {
        lock(&self.inner.keys).key_pairs.find(id)
    }

    /// Removes a key pair. Filters that use it keep it. Returns whether there was one.
    pub fn remove_key_pair(&self, id: &KeyId) -> bool {
        lock(&self.inner.keys).key_pairs.remove(id)
    }

    /// Adds a symmetric key.
    ///
    /// # Errors
    /// The limit is reached; remove keys first.
    pub fn add_symmetric_key(&self, key: RawSymmetricKey) -> Result<KeyId, TooManyKeys> {
        lock(&self.inner.keys).symmetric.add(key)
    }

    /// Adds the key of a password. That takes tens of milliseconds on a thread that may block.
    ///
    /// # Errors
    /// As for [`Messenger::add_symmetric_key`], or the runtime is shutting down.
    pub async fn add_password(&self, password: &str) -> Result<KeyId, PasswordError> {
        self.add_password_for(Requester::OWNER, password).await
    }

    /// Like [`Messenger::add_password`], scheduled as work of a client.
    pub(super) async fn add_password_for(
        &self,
        requester: Requester,
        password: &str,
    ) -> Result<KeyId, PasswordError> {
        let password = Zeroizing::new(password.to_owned());
        let slice = SCHEDULER.acquire(requester).await;
        let derive = move || {
            let key = SymmetricKey::from_password(&password).secret().clone();
            drop(slice);
            key
        };
        let secret = tokio::task::spawn_blocking(derive).await;
        let secret = secret.map_err(|_| PasswordError::NoThread)?;
        Ok(self.add_symmetric_key(RawSymmetricKey::new(secret))?)
    }

    /// The symmetric key with this id.
    pub fn symmetric_key(&self, id: &KeyId) -> Option<RawSymmetricKey> {
        lock(&self.inner.keys).symmetric.find(id)
    }

    /// Removes a symmetric key. Filters that use it keep it. Returns whether there was one.
    pub fn remove_symmetric_key(&self, id: &KeyId) -> bool {
        lock(&self.inner.keys).symmetric.remove(id)
    }

    /// Adds a filter, which collects messages until they are [polled](Messenger::poll). If the Bloom filter of
    /// the node is not full, the topics of the filter are added to it.
    ///
    /// # Errors
    /// The limit of filters is reached, or the node has stopped.
    pub async fn add_filter(&self, criteria: Criteria) -> Result<FilterId, AddFilterError> {
        let wanted = Bloom::of(criteria.topics.iter().copied());
        let add = move |inner: &Inner| inner.filters().add(Instant::now(), criteria, &mut OsRng);
        let id = self.blocking(add).await??;
        let mut current = self.inner.bloom_filter.lock().await;
        if *current != Bloom::FULL {
            *current = current.union(&wanted);
            self.node.set_bloom_filter(*current).await?;
        }
        Ok(id)
    }

    /// Like [`Messenger::add_filter`], but the filter starts with the messages in the pool that have one of the
    /// topics of the filter. Without topics it starts empty. A message that arrives during the call may
    /// be in the filter twice.
    ///
    /// # Errors
    /// As for [`Messenger::add_filter`].
    pub async fn add_filter_with_pool(
        &self,
        criteria: Criteria,
    ) -> Result<FilterId, AddFilterError> {
        self.add_filter_with_pool_for(Requester::OWNER, criteria).await
    }

    /// Like [`Messenger::add_filter_with_pool`], scheduled as work of a client.
    pub(super) async fn add_filter_with_pool_for(
        &self,
        requester: Requester,
        criteria: Criteria,
    ) -> Result<FilterId, AddFilterError> {
        let topics = criteria.topics.clone();
        let id = self.add_filter(criteria).await?;
        let slice = SCHEDULER.acquire(requester).await;
        let mut held = self.node.pool_envelopes(topics).await?;
        drop(slice);
        while !held.is_empty() {
            let batch = held.split_off(held.len().saturating_sub(BATCH));
            let slice = SCHEDULER.acquire(requester).await;
            let deliver = move |inner: &Inner| {
                let mut filters = inner.filters();
                batch.iter().for_each(|envelope| {
                    filters.deliver_stored(&id, envelope);
                });
                drop(slice);
            };
            self.blocking(deliver).await?;
        }
        Ok(id)
    }

    /// Takes messages out of a filter, oldest first, up to about `bytes` of them. `None` if there is no such
    /// filter, or it has expired.
    pub async fn poll(&self, id: FilterId, bytes: usize) -> Option<Vec<Arc<Received>>> {
        let poll = move |inner: &Inner| inner.filters().poll_up_to(Instant::now(), &id, bytes);
        self.blocking(poll).await.ok()?
    }

    /// Returns those of these filters that exist.
    #[cfg(feature = "rpc")]
    pub(super) async fn existing(&self, mut ids: Vec<FilterId>) -> Vec<FilterId> {
        let check = move |inner: &Inner| {
            let filters = inner.filters();
            ids.retain(|id| filters.contains(id));
            ids
        };
        self.blocking(check).await.unwrap_or_default()
    }

    /// Removes a filter. Returns whether there was one.
    pub async fn remove_filter(&self, id: FilterId) -> bool {
        let remove = move |inner: &Inner| inner.filters().remove(&id);
        self.blocking(remove).await.unwrap_or(false)
    }

    /// Adds a filter, and returns its messages as they arrive.
    ///
    /// # Errors
    /// As for [`Messenger::add_filter`].
    pub async fn subscribe(&self, criteria: Criteria) -> Result<Subscription, AddFilterError> {
        let id = self.add_filter(criteria).await?;
        Ok(self.subscribe_to(id))
    }

    /// The messages of a filter as they arrive, starting with those that it contains already.
    pub(super) fn subscribe_to(&self, id: FilterId) -> Subscription {
        Subscription::new(id, Arc::clone(&self.inner))
    }

    /// Sets the Bloom filter of the node. The topics of filters that are added later will be added to it.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_bloom_filter(&self, bloom: Bloom) -> Result<(), Stopped> {
        let mut current = self.inner.bloom_filter.lock().await;
        *current = bloom;
        self.node.set_bloom_filter(bloom).await
    }

    /// The status of the messenger.
    pub async fn status(&self) -> MessengerStatus {
        let count = |inner: &Inner| {
            let filters = inner.filters();
            (filters.len(), filters.waiting())
        };
        let (filters, waiting) = self.blocking(count).await.unwrap_or_default();
        MessengerStatus {
            filters,
            waiting,
            delivered: self.inner.delivered.load(Ordering::Relaxed),
            missed: self.inner.missed.load(Ordering::Relaxed),
        }
    }

    /// Runs a function on a thread that may block, because the filters are locked while an envelope is being
    /// decrypted.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|_| Stopped)
    }
}

impl Inner {
    /// Locks the filters, and removes those of dropped subscriptions. Blocks.
    fn filters(&self) -> MutexGuard<'_, Filters> {
        let mut filters = lock(&self.filters);
        let abandoned = std::mem::take(&mut *lock(&self.abandoned));
        abandoned.iter().for_each(|id| {
            filters.remove(id);
        });
        filters
    }
}

/// The status of a messenger.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MessengerStatus {
    /// Filters, including those of subscriptions.
    pub filters: usize,
    /// Messages that wait to be polled.
    pub waiting: usize,
    /// Messages that were added to filters since the start.
    pub delivered: u64,
    /// Envelopes that arrived too fast to be decrypted, since the start.
    pub missed: u64,
}

/// Why a filter was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddFilterError {
    /// The limit of filters is reached.
    #[error(transparent)]
    Full(#[from] FilterError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Envelopes to decrypt in one time slice: some tens of milliseconds at most.
const BATCH: usize = 64;

/// Locks a mutex. Nothing panics while it holds one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Default for the bytes of decrypted messages.
const DEFAULT_FILTER_BYTES: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests;
