//! The metrics of the mailbox server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of one mailbox server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    links: Gauge,
    accepted: Counter,
    pub(super) refused: Counter,
    unresponsive: Counter,
    frames: Counter,
    requests: Counter,
    commits: Counter,
    nameplates: Gauge,
    mailboxes: Gauge,
}

impl Counters {
    /// A WebSocket connection was opened.
    pub(super) fn opened(&self) {
        self.links.inc();
        self.accepted.inc();
    }

    /// A WebSocket connection was closed.
    pub(super) fn closed(&self) {
        self.links.dec();
    }

    /// Open WebSocket connections.
    pub(super) fn links(&self) -> u64 {
        u64::try_from(self.links.get()).unwrap_or(0)
    }

    /// A connection was closed because its client did not read, did not answer pings or sent nothing.
    pub(super) fn unresponsive(&self) {
        self.unresponsive.inc();
    }

    /// A client sent a message.
    pub(super) fn frame(&self) {
        self.frames.inc();
    }

    /// One commit made this many requests durable.
    pub(super) fn committed(&self, requests: usize) {
        self.requests.inc_by(u64::try_from(requests).unwrap_or(u64::MAX));
        self.commits.inc();
    }

    /// The database holds this many nameplates and mailboxes.
    pub(super) fn stored(&self, nameplates: u64, mailboxes: u64) {
        self.nameplates.set(i64::try_from(nameplates).unwrap_or(i64::MAX));
        self.mailboxes.set(i64::try_from(mailboxes).unwrap_or(i64::MAX));
    }

    /// Registers the metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("links", "Open WebSocket connections", &self.links),
            ("nameplates", "Nameplates in use when last pruned", &self.nameplates),
            ("mailboxes", "Mailboxes in use when last pruned", &self.mailboxes),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("accepted", "WebSocket connections accepted", &self.accepted),
            ("refused", "Connections refused because of a limit", &self.refused),
            (
                "cut",
                "Connections closed because the client did not read, answer or send",
                &self.unresponsive,
            ),
            ("frames", "Messages from clients", &self.frames),
            ("requests", "Requests that were stored durably", &self.requests),
            ("commits", "Database transactions", &self.commits),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}
