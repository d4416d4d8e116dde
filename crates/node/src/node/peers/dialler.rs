//! Decides which nodes to dial, and when. It opens no link itself.
//!
//! Static peers are dialled again whenever their link is lost. The pause grows as long as they cannot be
//! reached, or disconnect soon. Nodes that discovery found (`candidates`) are dialled while fewer than
//! half of the allowed peers are outbound; the other half is for inbound peers (`table`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;
use wormhole_whisper::devp2p::{enode::Enode, key::NodeId};

use super::candidates::Candidates;

/// Decides which nodes to dial, and when.
#[derive(Debug, Default)]
pub(super) struct Dialler {
    statics: BTreeMap<NodeId, StaticPeer>,
    candidates: Candidates,
    /// Nodes that are being dialled.
    dialling: Vec<NodeId>,
}

#[derive(Debug)]
struct StaticPeer {
    address: SocketAddr,
    state: DialState,
    /// The next pause between two attempts.
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum DialState {
    /// It is connected, or is being dialled.
    Busy,
    /// It is to be dialled at this time.
    Due(Instant),
}

/// How many peers there are, without those that count towards no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerCounts {
    /// Outbound peers.
    pub(super) outbound: usize,
    /// All peers.
    pub(super) total: usize,
    /// The most peers allowed.
    pub(super) limit: usize,
}

impl Dialler {
    /// Adds a static peer. Returns whether it is new, or `None` if there are too many or it has no
    /// address.
    pub(super) fn add_static(
        &mut self,
        now: Instant,
        enode: &Enode,
        connected: bool,
    ) -> Option<bool> {
        let endpoint = enode.endpoint.filter(|endpoint| endpoint.tcp != 0)?;
        if self.statics.len() >= MAX_STATIC && !self.statics.contains_key(&enode.id) {
            return None;
        }
        let address = endpoint.tcp_address();
        if let Some(known) = self.statics.get_mut(&enode.id)
            && matches!(known.state, DialState::Busy)
        {
            known.address = address;
            return Some(false);
        }
        let state = if connected { DialState::Busy } else { DialState::Due(now) };
        let added = StaticPeer { address, state, pause: FIRST_PAUSE };
        Some(self.statics.insert(enode.id, added).is_none())
    }

    /// Stops dialling a static peer. Returns whether it was one.
    pub(super) fn remove_static(&mut self, id: &NodeId) -> bool {
        self.statics.remove(id).is_some()
    }

    /// Whether a node is a static peer.
    pub(super) fn is_static(&self, id: &NodeId) -> bool {
        self.statics.contains_key(id)
    }

    /// Discovery has found a node, perhaps not for the first time.
    pub(super) fn discovered(&mut self, now: Instant, enode: &Enode, rng: &mut impl RngCore) {
        let Some(endpoint) = enode.endpoint.filter(|endpoint| endpoint.tcp != 0) else { return };
        if !self.is_static(&enode.id) {
            self.candidates.add(now, enode.id, endpoint.tcp_address(), rng);
        }
    }

    /// The next node to dial now, unless `skip` excludes it.
    pub(super) fn next(
        &mut self,
        now: Instant,
        counts: PeerCounts,
        rng: &mut impl RngCore,
        skip: impl Fn(&NodeId) -> bool,
    ) -> Option<(NodeId, SocketAddr)> {
        if self.dialling.len() >= MAX_DIALLING {
            return None;
        }
        let due = |state: DialState| matches!(state, DialState::Due(at) if now >= at);
        let dialling = &self.dialling;
        let mut statics = self.statics.iter_mut();
        let next = statics.find(|(id, it)| due(it.state) && !dialling.contains(id));
        if let Some((id, peer)) = next {
            peer.state = DialState::Busy;
            self.dialling.push(*id);
            return Some((*id, peer.address));
        }
        while self.wants_discovered(counts) {
            let (id, address) = self.candidates.take(rng)?;
            if !skip(&id) && !self.dialling.contains(&id) {
                self.candidates.dialled(now, id);
                self.dialling.push(id);
                return Some((id, address));
            }
        }
        None
    }

    /// Whether nodes other than static peers would be dialled.
    pub(super) fn wants_discovered(&self, counts: PeerCounts) -> bool {
        let dialling = self.dialling.len();
        counts.outbound + dialling < outbound_share(counts.limit)
            && counts.total + dialling < counts.limit
    }

    /// An attempt to connect has ended, successfully or not.
    pub(super) fn dial_ended(&mut self, id: &NodeId) {
        self.dialling.retain(|other| other != id);
    }

    /// The link of a node was lost after `lasted`, or could not be opened.
    pub(super) fn link_lost(
        &mut self,
        now: Instant,
        id: &NodeId,
        lasted: Duration,
        rng: &mut impl RngCore,
    ) {
        let Some(peer) = self.statics.get_mut(id) else {
            self.candidates.link_lost(now, id, lasted, rng);
            return;
        };
        if lasted >= STABLE {
            peer.pause = FIRST_PAUSE;
        }
        peer.state = DialState::Due(now + with_jitter(peer.pause, rng));
        peer.pause = (peer.pause * 2).min(LONGEST_PAUSE);
    }

    /// A node is connected, in either direction.
    pub(super) fn connected(&mut self, id: &NodeId) {
        if let Some(peer) = self.statics.get_mut(id) {
            peer.state = DialState::Busy;
        }
    }

    /// When [`Dialler::next`] may return something because time has passed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.statics.iter().filter_map(|(id, peer)| match peer.state {
            DialState::Due(at) if !self.dialling.contains(id) => Some(at),
            DialState::Busy | DialState::Due(_) => None,
        });
        due.min().filter(|_| self.dialling.len() < MAX_DIALLING)
    }
}

/// How many of `limit` peers should be outbound. Anybody can be an inbound peer, an attacker too.
pub(super) const fn outbound_share(limit: usize) -> usize {
    limit.div_ceil(2)
}

/// Adds up to a quarter to a pause, so that two nodes do not dial each other at the same time again and
/// again.
pub(super) fn with_jitter(pause: Duration, rng: &mut impl RngCore) -> Duration {
    pause.mul_f64(1.0 + f64::from(rng.next_u32()) / f64::from(u32::MAX) / 4.0)
}

/// Maximum number of attempts to connect at the same time.
const MAX_DIALLING: usize = 16;

/// Maximum number of static peers.
const MAX_STATIC: usize = 1000;

/// Pause before the second attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A link that lasted this long resets the pause.
pub(super) const STABLE: Duration = Duration::from_secs(60);

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

    fn counts(outbound: usize, total: usize) -> PeerCounts {
        PeerCounts { outbound, total, limit: 4 }
    }

    #[test]
    fn a_static_peer_is_dialled_again_after_growing_pauses() {
        let (mut dialler, mut now, mut rng) = (Dialler::default(), Instant::now(), rng());
        let id = enode(1).id;
        assert_eq!(dialler.add_static(now, &enode(1), false), Some(true));
        assert_eq!(dialler.add_static(now, &enode(1), false), Some(false));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            // The limit does not matter to static peers.
            assert!(dialler.next(now, counts(9, 9), &mut rng, |_| true).is_some());
            assert!(dialler.next(now, counts(9, 9), &mut rng, |_| true).is_none());
            dialler.dial_ended(&id);
            dialler.link_lost(now, &id, Duration::ZERO, &mut rng);
            let due = dialler.deadline().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert!(pauses.is_sorted() && pauses[0] == 1 && pauses[8] >= 120, "{pauses:?}");
        dialler.link_lost(now, &id, STABLE, &mut rng);
        assert!(dialler.deadline().unwrap() - now < 2 * FIRST_PAUSE);
    }

    #[test]
    fn a_connected_static_peer_is_not_dialled() {
        let (mut dialler, now) = (Dialler::default(), Instant::now());
        dialler.add_static(now, &enode(1), false);
        dialler.connected(&enode(1).id);
        assert!(dialler.next(now, counts(0, 1), &mut rng(), |_| false).is_none());
        assert_eq!(dialler.deadline(), None);
        assert!(dialler.remove_static(&enode(1).id));
    }

    #[test]
    fn a_node_added_while_it_is_being_dialled_is_not_dialled_twice() {
        let (now, mut rng) = (Instant::now(), rng());
        for found in [true, false] {
            let mut dialler = Dialler::default();
            match found {
                true => dialler.discovered(now, &enode(1), &mut rng),
                false => assert!(dialler.add_static(now, &enode(1), false).is_some()),
            }
            assert!(dialler.next(now, counts(0, 0), &mut rng, |_| false).is_some());
            assert_eq!(dialler.add_static(now, &enode(1), false), Some(found));
            assert_eq!(dialler.next(now, counts(0, 0), &mut rng, |_| false), None);
            assert_eq!(dialler.deadline(), None);
            dialler.dial_ended(&enode(1).id);
            dialler.link_lost(now, &enode(1).id, Duration::ZERO, &mut rng);
            assert!(dialler.deadline().unwrap() > now);
        }
    }

    #[test]
    fn discovered_nodes_become_at_most_half_of_the_peers() {
        let (mut dialler, now, mut rng) = (Dialler::default(), Instant::now(), rng());
        (1..=9).for_each(|number| dialler.discovered(now, &enode(number), &mut rng));
        let skip = |id: &NodeId| *id == enode(1).id;
        let (first, _) = dialler.next(now, counts(0, 0), &mut rng, skip).unwrap();
        let (second, _) = dialler.next(now, counts(0, 0), &mut rng, skip).unwrap();
        assert!(first != second && !skip(&first) && !skip(&second));
        assert_eq!(dialler.next(now, counts(0, 0), &mut rng, skip), None);
        dialler.dial_ended(&second);
        assert_eq!(dialler.next(now, counts(0, 3), &mut rng, skip), None);
        assert!(dialler.next(now, counts(0, 0), &mut rng, skip).is_some());
    }

    #[test]
    fn a_discovered_node_that_was_lost_is_dialled_again_when_it_is_found_again() {
        let (mut dialler, now, mut rng) = (Dialler::default(), Instant::now(), rng());
        let mut dial = |now| {
            dialler.discovered(now, &enode(1), &mut rng);
            let (id, _) = dialler.next(now, counts(0, 0), &mut rng, |_| false)?;
            dialler.dial_ended(&id);
            dialler.link_lost(now, &id, STABLE, &mut rng);
            Some(id)
        };
        assert_eq!(dial(now), Some(enode(1).id));
        assert_eq!(dial(now + Duration::from_secs(10)), None);
        assert_eq!(dial(now + STABLE), Some(enode(1).id));
    }

    #[test]
    fn a_node_without_an_address_cannot_be_dialled() {
        let mut dialler = Dialler::default();
        let nowhere = Enode { endpoint: None, ..enode(1) };
        assert_eq!(dialler.add_static(Instant::now(), &nowhere, false), None);
        dialler.discovered(Instant::now(), &nowhere, &mut rng());
        assert_eq!(dialler.next(Instant::now(), counts(0, 0), &mut rng(), |_| false), None);
    }
}
