//! The messages between a client and the mailbox server, one JSON object per text frame.
//!
//! This file knows their shape and nothing of when they may be sent. Unknown keys and unknown
//! types of message are passed over, so that either end may learn new words; a missing or
//! mistyped key that a message cannot do without is an error. (mailbox protocol, "Messages")

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wormhole_kit::UnixTime;

/// Longest frame a client takes from a server, in bytes. The servers in use pass on messages of
/// any length; the longest seen in practice carry a long text, hex-encoded.
pub const MAX_FRAME: usize = 16 << 20;

/// Text that is not one of the protocol's messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedMessage {
    /// Not UTF-8, not JSON, or JSON of another shape than its `type` demands.
    #[error("not a message of the mailbox protocol")]
    Shape,
    /// Longer than [`MAX_FRAME`].
    #[error("a message of {0} bytes")]
    TooLong(usize),
}

/// What a client says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// Stores a message in the open mailbox and shows it to everyone who has it open.
    Add {
        /// Name of the message, unique per side: `pake`, `version`, `0`, `1`, ...
        phase: String,
        /// The content, in lower-case hex.
        body: String,
    },
    /// Asks for a free nameplate and claims it.
    Allocate,
    /// Says who speaks. Comes first on every link (after permissions, if the server wants any).
    Bind {
        /// The application; nameplates and mailboxes are separate for each.
        appid: String,
        /// Who speaks, among those who share a mailbox.
        side: String,
        /// Name and version of the program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_version: Option<(String, String)>,
    },
    /// Takes a nameplate; the answer names its mailbox.
    Claim {
        /// Decimal digits.
        nameplate: String,
    },
    /// Leaves the mailbox.
    Close {
        /// The mailbox; may be left out after `open` on the same link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mailbox: Option<String>,
        /// How it went.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mood: Option<Mood>,
    },
    /// Asks which nameplates are in use.
    List,
    /// Asks for everything in a mailbox, past and future.
    Open {
        /// Name of the mailbox, chosen by the server.
        mailbox: String,
    },
    /// Asks for an echo. May come at any time.
    Ping {
        /// Anything; comes back unchanged.
        ping: Value,
    },
    /// Gives a nameplate back.
    Release {
        /// Which; may be left out after `claim` on the same link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nameplate: Option<String>,
    },
    /// Shows that the server's demands are met. Comes before `bind`.
    SubmitPermissions {
        /// Which of the offered methods.
        method: String,
        /// The proof of work, for the method `hashcash`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stamp: Option<String>,
    },
}

impl ClientMessage {
    /// Writes the message as JSON.
    pub fn encode(&self) -> String {
        // Strings and values only: there is nothing in it that JSON could not carry.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a message. An `id` it may carry for the `ack` is not part of it.
    ///
    /// # Errors
    /// It is no message of this protocol. A server that owes its client the exact reason looks at
    /// the JSON itself.
    pub fn decode(text: &str) -> Result<Self, MalformedMessage> {
        decode(text)
    }
}

/// What a server says, as far as a client needs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerMessage {
    /// A message was read, and will be acted upon now.
    Ack,
    /// A nameplate was allocated and claimed.
    Allocated {
        /// Decimal digits.
        nameplate: String,
    },
    /// The nameplate is claimed.
    Claimed {
        /// The mailbox it stands for.
        mailbox: String,
    },
    /// The mailbox is left.
    Closed,
    /// The server refused something.
    Error {
        /// Why, for people.
        error: String,
        /// The refused message.
        orig: Refused,
    },
    /// Something was added to the open mailbox, by either side.
    Message(PeerMessage),
    /// The nameplates in use.
    Nameplates {
        /// In no particular order.
        nameplates: Vec<ListedNameplate>,
    },
    /// The answer to `ping`.
    Pong,
    /// The nameplate is given back.
    Released,
    /// The first words on every link.
    Welcome {
        /// What the server wants clients to know.
        welcome: Welcome,
    },
    /// A type of message that this version does not know.
    Unknown,
}

impl ServerMessage {
    /// Writes the message as JSON, with the time of sending.
    pub fn encode(&self, server_tx: UnixTime) -> String {
        #[derive(Serialize)]
        struct Stamped<'a> {
            #[serde(flatten)]
            message: &'a ServerMessage,
            server_tx: UnixTime,
        }
        // Strings, values and finite numbers only: there is nothing that JSON could not carry.
        serde_json::to_string(&Stamped { message: self, server_tx }).unwrap_or_default()
    }

    /// Reads a frame. What a client does not need is passed over unread: an `id` of the peer's
    /// choice may be megabytes of brackets.
    ///
    /// # Errors
    /// It is too long or no message of this protocol: the server misbehaves, hang up.
    pub fn decode(frame: &[u8]) -> Result<Self, MalformedMessage> {
        let text = std::str::from_utf8(frame).map_err(|_| MalformedMessage::Shape)?;
        if text.len() > MAX_FRAME {
            return Err(MalformedMessage::TooLong(text.len()));
        }
        // A list would pass for an object with its keys left out.
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

/// What there is to know of a refused message.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Refused {
    /// Its `type`; empty if it has none.
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

/// Reads JSON, however deep or long, without saying in an error what it held.
fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, MalformedMessage> {
    if text.len() > MAX_FRAME {
        return Err(MalformedMessage::TooLong(text.len()));
    }
    serde_json::from_str(text).map_err(|_| MalformedMessage::Shape)
}

/// A message in a mailbox, as everyone who has it open gets it, its author included.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerMessage {
    /// Who added it.
    pub side: String,
    /// Its name, unique per side.
    pub phase: String,
    /// Its content in hex. The server never looks at it, so it may be anything.
    pub body: String,
    /// When the server got it, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_rx: Option<serde_json::Number>,
}

impl PeerMessage {
    /// A message as a server passes it on; `body` in hex.
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
    /// An entry.
    pub const fn new(id: String) -> Self {
        Self { id }
    }
}

/// How a side's visit to a mailbox went, for the server's statistics.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mood {
    /// Something failed that was nobody's attack.
    Errory,
    /// Both sides had the same key.
    Happy,
    /// Nobody came.
    Lonely,
    /// Somebody came who did not know the code.
    Scary,
    /// The server did not want us.
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

/// What the server tells every client first. (mailbox protocol, "Welcome")
///
/// None of it is needed to go on, so a mistyped key counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Welcome {
    /// Message of the day, for people; several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motd: Option<String>,
    /// Newest version of the Python command line; meaningless for other programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_cli_version: Option<String>,
    /// Why the server will not serve this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the server wants to see before `bind`; nothing if absent.
    #[serde(rename = "permission-required", skip_serializing_if = "Option::is_none")]
    pub permission_required: Option<PermissionRequired>,
    /// Where the client seems to call from.
    #[serde(rename = "your-address", skip_serializing_if = "Option::is_none")]
    pub your_address: Option<YourAddress>,
    /// Everything else.
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

/// Takes a key out of a JSON object, if it has the type we know; anything else stays.
fn take<T: serde::de::DeserializeOwned>(object: &mut Map<String, Value>, key: &str) -> Option<T> {
    let value = T::deserialize(object.get(key)?).ok()?;
    object.remove(key);
    Some(value)
}

/// The ways in; the client chooses one it can. (mailbox protocol, "Permissions")
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PermissionRequired {
    /// Present if a client may enter without showing anything. Written as `null` if not: wormhole-rs
    /// 0.8 fails without the key.
    #[serde(default)]
    pub none: Option<NoPermission>,
    /// Present if a client may enter with a proof of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashcash: Option<HashcashDemand>,
}

/// The method `none`: an empty object.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NoPermission {}

/// What a proof of work has to show. Carries exactly these keys: one client refuses any other.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HashcashDemand {
    /// Leading zero bits of the stamp's SHA-1.
    pub bits: u32,
    /// What the stamp is for. Holds no colon.
    pub resource: String,
}

impl HashcashDemand {
    /// A demand for `bits` leading zero bits.
    pub const fn new(bits: u32, resource: String) -> Self {
        Self { bits, resource }
    }
}

/// The address the server sees.
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
    /// Writes an address down; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn new(address: IpAddr, port: u16) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ipv4) => Self { port, ipv4: Some(ipv4), ipv6: None },
            IpAddr::V6(ipv6) => Self { port, ipv4: None, ipv6: Some(ipv6) },
        }
    }
}

#[cfg(test)]
mod tests;
