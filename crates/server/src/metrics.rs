//! The metrics of all services of the process, for Prometheus.
//!
//! They contain only numbers, and no names of users, mailboxes or addresses. docs/self-hosting.md lists them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    has_listener: bool,
}

impl Metrics {
    /// `Content-Type` of the page.
    pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

    /// Creates an empty set of metrics. If they have a separate listener, the ports of the services do not serve them.
    pub(crate) fn new(has_listener: bool) -> Self {
        Self { registry: Mutex::new(Registry::with_prefix(PREFIX)), has_listener }
    }

    /// Whether the ports of the services do not serve the metrics.
    pub(crate) const fn has_listener(&self) -> bool {
        self.has_listener
    }

    /// Adds the metrics of a service. Their names begin with `wormhole_` and the name of the `service`.
    pub(crate) fn register(&self, service: &str, register: impl FnOnce(&mut Registry)) {
        register(self.lock().sub_registry_with_prefix(service));
    }

    /// The page of all metrics, in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _infallible = prometheus_text::encode(&mut page, &self.lock());
        page
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(false)
    }
}

/// A metric whose value is read from a function whenever the page is requested.
pub(crate) struct Reading {
    is_counter: bool,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Reading {
    pub(crate) fn counter(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { is_counter: true, read: Box::new(read) }
    }

    pub(crate) fn gauge(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { is_counter: false, read: Box::new(read) }
    }
}

impl EncodeMetric for Reading {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        let value = (self.read)();
        if self.is_counter {
            ConstCounter::new(value).encode(encoder)
        } else {
            ConstGauge::new(value).encode(encoder)
        }
    }

    fn metric_type(&self) -> MetricType {
        if self.is_counter { MetricType::Counter } else { MetricType::Gauge }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

/// The first word of every metric's name.
const PREFIX: &str = "wormhole";

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_page_shows_the_metrics_of_every_service_in_the_text_format() {
        let metrics = Metrics::default();
        metrics.register("one", |registry| {
            let counter = Counter::<u64>::default();
            counter.inc_by(3);
            registry.register("a", "Things", counter);
        });
        metrics.register("two", |registry| {
            registry.register("b", "Others", Reading::gauge(|| 1));
            registry.register("c", "More", Reading::counter(|| 2));
        });
        let expected = "# HELP wormhole_one_a_total Things.\n# TYPE wormhole_one_a_total counter\n\
                        wormhole_one_a_total 3\n\
                        # HELP wormhole_two_b Others.\n# TYPE wormhole_two_b gauge\n\
                        wormhole_two_b 1\n\
                        # HELP wormhole_two_c_total More.\n# TYPE wormhole_two_c_total counter\n\
                        wormhole_two_c_total 2\n";
        assert_eq!(metrics.render(), expected);
    }
}
