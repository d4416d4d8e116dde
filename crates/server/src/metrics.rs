//! Counters in the Prometheus text format, gathered from every service of the process.
//!
//! Numbers only: nothing here can name a user, a mailbox or an address. All names begin with
//! `wormhole_`; docs/self-hosting.md lists them.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};

/// Appends one service's counters to the page.
type Source = Box<dyn Fn(&mut String) + Send + Sync>;

/// Everyone who has counters to show.
#[derive(Default)]
pub(crate) struct Metrics {
    sources: Mutex<Vec<Source>>,
    has_listener: bool,
}

impl Metrics {
    /// Metrics without a source yet. If they have a listener of their own, the ports of the services
    /// do not serve them.
    pub(crate) fn new(has_listener: bool) -> Self {
        Self { sources: Mutex::default(), has_listener }
    }

    /// Whether the ports of the services do not serve the metrics.
    pub(crate) const fn has_listener(&self) -> bool {
        self.has_listener
    }

    /// Adds a source; it is asked whenever somebody reads the metrics.
    pub(crate) fn register(&self, source: impl Fn(&mut String) + Send + Sync + 'static) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// Status and page of `/metrics` at the port of a service.
    pub(crate) fn page(&self) -> (&'static str, String) {
        if self.has_listener {
            return ("404 Not Found", "not found: /metrics is at metrics-listen\n".into());
        }
        ("200 OK", self.render())
    }

    /// All counters.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut page);
        }
        page
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Appends one metric of a `kind` (`counter`, `gauge`) with its help line. The `name` is without
/// [`PREFIX`].
pub(crate) fn write(page: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    write_head(page, name, kind, help);
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(page, "{PREFIX}{name} {value}");
}

/// Appends one metric with a value for each value of its label.
pub(crate) fn write_labelled(
    page: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (String, u64)>,
) {
    write_head(page, name, kind, help);
    for (of, value) in values {
        let _ = writeln!(page, "{PREFIX}{name}{{{label}=\"{of}\"}} {value}");
    }
}

fn write_head(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(page, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n");
}

/// What the name of every metric begins with.
pub(crate) const PREFIX: &str = "wormhole_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_source_in_the_text_format() {
        let metrics = Metrics::default();
        metrics.register(|page| write(page, "a_total", "counter", "Things.", 3));
        metrics.register(|page| {
            let values = [("x".to_owned(), 1), ("y".to_owned(), 0)];
            write_labelled(page, "b", "gauge", "Others.", "kind", values.into_iter());
        });
        let expected = "# HELP wormhole_a_total Things.\n# TYPE wormhole_a_total counter\n\
                        wormhole_a_total 3\n# HELP wormhole_b Others.\n# TYPE wormhole_b gauge\n\
                        wormhole_b{kind=\"x\"} 1\nwormhole_b{kind=\"y\"} 0\n";
        assert_eq!(metrics.page(), ("200 OK", expected.into()));
    }

    #[test]
    fn services_do_not_serve_metrics_that_have_a_listener_of_their_own() {
        assert_eq!(Metrics::new(true).page().0, "404 Not Found");
    }
}
