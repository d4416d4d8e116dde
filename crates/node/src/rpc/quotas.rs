//! Limits the keys and filters of each network, so that one network cannot use up all of them.
//!
//! Clients on this computer have no limit of their own; its owner can restart the node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The ids of all keys, or of all filters, that clients have created, by network.
#[derive(Debug)]
pub(super) struct Quotas<I> {
    networks: Arc<Mutex<HashMap<IpAddr, Quota<I>>>>,
    /// Maximum number of ids of one network.
    limit: usize,
}

/// The ids of one network. Some may not exist any more.
#[derive(Debug)]
struct Quota<I> {
    ids: Vec<I>,
    /// When the network last created something.
    used: Instant,
    /// When ids that do not exist any more were last removed.
    checked: Option<Instant>,
}

impl<I> Clone for Quotas<I> {
    fn clone(&self) -> Self {
        Self { networks: Arc::clone(&self.networks), limit: self.limit }
    }
}

impl<I: Clone> Quotas<I> {
    /// One network may have half of `total`.
    pub(super) fn of(total: usize) -> Self {
        Self { networks: Arc::default(), limit: total / 2 }
    }

    /// Whether a network may create something. `existing` returns the ids that still exist.
    pub(super) async fn have_room(
        &self,
        network: Option<IpAddr>,
        now: Instant,
        existing: impl AsyncFnOnce(Vec<I>) -> Vec<I>,
    ) -> bool {
        let Some(ids) = self.to_check(network, now) else { return true };
        if ids.is_empty() {
            return false;
        }
        let ids = existing(ids).await;
        let mut networks = self.lock();
        let Some(quota) = network.and_then(|network| networks.get_mut(&network)) else {
            return true;
        };
        quota.ids = ids;
        quota.ids.len() < self.limit
    }

    /// The ids of a network that has reached its limit. Empty if they were checked just now.
    fn to_check(&self, network: Option<IpAddr>, now: Instant) -> Option<Vec<I>> {
        let mut networks = self.lock();
        let quota = networks.get_mut(&network.filter(|it| !it.is_loopback())?)?;
        if quota.ids.len() < self.limit {
            return None;
        }
        let is_recent = |checked| now.saturating_duration_since(checked) < PAUSE;
        if quota.checked.is_some_and(is_recent) {
            return Some(Vec::new());
        }
        quota.checked = Some(now);
        Some(quota.ids.clone())
    }

    /// A network has created something.
    pub(super) fn add(&self, network: Option<IpAddr>, now: Instant, id: I) {
        let Some(network) = network.filter(|network| !network.is_loopback()) else { return };
        let mut networks = self.lock();
        if networks.len() >= MAX_NETWORKS && !networks.contains_key(&network) {
            forget_idle(&mut networks, now);
        }
        let new = || Quota { ids: Vec::new(), used: now, checked: None };
        let quota = networks.entry(network).or_insert_with(new);
        quota.used = now;
        quota.ids.push(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Quota<I>>> {
        // Nothing panics while it holds the lock.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the networks that have created nothing for the longest time: a quarter of all.
fn forget_idle<I>(networks: &mut HashMap<IpAddr, Quota<I>>, now: Instant) {
    let idle = |quota: &Quota<I>| now.saturating_duration_since(quota.used);
    let mut times: Vec<_> = networks.values().map(idle).collect();
    let (_, longest, _) = times.select_nth_unstable(3 * MAX_NETWORKS / 4);
    let longest = *longest;
    let mut excess = networks.len() - 3 * MAX_NETWORKS / 4;
    networks.retain(|_, quota| {
        let keep = excess == 0 || idle(quota) < longest;
        excess -= usize::from(!keep);
        keep
    });
}

/// Pause between two checks which ids of a network still exist.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of networks that are counted. When there are more, the idle ones are forgotten.
const MAX_NETWORKS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Creates ids until there is no room. Returns how many.
    async fn fill(quotas: &Quotas<u32>, network: Option<IpAddr>, now: Instant) -> u32 {
        let mut created = 0;
        while created < 100 && quotas.have_room(network, now, async |all| all).await {
            quotas.add(network, now, created);
            created += 1;
        }
        created
    }

    #[tokio::test]
    async fn one_network_leaves_room_for_others() {
        let (quotas, now) = (Quotas::of(10), Instant::now());
        let [one, other] = [1, 2].map(|host| Some(Ipv4Addr::new(192, 0, 2, host).into()));
        assert_eq!(fill(&quotas, one, now).await, 5);
        assert_eq!(fill(&quotas, other, now).await, 5);
        // Deleted and expired ids make room, but the check is not repeated at once.
        let odd = async |all: Vec<u32>| all.into_iter().filter(|it| it % 2 == 1).collect();
        assert!(!quotas.have_room(one, now, odd).await);
        assert!(quotas.have_room(one, now + PAUSE, odd).await);
        assert_eq!(fill(&quotas, one, now + PAUSE).await, 3);
    }

    #[tokio::test]
    async fn clients_of_this_computer_have_no_limit() {
        let (quotas, now) = (Quotas::of(10), Instant::now());
        for network in [None, Some(Ipv4Addr::LOCALHOST.into())] {
            assert_eq!(fill(&quotas, network, now).await, 100);
        }
    }

    #[test]
    fn only_idle_networks_are_forgotten_when_there_are_many() {
        let (quotas, begin) = (Quotas::of(10), Instant::now());
        let network = |number: usize| {
            Some(IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 | u32::try_from(number).unwrap())))
        };
        // The first one keeps creating, all others do so once.
        for number in 0..=MAX_NETWORKS {
            let now = begin + Duration::from_secs(u64::try_from(number).unwrap());
            quotas.add(network(0), now, 1);
            quotas.add(network(number), now, 1);
        }
        let networks = quotas.lock();
        assert_eq!(networks.len(), 3 * MAX_NETWORKS / 4 + 1);
        assert!(networks.contains_key(&network(0).unwrap()));
        assert!(!networks.contains_key(&network(1).unwrap()));
        assert!(networks.contains_key(&network(MAX_NETWORKS).unwrap()));
    }
}
