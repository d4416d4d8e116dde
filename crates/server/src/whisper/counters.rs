//! What can be counted about the node. Numbers only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wormhole_node::Status;
use wormhole_node::messaging::{Messenger, MessengerStatus};

/// How the node and its messenger were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Option<(Status, MessengerStatus)>>);

impl Counters {
    /// Looks at the node now and then, as long as it is there.
    pub(super) async fn keep(&self, messenger: &Messenger) {
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            ticks.tick().await;
            let Ok(status) = messenger.node().status().await else { return };
            let seen = (status, messenger.status().await);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
    }

    /// Appends them to a page of metrics.
    pub(super) fn write(&self, page: &mut String) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((node, messenger)) = seen else { return };
        let size = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let rows = [
            ("peers", "gauge", "Nodes connected.", size(node.peers)),
            ("envelopes", "gauge", "Envelopes held.", size(node.envelopes)),
            ("envelope_bytes", "gauge", "Bytes that they take.", size(node.bytes)),
            ("waiting", "gauge", "Own envelopes that wait to leave.", size(node.waiting)),
            ("banned", "gauge", "Nodes and addresses banned.", size(node.banned)),
            ("archived", "gauge", "Envelopes in the archive.", node.archived.unwrap_or(0)),
            ("filters", "gauge", "Filters of clients.", size(messenger.filters)),
            ("unread", "gauge", "Messages that wait for clients.", size(messenger.waiting)),
            ("accepted_total", "counter", "Envelopes accepted.", node.accepted),
            ("cut_total", "counter", "Peers cut for what they did.", node.misbehaved),
            ("delivered_total", "counter", "Messages opened for clients.", messenger.delivered),
            ("missed_total", "counter", "Envelopes too many to be tried.", messenger.missed),
        ];
        for (name, kind, help, value) in rows {
            crate::metrics::write(page, &format!("whisper_{name}"), kind, help, value);
        }
    }
}

/// How often the node is looked at.
const PERIOD: Duration = Duration::from_secs(1);
