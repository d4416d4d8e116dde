//! The peers of a node: which nodes are connected, which to dial, and which to refuse.
//!
//! It opens no socket and starts no task; the hub starts the links that it chooses. The core knows
//! which nodes are trusted, so the hub passes that as an argument.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::OsRng;
use tokio::sync::{mpsc, watch};
use wormhole_whisper::{
    devp2p::{
        base::{DisconnectReason, Hello},
        enode::Enode,
        key::NodeId,
        peer::PeerError,
    },
    shh::packet::Status,
};

use super::link::{CloseReason, LinkCommand, LinkId, LinkInfo};
use super::{AddPeerError, Direction, PeerInfo, Settings};

mod candidates;
mod dialler;
mod reputation;
mod table;

pub(super) use candidates::take_random;
use dialler::Dialler;
pub(super) use reputation::Reputation;
use table::{Admission, ConnectedPeer, PeerTable};

/// The peers, and everything that decides who becomes one.
#[derive(Debug)]
pub(super) struct Peers {
    own_id: NodeId,
    table: PeerTable,
    dialler: Dialler,
    reputation: Reputation,
    /// Whether discovery should search for more nodes.
    wants_more: watch::Sender<bool>,
    /// Peers that broke the protocol since the start.
    misbehaved: u64,
}

/// A link on which both sides have sent Hello.
#[derive(Debug)]
pub(super) struct OpenedLink {
    pub(super) link: LinkId,
    pub(super) hello: Box<Hello>,
    pub(super) commands: mpsc::Sender<LinkCommand>,
    pub(super) info: LinkInfo,
}

/// The decision about an opened link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkDecision {
    /// The node is a new peer.
    Accepted,
    /// The node was a peer already; this link replaces the other one.
    Replaced,
    /// The link is being closed.
    Rejected,
}

impl Peers {
    /// No peers yet. The static peers of the settings will be dialled first.
    pub(super) fn new(own_id: NodeId, settings: &Settings, now: Instant) -> Self {
        let mut dialler = Dialler::default();
        for node in settings.bootnodes.iter().filter(|node| node.id != own_id) {
            dialler.discovered(now, node, &mut OsRng);
        }
        for node in settings.static_peers.iter().filter(|node| node.id != own_id) {
            dialler.add_static(now, node, false);
        }
        Self {
            own_id,
            table: PeerTable::new(settings),
            dialler,
            reputation: Reputation::default(),
            wants_more: watch::Sender::new(true),
            misbehaved: 0,
        }
    }

    /// The bans, for the listener.
    pub(super) fn reputation(&self) -> Reputation {
        self.reputation.clone()
    }

    /// Whether discovery should search for more nodes.
    pub(super) fn wants_more(&self) -> watch::Receiver<bool> {
        self.wants_more.subscribe()
    }

    /// Discovery has found a node.
    pub(super) fn discovered(&mut self, now: Instant, enode: &Enode) {
        self.dialler.discovered(now, enode, &mut OsRng);
    }

    /// The next node to dial now. Call it until it returns `None`.
    pub(super) fn next_dial(&mut self, now: Instant) -> Option<(NodeId, SocketAddr)> {
        let Self { own_id, table, dialler, reputation, .. } = self;
        let skip =
            |id: &NodeId| id == own_id || table.contains(id) || reputation.is_node_banned(now, id);
        let next = dialler.next(now, table.counts(), &mut OsRng, skip);
        if next.is_none() {
            let more = dialler.wants_discovered(table.counts());
            self.wants_more.send_if_modified(|wants| std::mem::replace(wants, more) != more);
        }
        next
    }

    /// When [`Peers::next_dial`] may return something because time has passed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.dialler.deadline()
    }

    /// Decides whether the node at the other end of an opened link becomes a peer.
    pub(super) fn link_opened(
        &mut self,
        now: Instant,
        opened: OpenedLink,
        trusted: bool,
    ) -> LinkDecision {
        let OpenedLink { link, hello, commands, info } = opened;
        let id = hello.id;
        let exempt = trusted || self.dialler.is_static(&id);
        self.dialler.dial_ended(&id);
        let admission = if !exempt && self.reputation.is_node_banned(now, &id) {
            Admission::Reject(DisconnectReason::UselessPeer)
        } else {
            self.table.admit(now, &self.own_id, &id, &info, exempt)
        };
        let decision = match admission {
            Admission::Accept => LinkDecision::Accepted,
            Admission::Replace => {
                self.disconnect(&id, DisconnectReason::AlreadyConnected);
                LinkDecision::Replaced
            }
            Admission::Reject(reason) => {
                // The queue is new, so it has room.
                let _sent = commands.try_send(LinkCommand::Disconnect(reason));
                return LinkDecision::Rejected;
            }
        };
        tracing::debug!(peer = %id, address = %info.address, "peer connected");
        self.dialler.connected(&id);
        self.table.add(id, ConnectedPeer { link, info, hello, since: now, commands, exempt });
        decision
    }

    /// A link has ended, or could not be opened. Returns the peer that is not connected any more, if it
    /// was the link of a peer.
    pub(super) fn link_ended(
        &mut self,
        now: Instant,
        link: LinkId,
        info: &LinkInfo,
        reason: &CloseReason,
        trusted: bool,
    ) -> Option<NodeId> {
        match reason {
            // A node of go-ethereum sends its whole pool in one packet to every new peer.
            CloseReason::Peer(error) if error.is_oversized() && info.id.is_some() => {
                tracing::debug!(address = %info.address, %reason, "packet is too large");
            }
            CloseReason::Peer(PeerError::PeerMisbehaved(_)) => {
                self.record_fault(now, info.id, info, reason, trusted);
            }
            CloseReason::ByUs
            | CloseReason::Evicted
            | CloseReason::Failed(_)
            | CloseReason::Peer(_)
            | CloseReason::Stalled => {
                tracing::debug!(address = %info.address, %reason, "link ended");
            }
        }
        let peer = self.table.peer_of(link);
        let lasted = peer.and_then(|id| self.remove(&id));
        if let Some(id) = info.id {
            self.dial_again(now, id, info, reason, lasted);
        }
        peer
    }

    /// Plans the next attempt to connect to a node whose link has ended.
    fn dial_again(
        &mut self,
        now: Instant,
        id: NodeId,
        info: &LinkInfo,
        reason: &CloseReason,
        lasted: Option<Duration>,
    ) {
        let failed = info.direction == Direction::Outbound && lasted.is_none();
        if failed && self.dialler.is_static(&id) {
            tracing::info!(
                address = %info.address, %reason,
                "cannot connect to a static peer; it will be dialled again"
            );
        }
        self.dialler.dial_ended(&id);
        if !self.table.contains(&id) {
            self.dialler.link_lost(now, &id, lasted.unwrap_or_default(), &mut OsRng);
        }
    }

    /// Logs that a node broke the protocol, and bans it, unless it is static or trusted. `id` is known
    /// only after the handshake.
    pub(super) fn record_fault(
        &mut self,
        now: Instant,
        id: Option<NodeId>,
        info: &LinkInfo,
        error: &dyn fmt::Display,
        trusted: bool,
    ) {
        self.misbehaved = self.misbehaved.saturating_add(1);
        let peer = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let exempt = trusted || id.is_some_and(|id| self.dialler.is_static(&id));
        let banned = match exempt {
            true => None,
            false => self.reputation.record_fault(now, id, info.address.ip()),
        };
        let seconds = banned.map_or(0, |banned| banned.as_secs());
        let address = info.address;
        if id.is_some() || banned.is_some() {
            tracing::warn!(peer, %address, %error, banned_seconds = seconds, "peer misbehaved");
        } else {
            // Anyone can cause this at any rate, so it is a warning only when it leads to a ban.
            tracing::debug!(%address, %error, "handshake failed");
        }
    }

    /// The peer of a link.
    pub(super) fn peer_of(&self, link: LinkId) -> Option<NodeId> {
        self.table.peer_of(link)
    }

    /// The link of a peer.
    pub(super) fn link_info(&self, id: &NodeId) -> Option<LinkInfo> {
        self.table.find(id).map(|peer| peer.info)
    }

    /// Whether a node is a peer.
    pub(super) fn contains(&self, id: &NodeId) -> bool {
        self.table.contains(id)
    }

    /// Disconnects a peer. Returns whether it was connected. The end of the link is not reported as the
    /// end of a peer.
    pub(super) fn disconnect(&mut self, id: &NodeId, reason: DisconnectReason) -> bool {
        if let Some(peer) = self.table.find(id) {
            // If the queue is full, the peer notices that the link is closed.
            let _full = peer.commands.try_send(LinkCommand::Disconnect(reason));
        }
        self.remove(id).is_some()
    }

    /// Sends a command to the link of a peer. A peer whose queue is full is removed. Returns whether
    /// that was so.
    pub(super) fn send_command(&mut self, id: &NodeId, command: LinkCommand) -> bool {
        let Some(peer) = self.table.find(id) else { return false };
        if peer.commands.try_send(command).is_ok() {
            return false;
        }
        tracing::debug!(peer = %id, "peer does not read");
        self.remove(id).is_some()
    }

    /// Whether the link of a peer can take packets that clients or other peers asked for. `None` if there
    /// is no such peer.
    pub(super) fn has_room(&self, id: &NodeId) -> Option<bool> {
        self.table.find(id).map(|peer| peer.commands.capacity() > RESERVED_COMMANDS)
    }

    /// Dials a node now and whenever its link is lost. Returns whether it is a new static peer.
    pub(super) fn add_static(&mut self, now: Instant, enode: &Enode) -> Result<bool, AddPeerError> {
        if enode.id == self.own_id {
            return Err(AddPeerError::Ourselves);
        }
        if enode.endpoint.is_none_or(|endpoint| endpoint.tcp == 0) {
            return Err(AddPeerError::NoAddress);
        }
        let connected = self.table.contains(&enode.id);
        let added = self.dialler.add_static(now, enode, connected);
        let new = added.ok_or(AddPeerError::TooMany)?;
        self.exempt(&enode.id);
        Ok(new)
    }

    /// Stops dialling a node. Returns whether it was a static peer.
    pub(super) fn remove_static(&mut self, id: &NodeId) -> bool {
        self.dialler.remove_static(id)
    }

    /// Lifts a node's ban, and stops counting it towards limits.
    pub(super) fn exempt(&mut self, id: &NodeId) {
        self.table.exempt(id);
        self.reputation.unban_node(id);
    }

    /// The data about a peer that are shown in its status.
    pub(super) fn info(&self, id: &NodeId, status: &Status, trusted: bool) -> Option<PeerInfo> {
        let peer = self.table.find(id)?;
        Some(PeerInfo {
            id: *id,
            address: peer.info.address,
            listen_port: peer.hello.listen_port,
            direction: peer.info.direction,
            client: peer.hello.client_id.clone(),
            capabilities: peer.hello.capabilities.clone(),
            connected_for: peer.since.elapsed(),
            is_static: self.dialler.is_static(id),
            trusted,
            min_work: status.min_work,
            bloom: status.bloom,
            light: status.light,
        })
    }

    /// Peers that broke the protocol since the start.
    pub(super) const fn misbehaved(&self) -> u64 {
        self.misbehaved
    }

    /// Nodes, addresses and networks that are banned.
    pub(super) fn banned(&self, now: Instant) -> usize {
        self.reputation.banned(now)
    }

    /// Disconnects all peers.
    pub(super) fn disconnect_all(&mut self, reason: DisconnectReason) {
        for commands in self.table.drain() {
            // If the queue is full, the peer notices that the link is closed.
            let _full = commands.try_send(LinkCommand::Disconnect(reason));
        }
    }

    /// Removes a peer. Returns for how long it was connected.
    fn remove(&mut self, id: &NodeId) -> Option<Duration> {
        self.table.remove(id).map(|peer| peer.since.elapsed())
    }
}

/// Free places in the queue of a link that are kept for packets of the protocol itself.
const RESERVED_COMMANDS: usize = 16;

#[cfg(test)]
mod tests;
