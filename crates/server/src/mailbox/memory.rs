//! Returns the memory of peaks to the system.

use std::time::Duration;

use super::counters::Counters;
use super::hub::Hub;
use crate::memory::MemoryBudget;

/// Makes the store's thread return unused memory to the system after clients have used much more memory than now, or
/// after many links have been closed. Never ends.
pub(super) async fn release_after_peaks(budget: &MemoryBudget, counters: &Counters, hub: &Hub) {
    let (mut releases, mut most_links) = (0_u8, 0);
    loop {
        tokio::time::sleep(RELEASE_PERIOD).await;
        let (peak, links) = (budget.take_peak(), counters.links());
        most_links = links.max(most_links);
        if peak.saturating_sub(budget.used()) >= MIN_FREED_BYTES
            || most_links.saturating_sub(links) >= MIN_CLOSED_LINKS
        {
            (releases, most_links) = (RELEASES_PER_PEAK, links);
        }
        if let Some(left) = releases.checked_sub(1) {
            releases = left;
            hub.release_memory();
        }
    }
}

/// Number of times that memory is released after a peak: data that is still in use at first is freed a little later.
const RELEASES_PER_PEAK: u8 = 3;

/// Interval between two checks for a peak.
const RELEASE_PERIOD: Duration = Duration::from_secs(2);

/// Number of freed bytes that justifies trimming the heap.
const MIN_FREED_BYTES: usize = 1 << 20;

/// Number of closed links that justifies trimming the heap.
const MIN_CLOSED_LINKS: u64 = 256;
