//! The messages between a client and the mailbox server, one JSON object per text frame.
//!
//! This module only defines their format. Unknown keys and message types are ignored, so that the protocol
//! can be extended. A required key that is missing or has a value of the wrong type is an error. (mailbox
//! protocol, "Messages")

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wormhole_kit::UnixTime;

/// Maximum length of a frame from a server, in bytes. Servers forward messages of any length; the longest ones
/// in practice contain a long text in hex.
pub const MAX_FRAME: usize = 16 << 20;

/// The text is not a message of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedMessage {
    /// Not UTF-8, not JSON, or not the fields that its `type` requires.
    #[error("not a message of the mailbox protocol")]
    Shape,
    /// Longer than [`MAX_FRAME`].
    #[error("a message of {0} bytes, which is too long")]
    TooLong(usize),
}

/// A message from the client.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// Adds a message to the open mailbox, which the server sends to everyone who has it open.
    Add {
        /// Name of the message, unique per side: `pake`, `version`, `0`, `1`, ...
        phase: String,
        /// The content, in lower-case hex.
        body: String,
    },
    /// Asks for a free nameplate and claims it.
    Allocate,
    /// Identifies the client. Must be the first message (after permissions, if the server requires any).
    Bind {
        /// The application; nameplates and mailboxes are separate for each.
        appid: String,
        /// The side of the client in its mailboxes.
        side: String,
        /// Name and version of the program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_version: Option<(String, String)>,
    },
    /// Claims a nameplate; the answer contains its mailbox.
    Claim {
        /// Decimal digits.
        nameplate: String,
    },
    /// Closes the mailbox.
    Close {
        /// The mailbox; optional after `open` on the same connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mailbox: Option<String>,
        /// The result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mood: Option<Mood>,
    },
    /// Asks which nameplates are in use.
    List,
    /// Opens a mailbox to receive all its messages, past and future.
    Open {
        /// Name of the mailbox, chosen by the server.
        mailbox: String,
    },
    /// Asks for a `pong`. Allowed at any time.
    Ping {
        /// Any value; returned unchanged.
        ping: Value,
    },
    /// Releases a nameplate.
    Release {
        /// The nameplate; optional after `claim` on the same connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nameplate: Option<String>,
    },
    /// Proves that a requirement of the server is met. Must precede `bind`.
    SubmitPermissions {
        /// One of the offered methods.
        method: String,
        /// The proof of work, for the method `hashcash`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stamp: Option<String>,
    },
}

impl ClientMessage {
    /// Encodes the message as JSON.
    pub fn encode(&self) -> String {
        // Strings and values only, which JSON can always represent.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Decodes a message. An `id` for the `ack` is ignored.
    ///
    /// # Errors
    /// It is not a message of this protocol. A server that must report the exact reason parses the JSON
    /// itself.
    pub fn decode(text: &str) -> Result<Self, MalformedMessage> {
        decode(text)
    }
}

/// A message from the server, with the fields that a client needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerMessage {
    /// A message was received.
    Ack,
    /// A nameplate was allocated and claimed.
    Allocated {
        /// Decimal digits.
        nameplate: String,
    },
    /// The nameplate is claimed.
    Claimed {
        /// Its mailbox.
        mailbox: String,
    },
    /// The mailbox was closed.
    Closed,
    /// The server rejected a message.
    Error {
        /// The reason, for users.
        error: String,
        /// The rejected message.
        orig: Refused,
    },
    /// A message that either side added to the open mailbox.
    Message(PeerMessage),
    /// The nameplates in use.
    Nameplates {
        /// In no particular order.
        nameplates: Vec<ListedNameplate>,
    },
    /// The answer to `ping`.
    Pong,
    /// The nameplate was released.
    Released,
    /// The first message on every connection.
    Welcome {
        /// Information for the client.
        welcome: Welcome,
    },
    /// An unknown message type.
    Unknown,
}

impl ServerMessage {
    /// Encodes the message as JSON, with the time of sending.
    pub fn encode(&self, server_tx: UnixTime) -> String {
        #[derive(Serialize)]
        struct Stamped<'a> {
            #[serde(flatten)]
            message: &'a ServerMessage,
            server_tx: UnixTime,
        }
        // Strings, values and finite numbers only, which JSON can always represent.
        serde_json::to_string(&Stamped { message: self, server_tx }).unwrap_or_default()
    }

    /// Decodes a frame. Keys that a client does not need are skipped without parsing: an `id` of the peer
    /// may contain megabytes of brackets.
    ///
    /// # Errors
    /// The frame is too long or not a message of this protocol: close the connection.
    pub fn decode(frame: &[u8]) -> Result<Self, MalformedMessage> {
        let text = std::str::from_utf8(frame).map_err(|_| MalformedMessage::Shape)?;
        if text.len() > MAX_FRAME {
            return Err(MalformedMessage::TooLong(text.len()));
        }
        // serde would accept a list as an object without keys.
        if !text.trim_start().starts_with('{') {
            return Err(MalformedMessage::Shape);
        }
        let kind: Kind<'_> = decode(text)?;
        Ok(match &*kind.kind {
            "ack" => Self::Ack,
            "allocated" => {
                let Allocated { nameplate } = decode(text)?;
                Self::Allocated { nameplate }
            }
            "claimed" => {
                let Claimed { mailbox } = decode(text)?;
                Self::Claimed { mailbox }
            }
            "closed" => Self::Closed,
            "error" => {
                let refusal: Refusal<'_> = decode(text)?;
                Self::Error { error: refusal.error, orig: Refused::parse(refusal.orig) }
            }
            "message" => Self::Message(decode(text)?),
            "nameplates" => {
                let List { nameplates } = decode(text)?;
                Self::Nameplates { nameplates }
            }
            "pong" => Self::Pong,
            "released" => Self::Released,
            "welcome" => {
                let Greeting { welcome } = decode(text)?;
                Self::Welcome { welcome }
            }
            _ => Self::Unknown,
        })
    }
}

/// A rejected message.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Refused {
    /// Its `type`; empty if it is missing.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Refused {
    fn parse(orig: Option<&RawValue>) -> Self {
        let kind = orig.and_then(|orig| serde_json::from_str::<Kind<'_>>(orig.get()).ok());
        Self { kind: kind.map(|kind| kind.kind.into_owned()).unwrap_or_default() }
    }
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Allocated {
    nameplate: String,
}

#[derive(Deserialize)]
struct Claimed {
    mailbox: String,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    error: String,
    #[serde(default, borrow)]
    orig: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct List {
    nameplates: Vec<ListedNameplate>,
}

#[derive(Deserialize)]
struct Greeting {
    welcome: Welcome,
}

/// Parses JSON of any depth and length; the error does not quote it.
fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, MalformedMessage> {
    if text.len() > MAX_FRAME {
        return Err(MalformedMessage::TooLong(text.len()));
    }
    serde_json::from_str(text).map_err(|_| MalformedMessage::Shape)
}

/// A message in a mailbox, as everyone who has it open receives it, including its author.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerMessage {
    /// The side that added it.
    pub side: String,
    /// Its name, unique per side.
    pub phase: String,
    /// Its content in hex. The server does not check it, so it may contain anything.
    pub body: String,
    /// When the server received it, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_rx: Option<serde_json::Number>,
}

impl PeerMessage {
    /// Creates a message; `body` is in hex.
    pub fn new(side: String, phase: String, body: String, server_rx: UnixTime) -> Self {
        Self { side, phase, body, server_rx: serde_json::Number::from_f64(server_rx.as_secs_f64()) }
    }
}

/// One entry of the list of nameplates.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedNameplate {
    /// Decimal digits.
    pub id: String,
}

impl ListedNameplate {
    /// Creates an entry.
    pub const fn new(id: String) -> Self {
        Self { id }
    }
}

/// The result of a client's session, for the server's statistics.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mood {
    /// An error, but not an attack.
    Errory,
    /// Both sides had the same key.
    Happy,
    /// No peer connected.
    Lonely,
    /// A peer with a wrong code connected.
    Scary,
    /// The server rejected the client.
    Unwelcome,
}

impl Mood {
    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errory => "errory",
            Self::Happy => "happy",
            Self::Lonely => "lonely",
            Self::Scary => "scary",
            Self::Unwelcome => "unwelcome",
        }
    }
}

/// The server's first message to each client. (mailbox protocol, "Welcome")
///
/// All fields are optional; a value of the wrong type counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Welcome {
    /// Message of the day for users; may have several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motd: Option<String>,
    /// Newest version of the Python client; meaningless for other programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_cli_version: Option<String>,
    /// Why the server rejects this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The server's requirements before `bind`; nothing if absent.
    #[serde(rename = "permission-required", skip_serializing_if = "Option::is_none")]
    pub permission_required: Option<PermissionRequired>,
    /// The address of the client, as the server sees it.
    #[serde(rename = "your-address", skip_serializing_if = "Option::is_none")]
    pub your_address: Option<YourAddress>,
    /// All other keys.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Welcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut other = Map::deserialize(deserializer)?;
        Ok(Self {
            motd: take(&mut other, "motd"),
            current_cli_version: take(&mut other, "current_cli_version"),
            error: take(&mut other, "error"),
            permission_required: take(&mut other, "permission-required"),
            your_address: take(&mut other, "your-address"),
            other,
        })
    }
}

/// Removes a key from a JSON object if it has the expected type; otherwise leaves it.
fn take<T: serde::de::DeserializeOwned>(object: &mut Map<String, Value>, key: &str) -> Option<T> {
    let value = T::deserialize(object.get(key)?).ok()?;
    object.remove(key);
    Some(value)
}

/// The available methods; the client chooses one. (mailbox protocol, "Permissions")
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PermissionRequired {
    /// Present if clients need no permission. Written as `null` if absent, because wormhole-rs 0.8 fails without
    /// the key.
    #[serde(default)]
    pub none: Option<NoPermission>,
    /// Present if clients can provide a proof of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashcash: Option<HashcashDemand>,
}

/// The method `none`: an empty object.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NoPermission {}

/// The required proof of work. Encoded with exactly these keys, because one client rejects others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HashcashDemand {
    /// Leading zero bits of the stamp's SHA-1.
    pub bits: u32,
    /// The resource of the stamp. Must not contain a colon.
    pub resource: String,
}

impl HashcashDemand {
    /// A demand for `bits` leading zero bits.
    pub const fn new(bits: u32, resource: String) -> Self {
        Self { bits, resource }
    }
}

/// The client's address, as the server sees it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct YourAddress {
    /// TCP port.
    pub port: u16,
    /// Set for an IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Set for an IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

impl YourAddress {
    /// Creates the description of an address; an IPv4-mapped address counts as IPv4.
    pub fn new(address: IpAddr, port: u16) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ipv4) => Self { port, ipv4: Some(ipv4), ipv6: None },
            IpAddr::V6(ipv6) => Self { port, ipv4: None, ipv6: Some(ipv6) },
        }
    }
}

#[cfg(test)]
mod tests;
