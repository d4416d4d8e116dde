//! One link to one node, from the first byte to the last: RLPx handshake, Hello, pings, and the
//! messages of the shared protocols (rlpx.md).
//!
//! What those protocols say is their own matter: messages go in and out by protocol and code.
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

use self::wire::{Inbox, Step, Wire};
use super::{
    base::{self, DisconnectReason, Hello},
    capability::{FIRST_CODE, Protocol, ProtocolId, Shared},
    key::{NodeId, PrivateKey, PublicKey},
    rlp::RlpError,
    rlpx::{Connected, ExpectAck, ExpectAuth, FrameError, HandshakeError},
    snappy::SnappyError,
};

mod wire;

/// What a node says of itself on every link.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's key.
    pub key: PrivateKey,
    /// What software this is.
    pub client_id: String,
    /// What it speaks. A [`ProtocolId`] is a place in this list.
    pub protocols: Vec<Protocol>,
    /// TCP port at which it listens, or 0.
    pub listen_port: u16,
    /// Most bytes that a received message may have, unpacked. More than 16 MiB count as 16 MiB.
    pub max_message: usize,
}

impl Config {
    /// A node that speaks `protocols`, does not listen, and takes messages up to
    /// [`MAX_MESSAGE`].
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

/// A link to another node. Any order of calls is safe. After an `Err` or a `Close` the link has
/// ended: [`Peer::poll`] may still hand out what it wanted to say last, every input is ignored.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    state: State,
    inbox: Inbox,
    /// See [`Peer::take_cost`].
    cost: usize,
    outputs: VecDeque<PeerOutput>,
}

/// Where a link stands.
#[derive(Debug)]
enum State {
    ExpectAuth { handshake: Box<ExpectAuth>, until: Instant },
    ExpectAck { handshake: Box<ExpectAck>, until: Instant },
    ExpectHello { wire: Box<Wire>, until: Instant },
    Open { wire: Box<Wire>, shared: Shared, next_ping: Instant, silent_until: Instant },
    Ended,
}

impl Peer {
    /// Calls the node that has the key `remote`, over a link that is open.
    pub fn dial(
        config: Config,
        remote: PublicKey,
        now: Instant,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let (handshake, auth) = ExpectAck::start(&config.key, remote, rng);
        let until = now + HANDSHAKE_TIMEOUT;
        let state = State::ExpectAck { handshake: Box::new(handshake), until };
        let outputs = [PeerOutput::Send(auth)].into();
        Self { config, state, inbox: Inbox::default(), cost: 0, outputs }
    }

    /// Answers whoever has opened a link to us.
    pub fn accept(config: Config, now: Instant, rng: &mut impl CryptoRngCore) -> Self {
        let handshake = Box::new(ExpectAuth::start(&config.key, rng));
        let state = State::ExpectAuth { handshake, until: now + HANDSHAKE_TIMEOUT };
        Self { config, state, inbox: Inbox::default(), cost: 0, outputs: VecDeque::new() }
    }

    /// Takes in bytes, in any pieces.
    ///
    /// # Errors
    /// The link has ended; drain [`Peer::poll`].
    pub fn handle(&mut self, now: Instant, received: &[u8]) -> Result<(), PeerError> {
        if self.has_ended() {
            return Ok(());
        }
        self.inbox.push(received);
        let result = self.advance(now);
        self.inbox.settle();
        self.end_on_error(result)
    }

    /// Hands out the next thing to do, in wire order.
    pub fn poll(&mut self) -> Option<PeerOutput> {
        self.outputs.pop_front()
    }

    /// When [`Peer::handle_timeout`] wants to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectAuth { until, .. }
            | State::ExpectAck { until, .. }
            | State::ExpectHello { until, .. } => Some(*until),
            State::Open { next_ping, silent_until, .. } => Some(*next_ping.min(silent_until)),
            State::Ended => None,
        }
    }

    /// Lets time pass: pings, and gives a silent node up. Calling it early does nothing.
    ///
    /// # Errors
    /// As for [`Peer::handle`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), PeerError> {
        let result = self.let_time_pass(now);
        self.end_on_error(result)
    }

    /// Sends a message of a shared protocol.
    ///
    /// # Errors
    /// The message was not sent; the link goes on.
    pub fn send(
        &mut self,
        protocol: ProtocolId,
        code: u16,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let State::Open { wire, shared, .. } = &mut self.state else {
            return Err(SendError::NotOpen);
        };
        let code = shared.wire_code(protocol, code).ok_or(SendError::UnknownCode(code))?;
        let frame =
            wire.seal(code, payload).map_err(|_| SendError::MessageTooLong(payload.len()))?;
        self.outputs.push_back(PeerOutput::Send(frame));
        Ok(())
    }

    /// Ends the link, telling the other node why if it can be told.
    pub fn disconnect(&mut self, reason: DisconnectReason) {
        if !self.has_ended() {
            self.end(Some(reason));
        }
    }

    /// Bytes of messages, packed or unpacked, whichever are more, that were handled since this was
    /// asked last: those of shared protocols and all others. For whoever bounds what a node may cost.
    pub const fn take_cost(&mut self) -> usize {
        std::mem::replace(&mut self.cost, 0)
    }

    /// Whether the link has ended.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The other node, once it has proved who it is.
    pub fn remote(&self) -> Option<NodeId> {
        match &self.state {
            State::ExpectHello { wire, .. } | State::Open { wire, .. } => {
                Some(wire.remote().node_id())
            }
            State::ExpectAuth { .. } | State::ExpectAck { .. } | State::Ended => None,
        }
    }

    fn end_on_error(&mut self, result: Result<(), PeerError>) -> Result<(), PeerError> {
        if let Err(error) = &result {
            self.end(error.reason());
        }
        result
    }

    fn end(&mut self, reason: Option<DisconnectReason>) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let State::ExpectHello { mut wire, .. } | State::Open { mut wire, .. } = state {
            let frame = reason.map(|reason| wire.seal(base::DISCONNECT, &reason.encode()));
            self.outputs.extend(frame.and_then(Result::ok).map(PeerOutput::Send));
        }
        self.inbox = Inbox::default();
        self.outputs.push_back(PeerOutput::Close);
    }

    /// Uses what was received, as far as it goes.
    fn advance(&mut self, now: Instant) -> Result<(), PeerError> {
        self.shake_hands()?;
        while let State::ExpectHello { wire, .. } | State::Open { wire, .. } = &mut self.state {
            let step = wire.step(&mut self.inbox)?;
            if let State::Open { silent_until, .. } = &mut self.state {
                // Only what the MAC vouches for is a sign of life.
                if !matches!(step, Step::Starved) {
                    *silent_until = now + SILENCE;
                }
            }
            match step {
                Step::Starved => break,
                Step::Header => {}
                Step::Message { code, payload, cost } => {
                    self.cost = self.cost.saturating_add(cost);
                    self.on_message(now, code, payload)?;
                }
            }
        }
        Ok(())
    }

    /// Makes our move of the handshake once theirs is whole.
    fn shake_hands(&mut self) -> Result<(), PeerError> {
        let packet = match &self.state {
            State::ExpectAuth { handshake, .. } => handshake.packet(self.inbox.rest()),
            State::ExpectAck { handshake, .. } => handshake.packet(self.inbox.rest()),
            State::ExpectHello { .. } | State::Open { .. } | State::Ended => return Ok(()),
        };
        let Some(packet) = packet? else { return Ok(()) };
        self.inbox.take(packet.length());
        match std::mem::replace(&mut self.state, State::Ended) {
            State::ExpectAuth { handshake, until } => {
                let accepted = handshake.finish(&packet)?;
                self.outputs.push_back(PeerOutput::Send(accepted.ack));
                self.say_hello(accepted.connected, until)
            }
            State::ExpectAck { handshake, until } => {
                self.say_hello(handshake.finish(&packet)?, until)
            }
            State::ExpectHello { .. } | State::Open { .. } | State::Ended => Ok(()),
        }
    }

    fn say_hello(&mut self, connected: Connected, until: Instant) -> Result<(), PeerError> {
        let mut wire = Box::new(Wire::new(connected, MAX_BASE_MESSAGE));
        let hello = self.config.hello();
        let to_self = wire.remote().node_id() == hello.id;
        // A Hello too long for a frame is not sent; the other node then gives us up.
        let frame = wire.seal(base::HELLO, &hello.encode());
        self.outputs.extend(frame.ok().map(PeerOutput::Send));
        self.state = State::ExpectHello { wire, until };
        if to_self { Err(PeerError::ConnectedToSelf) } else { Ok(()) }
    }

    fn on_message(&mut self, now: Instant, code: u64, payload: Vec<u8>) -> Result<(), PeerError> {
        if code == base::DISCONNECT {
            let reason = DisconnectReason::decode(&payload).map_err(PeerMisbehaved::from)?;
            return Err(PeerError::Disconnected(reason));
        }
        match &mut self.state {
            State::ExpectHello { .. } => self.on_hello(now, code, &payload),
            State::Open { wire, .. } if code < FIRST_CODE => {
                if code == base::PING {
                    let pong = wire.seal(base::PONG, &base::EMPTY);
                    self.outputs.extend(pong.ok().map(PeerOutput::Send));
                }
                // A pong has done its work by arriving; what else there may be is not for us.
                Ok(())
            }
            State::Open { shared, .. } => {
                let (protocol, code) =
                    shared.resolve(code).ok_or(PeerMisbehaved::UnknownCode(code))?;
                self.outputs.push_back(PeerOutput::Message { protocol, code, payload });
                Ok(())
            }
            State::ExpectAuth { .. } | State::ExpectAck { .. } | State::Ended => Ok(()),
        }
    }

    fn on_hello(&mut self, now: Instant, code: u64, payload: &[u8]) -> Result<(), PeerError> {
        let State::ExpectHello { wire, .. } = &mut self.state else { return Ok(()) };
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
        wire.open_up(hello.version >= base::SNAPPY_VERSION, self.config.max_message);
        let protocols = shared.protocols().collect();
        self.outputs.push_back(PeerOutput::Opened { hello: Box::new(hello), protocols });
        if let State::ExpectHello { wire, .. } = std::mem::replace(&mut self.state, State::Ended) {
            let (next_ping, silent_until) = (now + PING_INTERVAL, now + SILENCE);
            self.state = State::Open { wire, shared, next_ping, silent_until };
        }
        Ok(())
    }

    fn let_time_pass(&mut self, now: Instant) -> Result<(), PeerError> {
        match &mut self.state {
            State::ExpectAuth { until, .. }
            | State::ExpectAck { until, .. }
            | State::ExpectHello { until, .. }
                if now >= *until =>
            {
                Err(PeerError::TimedOut(HANDSHAKE_TIMEOUT))
            }
            State::Open { silent_until, .. } if now >= *silent_until => {
                Err(PeerError::TimedOut(SILENCE))
            }
            State::Open { wire, next_ping, .. } if now >= *next_ping => {
                *next_ping = now + PING_INTERVAL;
                let ping = wire.seal(base::PING, &base::EMPTY);
                self.outputs.extend(ping.ok().map(PeerOutput::Send));
                Ok(())
            }
            State::ExpectAuth { .. }
            | State::ExpectAck { .. }
            | State::ExpectHello { .. }
            | State::Open { .. }
            | State::Ended => Ok(()),
        }
    }
}

/// What a link wants done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "whoever drives a link must handle every output")]
pub enum PeerOutput {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Both have said Hello; from here on messages may be sent.
    Opened {
        /// What the other node says of itself. Its id is proved.
        hello: Box<Hello>,
        /// What both speak, by name.
        protocols: Vec<ProtocolId>,
    },
    /// A message of a shared protocol arrived.
    Message {
        /// Whose message it is.
        protocol: ProtocolId,
        /// The protocol's own message code, below its length.
        code: u16,
        /// What follows the code, unpacked.
        payload: Vec<u8>,
    },
    /// Flush what was sent, then close the link.
    Close,
}

/// Why a link ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The node that we called, or that called us, is ourselves.
    #[error("connected to ourselves")]
    ConnectedToSelf,
    /// The other node ended the link and said why.
    #[error("peer disconnected: {0}")]
    Disconnected(DisconnectReason),
    /// The two nodes speak nothing in common.
    #[error("no shared capability")]
    NothingShared,
    /// The other node broke the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// Nothing that can be used arrived for this long.
    #[error("no answer for {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl PeerError {
    /// What the other node is told. Nothing, when it was the one to tell us.
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

    /// Whether a message was larger than we take, which others may take.
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

/// How the other node broke the protocol.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A frame is forged or out of order.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The handshake went wrong.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A base message, or the code of another one, is malformed.
    #[error("malformed message: {0}")]
    Malformed(#[from] RlpError),
    /// A message has, or claims, this many bytes.
    #[error("message of {0} bytes")]
    MessageTooLong(usize),
    /// The first message was not Hello but had this code.
    #[error("message {0:#x} before hello")]
    NoHello(u64),
    /// A message does not unpack.
    #[error(transparent)]
    Packing(#[from] SnappyError),
    /// Hello names this node, which is not the one that made the handshake.
    #[error("unexpected identity {0}")]
    UnexpectedIdentity(Box<NodeId>),
    /// No shared protocol has this message code.
    #[error("unknown message code {0:#x}")]
    UnknownCode(u64),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// A message of this many bytes does not fit into a frame.
    #[error("message of {0} bytes does not fit into a frame")]
    MessageTooLong(usize),
    /// There has been no Hello yet, or the link has ended.
    #[error("link is not open")]
    NotOpen,
    /// The protocol is not shared, or has no such message code.
    #[error("message code {0:#x} is not shared")]
    UnknownCode(u16),
}

/// Time from the first byte to the end of Hello. As in go-ethereum, there for each half.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two of our pings. As in go-ethereum.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Time without a frame after which a node is given up. As in go-ethereum.
const SILENCE: Duration = Duration::from_secs(30);

/// Most bytes of a Hello. As in go-ethereum.
const MAX_BASE_MESSAGE: usize = 2048;

/// Most bytes of a message unless configured otherwise: what Waku allows, one and a half times the
/// largest envelope.
pub const MAX_MESSAGE: usize = 3 << 19;

/// What we call ourselves, as every client does: name, version, language.
const CLIENT_ID: &str = concat!("Wormhole/v", env!("CARGO_PKG_VERSION"), "/rust");

#[cfg(test)]
mod tests;
