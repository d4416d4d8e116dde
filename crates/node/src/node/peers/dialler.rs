//! Whom to call, and when. It opens no link itself.
//!
//! Static peers are called again whenever their link is lost, after a pause that grows as long as
//! they cannot be reached or part at once. So are nodes that discovery found (`found`), while we have
//! called fewer than half of the peers we may have: the rest is for those who call us, and no more
//! than that (`roster`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;
use wormhole_whisper::devp2p::{enode::Enode, key::NodeId};

use super::candidates::Candidates;

/// Whom to call, and when.
#[derive(Debug, Default)]
pub(in crate::node) struct Dialler {
    statics: BTreeMap<NodeId, Static>,
    found: Candidates,
    /// Those whom we are calling.
    calling: Vec<NodeId>,
}

#[derive(Debug)]
struct Static {
    address: SocketAddr,
    state: State,
    /// The next pause.
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Its link is there, or is being opened.
    Busy,
    /// To be called at this time.
    Due(Instant),
}

/// How many there are already.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct PeerCounts {
    /// Peers that we called.
    pub(in crate::node) called: usize,
    /// All peers that count.
    pub(in crate::node) taken: usize,
    /// Most peers.
    pub(in crate::node) most: usize,
}

impl Dialler {
    /// Adds a static peer. Returns whether it is new, or `None` if there are too many or it has no
    /// address.
    pub(in crate::node) fn add_static(
        &mut self,
        now: Instant,
        enode: &Enode,
        busy: bool,
    ) -> Option<bool> {
        let endpoint = enode.endpoint.filter(|endpoint| endpoint.tcp != 0)?;
        if self.statics.len() >= MAX_STATIC && !self.statics.contains_key(&enode.id) {
            return None;
        }
        let address = endpoint.tcp_address();
        if let Some(known) = self.statics.get_mut(&enode.id)
            && matches!(known.state, State::Busy)
        {
            known.address = address;
            return Some(false);
        }
        let state = if busy { State::Busy } else { State::Due(now) };
        let added = Static { address, state, pause: FIRST_PAUSE };
        Some(self.statics.insert(enode.id, added).is_none())
    }

    /// Calls a static peer no more. Returns whether it was one.
    pub(in crate::node) fn remove_static(&mut self, id: &NodeId) -> bool {
        self.statics.remove(id).is_some()
    }

    /// Whether a node is a static peer.
    pub(in crate::node) fn is_static(&self, id: &NodeId) -> bool {
        self.statics.contains_key(id)
    }

    /// Discovery has found a node, or offers it again.
    pub(in crate::node) fn found(&mut self, now: Instant, enode: &Enode, rng: &mut impl RngCore) {
        let Some(endpoint) = enode.endpoint.filter(|endpoint| endpoint.tcp != 0) else { return };
        if !self.is_static(&enode.id) {
            self.found.offer(now, enode.id, endpoint.tcp_address(), rng);
        }
    }

    /// The next one to call now, and where. `skip` tells whom not to call.
    pub(in crate::node) fn next(
        &mut self,
        now: Instant,
        places: PeerCounts,
        rng: &mut impl RngCore,
        skip: impl Fn(&NodeId) -> bool,
    ) -> Option<(NodeId, SocketAddr)> {
        if self.calling.len() >= MAX_CALLS {
            return None;
        }
        let due = |state: State| matches!(state, State::Due(at) if now >= at);
        let calling = &self.calling;
        let mut statics = self.statics.iter_mut();
        let next = statics.find(|(id, it)| due(it.state) && !calling.contains(id));
        if let Some((id, peer)) = next {
            peer.state = State::Busy;
            self.calling.push(*id);
            return Some((*id, peer.address));
        }
        while self.wants_found(places) {
            let (id, address) = self.found.draw(rng)?;
            if !skip(&id) && !self.calling.contains(&id) {
                self.found.call(now, id);
                self.calling.push(id);
                return Some((id, address));
            }
        }
        None
    }

    /// Whether nodes that are not static would be called.
    pub(in crate::node) fn wants_found(&self, places: PeerCounts) -> bool {
        let calling = self.calling.len();
        places.called + calling < share(places.most) && places.taken + calling < places.most
    }

    /// The call has led to a peer, or to nothing.
    pub(in crate::node) fn called(&mut self, id: &NodeId) {
        self.calling.retain(|other| other != id);
    }

    /// The link of a node is gone, or there was none, after it was a peer for `lasted`.
    pub(in crate::node) fn lost(
        &mut self,
        now: Instant,
        id: &NodeId,
        lasted: Duration,
        rng: &mut impl RngCore,
    ) {
        let Some(peer) = self.statics.get_mut(id) else {
            self.found.lost(now, id, lasted, rng);
            return;
        };
        if lasted >= LONG {
            peer.pause = FIRST_PAUSE;
        }
        peer.state = State::Due(now + vary(peer.pause, rng));
        peer.pause = (peer.pause * 2).min(LONGEST_PAUSE);
    }

    /// A node has called us itself.
    pub(in crate::node) fn came(&mut self, id: &NodeId) {
        if let Some(peer) = self.statics.get_mut(id) {
            peer.state = State::Busy;
        }
    }

    /// When [`Dialler::next`] may have something new because time has passed.
    pub(in crate::node) fn deadline(&self) -> Option<Instant> {
        let due = self.statics.iter().filter_map(|(id, peer)| match peer.state {
            State::Due(at) if !self.calling.contains(id) => Some(at),
            State::Busy | State::Due(_) => None,
        });
        due.min().filter(|_| self.calling.len() < MAX_CALLS)
    }
}

/// Of so many peers, how many we want to call ourselves: whoever calls us may be anybody.
pub(in crate::node) const fn share(most: usize) -> usize {
    most.div_ceil(2)
}

/// A pause, and up to a quarter more, so that two nodes do not call each other at the same time for
/// ever.
pub(in crate::node) fn vary(pause: Duration, rng: &mut impl RngCore) -> Duration {
    pause.mul_f64(1.0 + f64::from(rng.next_u32()) / f64::from(u32::MAX) / 4.0)
}

/// Most calls at the same time.
const MAX_CALLS: usize = 16;

/// Most static peers.
const MAX_STATIC: usize = 1000;

/// Pause before the second call.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two calls.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A link that lasted so long was a good one.
pub(in crate::node) const LONG: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
    use wormhole_whisper::devp2p::enode::Endpoint;

    use super::*;

    fn enode(number: u8) -> Enode {
        let ip = Ipv4Addr::new(192, 0, 2, number).into();
        Enode { id: NodeId([number; 64]), endpoint: Some(Endpoint { ip, tcp: 30303, udp: 0 }) }
    }

    fn rng() -> ChaCha12Rng {
        ChaCha12Rng::seed_from_u64(1)
    }

    fn places(called: usize, taken: usize) -> PeerCounts {
        PeerCounts { called, taken, most: 4 }
    }

    #[test]
    fn a_static_peer_is_called_again_after_growing_pauses() {
        let (mut dialler, mut now, mut rng) = (Dialler::default(), Instant::now(), rng());
        let id = enode(1).id;
        assert_eq!(dialler.add_static(now, &enode(1), false), Some(true));
        assert_eq!(dialler.add_static(now, &enode(1), false), Some(false));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            // Whether there are places does not matter.
            assert!(dialler.next(now, places(9, 9), &mut rng, |_| true).is_some());
            assert!(dialler.next(now, places(9, 9), &mut rng, |_| true).is_none());
            dialler.called(&id);
            dialler.lost(now, &id, Duration::ZERO, &mut rng);
            let due = dialler.deadline().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert!(pauses.is_sorted() && pauses[0] == 1 && pauses[8] >= 120, "{pauses:?}");
        dialler.lost(now, &id, LONG, &mut rng);
        assert!(dialler.deadline().unwrap() - now < 2 * FIRST_PAUSE);
    }

    #[test]
    fn a_static_peer_that_is_here_is_not_called() {
        let (mut dialler, now) = (Dialler::default(), Instant::now());
        dialler.add_static(now, &enode(1), false);
        dialler.came(&enode(1).id);
        assert!(dialler.next(now, places(0, 1), &mut rng(), |_| false).is_none());
        assert_eq!(dialler.deadline(), None);
        assert!(dialler.remove_static(&enode(1).id));
    }

    #[test]
    fn whoever_is_added_while_it_is_being_called_is_not_due_at_once() {
        let (now, mut rng) = (Instant::now(), rng());
        for found in [true, false] {
            let mut dialler = Dialler::default();
            match found {
                true => dialler.found(now, &enode(1), &mut rng),
                false => assert!(dialler.add_static(now, &enode(1), false).is_some()),
            }
            assert!(dialler.next(now, places(0, 0), &mut rng, |_| false).is_some());
            assert_eq!(dialler.add_static(now, &enode(1), false), Some(found));
            assert_eq!(dialler.next(now, places(0, 0), &mut rng, |_| false), None);
            assert_eq!(dialler.deadline(), None);
            dialler.called(&enode(1).id);
            dialler.lost(now, &enode(1).id, Duration::ZERO, &mut rng);
            assert!(dialler.deadline().unwrap() > now);
        }
    }

    #[test]
    fn found_nodes_fill_half_of_the_places() {
        let (mut dialler, now, mut rng) = (Dialler::default(), Instant::now(), rng());
        (1..=9).for_each(|number| dialler.found(now, &enode(number), &mut rng));
        let skip = |id: &NodeId| *id == enode(1).id;
        let (first, _) = dialler.next(now, places(0, 0), &mut rng, skip).unwrap();
        let (second, _) = dialler.next(now, places(0, 0), &mut rng, skip).unwrap();
        assert!(first != second && !skip(&first) && !skip(&second));
        assert_eq!(dialler.next(now, places(0, 0), &mut rng, skip), None);
        dialler.called(&second);
        assert_eq!(dialler.next(now, places(0, 3), &mut rng, skip), None);
        assert!(dialler.next(now, places(0, 0), &mut rng, skip).is_some());
    }

    #[test]
    fn a_found_node_that_was_lost_is_called_again_when_it_is_offered_again() {
        let (mut dialler, now, mut rng) = (Dialler::default(), Instant::now(), rng());
        let mut call = |now| {
            dialler.found(now, &enode(1), &mut rng);
            let (id, _) = dialler.next(now, places(0, 0), &mut rng, |_| false)?;
            dialler.called(&id);
            dialler.lost(now, &id, LONG, &mut rng);
            Some(id)
        };
        assert_eq!(call(now), Some(enode(1).id));
        assert_eq!(call(now + Duration::from_secs(10)), None);
        assert_eq!(call(now + LONG), Some(enode(1).id));
    }

    #[test]
    fn a_node_without_an_address_cannot_be_called() {
        let mut dialler = Dialler::default();
        let nowhere = Enode { endpoint: None, ..enode(1) };
        assert_eq!(dialler.add_static(Instant::now(), &nowhere, false), None);
        dialler.found(Instant::now(), &nowhere, &mut rng());
        assert_eq!(dialler.next(Instant::now(), places(0, 0), &mut rng(), |_| false), None);
    }
}
