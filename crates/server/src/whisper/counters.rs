//! The metrics of the node and its messenger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use wormhole_node::Status;
use wormhole_node::messaging::{Messenger, MessengerStatus};

use crate::metrics::Reading;

/// The last state of the node and its messenger; `None` at the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(Arc<Mutex<Option<(Status, MessengerStatus)>>>);

impl Counters {
    /// Reads the state of the node once per second, until the node has stopped.
    pub(super) async fn update(&self, messenger: &Messenger) {
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            ticks.tick().await;
            let Ok(status) = messenger.node().status().await else { return };
            let seen = (status, messenger.status().await);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
    }

    /// Registers the metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let gauge = |read: Read| Reading::gauge(self.reader(read));
        let counter = |read: Read| Reading::counter(self.reader(read));
        for (name, help, reading) in [
            ("peers", "Connected nodes", gauge(|node, _| size(node.peers))),
            ("envelopes", "Messages in memory", gauge(|node, _| size(node.envelopes))),
            ("envelope_bytes", "Size of these messages", gauge(|node, _| size(node.bytes))),
            (
                "waiting",
                "The node's own messages that wait to be sent",
                gauge(|node, _| size(node.waiting)),
            ),
            ("banned", "Banned nodes and addresses", gauge(|node, _| size(node.banned))),
            ("archived", "Messages in the archive", gauge(|node, _| node.archived.unwrap_or(0))),
            ("filters", "Filters of clients", gauge(|_, messenger| size(messenger.filters))),
            (
                "unread",
                "Messages that wait for clients",
                gauge(|_, messenger| size(messenger.waiting)),
            ),
            ("accepted", "Messages accepted", counter(|node, _| node.accepted)),
            (
                "cut",
                "Peers disconnected because of their behaviour",
                counter(|node, _| node.misbehaved),
            ),
            (
                "delivered",
                "Messages decrypted for clients",
                counter(|_, messenger| messenger.delivered),
            ),
            (
                "missed",
                "Messages that were not tested against the filters, because there were too many",
                counter(|_, messenger| messenger.missed),
            ),
        ] {
            registry.register(name, help, reading);
        }
    }

    /// Reads one number of the last state.
    fn reader(&self, read: Read) -> impl Fn() -> u64 + Send + Sync + 'static {
        let seen = Arc::clone(&self.0);
        move || {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.as_ref().map_or(0, |(node, messenger)| read(node, messenger))
        }
    }
}

fn size(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Reads one number.
type Read = fn(&Status, &MessengerStatus) -> u64;

/// Interval at which the state of the node is read.
const PERIOD: Duration = Duration::from_secs(1);
