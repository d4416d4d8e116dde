//! The state that all links of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use wormhole_whisper::{
    devp2p::{capability::Protocol, key::PrivateKey, peer::Config},
    shh::{node::Limits, packet},
};

use super::super::archive::ArchiveStore;
use super::super::read_limits::ReadLimits;
use super::{LinkEvent, LinkId};
use crate::pending_links::PendingLinks;

/// The state that all links of a node share.
#[derive(Debug)]
pub(in crate::node) struct LinkContext {
    pub(in crate::node) key: PrivateKey,
    listen_port: u16,
    /// Maximum number of bytes of a message on links that open from now on.
    max_message: AtomicUsize,
    pub(super) read_limits: ReadLimits,
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// Limits the packets that wait for the hub, in KiB.
    waiting: Arc<Semaphore>,
    pub(in crate::node) archive: Option<ArchiveStore>,
    pub(in crate::node) pending: PendingLinks,
    /// Ends when the node stops.
    pub(in crate::node) closing: watch::Receiver<()>,
    next: AtomicU64,
}

impl LinkContext {
    /// For links that report to `events` until `closing` ends.
    pub(in crate::node) fn new(
        key: PrivateKey,
        listen_port: u16,
        limits: &Limits,
        events: mpsc::Sender<LinkEvent>,
        closing: watch::Receiver<()>,
    ) -> Self {
        Self {
            key,
            listen_port,
            max_message: AtomicUsize::new(0),
            read_limits: ReadLimits::new(limits),
            events,
            waiting: Arc::new(Semaphore::new(usize::try_from(MAX_WAITING).unwrap_or(usize::MAX))),
            archive: None,
            pending: PendingLinks::default(),
            closing,
            next: AtomicU64::new(0),
        }
    }

    /// Sets the most bytes of a message on links that open from now on.
    pub(in crate::node) fn set_max_message(&self, bytes: usize) {
        self.max_message.store(bytes, Ordering::Relaxed);
    }

    /// The number of a new link.
    pub(in crate::node) fn next_id(&self) -> LinkId {
        LinkId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The configuration of a new `RLPx` session.
    pub(super) fn peer_config(&self) -> Config {
        let version = u32::try_from(packet::VERSION).unwrap_or_default();
        let shh = Protocol::new(packet::NAME, version, packet::LENGTH);
        let mut config = Config::new(self.key.clone(), vec![shh]);
        config.listen_port = self.listen_port;
        config.max_message = self.max_message.load(Ordering::Relaxed);
        config
    }

    /// Waits until a packet of this many bytes may be passed to the hub. `None` when the node has stopped.
    pub(super) async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let share = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let waiting = Arc::clone(&self.waiting);
        waiting.acquire_many_owned(share.clamp(1, MAX_WAITING)).await.ok()
    }
}

/// KiB of packets that wait for the hub, of all links together.
const MAX_WAITING: u32 = 32 * 1024;
