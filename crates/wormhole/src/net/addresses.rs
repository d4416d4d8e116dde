//! The addresses of this computer, and when they change.
//!
//! Systems do not end a connection whose own address has gone: its packets are lost until the protocol notices the
//! silence. They announce changes in different ways, so this module asks from time to time, which works everywhere.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// Notices changes of the addresses of this computer.
#[derive(Debug)]
pub(crate) struct AddressWatch {
    known: BTreeSet<IpAddr>,
    /// When to ask again.
    next: tokio::time::Instant,
}

impl AddressWatch {
    /// Watches from now on.
    pub(crate) fn new() -> Self {
        let (known, pause) = measured();
        Self { known: known.unwrap_or_default(), next: tokio::time::Instant::now() + pause }
    }

    /// Waits until the addresses have changed, and returns the new ones. Cancelling loses nothing.
    pub(crate) async fn changed(&mut self) -> BTreeSet<IpAddr> {
        loop {
            sleep_until(self.next).await;
            let (now, pause) = measured();
            self.next = tokio::time::Instant::now() + pause;
            if let Some(now) = now.filter(|now| *now != self.known) {
                self.known.clone_from(&now);
                return now;
            }
        }
    }
}

/// All addresses of this computer; `None` if the system does not tell.
pub(crate) fn addresses() -> Option<BTreeSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    Some(interfaces.into_iter().map(|interface| interface.ip()).collect())
}

/// The addresses, and the pause until the next question: it is longer on computers with many interfaces, so that the
/// questions take 0.5 % of the time at most.
fn measured() -> (Option<BTreeSet<IpAddr>>, Duration) {
    let start = Instant::now();
    let addresses = addresses();
    (addresses, PAUSE.max(start.elapsed() * 200).min(MAX_PAUSE))
}

/// Minimum time between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// Maximum time between two questions.
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn this_computer_has_the_address_of_its_loopback_interface() {
        assert!(addresses().unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unchanged_computer_reports_nothing_even_if_the_watch_is_cancelled_again_and_again()
    {
        let mut watch = AddressWatch::new();
        let short = PAUSE / 10;
        for _ in 0..100 {
            assert!(tokio::time::timeout(short, watch.changed()).await.is_err());
        }
        // It has not always started from the beginning: a computer with other addresses is noticed.
        watch.known.clear();
        assert!(tokio::time::timeout(MAX_PAUSE * 2, watch.changed()).await.is_ok());
    }
}
