//! Nodes that discovery found, and when each of them may be dialled.
//!
//! Discovery finds the same nodes again and again while more peers are wanted. Each is dialled again after
//! a pause that grows as long as it cannot be reached, or disconnects soon. The next node to dial is
//! chosen at random, so that an attacker with many new node ids cannot displace nodes known for long.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;
use wormhole_whisper::devp2p::key::NodeId;

use super::dialler::{STABLE, with_jitter};

/// Nodes that discovery found.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    waiting: Vec<(NodeId, SocketAddr)>,
    attempts: HashMap<NodeId, Attempt>,
}

/// The last attempt to connect to a node.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// When the node may be dialled again.
    again: Instant,
    /// The next pause.
    pause: Duration,
}

impl Candidates {
    /// Adds a node to dial, unless it was dialled recently.
    pub(super) fn add(
        &mut self,
        now: Instant,
        id: NodeId,
        address: SocketAddr,
        rng: &mut impl RngCore,
    ) {
        if self.attempts.get(&id).is_some_and(|attempt| now < attempt.again) {
            return;
        }
        // Its address may have changed.
        self.waiting.retain(|(other, _)| *other != id);
        if self.waiting.len() >= MAX_WAITING {
            take_random(&mut self.waiting, rng);
        }
        self.waiting.push((id, address));
    }

    /// Takes a random node to dial.
    pub(super) fn take(&mut self, rng: &mut impl RngCore) -> Option<(NodeId, SocketAddr)> {
        take_random(&mut self.waiting, rng)
    }

    /// A node is being dialled.
    pub(super) fn dialled(&mut self, now: Instant, id: NodeId) {
        if self.attempts.len() >= MAX_ATTEMPTS && !self.attempts.contains_key(&id) {
            self.forget_one();
        }
        let new = Attempt { again: now, pause: FIRST_PAUSE };
        let attempt = self.attempts.entry(id).or_insert(new);
        attempt.again = now + attempt.pause;
    }

    /// The link of a node was lost after `lasted`, or could not be opened.
    pub(super) fn link_lost(
        &mut self,
        now: Instant,
        id: &NodeId,
        lasted: Duration,
        rng: &mut impl RngCore,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        if lasted >= STABLE {
            attempt.pause = FIRST_PAUSE;
        }
        attempt.again = now + with_jitter(attempt.pause, rng);
        attempt.pause = (attempt.pause * 2).min(LONGEST_PAUSE);
    }

    /// Forgets the node that may be dialled again first.
    fn forget_one(&mut self) {
        let first = self.attempts.iter().min_by_key(|(_, attempt)| attempt.again);
        if let Some(id) = first.map(|(id, _)| *id) {
            self.attempts.remove(&id);
        }
    }
}

/// Removes a random element.
pub(in crate::node) fn take_random<T>(from: &mut Vec<T>, rng: &mut impl RngCore) -> Option<T> {
    let random = usize::try_from(rng.next_u32()).unwrap_or_default();
    let index = random.checked_rem(from.len())?;
    Some(from.swap_remove(index))
}

/// Maximum number of nodes that wait to be dialled.
const MAX_WAITING: usize = 256;

/// Maximum number of attempts that are remembered.
const MAX_ATTEMPTS: usize = 1024;

/// Pause before the second attempt. As in go-ethereum.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(8 * 60);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    fn id(number: u32) -> NodeId {
        let mut id = [0; 64];
        id[..4].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    fn address(number: u32) -> SocketAddr {
        (Ipv4Addr::from_bits(number), 30303).into()
    }

    fn rng() -> ChaCha12Rng {
        ChaCha12Rng::seed_from_u64(1)
    }

    #[test]
    fn a_lost_node_is_dialled_again_after_growing_pauses() {
        let (mut candidates, mut now, mut rng) = (Candidates::default(), Instant::now(), rng());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            candidates.add(now, id(1), address(1), &mut rng);
            assert_eq!(candidates.take(&mut rng), Some((id(1), address(1))));
            candidates.dialled(now, id(1));
            candidates.link_lost(now, &id(1), Duration::ZERO, &mut rng);
            let again = candidates.attempts[&id(1)].again;
            candidates.add(again - Duration::from_millis(1), id(1), address(1), &mut rng);
            assert_eq!(candidates.take(&mut rng), None);
            pauses.push(again - now);
            now = again;
        }
        assert!(pauses[0] >= FIRST_PAUSE && pauses[0] < 2 * FIRST_PAUSE, "{pauses:?}");
        assert!(pauses[6] >= LONGEST_PAUSE && pauses[6] < 2 * LONGEST_PAUSE, "{pauses:?}");
        candidates.link_lost(now, &id(1), STABLE, &mut rng);
        assert!(candidates.attempts[&id(1)].again - now < 2 * FIRST_PAUSE);
    }

    #[test]
    fn a_node_is_dialled_at_its_latest_address() {
        let (mut candidates, now, mut rng) = (Candidates::default(), Instant::now(), rng());
        candidates.add(now, id(1), address(1), &mut rng);
        candidates.add(now, id(1), address(2), &mut rng);
        assert_eq!(candidates.take(&mut rng), Some((id(1), address(2))));
        assert_eq!(candidates.take(&mut rng), None);
    }

    #[test]
    fn a_flood_of_new_node_ids_takes_only_its_share_of_attempts_and_memory() {
        let (mut candidates, now, mut rng) = (Candidates::default(), Instant::now(), rng());
        let (mut ids, mut honest) = (1000.., 0);
        for _ in 0..2000 {
            for number in ids.by_ref().take(100) {
                candidates.add(now, id(number), address(number), &mut rng);
            }
            (0..100).for_each(|number| candidates.add(now, id(number), address(number), &mut rng));
            let (taken, _) = candidates.take(&mut rng).unwrap();
            honest += u32::from((0..100).any(|number| taken == id(number)));
            candidates.dialled(now, id(ids.next().unwrap()));
        }
        // About a hundred of the 256 waiting nodes are known for long.
        assert!((600..1000).contains(&honest), "{honest} of 2000");
        assert_eq!(
            (candidates.waiting.len(), candidates.attempts.len()),
            (MAX_WAITING - 1, MAX_ATTEMPTS)
        );
    }
}
