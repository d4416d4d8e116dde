//! Who is connected, and who may be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wormhole_kit::wider_network;
use wormhole_whisper::devp2p::{
    base::{DisconnectReason, Hello},
    key::NodeId,
};

use super::super::dialler::{Places, share};
use super::super::link::{End, LinkNumber, Order, host};
use super::super::{Direction, Settings};

/// All peers, by name and by link.
#[derive(Debug)]
pub(super) struct Roster {
    seats: HashMap<NodeId, Seat>,
    names: HashMap<LinkNumber, NodeId>,
    most: usize,
    /// Most of those who call us: the other places are for those whom we find.
    most_inbound: usize,
    most_per_address: usize,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) link: LinkNumber,
    pub(super) end: End,
    pub(super) hello: Box<Hello>,
    pub(super) since: Instant,
    pub(super) orders: mpsc::Sender<Order>,
    /// Whether it counts towards no limit.
    pub(super) privileged: bool,
}

/// Whether a node may become a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It may.
    Welcome,
    /// It may, on this link instead of the one that it has.
    Instead,
    /// It may not.
    Refused(DisconnectReason),
}

impl Roster {
    /// Nobody yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let (most, most_per_address) = (settings.max_peers, settings.max_peers_per_address);
        // Without discovery there is nobody to keep places for.
        let most_inbound = if settings.discovery { most - share(most) } else { most };
        let (seats, names) = (HashMap::new(), HashMap::new());
        Self { seats, names, most, most_inbound, most_per_address }
    }

    /// Judges whether `id`, on a link with this end, may become a peer of `ours`.
    pub(super) fn judge(
        &self,
        now: Instant,
        ours: &NodeId,
        id: &NodeId,
        end: &End,
        privileged: bool,
    ) -> Verdict {
        if let Some(present) = self.seats.get(id) {
            // Two nodes that call each other at once must keep the same link: that of the caller
            // with the smaller name.
            let caller = if end.direction == Direction::Outbound { ours } else { id };
            let crossed = present.end.direction != end.direction
                && now.saturating_duration_since(present.since) < CROSSING;
            return if crossed && caller == ours.min(id) {
                Verdict::Instead
            } else {
                Verdict::Refused(DisconnectReason::AlreadyConnected)
            };
        }
        let neighbours = self.count(|seat| host(&seat.end) == host(end));
        let district = |end: &End| wider_network(end.address.ip());
        let crowded = neighbours >= self.most_per_address
            || self.count(|seat| district(&seat.end) == district(end))
                >= self.most_per_address.saturating_mul(WIDER);
        let inbound = |end: &End| end.direction == Direction::Inbound;
        let full = self.count(|_| true) >= self.most
            || inbound(end) && self.count(|seat| inbound(&seat.end)) >= self.most_inbound;
        if !privileged && (full || crowded) {
            return Verdict::Refused(DisconnectReason::TooManyPeers);
        }
        Verdict::Welcome
    }

    /// Takes a peer in.
    pub(super) fn add(&mut self, id: NodeId, seat: Seat) {
        self.names.insert(seat.link, id);
        self.seats.insert(id, seat);
    }

    /// Lets a peer go.
    pub(super) fn remove(&mut self, id: &NodeId) -> Option<Seat> {
        let seat = self.seats.remove(id)?;
        self.names.remove(&seat.link);
        Some(seat)
    }

    /// The peer at the other end of a link.
    pub(super) fn name(&self, link: LinkNumber) -> Option<NodeId> {
        self.names.get(&link).copied()
    }

    /// A peer.
    pub(super) fn seat(&self, id: &NodeId) -> Option<&Seat> {
        self.seats.get(id)
    }

    /// Whether it is a peer.
    pub(super) fn has(&self, id: &NodeId) -> bool {
        self.seats.contains_key(id)
    }

    /// A peer counts no more, because whoever runs us wants it.
    pub(super) fn privilege(&mut self, id: &NodeId) {
        if let Some(seat) = self.seats.get_mut(id) {
            seat.privileged = true;
        }
    }

    /// How many places are taken.
    pub(super) fn places(&self) -> Places {
        let called = self.count(|seat| seat.end.direction == Direction::Outbound);
        Places { called, taken: self.count(|_| true), most: self.most }
    }

    /// Lets everybody go.
    pub(super) fn drain(&mut self) -> Vec<mpsc::Sender<Order>> {
        self.names.clear();
        self.seats.drain().map(|(_, seat)| seat.orders).collect()
    }

    fn count(&self, counts: impl Fn(&Seat) -> bool) -> usize {
        self.seats.values().filter(|seat| !seat.privileged && counts(seat)).count()
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

    fn end(direction: Direction, last: u8) -> End {
        End { address: ([192, 0, 2, last], 30303).into(), direction, id: None }
    }

    fn add(roster: &mut Roster, number: u8, end: End, privileged: bool) {
        let id = NodeId([number; 64]);
        let hello = Hello {
            version: VERSION,
            client_id: String::new(),
            capabilities: vec![],
            listen_port: 0,
            id,
        };
        let (orders, _) = mpsc::channel(1);
        let link = LinkNumber(number.into());
        let (hello, since) = (hello.into(), Instant::now());
        roster.add(id, Seat { link, end, hello, since, orders, privileged });
    }

    fn roster(max_peers: usize, max_peers_per_address: usize) -> Roster {
        Roster::new(&Settings { max_peers, max_peers_per_address, ..Settings::default() })
    }

    #[test]
    fn whoever_calls_each_other_at_once_keeps_the_same_link_on_both_sides() {
        use Direction::{Inbound, Outbound};
        for (theirs, kept) in [(9, Outbound), (1, Inbound)] {
            let id = NodeId([theirs; 64]);
            for (first, second) in [(Inbound, Outbound), (Outbound, Inbound)] {
                let mut roster = roster(9, 9);
                add(&mut roster, theirs, end(first, 1), false);
                let verdict = roster.judge(Instant::now(), &OURS, &id, &end(second, 1), false);
                let refused = Verdict::Refused(DisconnectReason::AlreadyConnected);
                assert_eq!(verdict, if second == kept { Verdict::Instead } else { refused });
            }
        }
    }

    #[test]
    fn whoever_calls_leaves_places_for_those_whom_we_find() {
        let settings = Settings { max_peers: 5, discovery: true, ..Settings::default() };
        let (mut roster, now, newcomer) =
            (Roster::new(&settings), Instant::now(), NodeId([99; 64]));
        for last in 1..=2 {
            let inbound = end(Direction::Inbound, last);
            assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound, false), Verdict::Welcome);
            add(&mut roster, last, inbound, false);
        }
        let (inbound, outbound) = (end(Direction::Inbound, 9), end(Direction::Outbound, 9));
        let full = Verdict::Refused(DisconnectReason::TooManyPeers);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound, false), full);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound, true), Verdict::Welcome);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &outbound, false), Verdict::Welcome);
    }

    #[test]
    fn one_ipv6_network_gets_no_more_places_than_one_address() {
        let (mut roster, now, newcomer) = (roster(9, 2), Instant::now(), NodeId([99; 64]));
        let house = |net: u16, host: u16| End {
            address: ([0x2001, 0xdb8, 0, net, 0, 0, 0, host], 30303).into(),
            ..end(Direction::Inbound, 1)
        };
        (1..=2).for_each(|number| add(&mut roster, number, house(1, number.into()), false));
        let full = Verdict::Refused(DisconnectReason::TooManyPeers);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &house(1, 3), false), full);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &house(2, 3), false), Verdict::Welcome);
    }

    #[test]
    fn whoever_has_many_ipv6_networks_gets_twice_the_places_of_one() {
        let (mut roster, now, newcomer) = (roster(99, 2), Instant::now(), NodeId([99; 64]));
        let house = |district: u16, net: u16| End {
            address: ([0x2001, 0xdb8, district, net, 0, 0, 0, 1], 30303).into(),
            ..end(Direction::Inbound, 1)
        };
        for number in 1..=4 {
            let verdict = roster.judge(now, &OURS, &newcomer, &house(1, number.into()), false);
            assert_eq!(verdict, Verdict::Welcome);
            add(&mut roster, number, house(1, number.into()), false);
        }
        let full = Verdict::Refused(DisconnectReason::TooManyPeers);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &house(1, 5), false), full);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &house(1, 5), true), Verdict::Welcome);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &house(2, 5), false), Verdict::Welcome);
    }

    #[test]
    fn limits_hold_for_all_but_those_who_are_wanted() {
        let (mut roster, now) = (roster(3, 2), Instant::now());
        let inbound = |last| end(Direction::Inbound, last);
        let newcomer = NodeId([99; 64]);
        let full = Verdict::Refused(DisconnectReason::TooManyPeers);
        add(&mut roster, 1, inbound(1), false);
        add(&mut roster, 2, inbound(1), false);
        add(&mut roster, 3, inbound(2), true);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound(1), false), full);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound(2), false), Verdict::Welcome);
        add(&mut roster, 4, inbound(3), false);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound(2), false), full);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound(1), true), Verdict::Welcome);
        assert!(roster.remove(&NodeId([1; 64])).is_some());
        assert_eq!(roster.name(LinkNumber(1)), None);
        assert_eq!(roster.judge(now, &OURS, &newcomer, &inbound(1), false), Verdict::Welcome);
    }
}
