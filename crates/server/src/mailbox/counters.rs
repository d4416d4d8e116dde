//! What the mailbox server counts while it runs, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one mailbox server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    links: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    frames: AtomicU64,
    requests: AtomicU64,
    commits: AtomicU64,
    nameplates: AtomicU64,
    mailboxes: AtomicU64,
}

impl Counters {
    /// A WebSocket link was opened.
    pub(super) fn opened(&self) {
        self.links.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A WebSocket link is gone.
    pub(super) fn closed(&self) {
        self.links.fetch_sub(1, Ordering::Relaxed);
    }

    /// WebSocket links that are open.
    pub(super) fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// A link was turned away by the limits.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A link was cut because it did not read, did not answer pings or said nothing.
    pub(super) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// A client's message came in.
    pub(super) fn frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// So many requests were made durable with one commit.
    pub(super) fn committed(&self, requests: usize) {
        self.requests.fetch_add(u64::try_from(requests).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// So much is stored.
    pub(super) fn stored(&self, nameplates: u64, mailboxes: u64) {
        self.nameplates.store(nameplates, Ordering::Relaxed);
        self.mailboxes.store(mailboxes, Ordering::Relaxed);
    }

    /// Appends all of it to a metrics page.
    pub(super) fn write(&self, page: &mut String) {
        let rows = [
            ("links", "gauge", "Open WebSocket links.", &self.links),
            ("accepted_total", "counter", "WebSocket links ever opened.", &self.accepted),
            ("refused_total", "counter", "Links turned away by limits.", &self.refused),
            ("cut_total", "counter", "Links cut for not reading or answering.", &self.cut),
            ("frames_total", "counter", "Messages of clients.", &self.frames),
            ("requests_total", "counter", "Requests made durable.", &self.requests),
            ("commits_total", "counter", "Transactions made durable.", &self.commits),
            ("nameplates", "gauge", "Nameplates in use when last pruned.", &self.nameplates),
            ("mailboxes", "gauge", "Mailboxes in use when last pruned.", &self.mailboxes),
        ];
        for (name, kind, help, value) in rows {
            let value = value.load(Ordering::Relaxed);
            crate::metrics::write(page, &format!("mailbox_{name}"), kind, help, value);
        }
    }
}
