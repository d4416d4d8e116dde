//! Whom to call, and when. It opens no link itself.
//!
//! Static peers are called again whenever their link is lost, after a pause that grows as long as
//! they cannot be reached or part at once. Nodes that discovery found are called once each, while
//! we have called fewer than half of the peers we may have: the rest is for those who call us, and no
//! more than that (`roster`).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;
use wormhole_whisper::devp2p::{enode::Enode, key::NodeId};

/// Whom to call, and when.
#[derive(Debug, Default)]
pub(super) struct Dialler {
    statics: BTreeMap<NodeId, Static>,
    found: VecDeque<(NodeId, SocketAddr)>,
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
pub(super) struct Places {
    /// Peers that we called.
    pub(super) called: usize,
    /// All peers that count.
    pub(super) taken: usize,
    /// Most peers.
    pub(super) most: usize,
}

impl Dialler {
    /// Adds a static peer. Returns whether it is new, or `None` if there are too many or it has no
    /// address.
    pub(super) fn add_static(&mut self, now: Instant, enode: &Enode, busy: bool) -> Option<bool> {
        let endpoint = enode.endpoint.filter(|endpoint| endpoint.tcp != 0)?;
        if self.statics.len() >= MAX_STATIC && !self.statics.contains_key(&enode.id) {
            return None;
        }
        let state = if busy { State::Busy } else { State::Due(now) };
        let added = Static { address: endpoint.tcp_address(), state, pause: FIRST_PAUSE };
        Some(self.statics.insert(enode.id, added).is_none())
    }

    /// Calls a static peer no more. Returns whether it was one.
    pub(super) fn remove_static(&mut self, id: &NodeId) -> bool {
        self.statics.remove(id).is_some()
    }

    /// Whether a node is a static peer.
    pub(super) fn is_static(&self, id: &NodeId) -> bool {
        self.statics.contains_key(id)
    }

    /// Discovery found a node.
    pub(super) fn found(&mut self, enode: &Enode) {
        let Some(endpoint) = enode.endpoint.filter(|endpoint| endpoint.tcp != 0) else { return };
        if self.found.iter().any(|(id, _)| *id == enode.id) || self.is_static(&enode.id) {
            return;
        }
        if self.found.len() >= MAX_FOUND {
            self.found.pop_front();
        }
        self.found.push_back((enode.id, endpoint.tcp_address()));
    }

    /// The next one to call now, and where. `skip` tells whom not to call.
    pub(super) fn next(
        &mut self,
        now: Instant,
        places: Places,
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
            let (id, address) = self.found.pop_front()?;
            if !skip(&id) && !self.calling.contains(&id) {
                self.calling.push(id);
                return Some((id, address));
            }
        }
        None
    }

    /// Whether nodes that are not static would be called.
    pub(super) fn wants_found(&self, places: Places) -> bool {
        let calling = self.calling.len();
        places.called + calling < share(places.most) && places.taken + calling < places.most
    }

    /// The call has led to a peer, or to nothing.
    pub(super) fn called(&mut self, id: &NodeId) {
        self.calling.retain(|other| other != id);
    }

    /// The link of a node is gone, or there was none, after it was a peer for `lasted`.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        id: &NodeId,
        lasted: Duration,
        rng: &mut impl RngCore,
    ) {
        let Some(peer) = self.statics.get_mut(id) else { return };
        if lasted >= LONG {
            peer.pause = FIRST_PAUSE;
        }
        // Up to a quarter more, so that two nodes do not call each other at the same time for ever.
        let more = f64::from(rng.next_u32()) / f64::from(u32::MAX) / 4.0;
        peer.state = State::Due(now + peer.pause.mul_f64(1.0 + more));
        peer.pause = (peer.pause * 2).min(LONGEST_PAUSE);
    }

    /// A node has called us itself.
    pub(super) fn came(&mut self, id: &NodeId) {
        if let Some(peer) = self.statics.get_mut(id) {
            peer.state = State::Busy;
        }
    }

    /// When [`Dialler::next`] may have something new because time has passed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.statics.values().filter_map(|peer| match peer.state {
            State::Busy => None,
            State::Due(at) => Some(at),
        });
        due.min().filter(|_| self.calling.len() < MAX_CALLS)
    }
}

/// Of so many peers, how many we want to call ourselves: whoever calls us may be anybody.
pub(super) const fn share(most: usize) -> usize {
    most.div_ceil(2)
}

/// Most calls at the same time.
const MAX_CALLS: usize = 16;

/// Most static peers.
const MAX_STATIC: usize = 1000;

/// Most nodes that discovery found and that wait to be called.
const MAX_FOUND: usize = 256;

/// Pause before the second call.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two calls.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A link that lasted so long was a good one.
const LONG: Duration = Duration::from_secs(60);

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

    fn places(called: usize, taken: usize) -> Places {
        Places { called, taken, most: 4 }
    }

    #[test]
    fn a_static_peer_is_called_again_after_growing_pauses() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let (mut dialler, mut now) = (Dialler::default(), Instant::now());
        let id = enode(1).id;
        assert_eq!(dialler.add_static(now, &enode(1), false), Some(true));
        assert_eq!(dialler.add_static(now, &enode(1), false), Some(false));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            // Whether there are places does not matter.
            assert!(dialler.next(now, places(9, 9), |_| true).is_some());
            assert!(dialler.next(now, places(9, 9), |_| true).is_none());
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
        assert!(dialler.next(now, places(0, 1), |_| false).is_none());
        assert_eq!(dialler.deadline(), None);
        assert!(dialler.remove_static(&enode(1).id));
    }

    #[test]
    fn found_nodes_are_called_once_and_fill_half_of_the_places() {
        let (mut dialler, now) = (Dialler::default(), Instant::now());
        (1..=9).for_each(|number| dialler.found(&enode(number)));
        dialler.found(&enode(1));
        let skip = |id: &NodeId| *id == enode(1).id;
        assert_eq!(dialler.next(now, places(0, 0), skip).unwrap().0, enode(2).id);
        assert_eq!(dialler.next(now, places(0, 0), skip).unwrap().0, enode(3).id);
        assert_eq!(dialler.next(now, places(0, 0), skip), None);
        dialler.called(&enode(2).id);
        assert_eq!(dialler.next(now, places(0, 3), skip), None);
        assert_eq!(dialler.next(now, places(0, 0), skip).unwrap().0, enode(4).id);
        (10..=200).cycle().take(1000).for_each(|number| dialler.found(&enode(number)));
        assert!(dialler.found.len() <= MAX_FOUND);
    }

    #[test]
    fn a_node_without_an_address_cannot_be_called() {
        let mut dialler = Dialler::default();
        let nowhere = Enode { endpoint: None, ..enode(1) };
        assert_eq!(dialler.add_static(Instant::now(), &nowhere, false), None);
        dialler.found(&nowhere);
        assert!(dialler.found.is_empty());
    }
}
