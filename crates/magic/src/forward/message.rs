//! The messages on streams: a length of 2 bytes, and a MessagePack map.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ServiceName;

/// The first message on a stream of [`CONNECTIONS`](super::CONNECTIONS): connect to this service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectRequest {
    /// The service.
    pub name: ServiceName,
}

/// The answer to a [`ConnectRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectReply {
    /// From here on, the stream carries the bytes of the connection, in both directions.
    Connected,
    /// There is no connection, for this reason. The stream ends.
    NotConnected(String),
}

/// A message on a stream of [`COMMANDS`](super::COMMANDS): listen for connections to our service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenRequest {
    /// The service.
    pub name: ServiceName,
    /// The port that the requester would like.
    pub port: Option<u16>,
}

/// The answer to a [`ListenRequest`]. Answers come in the order of the requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenReply {
    /// The side that answers listens.
    Listening {
        /// The service.
        name: ServiceName,
        /// The port to which it would like the service to connect.
        connect_port: Option<u16>,
    },
    /// It does not, for this reason.
    NotListening {
        /// The service.
        name: ServiceName,
        /// For people.
        reason: String,
    },
}

/// A message is not a MessagePack map with the necessary fields, or is too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the other side sent a malformed message about port forwarding")]
pub struct Malformed;

impl ConnectRequest {
    /// Encodes the message with its length.
    pub fn encode(&self) -> Vec<u8> {
        encode(&ConnectFields { name: self.name.0.clone() })
    }

    /// Decodes a message without its length.
    ///
    /// # Errors
    /// It is malformed: end the stream.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields: ConnectFields = decode(bytes)?;
        Ok(Self { name: name(fields.name)? })
    }
}

impl ConnectReply {
    /// Encodes the message with its length.
    pub fn encode(&self) -> Vec<u8> {
        let (connected, reason) = match self {
            Self::Connected => (true, None),
            Self::NotConnected(reason) => (false, Some(shortened(reason))),
        };
        encode(&ReplyFields { connected, reason })
    }

    /// Decodes a message without its length. Control characters of the reason become spaces.
    ///
    /// # Errors
    /// It is malformed: end the stream.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields: ReplyFields = decode(bytes)?;
        if fields.connected {
            return Ok(Self::Connected);
        }
        Ok(Self::NotConnected(shortened(&fields.reason.unwrap_or_default())))
    }
}

impl ListenRequest {
    /// Encodes the message with its length.
    pub fn encode(&self) -> Vec<u8> {
        encode(&CommandFields {
            kind: REQUEST.to_owned(),
            name: self.name.0.clone(),
            listen_port: self.port,
        })
    }

    /// Decodes a message without its length.
    ///
    /// # Errors
    /// It is malformed, or another command: end the stream.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields: CommandFields = decode(bytes)?;
        if fields.kind != REQUEST {
            return Err(Malformed);
        }
        Ok(Self { name: name(fields.name)?, port: fields.listen_port })
    }
}

impl ListenReply {
    /// Encodes the message with its length.
    pub fn encode(&self) -> Vec<u8> {
        let (name, listening, desired_port, reason) = match self {
            Self::Listening { name, connect_port } => (name, true, *connect_port, None),
            Self::NotListening { name, reason } => (name, false, None, Some(shortened(reason))),
        };
        let (kind, name) = (REPLY.to_owned(), name.0.clone());
        encode(&CommandReplyFields { kind, name, listening, desired_port, reason })
    }

    /// Decodes a message without its length. Control characters of the reason become spaces.
    ///
    /// # Errors
    /// It is malformed: end the stream.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields: CommandReplyFields = decode(bytes)?;
        if fields.kind != REPLY {
            return Err(Malformed);
        }
        let name = name(fields.name)?;
        if fields.listening {
            return Ok(Self::Listening { name, connect_port: fields.desired_port });
        }
        let reason = shortened(&fields.reason.unwrap_or_default());
        Ok(Self::NotListening { name, reason })
    }
}

/// The length of a message, from the bytes before it.
///
/// # Errors
/// It is longer than [`MAX_MESSAGE`]: end the stream.
pub fn message_length(prefix: [u8; PREFIX]) -> Result<usize, Malformed> {
    let length = usize::from(u16::from_be_bytes(prefix));
    if length <= MAX_MESSAGE { Ok(length) } else { Err(Malformed) }
}

#[derive(Deserialize, Serialize)]
struct ConnectFields {
    #[serde(rename = "unique-name")]
    name: String,
}

#[derive(Deserialize, Serialize)]
struct ReplyFields {
    connected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct CommandFields {
    kind: String,
    #[serde(rename = "unique-name")]
    name: String,
    /// The reference sends it even if it has no value.
    #[serde(rename = "listen-port", default)]
    listen_port: Option<u16>,
}

#[derive(Deserialize, Serialize)]
struct CommandReplyFields {
    kind: String,
    #[serde(rename = "unique-name")]
    name: String,
    listening: bool,
    #[serde(rename = "desired-port", default, skip_serializing_if = "Option::is_none")]
    desired_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Encodes a map. A name has at most 255 bytes and a reason [`MAX_REASON`], so the length always fits.
fn encode(fields: &impl Serialize) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(fields).unwrap_or_default();
    let length = u16::try_from(body.len()).unwrap_or_default();
    [length.to_be_bytes().as_slice(), &body].concat()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Malformed);
    }
    let mut rest = bytes;
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    decoder.set_max_depth(MAX_DEPTH);
    let fields = T::deserialize(&mut decoder).map_err(|_| Malformed)?;
    if rest.is_empty() { Ok(fields) } else { Err(Malformed) }
}

fn name(name: String) -> Result<ServiceName, Malformed> {
    ServiceName::new(name).map_err(|_| Malformed)
}

/// The first [`MAX_REASON`] characters, with spaces instead of control characters.
fn shortened(reason: &str) -> String {
    let characters = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    characters.take(MAX_REASON).collect()
}

const REQUEST: &str = "request-listener";
const REPLY: &str = "listener-response";

/// Size of the length before a message, in bytes.
pub const PREFIX: usize = 2;

/// Maximum length of a message that we read, in bytes. The longest one of the reference has a few hundred.
pub const MAX_MESSAGE: usize = 8 << 10;

/// Maximum length of a reason, in characters.
const MAX_REASON: usize = 256;

/// Maximum depth of maps and lists in a message, in fields that we do not know.
const MAX_DEPTH: usize = 8;
