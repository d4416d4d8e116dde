//! What a process has used, and statistics.

use std::time::Duration;

/// What a process has used so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Seconds on a core.
    pub(crate) cpu: f64,
    /// Resident memory.
    pub(crate) kib: f64,
}

impl Usage {
    /// Reads it from `/proc`; zero on systems without it.
    pub(crate) fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        // Fields 14 and 15 of the line are user and system time; the name ends field 2.
        let ticks = fields.split_whitespace().skip(11).take(2);
        let cpu = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Self { cpu, kib: kib.unwrap_or_default() }
    }
}

/// A percentile, in milliseconds.
pub(crate) fn percentile(times: &mut [Duration], share: f64) -> Option<f64> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    let at = ((times.len() as f64 * share) as usize).min(last);
    times.get(at).map(|time| rounded(time.as_secs_f64() * 1000.0))
}

/// With two digits after the point.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Clock ticks per second in which Linux counts CPU time.
const TICKS: f64 = 100.0;
