//! Nodes that discovery found, and when each of them may be called.
//!
//! Discovery offers the same nodes again and again, as long as more peers are wanted. Each is called
//! again after a pause that grows as long as it cannot be reached or parts at once. Who comes next
//! is drawn: whoever makes up new names all the time must not keep those out who have had theirs
//! for long.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;
use wormhole_whisper::devp2p::key::NodeId;

use super::dialler::{LONG, vary};

/// Nodes that discovery found.
#[derive(Debug, Default)]
pub(in crate::node) struct Candidates {
    waiting: Vec<(NodeId, SocketAddr)>,
    called: HashMap<NodeId, Called>,
}

/// A node that was called before.
#[derive(Clone, Copy, Debug)]
struct Called {
    /// When it may be called again.
    again: Instant,
    /// The next pause.
    pause: Duration,
}

impl Candidates {
    /// Lets a node wait to be called, unless it was called only lately.
    pub(in crate::node) fn offer(
        &mut self,
        now: Instant,
        id: NodeId,
        address: SocketAddr,
        rng: &mut impl RngCore,
    ) {
        if self.called.get(&id).is_some_and(|called| now < called.again) {
            return;
        }
        // It may have moved.
        self.waiting.retain(|(other, _)| *other != id);
        if self.waiting.len() >= MAX_WAITING {
            draw(&mut self.waiting, rng);
        }
        self.waiting.push((id, address));
    }

    /// Draws the next one to call.
    pub(in crate::node) fn draw(&mut self, rng: &mut impl RngCore) -> Option<(NodeId, SocketAddr)> {
        draw(&mut self.waiting, rng)
    }

    /// A node is being called.
    pub(in crate::node) fn call(&mut self, now: Instant, id: NodeId) {
        if self.called.len() >= MAX_CALLED && !self.called.contains_key(&id) {
            self.forget_one();
        }
        let called = self.called.entry(id).or_insert(Called { again: now, pause: FIRST_PAUSE });
        called.again = now + called.pause;
    }

    /// The call of a node has led to nothing, or to a link that is gone after `lasted`.
    pub(in crate::node) fn lost(
        &mut self,
        now: Instant,
        id: &NodeId,
        lasted: Duration,
        rng: &mut impl RngCore,
    ) {
        let Some(called) = self.called.get_mut(id) else { return };
        if lasted >= LONG {
            called.pause = FIRST_PAUSE;
        }
        called.again = now + vary(called.pause, rng);
        called.pause = (called.pause * 2).min(LONGEST_PAUSE);
    }

    /// Forgets the one that may be called again first.
    fn forget_one(&mut self) {
        let first = self.called.iter().min_by_key(|(_, called)| called.again);
        if let Some(id) = first.map(|(id, _)| *id) {
            self.called.remove(&id);
        }
    }
}

/// Takes one of them out, any.
pub(in crate::node) fn draw<T>(of: &mut Vec<T>, rng: &mut impl RngCore) -> Option<T> {
    let random = usize::try_from(rng.next_u32()).unwrap_or_default();
    let place = random.checked_rem(of.len())?;
    Some(of.swap_remove(place))
}

/// Most nodes that wait to be called.
const MAX_WAITING: usize = 256;

/// Most nodes whose calls are remembered.
const MAX_CALLED: usize = 1024;

/// Pause before the second call. As in go-ethereum.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause between two calls.
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
    fn who_was_lost_is_called_again_after_growing_pauses() {
        let (mut found, mut now, mut rng) = (Candidates::default(), Instant::now(), rng());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            found.offer(now, id(1), address(1), &mut rng);
            assert_eq!(found.draw(&mut rng), Some((id(1), address(1))));
            found.call(now, id(1));
            found.lost(now, &id(1), Duration::ZERO, &mut rng);
            let again = found.called[&id(1)].again;
            found.offer(again - Duration::from_millis(1), id(1), address(1), &mut rng);
            assert_eq!(found.draw(&mut rng), None);
            pauses.push(again - now);
            now = again;
        }
        assert!(pauses[0] >= FIRST_PAUSE && pauses[0] < 2 * FIRST_PAUSE, "{pauses:?}");
        assert!(pauses[6] >= LONGEST_PAUSE && pauses[6] < 2 * LONGEST_PAUSE, "{pauses:?}");
        found.lost(now, &id(1), LONG, &mut rng);
        assert!(found.called[&id(1)].again - now < 2 * FIRST_PAUSE);
    }

    #[test]
    fn who_has_moved_is_called_where_it_is_now() {
        let (mut found, now, mut rng) = (Candidates::default(), Instant::now(), rng());
        found.offer(now, id(1), address(1), &mut rng);
        found.offer(now, id(1), address(2), &mut rng);
        assert_eq!(found.draw(&mut rng), Some((id(1), address(2))));
        assert_eq!(found.draw(&mut rng), None);
    }

    #[test]
    fn new_names_without_number_take_their_share_of_calls_and_memory_and_no_more() {
        let (mut found, now, mut rng) = (Candidates::default(), Instant::now(), rng());
        let (mut names, mut honest) = (1000.., 0);
        for _ in 0..2000 {
            for name in names.by_ref().take(100) {
                found.offer(now, id(name), address(name), &mut rng);
            }
            (0..100).for_each(|number| found.offer(now, id(number), address(number), &mut rng));
            let (drawn, _) = found.draw(&mut rng).unwrap();
            honest += u32::from((0..100).any(|number| drawn == id(number)));
            found.call(now, id(names.next().unwrap()));
        }
        // Of 256 who wait, about a hundred are known for long.
        assert!((600..1000).contains(&honest), "{honest} of 2000");
        assert_eq!((found.waiting.len(), found.called.len()), (MAX_WAITING - 1, MAX_CALLED));
    }
}
