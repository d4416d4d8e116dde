//! Counters in the Prometheus text format, gathered from every service of the process.
//!
//! Numbers only: nothing here can name a user, a mailbox or an address.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Appends one service's counters to the page.
type Source = Box<dyn Fn(&mut String) + Send + Sync>;

/// Everyone who has counters to show.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Vec<Source>>);

impl Metrics {
    /// Adds a source; it is asked whenever somebody reads the metrics.
    pub(crate) fn register(&self, source: impl Fn(&mut String) + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// The page served as `/metrics`.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        for source in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
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

/// Appends one metric of a `kind` (`counter`, `gauge`) with its help line.
pub(crate) fn write(page: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    use fmt::Write;
    // Writing to a string cannot fail.
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_source_in_the_text_format() {
        let metrics = Metrics::default();
        metrics.register(|page| write(page, "a_total", "counter", "Things.", 3));
        metrics.register(|page| write(page, "b", "gauge", "Others.", 0));
        let page = metrics.render();
        assert!(page.starts_with("# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n"));
        assert!(page.ends_with("b 0\n"));
    }
}
