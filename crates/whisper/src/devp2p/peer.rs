//! One connection to a node: RLPx handshake, Hello, pings, and messages of the shared protocols (rlpx.md).
//!
//! It does not interpret those messages: they are passed on with their protocol and code.
//!
//! | state       | input           | output             | next        |
//! |-------------|-----------------|--------------------|-------------|
//! | (dial)      |                 | auth               | ExpectAck   |
//! | (accept)    |                 |                    | ExpectAuth  |
//! | ExpectAuth  | auth            | ack, Hello         | ExpectHello |
//! | ExpectAck   | ack             | Hello              | ExpectHello |
//! | ExpectHello | Hello           | `Opened`           | Open        |
//! | Open        | Ping            | Pong               | Open        |
//! | Open        | message         | `Message`          | Open        |
//! | Open        | 15 s            | Ping               | Open        |
//! | any         | Disconnect      | close              | Ended       |
//! | any         | fault, time-out | Disconnect, close  | Ended       |

use std::{collections::VecDeque, time::Duration};

use rand_core::CryptoRngCore;
use wormhole_kit::Instant;

use self::wire::{DecodeStep, MessageCodec, ReceiveBuffer};
use super::{
    base::{self, DisconnectReason, Hello},
    capability::{FIRST_CODE, Protocol, ProtocolId, Shared},
    key::{NodeId, PrivateKey, PublicKey},
    rlp::RlpError,
    rlpx::{Connected, ExpectAck, ExpectAuth, FrameError, HandshakeError},
    snappy::SnappyError,
};

mod wire;

/// Settings of a node for all connections.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's key.
    pub key: PrivateKey,
    /// Name of this software.
    pub client_id: String,
    /// Supported protocols. A [`ProtocolId`] is an index into this list.
    pub protocols: Vec<Protocol>,
    /// TCP port on which it listens, or 0.
    pub listen_port: u16,
    /// Maximum size of a received message after decompression, in bytes; at most 16 MiB.
    pub max_message: usize,
}

impl Config {
    /// Settings for `protocols`, without a listening port, with messages of up to [`MAX_MESSAGE`].
    pub fn new(key: PrivateKey, protocols: Vec<Protocol>) -> Self {
        let client_id = CLIENT_ID.into();
        Self { key, client_id, protocols, listen_port: 0, max_message: MAX_MESSAGE }
    }

    fn hello(&self) -> Hello {
        Hello {
            version: base::VERSION,
            client_id: self.client_id.clone(),
            capabilities: self.protocols.iter().map(|p| p.capability.clone()).collect(),
            listen_port: self.listen_port,
            id: self.key.public_key().node_id(),
        }
    }
}

/// A connection to another node. Methods may be called in any order. After an `Err` or a `Close` the connection
/// has ended: [`Peer::poll`] may still return the last outputs, and all input is ignored.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    state: ConnectionState,
    received_bytes: ReceiveBuffer,
    /// See [`Peer::take_message_bytes`].
    cost: usize,
    outputs: VecDeque<PeerOutput>,
}

/// State of a connection.
#[derive(Debug)]
enum ConnectionState {
    ExpectAuth { handshake: Box<ExpectAuth>, until: Instant },
    ExpectAck { handshake: Box<ExpectAck>, until: Instant },
    ExpectHello { wire: Box<MessageCodec>, until: Instant },
    Open { wire: Box<MessageCodec>, shared: Shared, next_ping: Instant, silent_until: Instant },
    Ended,
}

impl Peer {
    /// Starts an outgoing connection to the node with the key `remote`.
    pub fn dial(
        config: Config,
        remote: PublicKey,
        now: Instant,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let (handshake, auth) = ExpectAck::start(&config.key, remote, rng);
        let until = now + HANDSHAKE_TIMEOUT;
        let state = ConnectionState::ExpectAck { handshake: Box::new(handshake), until };
        let outputs = [PeerOutput::Send(auth)].into();
        Self { config, state, received_bytes: ReceiveBuffer::default(), cost: 0, outputs }
    }

    /// Starts an incoming connection.
    pub fn accept(config: Config, now: Instant, rng: &mut impl CryptoRngCore) -> Self {
        let handshake = Box::new(ExpectAuth::start(&config.key, rng));
        let state = ConnectionState::ExpectAuth { handshake, until: now + HANDSHAKE_TIMEOUT };
        Self {
            config,
            state,
            received_bytes: ReceiveBuffer::default(),
            cost: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Handles received bytes, in pieces of any size.
    ///
    /// # Errors
    /// The connection has ended; drain [`Peer::poll`].
    pub fn handle(&mut self, now: Instant, received: &[u8]) -> Result<(), PeerError> {
        if self.has_ended() {
            return Ok(());
        }
        self.received_bytes.push(received);
        let result = self.advance(now);
        self.received_bytes.compact();
        self.end_on_error(result)
    }

    /// The next output, in wire order.
    pub fn poll(&mut self) -> Option<PeerOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Peer::handle_timeout`].
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            ConnectionState::ExpectAuth { until, .. }
            | ConnectionState::ExpectAck { until, .. }
            | ConnectionState::ExpectHello { until, .. } => Some(*until),
            ConnectionState::Open { next_ping, silent_until, .. } => {
                Some(*next_ping.min(silent_until))
            }
            ConnectionState::Ended => None,
        }
    }

    /// Handles the passing of time: sends pings, and ends the connection of a silent peer. Does nothing before the
    /// deadline.
    ///
    /// # Errors
    /// See [`Peer::handle`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), PeerError> {
        let result = self.on_deadline(now);
        self.end_on_error(result)
    }

    /// Sends a message of a shared protocol.
    ///
    /// # Errors
    /// The message was not sent; the connection continues.
    pub fn send(
        &mut self,
        protocol: ProtocolId,
        code: u16,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let ConnectionState::Open { wire, shared, .. } = &mut self.state else {
            return Err(SendError::NotOpen);
        };
        let code = shared.wire_code(protocol, code).ok_or(SendError::UnknownCode(code))?;
        let frame =
            wire.seal(code, payload).map_err(|_| SendError::MessageTooLong(payload.len()))?;
        self.outputs.push_back(PeerOutput::Send(frame));
        Ok(())
    }

    /// Ends the connection and sends the reason to the other node if possible.
    pub fn disconnect(&mut self, reason: DisconnectReason) {
        if !self.has_ended() {
            self.end(Some(reason));
        }
    }

    /// Bytes of all messages handled since the last call, compressed or not, whichever is larger. Used to limit the
    /// cost of a peer.
    pub const fn take_message_bytes(&mut self) -> usize {
        std::mem::replace(&mut self.cost, 0)
    }

    /// Whether the connection has ended.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, ConnectionState::Ended)
    }

    /// The id of the other node, once it is authenticated.
    pub fn remote(&self) -> Option<NodeId> {
        match &self.state {
            ConnectionState::ExpectHello { wire, .. } | ConnectionState::Open { wire, .. } => {
                Some(wire.remote().node_id())
            }
            ConnectionState::ExpectAuth { .. }
            | ConnectionState::ExpectAck { .. }
            | ConnectionState::Ended => None,
        }
    }

    fn end_on_error(&mut self, result: Result<(), PeerError>) -> Result<(), PeerError> {
        if let Err(error) = &result {
            self.end(error.reason());
        }
        result
    }

    fn end(&mut self, reason: Option<DisconnectReason>) {
        let state = std::mem::replace(&mut self.state, ConnectionState::Ended);
        if let ConnectionState::ExpectHello { mut wire, .. }
        | ConnectionState::Open { mut wire, .. } = state
        {
            let frame = reason.map(|reason| wire.seal(base::DISCONNECT, &reason.encode()));
            self.outputs.extend(frame.and_then(Result::ok).map(PeerOutput::Send));
        }
        self.received_bytes = ReceiveBuffer::default();
        self.outputs.push_back(PeerOutput::Close);
    }

    /// Handles the received bytes as far as possible.
    fn advance(&mut self, now: Instant) -> Result<(), PeerError> {
        self.advance_handshake()?;
        while let ConnectionState::ExpectHello { wire, .. } | ConnectionState::Open { wire, .. } =
            &mut self.state
        {
            let step = wire.step(&mut self.received_bytes)?;
            if let ConnectionState::Open { silent_until, .. } = &mut self.state {
                // Only authenticated data proves that the peer is alive.
                if !matches!(step, DecodeStep::NeedMore) {
                    *silent_until = now + READ_TIMEOUT;
                }
            }
            match step {
                DecodeStep::NeedMore => break,
                DecodeStep::Header => {}
                DecodeStep::Message { code, payload, cost } => {
                    self.cost = self.cost.saturating_add(cost);
                    self.on_message(now, code, payload)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the next step of the handshake when the other node's packet is complete.
    fn advance_handshake(&mut self) -> Result<(), PeerError> {
        let packet = match &self.state {
            ConnectionState::ExpectAuth { handshake, .. } => {
                handshake.packet(self.received_bytes.rest())
            }
            ConnectionState::ExpectAck { handshake, .. } => {
                handshake.packet(self.received_bytes.rest())
            }
            ConnectionState::ExpectHello { .. }
            | ConnectionState::Open { .. }
            | ConnectionState::Ended => return Ok(()),
        };
        let Some(packet) = packet? else { return Ok(()) };
        self.received_bytes.take(packet.length());
        match std::mem::replace(&mut self.state, ConnectionState::Ended) {
            ConnectionState::ExpectAuth { handshake, until } => {
                let accepted = handshake.finish(&packet)?;
                self.outputs.push_back(PeerOutput::Send(accepted.ack));
                self.send_hello(accepted.connected, until)
            }
            ConnectionState::ExpectAck { handshake, until } => {
                self.send_hello(handshake.finish(&packet)?, until)
            }
            ConnectionState::ExpectHello { .. }
            | ConnectionState::Open { .. }
            | ConnectionState::Ended => Ok(()),
        }
    }

    fn send_hello(&mut self, connected: Connected, until: Instant) -> Result<(), PeerError> {
        let mut wire = Box::new(MessageCodec::new(connected, MAX_BASE_MESSAGE));
        let hello = self.config.hello();
        let to_self = wire.remote().node_id() == hello.id;
        // A Hello that does not fit into a frame is not sent; the other node then times out.
        let frame = wire.seal(base::HELLO, &hello.encode());
        self.outputs.extend(frame.ok().map(PeerOutput::Send));
        self.state = ConnectionState::ExpectHello { wire, until };
        if to_self { Err(PeerError::ConnectedToSelf) } else { Ok(()) }
    }

    fn on_message(&mut self, now: Instant, code: u64, payload: Vec<u8>) -> Result<(), PeerError> {
        if code == base::DISCONNECT {
            let reason = DisconnectReason::decode(&payload).map_err(PeerMisbehaved::from)?;
            return Err(PeerError::Disconnected(reason));
        }
        match &mut self.state {
            ConnectionState::ExpectHello { .. } => self.on_hello(now, code, &payload),
            ConnectionState::Open { wire, .. } if code < FIRST_CODE => {
                if code == base::PING {
                    let pong = wire.seal(base::PONG, &base::EMPTY);
                    self.outputs.extend(pong.ok().map(PeerOutput::Send));
                }
                // A pong has no further effect, and other base messages are ignored.
                Ok(())
            }
            ConnectionState::Open { shared, .. } => {
                let (protocol, code) =
                    shared.resolve(code).ok_or(PeerMisbehaved::UnknownCode(code))?;
                self.outputs.push_back(PeerOutput::Message { protocol, code, payload });
                Ok(())
            }
            ConnectionState::ExpectAuth { .. }
            | ConnectionState::ExpectAck { .. }
            | ConnectionState::Ended => Ok(()),
        }
    }

    fn on_hello(&mut self, now: Instant, code: u64, payload: &[u8]) -> Result<(), PeerError> {
        let ConnectionState::ExpectHello { wire, .. } = &mut self.state else { return Ok(()) };
        if code != base::HELLO {
            return Err(PeerMisbehaved::NoHello(code).into());
        }
        let hello = Hello::decode(payload).map_err(PeerMisbehaved::from)?;
        if hello.id != wire.remote().node_id() {
            return Err(PeerMisbehaved::UnexpectedIdentity(Box::new(hello.id)).into());
        }
        let shared = Shared::new(&self.config.protocols, &hello.capabilities);
        if shared.is_empty() {
            return Err(PeerError::NothingShared);
        }
        wire.configure(hello.version >= base::SNAPPY_VERSION, self.config.max_message);
        let protocols = shared.protocols().collect();
        self.outputs.push_back(PeerOutput::Opened { hello: Box::new(hello), protocols });
        if let ConnectionState::ExpectHello { wire, .. } =
            std::mem::replace(&mut self.state, ConnectionState::Ended)
        {
            let (next_ping, silent_until) = (now + PING_INTERVAL, now + READ_TIMEOUT);
            self.state = ConnectionState::Open { wire, shared, next_ping, silent_until };
        }
        Ok(())
    }

    fn on_deadline(&mut self, now: Instant) -> Result<(), PeerError> {
        match &mut self.state {
            ConnectionState::ExpectAuth { until, .. }
            | ConnectionState::ExpectAck { until, .. }
            | ConnectionState::ExpectHello { until, .. }
                if now >= *until =>
            {
                Err(PeerError::TimedOut(HANDSHAKE_TIMEOUT))
            }
            ConnectionState::Open { silent_until, .. } if now >= *silent_until => {
                Err(PeerError::TimedOut(READ_TIMEOUT))
            }
            ConnectionState::Open { wire, next_ping, .. } if now >= *next_ping => {
                *next_ping = now + PING_INTERVAL;
                let ping = wire.seal(base::PING, &base::EMPTY);
                self.outputs.extend(ping.ok().map(PeerOutput::Send));
                Ok(())
            }
            ConnectionState::ExpectAuth { .. }
            | ConnectionState::ExpectAck { .. }
            | ConnectionState::ExpectHello { .. }
            | ConnectionState::Open { .. }
            | ConnectionState::Ended => Ok(()),
        }
    }
}

/// An action for the caller. Actions must be executed in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PeerOutput {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Both sides have sent Hello; messages may be sent from now on.
    Opened {
        /// The other node's Hello. Its id is authenticated.
        hello: Box<Hello>,
        /// The shared protocols, sorted by name.
        protocols: Vec<ProtocolId>,
    },
    /// A message of a shared protocol.
    Message {
        /// The protocol.
        protocol: ProtocolId,
        /// Message code within the protocol.
        code: u16,
        /// Content after the code, decompressed.
        payload: Vec<u8>,
    },
    /// Flush the output, then close the connection.
    Close,
}

/// Why a connection ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// Both ends of the connection are this node.
    #[error("connected to ourselves")]
    ConnectedToSelf,
    /// The other node disconnected with this reason.
    #[error("peer disconnected: {0}")]
    Disconnected(DisconnectReason),
    /// The nodes have no protocol in common.
    #[error("no shared capability")]
    NothingShared,
    /// The other node violated the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// No valid data arrived for this long.
    #[error("no answer for {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl PeerError {
    /// The reason to send to the other node. `None` if it disconnected first.
    pub const fn reason(&self) -> Option<DisconnectReason> {
        Some(match self {
            Self::ConnectedToSelf => DisconnectReason::ConnectedToSelf,
            Self::Disconnected(_) => return None,
            Self::NothingShared => DisconnectReason::UselessPeer,
            Self::PeerMisbehaved(PeerMisbehaved::UnexpectedIdentity(_)) => {
                DisconnectReason::UnexpectedIdentity
            }
            Self::PeerMisbehaved(_) => DisconnectReason::BreachOfProtocol,
            Self::TimedOut(_) => DisconnectReason::PingTimeout,
        })
    }

    /// Whether a message exceeded our limit; other nodes may accept it.
    pub const fn is_oversized(&self) -> bool {
        matches!(
            self,
            Self::PeerMisbehaved(
                PeerMisbehaved::MessageTooLong(_)
                    | PeerMisbehaved::Packing(SnappyError::TooLong(_))
            )
        )
    }
}

impl From<HandshakeError> for PeerError {
    fn from(error: HandshakeError) -> Self {
        PeerMisbehaved::Handshake(error).into()
    }
}

/// How the other node violated the protocol.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// A frame is forged or out of order.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A base message or a message code is malformed.
    #[error("malformed message: {0}")]
    Malformed(#[from] RlpError),
    /// The message has or claims this size.
    #[error("message of {0} bytes is too long")]
    MessageTooLong(usize),
    /// The first message had this code instead of Hello.
    #[error("message {0:#x} before hello")]
    NoHello(u64),
    /// A message cannot be decompressed.
    #[error(transparent)]
    Packing(#[from] SnappyError),
    /// Hello contains this id, which is not the authenticated one.
    #[error("unexpected identity {0}")]
    UnexpectedIdentity(Box<NodeId>),
    /// No shared protocol has this message code.
    #[error("unknown message code {0:#x}")]
    UnknownCode(u64),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The message has this size and does not fit into a frame.
    #[error("message of {0} bytes does not fit into a frame")]
    MessageTooLong(usize),
    /// Hello has not been received yet, or the connection has ended.
    #[error("connection is not open")]
    NotOpen,
    /// The protocol is not shared, or has no such message code.
    #[error("message code {0:#x} is not shared")]
    UnknownCode(u16),
}

/// Time limit for handshake and Hello together. go-ethereum has this limit for each of them.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two pings, as in go-ethereum.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Time without a frame after which the connection ends, as in go-ethereum.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of a base message in bytes, as in go-ethereum.
const MAX_BASE_MESSAGE: usize = 2048;

/// Default maximum size of a message in bytes: as in Waku, one and a half times the largest envelope.
pub const MAX_MESSAGE: usize = 3 << 19;

/// The name of this software in Hello: name, version, language.
const CLIENT_ID: &str = concat!("Wormhole/v", env!("CARGO_PKG_VERSION"), "/rust");

#[cfg(test)]
mod tests;
