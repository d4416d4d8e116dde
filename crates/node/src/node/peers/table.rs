//! Who is connected, and who may be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wormhole_kit::wider_network;
use wormhole_whisper::devp2p::{
    base::{DisconnectReason, Hello},
    key::NodeId,
};

use super::super::link::{LinkCommand, LinkId, LinkInfo, counted_address};
use super::super::{Direction, Settings};
use super::dialler::{PeerCounts, share};

/// All peers, by name and by link.
#[derive(Debug)]
pub(in crate::node) struct PeerTable {
    peers: HashMap<NodeId, ConnectedPeer>,
    names: HashMap<LinkId, NodeId>,
    most: usize,
    /// Most of those who call us: the other places are for those whom we find.
    most_inbound: usize,
    most_per_address: usize,
}

/// A peer.
#[derive(Debug)]
pub(in crate::node) struct ConnectedPeer {
    pub(in crate::node) link: LinkId,
    pub(in crate::node) end: LinkInfo,
    pub(in crate::node) hello: Box<Hello>,
    pub(in crate::node) since: Instant,
    pub(in crate::node) commands: mpsc::Sender<LinkCommand>,
    /// Whether it counts towards no limit.
    pub(in crate::node) exempt: bool,
}

/// Whether a node may become a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::node) enum Admission {
    /// It may.
    Welcome,
    /// It may, on this link instead of the one that it has.
    Instead,
    /// It may not.
    Refused(DisconnectReason),
}

impl PeerTable {
    /// Nobody yet.
    pub(in crate::node) fn new(settings: &Settings) -> Self {
        let (most, most_per_address) = (settings.max_peers, settings.max_peers_per_address);
        // Without discovery there is nobody to keep places for.
        let most_inbound = if settings.discovery { most - share(most) } else { most };
        let (peers, names) = (HashMap::new(), HashMap::new());
        Self { peers, names, most, most_inbound, most_per_address }
    }

    /// Judges whether `id`, on a link with this end, may become a peer of `ours`.
    pub(in crate::node) fn judge(
        &self,
        now: Instant,
        ours: &NodeId,
        id: &NodeId,
        end: &LinkInfo,
        exempt: bool,
    ) -> Admission {
        if let Some(present) = self.peers.get(id) {
            // Two nodes that call each other at once must keep the same link: that of the caller
            // with the smaller name.
            let caller = if end.direction == Direction::Outbound { ours } else { id };
            let crossed = present.end.direction != end.direction
                && now.saturating_duration_since(present.since) < CROSSING;
            return if crossed && caller == ours.min(id) {
                Admission::Instead
            } else {
                Admission::Refused(DisconnectReason::AlreadyConnected)
            };
        }
        let neighbours = self.count(|peer| counted_address(&peer.end) == counted_address(end));
        let wide_network = |end: &LinkInfo| wider_network(end.address.ip());
        let crowded = neighbours >= self.most_per_address
            || self.count(|peer| wide_network(&peer.end) == wide_network(end))
                >= self.most_per_address.saturating_mul(WIDER);
        let inbound = |end: &LinkInfo| end.direction == Direction::Inbound;
        let full = self.count(|_| true) >= self.most
            || inbound(end) && self.count(|peer| inbound(&peer.end)) >= self.most_inbound;
        if !exempt && (full || crowded) {
            return Admission::Refused(DisconnectReason::TooManyPeers);
        }
        Admission::Welcome
    }

    /// Takes a peer in.
    pub(in crate::node) fn add(&mut self, id: NodeId, peer: ConnectedPeer) {
        self.names.insert(peer.link, id);
        self.peers.insert(id, peer);
    }

    /// Lets a peer go.
    pub(in crate::node) fn remove(&mut self, id: &NodeId) -> Option<ConnectedPeer> {
        let peer = self.peers.remove(id)?;
        self.names.remove(&peer.link);
        Some(peer)
    }

    /// The peer at the other end of a link.
    pub(in crate::node) fn name(&self, link: LinkId) -> Option<NodeId> {
        self.names.get(&link).copied()
    }

    /// A peer.
    pub(in crate::node) fn find(&self, id: &NodeId) -> Option<&ConnectedPeer> {
        self.peers.get(id)
    }

    /// Whether it is a peer.
    pub(in crate::node) fn has(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id)
    }

    /// A peer counts no more, because whoever runs us wants it.
    pub(in crate::node) fn exempt(&mut self, id: &NodeId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.exempt = true;
        }
    }

    /// How many places are taken.
    pub(in crate::node) fn places(&self) -> PeerCounts {
        let called = self.count(|peer| peer.end.direction == Direction::Outbound);
        PeerCounts { called, taken: self.count(|_| true), most: self.most }
    }

    /// Lets everybody go.
    pub(in crate::node) fn drain(&mut self) -> Vec<mpsc::Sender<LinkCommand>> {
        self.names.clear();
        self.peers.drain().map(|(_, peer)| peer.commands).collect()
    }

    fn count(&self, counts: impl Fn(&ConnectedPeer) -> bool) -> usize {
        self.peers.values().filter(|peer| !peer.exempt && counts(peer)).count()
    }
}

/// How many times what one address may have its wider network may have. Of IPv4 both are the same.
const WIDER: usize = 2;

/// Time within which two links count as opened at once.
const CROSSING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use wormhole_whisper::devp2p::base::VERSION;

    use super::*;

    const OURS: NodeId = NodeId([5; 64]);

    fn end(direction: Direction, last: u8) -> LinkInfo {
        LinkInfo { address: ([192, 0, 2, last], 30303).into(), direction, id: None }
    }

    fn add(table: &mut PeerTable, number: u8, end: LinkInfo, exempt: bool) {
        let id = NodeId([number; 64]);
        let hello = Hello {
            version: VERSION,
            client_id: String::new(),
            capabilities: vec![],
            listen_port: 0,
            id,
        };
        let (commands, _) = mpsc::channel(1);
        let link = LinkId(number.into());
        let (hello, since) = (hello.into(), Instant::now());
        table.add(id, ConnectedPeer { link, end, hello, since, commands, exempt });
    }

    fn table(max_peers: usize, max_peers_per_address: usize) -> PeerTable {
        PeerTable::new(&Settings { max_peers, max_peers_per_address, ..Settings::default() })
    }

    #[test]
    fn whoever_calls_each_other_at_once_keeps_the_same_link_on_both_sides() {
        use Direction::{Inbound, Outbound};
        for (theirs, kept) in [(9, Outbound), (1, Inbound)] {
            let id = NodeId([theirs; 64]);
            for (first, second) in [(Inbound, Outbound), (Outbound, Inbound)] {
                let mut table = table(9, 9);
                add(&mut table, theirs, end(first, 1), false);
                let verdict = table.judge(Instant::now(), &OURS, &id, &end(second, 1), false);
                let refused = Admission::Refused(DisconnectReason::AlreadyConnected);
                assert_eq!(verdict, if second == kept { Admission::Instead } else { refused });
            }
        }
    }

    #[test]
    fn whoever_calls_leaves_places_for_those_whom_we_find() {
        let settings = Settings { max_peers: 5, discovery: true, ..Settings::default() };
        let (mut table, now, newcomer) =
            (PeerTable::new(&settings), Instant::now(), NodeId([99; 64]));
        for last in 1..=2 {
            let inbound = end(Direction::Inbound, last);
            assert_eq!(table.judge(now, &OURS, &newcomer, &inbound, false), Admission::Welcome);
            add(&mut table, last, inbound, false);
        }
        let (inbound, outbound) = (end(Direction::Inbound, 9), end(Direction::Outbound, 9));
        let full = Admission::Refused(DisconnectReason::TooManyPeers);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound, false), full);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound, true), Admission::Welcome);
        assert_eq!(table.judge(now, &OURS, &newcomer, &outbound, false), Admission::Welcome);
    }

    #[test]
    fn one_ipv6_network_gets_no_more_places_than_one_address() {
        let (mut table, now, newcomer) = (table(9, 2), Instant::now(), NodeId([99; 64]));
        let house = |net: u16, host: u16| LinkInfo {
            address: ([0x2001, 0xdb8, 0, net, 0, 0, 0, host], 30303).into(),
            ..end(Direction::Inbound, 1)
        };
        (1..=2).for_each(|number| add(&mut table, number, house(1, number.into()), false));
        let full = Admission::Refused(DisconnectReason::TooManyPeers);
        assert_eq!(table.judge(now, &OURS, &newcomer, &house(1, 3), false), full);
        assert_eq!(table.judge(now, &OURS, &newcomer, &house(2, 3), false), Admission::Welcome);
    }

    #[test]
    fn whoever_has_many_ipv6_networks_gets_twice_the_places_of_one() {
        let (mut table, now, newcomer) = (table(99, 2), Instant::now(), NodeId([99; 64]));
        let house = |wide_network: u16, net: u16| LinkInfo {
            address: ([0x2001, 0xdb8, wide_network, net, 0, 0, 0, 1], 30303).into(),
            ..end(Direction::Inbound, 1)
        };
        for number in 1..=4 {
            let verdict = table.judge(now, &OURS, &newcomer, &house(1, number.into()), false);
            assert_eq!(verdict, Admission::Welcome);
            add(&mut table, number, house(1, number.into()), false);
        }
        let full = Admission::Refused(DisconnectReason::TooManyPeers);
        assert_eq!(table.judge(now, &OURS, &newcomer, &house(1, 5), false), full);
        assert_eq!(table.judge(now, &OURS, &newcomer, &house(1, 5), true), Admission::Welcome);
        assert_eq!(table.judge(now, &OURS, &newcomer, &house(2, 5), false), Admission::Welcome);
    }

    #[test]
    fn limits_hold_for_all_but_those_who_are_wanted() {
        let (mut table, now) = (table(3, 2), Instant::now());
        let inbound = |last| end(Direction::Inbound, last);
        let newcomer = NodeId([99; 64]);
        let full = Admission::Refused(DisconnectReason::TooManyPeers);
        add(&mut table, 1, inbound(1), false);
        add(&mut table, 2, inbound(1), false);
        add(&mut table, 3, inbound(2), true);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound(1), false), full);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound(2), false), Admission::Welcome);
        add(&mut table, 4, inbound(3), false);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound(2), false), full);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound(1), true), Admission::Welcome);
        assert!(table.remove(&NodeId([1; 64])).is_some());
        assert_eq!(table.name(LinkId(1)), None);
        assert_eq!(table.judge(now, &OURS, &newcomer, &inbound(1), false), Admission::Welcome);
    }
}
