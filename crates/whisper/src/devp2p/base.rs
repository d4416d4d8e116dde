//! The messages that every pair of nodes understands: Hello, Disconnect, Ping, Pong (rlpx.md "p2p"
//! Capability).
//!
//! [`super::peer`] decides when to send them.

use std::fmt;

use super::{
    capability::Capability,
    key::NodeId,
    rlp::{self, Rlp, RlpError},
};

/// The first message of each side: the node and its capabilities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Version of the base protocol. From [`SNAPPY_VERSION`] on, later messages are compressed.
    pub version: u64,
    /// Software of the node, such as `Geth/v1.9.7-stable/linux-amd64/go1.13.4`. Untrusted: escape it before
    /// printing.
    pub client_id: String,
    /// Capabilities, in the node's own order.
    pub capabilities: Vec<Capability>,
    /// TCP port on which it listens, or 0.
    pub listen_port: u16,
    /// Its id, which must be the one that the handshake verified.
    pub id: NodeId,
}

impl Hello {
    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        rlp::list(|hello| {
            hello.uint(self.version).string(self.client_id.as_bytes());
            hello.list(|list| {
                for Capability { name, version } in &self.capabilities {
                    list.list(|entry| {
                        entry.string(name.as_bytes()).uint((*version).into());
                    });
                }
            });
            hello.uint(self.listen_port.into()).string(&self.id.0);
        })
    }

    /// Decodes the message. Additional fields are ignored (EIP-8), and invalid UTF-8 is replaced.
    ///
    /// # Errors
    /// A field is missing or has the wrong type.
    pub fn decode(encoded: &[u8]) -> Result<Self, RlpError> {
        let mut fields = Rlp::only_list(encoded)?;
        let (version, client_id) = (fields.u64()?, text(fields.string()?));
        let (mut list, mut capabilities) = (fields.list()?, Vec::new());
        while !list.is_empty() {
            let mut entry = list.list()?;
            let (name, version) = (text(entry.string()?), entry.u32()?);
            capabilities.push(Capability { name, version });
        }
        let (listen_port, id) = (fields.u16()?, NodeId(fields.array()?));
        Ok(Self { version, client_id, capabilities, listen_port, id })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Why a node disconnects (rlpx.md "Disconnect", in its order).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DisconnectReason {
    /// 0: requested by the user.
    Requested,
    /// 1: TCP error.
    TcpError,
    /// 2: a message was malformed, or not allowed.
    BreachOfProtocol,
    /// 3: no shared capability.
    UselessPeer,
    /// 4: the limit of peers is reached.
    TooManyPeers,
    /// 5: a connection between the two nodes already exists.
    AlreadyConnected,
    /// 6: incompatible version of the base protocol.
    IncompatibleVersion,
    /// 7: the node has no id.
    NullIdentity,
    /// 8: the node is shutting down.
    Quitting,
    /// 9: the node has another id than expected.
    UnexpectedIdentity,
    /// 10: the node connected to itself.
    ConnectedToSelf,
    /// 11: no message within the time limit.
    PingTimeout,
    /// 16: a reason specific to a capability.
    SubprotocolError,
    /// An unknown reason.
    Unknown(u8),
}

impl DisconnectReason {
    /// The number of the reason.
    pub const fn code(self) -> u8 {
        match self {
            Self::Requested => 0x00,
            Self::TcpError => 0x01,
            Self::BreachOfProtocol => 0x02,
            Self::UselessPeer => 0x03,
            Self::TooManyPeers => 0x04,
            Self::AlreadyConnected => 0x05,
            Self::IncompatibleVersion => 0x06,
            Self::NullIdentity => 0x07,
            Self::Quitting => 0x08,
            Self::UnexpectedIdentity => 0x09,
            Self::ConnectedToSelf => 0x0a,
            Self::PingTimeout => 0x0b,
            Self::SubprotocolError => 0x10,
            Self::Unknown(code) => code,
        }
    }

    /// The reason with this number.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0x00 => Self::Requested,
            0x01 => Self::TcpError,
            0x02 => Self::BreachOfProtocol,
            0x03 => Self::UselessPeer,
            0x04 => Self::TooManyPeers,
            0x05 => Self::AlreadyConnected,
            0x06 => Self::IncompatibleVersion,
            0x07 => Self::NullIdentity,
            0x08 => Self::Quitting,
            0x09 => Self::UnexpectedIdentity,
            0x0a => Self::ConnectedToSelf,
            0x0b => Self::PingTimeout,
            0x10 => Self::SubprotocolError,
            code => Self::Unknown(code),
        }
    }

    /// Encodes a Disconnect message.
    pub fn encode(self) -> Vec<u8> {
        rlp::list(|message| {
            message.uint(self.code().into());
        })
    }

    /// Decodes a Disconnect message: a list with the reason or, as some clients send it, only the reason.
    /// An empty list counts as [`DisconnectReason::Requested`].
    ///
    /// # Errors
    /// The message has another form.
    pub fn decode(encoded: &[u8]) -> Result<Self, RlpError> {
        let mut message = Rlp::new(encoded);
        if message.next_is_list() {
            message = message.list()?;
            if message.is_empty() {
                return Ok(Self::Requested);
            }
        }
        message.u8().map(Self::from_code)
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "disconnect requested",
            Self::TcpError => "network error",
            Self::BreachOfProtocol => "breach of protocol",
            Self::UselessPeer => "useless peer",
            Self::TooManyPeers => "too many peers",
            Self::AlreadyConnected => "already connected",
            Self::IncompatibleVersion => "incompatible p2p protocol version",
            Self::NullIdentity => "null node identity",
            Self::Quitting => "client quitting",
            Self::UnexpectedIdentity => "unexpected identity",
            Self::ConnectedToSelf => "connected to self",
            Self::PingTimeout => "ping timeout",
            Self::SubprotocolError => "subprotocol error",
            Self::Unknown(code) => return write!(f, "unknown reason {code:#04x}"),
        })
    }
}

/// Our version of the base protocol.
pub const VERSION: u64 = 5;

/// First version of the base protocol with compression (EIP-706).
pub const SNAPPY_VERSION: u64 = 5;

/// Message code of Hello.
pub const HELLO: u64 = 0;

/// Message code of Disconnect.
pub const DISCONNECT: u64 = 1;

/// Message code of Ping, whose body is [`EMPTY`].
pub const PING: u64 = 2;

/// Message code of Pong, whose body is [`EMPTY`].
pub const PONG: u64 = 3;

/// Body of Ping and Pong: an empty list.
pub const EMPTY: [u8; 1] = [0xc0];

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            version: VERSION,
            client_id: "whisper-vectors/0.1".into(),
            capabilities: vec![Capability { name: "shh".into(), version: 6 }],
            listen_port: 30_303,
            id: NodeId([7; 64]),
        }
    }

    #[test]
    fn a_hello_reads_back() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn additional_fields_of_a_hello_are_ignored() {
        let mut encoded = hello().encode();
        encoded.extend([0xc0, 5]);
        encoded[1] += 2;
        assert_eq!(Hello::decode(&encoded), Ok(hello()));
        encoded.push(5);
        assert_eq!(Hello::decode(&encoded), Err(RlpError::TooManyItems));
    }

    #[test]
    fn a_hello_that_is_not_one_is_refused() {
        assert_eq!(Hello::decode(&[]), Err(RlpError::TooFewItems));
        assert_eq!(Hello::decode(&EMPTY), Err(RlpError::TooFewItems));
        assert_eq!(Hello::decode(&[5]), Err(RlpError::ExpectedList));
        let nameless = Hello { id: NodeId([0; 64]), ..hello() }.encode();
        let cut = &nameless[..nameless.len() - 1];
        assert!(matches!(Hello::decode(cut), Err(RlpError::Truncated(_))));
    }

    #[test]
    fn every_reason_keeps_its_number() {
        for code in 0..=u8::MAX {
            let reason = DisconnectReason::from_code(code);
            assert_eq!(reason.code(), code);
            assert_eq!(DisconnectReason::decode(&reason.encode()), Ok(reason));
        }
    }

    #[test]
    fn a_reason_is_read_in_every_form_that_is_sent() {
        let decode = DisconnectReason::decode;
        assert_eq!(decode(&[0xc1, 4]), Ok(DisconnectReason::TooManyPeers));
        assert_eq!(decode(&[4]), Ok(DisconnectReason::TooManyPeers));
        assert_eq!(decode(&[0x80]), Ok(DisconnectReason::Requested));
        assert_eq!(decode(&EMPTY), Ok(DisconnectReason::Requested));
        assert_eq!(decode(&[0xc1, 0x10]), Ok(DisconnectReason::SubprotocolError));
        assert_eq!(decode(&[0x82, 1, 1]), Err(RlpError::IntegerTooLarge));
        assert_eq!(decode(&[]), Err(RlpError::TooFewItems));
    }
}
