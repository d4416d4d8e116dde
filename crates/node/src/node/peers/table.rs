//! The connected peers, and the limits on how many there may be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wormhole_kit::wider_network;
use wormhole_whisper::devp2p::{
    base::{DisconnectReason, Hello},
    key::NodeId,
};

use super::super::link::{LinkCommand, LinkId, LinkInfo};
use super::super::{Direction, Settings};
use super::dialler::{PeerCounts, outbound_share};

/// The connected peers by node id and by link.
#[derive(Debug)]
pub(super) struct PeerTable {
    peers: HashMap<NodeId, ConnectedPeer>,
    ids: HashMap<LinkId, NodeId>,
    limit: usize,
    /// Maximum number of inbound peers. The others are outbound peers that discovery found.
    inbound_limit: usize,
    limit_per_address: usize,
}

/// A connected peer.
#[derive(Debug)]
pub(super) struct ConnectedPeer {
    pub(super) link: LinkId,
    pub(super) info: LinkInfo,
    pub(super) hello: Box<Hello>,
    pub(super) since: Instant,
    pub(super) commands: mpsc::Sender<LinkCommand>,
    /// Whether it counts towards no limit.
    pub(super) exempt: bool,
}

/// Whether a node may become a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It may.
    Accept,
    /// It is a peer already, and this link should replace its other link.
    Replace,
    /// It may not.
    Reject(DisconnectReason),
}

impl PeerTable {
    /// No peers yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let (limit, limit_per_address) = (settings.max_peers, settings.max_peers_per_address);
        // Without discovery there are no outbound peers to keep room for.
        let inbound_limit = match settings.discovery {
            true => limit - outbound_share(limit),
            false => limit,
        };
        let (peers, ids) = (HashMap::new(), HashMap::new());
        Self { peers, ids, limit, inbound_limit, limit_per_address }
    }

    /// Decides whether the node `id`, on this link, may become a peer of `own_id`.
    pub(super) fn admit(
        &self,
        now: Instant,
        own_id: &NodeId,
        id: &NodeId,
        info: &LinkInfo,
        exempt: bool,
    ) -> Admission {
        if let Some(present) = self.peers.get(id) {
            // When two nodes dial each other at the same time, both must keep the same link: the one
            // that the node with the smaller id has dialled.
            let dialled_by = if info.direction == Direction::Outbound { own_id } else { id };
            let crossed = present.info.direction != info.direction
                && now.saturating_duration_since(present.since) < CROSSING;
            return if crossed && dialled_by == id.min(own_id) {
                Admission::Replace
            } else {
                Admission::Reject(DisconnectReason::AlreadyConnected)
            };
        }
        if !exempt && (self.is_full(info) || self.is_crowded(info)) {
            return Admission::Reject(DisconnectReason::TooManyPeers);
        }
        Admission::Accept
    }

    /// Whether there are too many peers for one more on a link like this.
    fn is_full(&self, info: &LinkInfo) -> bool {
        let inbound = |info: &LinkInfo| info.direction == Direction::Inbound;
        self.count(|_| true) >= self.limit
            || inbound(info) && self.count(|peer| inbound(&peer.info)) >= self.inbound_limit
    }

    /// Whether there are too many peers at this address, or in its wider network.
    fn is_crowded(&self, info: &LinkInfo) -> bool {
        let wide = |info: &LinkInfo| wider_network(info.address.ip());
        self.count(|peer| peer.info.network() == info.network()) >= self.limit_per_address
            || self.count(|peer| wide(&peer.info) == wide(info))
                >= self.limit_per_address.saturating_mul(WIDE_FACTOR)
    }

    /// Adds a peer.
    pub(super) fn add(&mut self, id: NodeId, peer: ConnectedPeer) {
        self.ids.insert(peer.link, id);
        self.peers.insert(id, peer);
    }

    /// Removes a peer.
    pub(super) fn remove(&mut self, id: &NodeId) -> Option<ConnectedPeer> {
        let peer = self.peers.remove(id)?;
        self.ids.remove(&peer.link);
        Some(peer)
    }

    /// The peer of a link.
    pub(super) fn peer_of(&self, link: LinkId) -> Option<NodeId> {
        self.ids.get(&link).copied()
    }

    /// A peer.
    pub(super) fn find(&self, id: &NodeId) -> Option<&ConnectedPeer> {
        self.peers.get(id)
    }

    /// Whether a node is a peer.
    pub(super) fn contains(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id)
    }

    /// Stops counting a peer towards limits.
    pub(super) fn exempt(&mut self, id: &NodeId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.exempt = true;
        }
    }

    /// How many peers count towards limits.
    pub(super) fn counts(&self) -> PeerCounts {
        let outbound = self.count(|peer| peer.info.direction == Direction::Outbound);
        PeerCounts { outbound, total: self.count(|_| true), limit: self.limit }
    }

    /// Removes all peers. Returns the command queues of their links.
    pub(super) fn drain(&mut self) -> Vec<mpsc::Sender<LinkCommand>> {
        self.ids.clear();
        self.peers.drain().map(|(_, peer)| peer.commands).collect()
    }

    fn count(&self, matches: impl Fn(&ConnectedPeer) -> bool) -> usize {
        self.peers.values().filter(|peer| !peer.exempt && matches(peer)).count()
    }
}

/// The wider network of an IPv6 address may have this many times the peers of one address. For IPv4 both
/// are the same.
const WIDE_FACTOR: usize = 2;

/// Time within which two links count as opened at the same time.
const CROSSING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use wormhole_whisper::devp2p::base::VERSION;

    use super::*;

    const OURS: NodeId = NodeId([5; 64]);

    fn info(direction: Direction, last: u8) -> LinkInfo {
        LinkInfo { address: ([192, 0, 2, last], 30303).into(), direction, id: None }
    }

    fn add(table: &mut PeerTable, number: u8, info: LinkInfo, exempt: bool) {
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
        table.add(id, ConnectedPeer { link, info, hello, since, commands, exempt });
    }

    fn table(max_peers: usize, max_peers_per_address: usize) -> PeerTable {
        PeerTable::new(&Settings { max_peers, max_peers_per_address, ..Settings::default() })
    }

    #[test]
    fn two_nodes_that_dial_each_other_at_once_keep_the_same_link() {
        use Direction::{Inbound, Outbound};
        for (theirs, kept) in [(9, Outbound), (1, Inbound)] {
            let id = NodeId([theirs; 64]);
            for (first, second) in [(Inbound, Outbound), (Outbound, Inbound)] {
                let mut table = table(9, 9);
                add(&mut table, theirs, info(first, 1), false);
                let admission = table.admit(Instant::now(), &OURS, &id, &info(second, 1), false);
                let refused = Admission::Reject(DisconnectReason::AlreadyConnected);
                assert_eq!(admission, if second == kept { Admission::Replace } else { refused });
            }
        }
    }

    #[test]
    fn inbound_peers_leave_room_for_outbound_ones() {
        let settings = Settings { max_peers: 5, discovery: true, ..Settings::default() };
        let (mut table, now, newcomer) =
            (PeerTable::new(&settings), Instant::now(), NodeId([99; 64]));
        for last in 1..=2 {
            let inbound = info(Direction::Inbound, last);
            assert_eq!(table.admit(now, &OURS, &newcomer, &inbound, false), Admission::Accept);
            add(&mut table, last, inbound, false);
        }
        let (inbound, outbound) = (info(Direction::Inbound, 9), info(Direction::Outbound, 9));
        let full = Admission::Reject(DisconnectReason::TooManyPeers);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound, false), full);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound, true), Admission::Accept);
        assert_eq!(table.admit(now, &OURS, &newcomer, &outbound, false), Admission::Accept);
    }

    #[test]
    fn one_ipv6_network_has_the_limit_of_one_address() {
        let (mut table, now, newcomer) = (table(9, 2), Instant::now(), NodeId([99; 64]));
        let address = |net: u16, host: u16| LinkInfo {
            address: ([0x2001, 0xdb8, 0, net, 0, 0, 0, host], 30303).into(),
            ..info(Direction::Inbound, 1)
        };
        (1..=2).for_each(|number| add(&mut table, number, address(1, number.into()), false));
        let full = Admission::Reject(DisconnectReason::TooManyPeers);
        assert_eq!(table.admit(now, &OURS, &newcomer, &address(1, 3), false), full);
        assert_eq!(table.admit(now, &OURS, &newcomer, &address(2, 3), false), Admission::Accept);
    }

    #[test]
    fn many_ipv6_networks_of_one_owner_have_twice_the_limit_of_one_address() {
        let (mut table, now, newcomer) = (table(99, 2), Instant::now(), NodeId([99; 64]));
        let address = |wide_network: u16, net: u16| LinkInfo {
            address: ([0x2001, 0xdb8, wide_network, net, 0, 0, 0, 1], 30303).into(),
            ..info(Direction::Inbound, 1)
        };
        for number in 1..=4 {
            let admission = table.admit(now, &OURS, &newcomer, &address(1, number.into()), false);
            assert_eq!(admission, Admission::Accept);
            add(&mut table, number, address(1, number.into()), false);
        }
        let full = Admission::Reject(DisconnectReason::TooManyPeers);
        assert_eq!(table.admit(now, &OURS, &newcomer, &address(1, 5), false), full);
        assert_eq!(table.admit(now, &OURS, &newcomer, &address(1, 5), true), Admission::Accept);
        assert_eq!(table.admit(now, &OURS, &newcomer, &address(2, 5), false), Admission::Accept);
    }

    #[test]
    fn limits_do_not_apply_to_exempt_peers() {
        let (mut table, now) = (table(3, 2), Instant::now());
        let inbound = |last| info(Direction::Inbound, last);
        let newcomer = NodeId([99; 64]);
        let full = Admission::Reject(DisconnectReason::TooManyPeers);
        add(&mut table, 1, inbound(1), false);
        add(&mut table, 2, inbound(1), false);
        add(&mut table, 3, inbound(2), true);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound(1), false), full);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound(2), false), Admission::Accept);
        add(&mut table, 4, inbound(3), false);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound(2), false), full);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound(1), true), Admission::Accept);
        assert!(table.remove(&NodeId([1; 64])).is_some());
        assert_eq!(table.peer_of(LinkId(1)), None);
        assert_eq!(table.admit(now, &OURS, &newcomer, &inbound(1), false), Admission::Accept);
    }
}
