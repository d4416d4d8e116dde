//! What the clients of each network hold: keys and filters. One network cannot use up all of them.
//!
//! Clients of this computer quota everything: they have no network of their own, and its owner can
//! restart the node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The things of one kind that clients have created, by network.
#[derive(Debug)]
pub(super) struct Quotas<I> {
    networks: Arc<Mutex<HashMap<IpAddr, Quota<I>>>>,
    /// Most things of one network.
    most: usize,
}

/// The things of one network. Some may not exist any more.
#[derive(Debug)]
struct Quota<I> {
    things: Vec<I>,
    /// When those that do not exist any more were last removed.
    checked: Option<Instant>,
}

impl<I> Clone for Quotas<I> {
    fn clone(&self) -> Self {
        Self { networks: Arc::clone(&self.networks), most: self.most }
    }
}

impl<I: Clone> Quotas<I> {
    /// One network may have half of `total`.
    pub(super) fn of(total: usize) -> Self {
        Self { networks: Arc::default(), most: total / 2 }
    }

    /// Whether a network may create another thing. `existing` returns those things that still exist.
    pub(super) async fn have_room(
        &self,
        network: Option<IpAddr>,
        now: Instant,
        existing: impl AsyncFnOnce(Vec<I>) -> Vec<I>,
    ) -> bool {
        let Some(things) = self.to_check(network, now) else { return true };
        if things.is_empty() {
            return false;
        }
        let things = existing(things).await;
        let mut networks = self.lock();
        let Some(quota) = network.and_then(|network| networks.get_mut(&network)) else {
            return true;
        };
        quota.things = things;
        quota.things.len() < self.most
    }

    /// The things of a network that has too many. None of them if they were checked just now.
    fn to_check(&self, network: Option<IpAddr>, now: Instant) -> Option<Vec<I>> {
        let mut networks = self.lock();
        let quota = networks.get_mut(&network.filter(|it| !it.is_loopback())?)?;
        if quota.things.len() < self.most {
            return None;
        }
        let is_recent = |checked| now.saturating_duration_since(checked) < PAUSE;
        if quota.checked.is_some_and(is_recent) {
            return Some(Vec::new());
        }
        quota.checked = Some(now);
        Some(quota.things.clone())
    }

    /// A network has created a thing.
    pub(super) fn add(&self, network: Option<IpAddr>, thing: I) {
        let Some(network) = network.filter(|network| !network.is_loopback()) else { return };
        let mut networks = self.lock();
        if networks.len() >= MAX_NETWORKS && !networks.contains_key(&network) {
            // So many networks with tokens are no single client: nobody is counted any more.
            networks.clear();
        }
        let new = || Quota { things: Vec::new(), checked: None };
        networks.entry(network).or_insert_with(new).things.push(thing);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Quota<I>>> {
        // Nothing panics while it holds the lock.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pause between two checks of which things of a network still exist.
const PAUSE: Duration = Duration::from_secs(1);

/// Most networks that are counted.
const MAX_NETWORKS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Creates things until there is no room. Returns how many.
    async fn fill(quotas: &Quotas<u32>, network: Option<IpAddr>, now: Instant) -> u32 {
        let mut created = 0;
        while created < 100 && quotas.have_room(network, now, async |all| all).await {
            quotas.add(network, created);
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
        // Things that were deleted or have expired make room, but nobody can make us look all the time.
        let odd = async |all: Vec<u32>| all.into_iter().filter(|it| it % 2 == 1).collect();
        assert!(!quotas.have_room(one, now, odd).await);
        assert!(quotas.have_room(one, now + PAUSE, odd).await);
        assert_eq!(fill(&quotas, one, now + PAUSE).await, 3);
    }

    #[tokio::test]
    async fn clients_of_this_computer_share_everything() {
        let (quotas, now) = (Quotas::of(10), Instant::now());
        for network in [None, Some(Ipv4Addr::LOCALHOST.into())] {
            assert_eq!(fill(&quotas, network, now).await, 100);
        }
    }
}
