//! The messages of a file transfer: one JSON object each, encrypted in mailbox phases 0, 1, ...
//! (file-transfer-protocol.md).
//!
//! [`Sender`](super::Sender) and [`Receiver`](super::Receiver) decide when to send them. Decoding is lenient where
//! clients differ (additional keys and spaces, several messages in one object) and strict where wrong values are
//! dangerous (sizes).

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::{Map, Value, json};

use super::name::PeerName;
use crate::transit::TransitInfo;

/// The offer of the sender.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Offer {
    /// A directory, transferred as a zip.
    Directory {
        /// Name of the directory.
        name: PeerName,
        /// Size of the zip in bytes.
        zip_size: u64,
        /// Size of all files in bytes.
        bytes: u64,
        /// Number of files, not counting directories.
        files: u64,
        /// Attributes of the directory itself, which the zip does not contain. Only for peers that announce
        /// [`TransferAbility::Folders`](super::TransferAbility::Folders).
        attributes: Option<Attributes>,
    },
    /// One file.
    File {
        /// Name of the file.
        name: PeerName,
        /// Size in bytes.
        size: u64,
        /// Its permissions and time. Only for peers that announce
        /// [`TransferAbility::Attributes`](super::TransferAbility::Attributes).
        attributes: Option<Attributes>,
    },
    /// Data of unknown length. Only for peers that announce
    /// [`TransferAbility::Stream`](super::TransferAbility::Stream).
    Stream {
        /// Name, if it is stored as a file.
        name: PeerName,
    },
    /// A text, included in the offer.
    Text(String),
}

impl Offer {
    /// Bytes to be transferred over transit; `None` for a text and for unknown sizes.
    pub const fn transfer_size(&self) -> Option<u64> {
        match self {
            Self::Directory { zip_size, .. } => Some(*zip_size),
            Self::File { size, .. } => Some(*size),
            Self::Stream { .. } | Self::Text(_) => None,
        }
    }

    /// Bytes needed on the receiver's disk; `None` for unknown sizes.
    pub const fn unpacked_size(&self) -> Option<u64> {
        match self {
            Self::Directory { bytes, .. } => Some(*bytes),
            Self::File { size, .. } => Some(*size),
            Self::Stream { .. } | Self::Text(_) => None,
        }
    }

    /// The name; a text has no name.
    pub const fn name(&self) -> Option<&PeerName> {
        match self {
            Self::Directory { name, .. } | Self::File { name, .. } | Self::Stream { name } => {
                Some(name)
            }
            Self::Text(_) => None,
        }
    }

    /// The answer that accepts this offer.
    pub const fn answer(&self) -> Answer {
        match self {
            Self::Directory { .. } | Self::File { .. } | Self::Stream { .. } => Answer::File,
            Self::Text(_) => Answer::Text,
        }
    }

    fn encode(&self) -> Value {
        match self {
            Self::Directory { name, zip_size, bytes, files, attributes } => {
                let mut directory = json!({
                    "mode": "zipfile/deflated",
                    "dirname": name.as_sent(),
                    "zipsize": zip_size,
                    "numbytes": bytes,
                    "numfiles": files,
                });
                Attributes::encode(*attributes, &mut directory);
                json!({ "directory": directory })
            }
            Self::File { name, size, attributes } => {
                let mut file = json!({ "filename": name.as_sent(), "filesize": size });
                Attributes::encode(*attributes, &mut file);
                json!({ "file": file })
            }
            Self::Stream { name } => json!({ "stream": { "filename": name.as_sent() } }),
            Self::Text(text) => json!({ "message": text }),
        }
    }

    fn decode(value: &Value) -> Result<Self, BadMessage> {
        if let Some(text) = value.get("message") {
            let text = text.as_str().ok_or(BadMessage::Field("message"))?;
            Ok(Self::Text(text.to_owned()))
        } else if let Some(file) = value.get("file") {
            Ok(Self::File {
                name: name(file, "filename")?,
                size: number(file, "filesize")?,
                attributes: Attributes::decode(file),
            })
        } else if let Some(directory) = value.get("directory") {
            let mode = directory.get("mode").and_then(Value::as_str);
            if !mode.is_some_and(|mode| mode.starts_with("zipfile")) {
                return Err(BadMessage::UnknownMode);
            }
            Ok(Self::Directory {
                name: name(directory, "dirname")?,
                zip_size: number(directory, "zipsize")?,
                bytes: number(directory, "numbytes")?,
                files: number(directory, "numfiles")?,
                attributes: Attributes::decode(directory),
            })
        } else if let Some(stream) = value.get("stream") {
            Ok(Self::Stream { name: name(stream, "filename")? })
        } else {
            Err(BadMessage::UnknownOffer)
        }
    }
}

/// Metadata of a file or directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "what an entry of a zip has, too")]
pub struct Attributes {
    /// Unix permissions, the lowest 9 bits of a mode.
    pub permissions: u16,
    /// Modification time in seconds since 1970.
    pub modified: i64,
}

impl Attributes {
    /// Adds the attributes to the object of a file or directory.
    fn encode(attributes: Option<Self>, object: &mut Value) {
        if let (Some(attributes), Some(object)) = (attributes, object.as_object_mut()) {
            object.insert("permissions".to_owned(), attributes.permissions.into());
            object.insert("modified".to_owned(), attributes.modified.into());
        }
    }

    /// Parses the attributes; invalid ones count as absent.
    fn decode(object: &Value) -> Option<Self> {
        let permissions = u16::try_from(object.get("permissions")?.as_u64()?).ok()?;
        let modified = object.get("modified")?.as_i64()?;
        (permissions <= 0o777).then_some(Self { permissions, modified })
    }
}

fn name(value: &Value, key: &'static str) -> Result<PeerName, BadMessage> {
    let name = value.get(key).and_then(Value::as_str).ok_or(BadMessage::Field(key))?;
    Ok(PeerName::new(name))
}

/// A size in bytes or a number of files: an integer from 0 to 2^63-1, the limit of file
/// sizes.
fn number(value: &Value, key: &'static str) -> Result<u64, BadMessage> {
    let number = value.get(key).and_then(Value::as_i64).ok_or(BadMessage::Field(key))?;
    u64::try_from(number).map_err(|_| BadMessage::Field(key))
}

/// The receiver's acceptance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// For a file, directory or stream: connect and send it.
    File,
    /// For a text: it has been received.
    Text,
}

/// One message between sender and receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// The receiver accepts.
    Answer(Answer),
    /// Either side gives up; the text is for the user.
    Error(String),
    /// The sender's offer.
    Offer(Offer),
    /// How the sending side can be reached.
    Transit(TransitInfo),
}

impl Message {
    /// Encodes the message as JSON.
    pub fn encode(&self) -> Vec<u8> {
        let value = match self {
            Self::Answer(Answer::File) => json!({ "answer": { "file_ack": "ok" } }),
            Self::Answer(Answer::Text) => json!({ "answer": { "message_ack": "ok" } }),
            Self::Error(text) => json!({ "error": text }),
            Self::Offer(offer) => json!({ "offer": offer.encode() }),
            Self::Transit(info) => json!({ "transit": info.encode() }),
        };
        value.to_string().into_bytes()
    }

    /// Decodes a JSON object, which may contain several messages. Unknown ones are skipped, so the result may
    /// be empty.
    ///
    /// # Errors
    /// A message is invalid; send [`BadMessage::reply`] to the peer.
    pub fn decode(json: &[u8]) -> Result<Vec<Self>, BadMessage> {
        let object: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| BadMessage::NotAnObject)?;
        let mut messages = Vec::new();
        if let Some(text) = object.get("error") {
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            messages.push(Self::Error(text));
        }
        if let Some(info) = object.get("transit") {
            messages.push(Self::Transit(TransitInfo::decode(info)));
        }
        if let Some(offer) = object.get("offer") {
            messages.push(Self::Offer(Offer::decode(offer)?));
        }
        if let Some(answer) = object.get("answer") {
            messages.push(Self::Answer(decode_answer(answer)?));
        }
        Ok(messages)
    }
}

fn decode_answer(value: &Value) -> Result<Answer, BadMessage> {
    let ok = |key| value.get(key).and_then(Value::as_str) == Some("ok");
    if ok("file_ack") {
        Ok(Answer::File)
    } else if ok("message_ack") {
        Ok(Answer::Text)
    } else {
        Err(BadMessage::Field("answer"))
    }
}

/// Why a message is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMessage {
    /// A field is missing, of the wrong type or out of range.
    #[error("invalid value in field {0:?}")]
    Field(&'static str),
    /// Not a JSON object.
    #[error("a message is not a JSON object")]
    NotAnObject,
    /// A directory in a form that is not a zip.
    #[error("unknown mode of a directory")]
    UnknownMode,
    /// Neither text nor file nor directory.
    #[error("unknown kind of offer")]
    UnknownOffer,
}

impl BadMessage {
    /// The error message for the peer, as all clients word it.
    pub const fn reply(self) -> &'static str {
        match self {
            Self::Field(_) | Self::NotAnObject => "invalid message",
            Self::UnknownMode => "unknown mode",
            Self::UnknownOffer => "unknown offer type",
        }
    }
}

/// The receiver's acknowledgement of all data, as a record on the transit connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ack {
    /// SHA-256 of the transferred bytes. Some peers omit it.
    pub sha256: Option<[u8; 32]>,
}

impl Ack {
    /// Encodes the acknowledgement as JSON.
    pub fn encode(&self) -> Vec<u8> {
        let value = match &self.sha256 {
            Some(hash) => json!({ "ack": "ok", "sha256": HEXLOWER.encode(hash) }),
            None => json!({ "ack": "ok" }),
        };
        value.to_string().into_bytes()
    }

    /// Decodes an acknowledgement.
    ///
    /// # Errors
    /// It is not a positive acknowledgement.
    pub fn decode(json: &[u8]) -> Result<Self, BadMessage> {
        Self::parse(&parse_object(json)?)
    }

    fn parse(value: &Value) -> Result<Self, BadMessage> {
        if value.get("ack").and_then(Value::as_str) != Some("ok") {
            return Err(BadMessage::Field("ack"));
        }
        let Some(hash) = value.get("sha256") else { return Ok(Self { sha256: None }) };
        let hash = hash.as_str().and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
        let hash = hash.and_then(|hash| hash.try_into().ok());
        Ok(Self { sha256: Some(hash.ok_or(BadMessage::Field("sha256"))?) })
    }
}

/// A record from the receiver on the transit connection.
///
/// ```
/// use wormhole_magic::transfer::ReceiverRecord;
///
/// let record = ReceiverRecord::Received(1_000_000);
/// assert_eq!(ReceiverRecord::decode(&record.encode()), Ok(record));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReceiverRecord {
    /// The acknowledgement of all data.
    Ack(Ack),
    /// Progress: it has received this many bytes. Only for a sender that announced
    /// [`TransferAbility::Progress`](super::TransferAbility::Progress).
    Received(u64),
}

impl ReceiverRecord {
    /// Encodes the record as JSON.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ack(ack) => ack.encode(),
            Self::Received(bytes) => json!({ "received": bytes }).to_string().into_bytes(),
        }
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// It is neither a progress report nor a positive acknowledgement.
    pub fn decode(json: &[u8]) -> Result<Self, BadMessage> {
        let value = parse_object(json)?;
        match value.get("received") {
            Some(bytes) => bytes.as_u64().map(Self::Received).ok_or(BadMessage::Field("received")),
            None => Ack::parse(&value).map(Self::Ack),
        }
    }
}

fn parse_object(json: &[u8]) -> Result<Value, BadMessage> {
    serde_json::from_slice(json).map_err(|_| BadMessage::NotAnObject)
}

#[cfg(test)]
mod tests;
