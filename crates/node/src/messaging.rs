//! What people do with a node: keys, filters, subscriptions, and messages to post.
//!
//! A [`Messenger`] reads on behalf of its owner what the [`Node`] passes on. It knows no protocol of
//! clients; whoever serves them asks it.
//!
//! ```text
//!  Node::envelopes ──► reader: a task, opens what our keys open on threads that may block
//!                        ├──► filters, until they are polled or nobody polls them
//!                        └──► subscriptions, at once
//!  OutgoingMessage ──► compose, seal ──► mine ──► Node::post or Node::send_direct
//! ```
//!
//! Two people at two nodes:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use wormhole_node::messaging::{Messenger, MessengerSettings, OutgoingMessage, Reader};
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

/// A messenger at a node. Clones are the same one; with the last of them and of its subscriptions, its keys
/// and filters are gone.
#[derive(Clone, Debug)]
pub struct Messenger {
    node: Node,
    max_ttl: u32,
    inner: Arc<Inner>,
}

/// What its owner decides about a messenger.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessengerSettings {
    /// Bytes of opened messages that all filters hold together.
    pub filter_bytes: usize,
    /// How long a filter stays that nobody polls.
    pub patience: Duration,
    /// Longest life of a message to post, in seconds: that of the node.
    pub max_ttl: u32,
}

impl Default for MessengerSettings {
    fn default() -> Self {
        let max_ttl = wormhole_whisper::shh::requirements::DEFAULT_MAX_TTL;
        Self { filter_bytes: DEFAULT_FILTER_BYTES, patience: filter::PATIENCE, max_ttl }
    }
}

#[derive(Debug)]
struct Inner {
    keys: Mutex<KeyStore>,
    filters: Mutex<Filters>,
    /// How long a filter stays that nobody polls.
    patience: Duration,
    subscribers: Mutex<BTreeMap<FilterId, Arc<Notify>>>,
    /// Filters of subscriptions that are gone, to be removed at the next look.
    abandoned: Mutex<Vec<FilterId>>,
    /// What the node was told to ask for; all, unless somebody narrowed it.
    interests: tokio::sync::Mutex<Bloom>,
    missed: AtomicU64,
    delivered: AtomicU64,
    /// Ends the reader when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl Messenger {
    /// Sets up a messenger, in the background of the present tokio runtime. It reads what the node
    /// accepts from now on.
    pub fn new(node: Node, settings: &MessengerSettings) -> Self {
        let (alive, over) = oneshot::channel();
        let inner = Arc::new(Inner {
            keys: Mutex::new(KeyStore::new()),
            filters: Mutex::new(
                Filters::new(settings.filter_bytes).with_patience(settings.patience),
            ),
            patience: settings.patience,
            subscribers: Mutex::default(),
            abandoned: Mutex::default(),
            interests: tokio::sync::Mutex::new(Bloom::FULL),
            missed: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            _alive: alive,
        });
        delivery::start(&inner, node.envelopes(), over);
        Self { node, max_ttl: settings.max_ttl, inner }
    }

    /// The node at which the messenger stands.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Takes a key pair in.
    ///
    /// # Errors
    /// There are too many; remove some.
    pub fn add_key_pair(&self, key: PrivateKey) -> Result<KeyId, TooManyKeys> {
        lock(&self.inner.keys).pairs.add(key)
    }

    /// Draws a key pair.
    ///
    /// # Errors
    /// As for [`Messenger::add_key_pair`].
    pub fn new_key_pair(&self) -> Result<KeyId, TooManyKeys> {
        self.add_key_pair(PrivateKey::random(&mut OsRng))
    }

    /// The key pair of this name.
    pub fn key_pair(&self, id: &KeyId) -> Option<PrivateKey> {
        lock(&self.inner.keys).pairs.find(id)
    }

    /// Forgets a key pair; filters that have it keep it. Returns whether there was one.
    pub fn remove_key_pair(&self, id: &KeyId) -> bool {
        lock(&self.inner.keys).pairs.remove(id)
    }

    /// Takes a shared key in.
    ///
    /// # Errors
    /// There are too many; remove some.
    pub fn add_symmetric_key(&self, key: RawSymmetricKey) -> Result<KeyId, TooManyKeys> {
        lock(&self.inner.keys).shared.add(key)
    }

    /// Takes in the key of a password, which takes tens of milliseconds of a thread that may block.
    ///
    /// # Errors
    /// As for [`Messenger::add_symmetric_key`], or there is no thread to be had.
    pub async fn add_password(&self, password: &str) -> Result<KeyId, PasswordError> {
        self.add_password_for(Requester::OWNER, password).await
    }

    /// Like [`Messenger::add_password`], in a turn of a client.
    pub(super) async fn add_password_for(
        &self,
        requester: Requester,
        password: &str,
    ) -> Result<KeyId, PasswordError> {
        let password = Zeroizing::new(password.to_owned());
        let turn = SCHEDULER.acquire(requester).await;
        let stretch = move || {
            let key = SymmetricKey::from_password(&password).secret().clone();
            drop(turn);
            key
        };
        let secret = tokio::task::spawn_blocking(stretch).await;
        let secret = secret.map_err(|_| PasswordError::NoThread)?;
        Ok(self.add_symmetric_key(RawSymmetricKey::new(secret))?)
    }

    /// The shared key of this name.
    pub fn symmetric_key(&self, id: &KeyId) -> Option<RawSymmetricKey> {
        lock(&self.inner.keys).shared.find(id)
    }

    /// Forgets a shared key; filters that have it keep it. Returns whether there was one.
    pub fn remove_symmetric_key(&self, id: &KeyId) -> bool {
        lock(&self.inner.keys).shared.remove(id)
    }

    /// Keeps messages from now on, until they are [polled](Messenger::poll). Where the node was told to
    /// ask for less than all, it asks for these topics too.
    ///
    /// # Errors
    /// There are too many filters, or the node has stopped.
    pub async fn watch(&self, criteria: Criteria) -> Result<FilterId, AddFilterError> {
        let wanted = Bloom::of(criteria.topics.iter().copied());
        let add = move |inner: &Inner| inner.filters().add(Instant::now(), criteria, &mut OsRng);
        let id = self.blocking(add).await??;
        let mut interests = self.inner.interests.lock().await;
        if *interests != Bloom::FULL {
            *interests = interests.union(&wanted);
            self.node.set_bloom_filter(*interests).await?;
        }
        Ok(id)
    }

    /// Like [`Messenger::watch`], but the filter starts with the messages that the node already holds under the
    /// topics of the filter. Without topics it starts empty. A message that arrives during the call may
    /// be in the filter twice.
    ///
    /// # Errors
    /// As for [`Messenger::watch`].
    pub async fn watch_from_pool(&self, criteria: Criteria) -> Result<FilterId, AddFilterError> {
        self.watch_from_pool_for(Requester::OWNER, criteria).await
    }

    /// Like [`Messenger::watch_from_pool`], in the turns of a client.
    pub(super) async fn watch_from_pool_for(
        &self,
        requester: Requester,
        criteria: Criteria,
    ) -> Result<FilterId, AddFilterError> {
        let topics = criteria.topics.clone();
        let id = self.watch(criteria).await?;
        let turn = SCHEDULER.acquire(requester).await;
        let mut held = self.node.pool_envelopes(topics).await?;
        drop(turn);
        while !held.is_empty() {
            let batch = held.split_off(held.len().saturating_sub(BATCH));
            let turn = SCHEDULER.acquire(requester).await;
            let deliver = move |inner: &Inner| {
                let mut filters = inner.filters();
                batch.iter().for_each(|envelope| {
                    filters.deliver_held(&id, envelope);
                });
                drop(turn);
            };
            self.blocking(deliver).await?;
        }
        Ok(id)
    }

    /// Takes messages of a filter, oldest first, about as many as have `bytes`. `None` when there
    /// is no such filter, or none any more.
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
    pub async fn unwatch(&self, id: FilterId) -> bool {
        let remove = move |inner: &Inner| inner.filters().remove(&id);
        self.blocking(remove).await.unwrap_or(false)
    }

    /// Hands messages out from now on, as soon as they come.
    ///
    /// # Errors
    /// As for [`Messenger::watch`].
    pub async fn subscribe(&self, criteria: Criteria) -> Result<Subscription, AddFilterError> {
        let id = self.watch(criteria).await?;
        Ok(self.subscribe_to(id))
    }

    /// Returns the messages of a filter as they arrive, beginning with those it holds already.
    pub(super) fn subscribe_to(&self, id: FilterId) -> Subscription {
        Subscription::new(id, Arc::clone(&self.inner))
    }

    /// Asks for these topics only, and for those of filters to come.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_interests(&self, bloom: Bloom) -> Result<(), Stopped> {
        let mut interests = self.inner.interests.lock().await;
        *interests = bloom;
        self.node.set_bloom_filter(bloom).await
    }

    /// How the messenger is.
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

    /// Does something on a thread that may block: the filters are locked as long as an envelope is
    /// tried.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|_| Stopped)
    }
}

impl Inner {
    /// The filters, without those that nobody can ask for any more. Blocks.
    fn filters(&self) -> MutexGuard<'_, Filters> {
        let mut filters = lock(&self.filters);
        let abandoned = std::mem::take(&mut *lock(&self.abandoned));
        abandoned.iter().for_each(|id| {
            filters.remove(id);
        });
        filters
    }
}

/// How a messenger is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MessengerStatus {
    /// Filters, those of subscriptions included.
    pub filters: usize,
    /// Messages that wait to be polled.
    pub waiting: usize,
    /// Messages that went into filters since the start.
    pub delivered: u64,
    /// Envelopes that came too fast to be tried since the start.
    pub missed: u64,
}

/// Why there is no new filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddFilterError {
    /// There are too many.
    #[error(transparent)]
    Full(#[from] FilterError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Envelopes that one turn tries to open: some tens of milliseconds at most.
const BATCH: usize = 64;

/// Locks what nothing panics with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory for opened messages unless told otherwise, in bytes.
const DEFAULT_FILTER_BYTES: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests;
