//! Peers come and go.

use std::time::{Duration, Instant, SystemTime};

use rand_core::OsRng;
use tokio::sync::mpsc;
use wormhole_whisper::devp2p::{
    base::{DisconnectReason, Hello},
    key::NodeId,
    peer::PeerError,
};

use super::super::Direction;
use super::super::link::{End, Ending, Event, LinkNumber, Order, host};
use super::roster::{Seat, Verdict};
use super::{Hub, lock};

impl Hub {
    /// Something happened on a link.
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Opened { link, hello, orders, end } => self.welcome(link, hello, orders, end),
            Event::Packet { link, code, body, room } => {
                if let Some(id) = self.roster.name(link) {
                    let (now, wall) = (Instant::now(), SystemTime::now().into());
                    self.node.handle(now, wall, id, code, &body);
                }
                drop(room);
            }
            Event::Sent(link) => {
                if let Some(id) = self.roster.name(link) {
                    self.node.sent(Instant::now(), SystemTime::now().into(), id);
                }
            }
            Event::Ended { link, end, why } => self.part(link, &end, &why),
        }
    }

    fn welcome(
        &mut self,
        link: LinkNumber,
        hello: Box<Hello>,
        orders: mpsc::Sender<Order>,
        end: End,
    ) {
        let (now, id) = (Instant::now(), hello.id);
        let privileged = self.dialler.is_static(&id) || self.node.trusts(&id);
        self.dialler.called(&id);
        let verdict = if !privileged && lock(&self.blacklist).bans_node(now, &id) {
            Verdict::Refused(DisconnectReason::UselessPeer)
        } else {
            self.roster.judge(now, &self.id, &id, &end, privileged)
        };
        match verdict {
            Verdict::Refused(reason) => {
                // The channel is new: there is room.
                let _taken = orders.try_send(Order::Disconnect(reason));
                return;
            }
            Verdict::Instead => self.dismiss(&id, DisconnectReason::AlreadyConnected),
            Verdict::Welcome => {}
        }
        tracing::debug!(peer = %id, address = %end.address, "peer connected");
        self.dialler.came(&id);
        self.roster.add(id, Seat { link, end, hello, since: now, orders, privileged });
        self.node.connected(now, id, Some(host(&end)));
    }

    /// A link is gone, or could not be opened.
    fn part(&mut self, link: LinkNumber, end: &End, why: &Ending) {
        let now = Instant::now();
        match why {
            // A node of go-ethereum says its whole pool in one packet, to whoever comes.
            Ending::Peer(error) if error.is_oversized() && end.id.is_some() => {
                tracing::debug!(address = %end.address, %why, "peer says too much at once");
            }
            Ending::Peer(PeerError::PeerMisbehaved(_)) => self.blame(end.id, end, why),
            Ending::ByUs
            | Ending::Evicted
            | Ending::Failed(_)
            | Ending::Peer(_)
            | Ending::Stalled => tracing::debug!(address = %end.address, %why, "link ended"),
        }
        let lasted = match self.roster.name(link) {
            Some(id) => self.forget(&id),
            None => None,
        };
        let Some(id) = end.id else { return };
        if end.direction == Direction::Outbound && lasted.is_none() && self.dialler.is_static(&id) {
            tracing::info!(address = %end.address, %why, "peer is called again later");
        }
        self.dialler.called(&id);
        if !self.roster.has(&id) {
            self.dialler.lost(now, &id, lasted.unwrap_or_default(), &mut OsRng);
        }
    }

    /// Names whoever broke the protocol, and bans it.
    pub(super) fn blame(&mut self, id: Option<NodeId>, end: &End, error: &dyn std::fmt::Display) {
        self.cut = self.cut.saturating_add(1);
        let peer = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let spared = id.is_some_and(|id| self.dialler.is_static(&id) || self.node.trusts(&id));
        let banned = match spared {
            true => None,
            false => lock(&self.blacklist).blame(Instant::now(), id, end.address.ip()),
        };
        let seconds = banned.map_or(0, |banned| banned.as_secs());
        let address = end.address;
        if id.is_some() || banned.is_some() {
            tracing::warn!(peer, %address, %error, banned_seconds = seconds, "peer misbehaved");
        } else {
            // Anyone can do this as often as they like; the log gets a line when it is enough.
            tracing::debug!(%address, %error, "handshake failed");
        }
    }

    /// Parts with a peer. Its link ends by itself, and says so to nobody who still cares.
    pub(super) fn dismiss(&mut self, id: &NodeId, reason: DisconnectReason) {
        if let Some(seat) = self.roster.seat(id) {
            // Who does not take it is told by the end of the link.
            let _full = seat.orders.try_send(Order::Disconnect(reason));
        }
        self.forget(id);
    }

    /// A peer is one no more. Returns for how long it was.
    pub(super) fn forget(&mut self, id: &NodeId) -> Option<Duration> {
        let seat = self.roster.remove(id)?;
        self.node.disconnected(id);
        self.answers.retain(|(peer, _, _)| peer != id);
        Some(seat.since.elapsed())
    }

    /// Tells the link of a peer to do something. One that has not done what it was told before is
    /// given up.
    pub(super) fn order(&mut self, id: &NodeId, order: Order) {
        let Some(seat) = self.roster.seat(id) else { return };
        if seat.orders.try_send(order).is_err() {
            tracing::debug!(peer = %id, "peer does not read");
            self.forget(id);
        }
    }

    /// Whether the link of a peer has room for more. `None` if there is no such peer.
    pub(super) fn has_room(&self, id: &NodeId) -> Option<bool> {
        self.roster.seat(id).map(|seat| seat.orders.capacity() > RESERVE)
    }
}

/// Orders that a link must have room for beside what somebody asks us to send.
const RESERVE: usize = 16;
