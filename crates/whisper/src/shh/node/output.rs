//! Outputs of a node, and errors of its peers.

use std::time::Duration;

use super::super::{
    envelope::{Envelope, EnvelopeError, EnvelopeHash},
    packet::PacketError,
};
use crate::devp2p::key::NodeId;

/// An action for the caller. Actions must be executed in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeOutput {
    /// Send this packet. After a packet of messages has been written, call [`sent`](super::Node::sent).
    Send {
        /// Recipient.
        peer: NodeId,
        /// Packet code within the capability.
        code: u16,
        /// Content after the code.
        body: Vec<u8>,
    },
    /// The handshake with this peer is complete.
    Opened(NodeId),
    /// Close the connection with reason 0x10 (subprotocol error). The error is for the log.
    Disconnect {
        /// The peer to disconnect.
        peer: NodeId,
        /// Why it is disconnected.
        error: PeerError,
    },
    /// Try our keys on this envelope, which has been forwarded already or is our own.
    Deliver {
        /// The envelope.
        envelope: Envelope,
        /// Whether it is a direct message of a trusted peer, which needs no work.
        direct: bool,
    },
    /// Decrypt this request and answer it from the archive.
    ArchiveRequest {
        /// The peer that asks.
        peer: NodeId,
        /// The encrypted request.
        request: Envelope,
    },
    /// A trusted mail server has sent all requested envelopes.
    ArchiveComplete {
        /// The mail server.
        peer: NodeId,
        /// The hash of the request's envelope.
        request: EnvelopeHash,
        /// The last envelope that it sent, if it sent any.
        last: Option<EnvelopeHash>,
    },
    /// Envelopes of most peers appear to be from the future: our clock may be slow, so that we reject valid
    /// ones.
    ClockMayBeWrong,
    /// For a minute, more envelopes have arrived than may be forwarded to a peer: raise the minimum work.
    Flooded,
    /// A valid envelope was dropped because the pool is full: raise the minimum work.
    PoolFull,
    /// This envelope of our own expired or was removed before a peer received it.
    Unsent(EnvelopeHash),
}

/// Why a peer is disconnected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// Both are light nodes, so neither would forward anything.
    #[error("two light client communication restricted")]
    BothLight,
    /// The peer forwarded an envelope that honest peers reject.
    #[error("invalid envelope: {0}")]
    InvalidEnvelope(EnvelopeError),
    /// A packet is malformed.
    #[error("malformed packet: {0}")]
    Malformed(#[from] PacketError),
    /// The first packet had this code instead of the handshake.
    #[error("peer sent packet {0} before status packet")]
    NoStatus(u16),
    /// The handshake did not arrive within this time.
    #[error("no status within {} s", .0.as_secs())]
    NoStatusInTime(Duration),
    /// The packet is larger than our limit.
    #[error("oversized packet of {bytes} bytes, more than {limit}")]
    OversizedPacket {
        /// Size in bytes.
        bytes: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
}
