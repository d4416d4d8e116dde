//! How a node and its peers are, for those who watch.

use std::net::SocketAddr;
use std::time::Duration;

use wormhole_whisper::{
    devp2p::{capability::Capability, key::NodeId},
    shh::{Bloom, Work},
};

/// How a node is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Peers that have said what they are.
    pub peers: usize,
    /// Envelopes in the pool.
    pub envelopes: usize,
    /// Bytes of memory that they take.
    pub bytes: usize,
    /// Own envelopes that wait to leave.
    pub waiting: usize,
    /// Own envelopes that left the pool before any peer received them, since the start.
    pub unsent: u64,
    /// The work that is asked for.
    pub min_work: Work,
    /// The largest envelope that is taken, in bytes.
    pub max_envelope_bytes: usize,
    /// The largest envelope of our own, in bytes: with no trusted peer, what every peer takes.
    pub max_own_bytes: usize,
    /// The topics that are asked for.
    pub bloom: Bloom,
    /// Whether only own envelopes are passed on.
    pub light: bool,
    /// Envelopes accepted since the start.
    pub accepted: u64,
    /// Peers cut for what they did since the start.
    pub cut: u64,
    /// Addresses and nodes that are banned.
    pub banned: usize,
    /// Envelopes in the archive, if there is one.
    pub archived: Option<u64>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its name, which it has proved.
    pub id: NodeId,
    /// Where the other end of the link is.
    pub address: SocketAddr,
    /// The port at which it says it listens, or 0.
    pub listen_port: u16,
    /// Who called.
    pub direction: Direction,
    /// What software it says it is. To be quoted before it is printed.
    pub client: String,
    /// What it speaks.
    pub capabilities: Vec<Capability>,
    /// Time since it connected.
    pub connected_for: Duration,
    /// Whether it is called again when its link is lost.
    pub is_static: bool,
    /// Whether its direct messages are looked at.
    pub trusted: bool,
    /// The work that it asks for.
    pub min_work: Work,
    /// The topics that it asks for.
    pub bloom: Bloom,
    /// Whether it passes on only what it says itself.
    pub light: bool,
}

/// Who called whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there are two ends")]
pub enum Direction {
    /// The peer called us.
    Inbound,
    /// We called the peer.
    Outbound,
}
