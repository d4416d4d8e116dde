//! What a node wants done, and why it parts with a peer.

use std::time::Duration;

use super::super::{
    envelope::{Envelope, EnvelopeHash, Refusal},
    packet::PacketError,
};
use crate::devp2p::key::NodeId;

/// What a node wants done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "whoever drives a node must handle every output")]
pub enum NodeOutput {
    /// Send this packet. Once a packet of messages has been written, call
    /// [`sent`](super::Node::sent).
    Send {
        /// To whom.
        peer: NodeId,
        /// The packet's code within the capability.
        code: u16,
        /// What follows the code.
        body: Vec<u8>,
    },
    /// This peer has said what it is: it is one of us.
    Opened(NodeId),
    /// Close the link: reason 0x10 (subprotocol error) towards the peer, the error for the log.
    Disconnect {
        /// Whose link.
        peer: NodeId,
        /// What it did.
        error: PeerError,
    },
    /// Try our keys on this envelope. It has been forwarded already, or it is our own.
    Deliver {
        /// The envelope.
        envelope: Envelope,
        /// Whether it was for us alone, from a trusted peer, with work or without.
        direct: bool,
    },
    /// Answer this request from the archive, if it opens.
    ArchiveRequest {
        /// Who asks.
        peer: NodeId,
        /// What it asks, sealed.
        request: Envelope,
    },
    /// A trusted mail server says that it has sent all that we asked for.
    ArchiveComplete {
        /// The mail server.
        peer: NodeId,
        /// The hash of the request's envelope.
        request: EnvelopeHash,
        /// The last envelope that it sent, if it sent any.
        last: Option<EnvelopeHash>,
    },
    /// Envelopes of most peers come before their time: our clock may be late, so that we refuse what
    /// is right.
    ClockDoubted,
    /// More envelopes come, and have come for long, than peers may be told: time to ask for more
    /// work.
    Flooded,
    /// A valid envelope was dropped for lack of room: time to ask for more work.
    PoolFull,
    /// This envelope of our own has expired, or had to make room, before any peer received it.
    Unsent(EnvelopeHash),
}

/// Why a peer is cut.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "whoever drives a node must handle every error")]
pub enum PeerError {
    /// Neither side would pass anything on.
    #[error("two light client communication restricted")]
    BothLight,
    /// It passed on what no honest peer would.
    #[error("invalid envelope: {0}")]
    InvalidEnvelope(Refusal),
    /// A packet is malformed.
    #[error("malformed packet: {0}")]
    Malformed(#[from] PacketError),
    /// Its first packet had this code.
    #[error("peer sent packet {0} before status packet")]
    NoStatus(u16),
    /// It did not say what it is for this long.
    #[error("no status within {} s", .0.as_secs())]
    NoStatusInTime(Duration),
    /// A packet is larger than any that we need.
    #[error("oversized packet of {bytes} bytes, more than {limit}")]
    OversizedPacket {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        limit: usize,
    },
}
