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
use super::super::link::{CloseReason, LinkCommand, LinkEvent, LinkId, LinkInfo, counted_address};
use super::super::peers::table::{Admission, ConnectedPeer};
use super::{Hub, lock};

impl Hub {
    /// Something happened on a link.
    pub(super) fn note(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Opened { link, hello, commands, end } => {
                self.welcome(link, hello, commands, end)
            }
            LinkEvent::Packet { link, code, body, room } => {
                if let Some(id) = self.table.name(link) {
                    let (now, wall) = (Instant::now(), SystemTime::now().into());
                    self.node.handle(now, wall, id, code, &body);
                }
                drop(room);
            }
            LinkEvent::Sent(link) => {
                if let Some(id) = self.table.name(link) {
                    self.node.sent(Instant::now(), SystemTime::now().into(), id);
                }
            }
            LinkEvent::Ended { link, end, why } => self.part(link, &end, &why),
        }
    }

    fn welcome(
        &mut self,
        link: LinkId,
        hello: Box<Hello>,
        commands: mpsc::Sender<LinkCommand>,
        end: LinkInfo,
    ) {
        let (now, id) = (Instant::now(), hello.id);
        let exempt = self.dialler.is_static(&id) || self.node.trusts(&id);
        self.dialler.called(&id);
        let verdict = if !exempt && lock(&self.blacklist).is_node_banned(now, &id) {
            Admission::Refused(DisconnectReason::UselessPeer)
        } else {
            self.table.judge(now, &self.id, &id, &end, exempt)
        };
        match verdict {
            Admission::Refused(reason) => {
                // The channel is new: there is room.
                let _taken = commands.try_send(LinkCommand::Disconnect(reason));
                return;
            }
            Admission::Instead => self.dismiss(&id, DisconnectReason::AlreadyConnected),
            Admission::Welcome => {}
        }
        tracing::debug!(peer = %id, address = %end.address, "peer connected");
        self.dialler.came(&id);
        self.table.add(id, ConnectedPeer { link, end, hello, since: now, commands, exempt });
        self.node.connected(now, id, Some(counted_address(&end)));
    }

    /// A link is gone, or could not be opened.
    fn part(&mut self, link: LinkId, end: &LinkInfo, why: &CloseReason) {
        let now = Instant::now();
        match why {
            // A node of go-ethereum says its whole pool in one packet, to whoever comes.
            CloseReason::Peer(error) if error.is_oversized() && end.id.is_some() => {
                tracing::debug!(address = %end.address, %why, "peer says too much at once");
            }
            CloseReason::Peer(PeerError::PeerMisbehaved(_)) => self.blame(end.id, end, why),
            CloseReason::ByUs
            | CloseReason::Evicted
            | CloseReason::Failed(_)
            | CloseReason::Peer(_)
            | CloseReason::Stalled => tracing::debug!(address = %end.address, %why, "link ended"),
        }
        let lasted = match self.table.name(link) {
            Some(id) => self.forget(&id),
            None => None,
        };
        let Some(id) = end.id else { return };
        if end.direction == Direction::Outbound && lasted.is_none() && self.dialler.is_static(&id) {
            tracing::info!(address = %end.address, %why, "peer is called again later");
        }
        self.dialler.called(&id);
        if !self.table.has(&id) {
            self.dialler.lost(now, &id, lasted.unwrap_or_default(), &mut OsRng);
        }
    }

    /// Names whoever broke the protocol, and bans it.
    pub(super) fn blame(
        &mut self,
        id: Option<NodeId>,
        end: &LinkInfo,
        error: &dyn std::fmt::Display,
    ) {
        self.cut = self.cut.saturating_add(1);
        let peer = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let spared = id.is_some_and(|id| self.dialler.is_static(&id) || self.node.trusts(&id));
        let banned = match spared {
            true => None,
            false => lock(&self.blacklist).record_fault(Instant::now(), id, end.address.ip()),
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
        if let Some(peer) = self.table.find(id) {
            // Who does not take it is told by the end of the link.
            let _full = peer.commands.try_send(LinkCommand::Disconnect(reason));
        }
        self.forget(id);
    }

    /// A peer is one no more. Returns for how long it was.
    pub(super) fn forget(&mut self, id: &NodeId) -> Option<Duration> {
        let peer = self.table.remove(id)?;
        self.node.disconnected(id);
        self.answers.retain(|(peer, _, _)| peer != id);
        Some(peer.since.elapsed())
    }

    /// Tells the link of a peer to do something. One that has not done what it was told before is
    /// given up.
    pub(super) fn send_command(&mut self, id: &NodeId, command: LinkCommand) {
        let Some(peer) = self.table.find(id) else { return };
        if peer.commands.try_send(command).is_err() {
            tracing::debug!(peer = %id, "peer does not read");
            self.forget(id);
        }
    }

    /// Whether the link of a peer has room for more. `None` if there is no such peer.
    pub(super) fn has_room(&self, id: &NodeId) -> Option<bool> {
        self.table.find(id).map(|peer| peer.commands.capacity() > RESERVE)
    }
}

/// Orders that a link must have room for beside what somebody asks us to send.
const RESERVE: usize = 16;
