//! How much is stored, for the page of metrics.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::presence::Sockets;
use super::store::Counts;
use crate::metrics::Reading;

/// The numbers when they were last counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges {
    accounts: Gauge,
    devices: Gauge,
    messages: Gauge,
}

impl Gauges {
    pub(super) fn set(&self, counts: Counts) {
        let numbers = [
            (&self.accounts, counts.accounts),
            (&self.devices, counts.devices),
            (&self.messages, counts.messages),
        ];
        for (gauge, number) in numbers {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// Shows them on the page of metrics, and how many sockets are open.
    pub(super) fn register(&self, registry: &mut Registry, sockets: Arc<Sockets>) {
        let gauges = [
            ("accounts", "Accounts when last counted", &self.accounts),
            ("devices", "Devices when last counted", &self.devices),
            ("messages", "Messages that wait for their devices when last counted", &self.messages),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let open = Reading::gauge(move || u64::try_from(sockets.count()).unwrap_or(u64::MAX));
        registry.register("sockets", "Open WebSockets of devices", open);
    }
}
