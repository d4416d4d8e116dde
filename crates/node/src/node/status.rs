//! The status of a node and of its peers.

use std::net::SocketAddr;
use std::time::Duration;

use wormhole_whisper::{
    devp2p::{capability::Capability, key::NodeId},
    shh::{Bloom, Work},
};

/// The status of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Connected peers that have sent their status.
    pub peers: usize,
    /// Envelopes in the pool.
    pub envelopes: usize,
    /// Bytes of memory that they take.
    pub bytes: usize,
    /// Own envelopes that wait to be sent.
    pub waiting: usize,
    /// Own envelopes that left the pool before any peer received them, since the start.
    pub unsent: u64,
    /// The work that envelopes must have.
    pub min_work: Work,
    /// The largest envelope that is accepted, in bytes.
    pub max_envelope_bytes: usize,
    /// The largest own envelope, in bytes. Without trusted peers it is the size that every peer accepts.
    pub max_own_bytes: usize,
    /// The topics that this node wants to receive.
    pub bloom: Bloom,
    /// Whether only own envelopes are forwarded.
    pub light: bool,
    /// Envelopes accepted since the start.
    pub accepted: u64,
    /// Peers disconnected because they broke the protocol, since the start.
    pub misbehaved: u64,
    /// Nodes and networks that are banned.
    pub banned: usize,
    /// Envelopes in the archive, if the node has one.
    pub archived: Option<u64>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// Its id, which it has proved in the handshake.
    pub id: NodeId,
    /// The address of the other end of the link.
    pub address: SocketAddr,
    /// The TCP port on which it listens according to itself, or 0.
    pub listen_port: u16,
    /// The side that opened the link.
    pub direction: Direction,
    /// Its software according to itself. Any bytes; escape them before printing.
    pub client: String,
    /// Its protocols.
    pub capabilities: Vec<Capability>,
    /// Time since it connected.
    pub connected_for: Duration,
    /// Whether it is dialled again when its link is lost.
    pub is_static: bool,
    /// Whether its direct messages are accepted.
    pub trusted: bool,
    /// The work that envelopes to it must have.
    pub min_work: Work,
    /// The topics that it wants to receive.
    pub bloom: Bloom,
    /// Whether it forwards only its own envelopes.
    pub light: bool,
}

/// The side that opened a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}
