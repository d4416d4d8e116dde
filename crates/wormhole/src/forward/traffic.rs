//! Counters of a session, which can be read while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a session. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    open: AtomicU64,
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Open connections.
    pub fn open(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Bytes sent to the peer.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Bytes received from the peer.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Counts a new connection, until the returned value is dropped.
    pub(super) fn open_connection(&self) -> OpenConnection {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        let id = self.0.connections.fetch_add(1, Ordering::Relaxed);
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        OpenConnection { traffic: self.clone(), id, sent, received }
    }
}

/// The counters of one connection.
#[derive(Debug)]
pub(super) struct OpenConnection {
    traffic: Traffic,
    /// Distinguishes connections.
    pub(super) id: u64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl OpenConnection {
    /// Counts bytes sent to the peer.
    pub(super) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.traffic.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes received from the peer.
    pub(super) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.traffic.0.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes sent to the peer, and received from it.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.traffic.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
