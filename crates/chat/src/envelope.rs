//! The envelope in which the server delivers a message to a device (docs/chat-protocol.md
//! "Envelope"). Fields 1 to 7 are those of `IncomingPushMessageSignal` in clients of 2014.

use prost::Message;

use crate::address::{AccountId, DeviceId};
use crate::message::MAX_MESSAGE;
use crate::time::Timestamp;

/// A message with the server's metadata. The server may lie in every field; only the ciphertext
/// carries statements of the sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The kind of message in `body` or `content`.
    pub kind: EnvelopeKind,
    /// The sender's phone number or account id; absent if the sender is sealed.
    pub source: Option<String>,
    /// The sender's account.
    pub source_account: Option<AccountId>,
    /// The sender's device.
    pub source_device: Option<DeviceId>,
    /// The sender's app name.
    pub source_app: Option<String>,
    /// The server that forwarded the message, if it came from another one.
    pub relay: Option<String>,
    /// When the message was sent, according to the sender.
    pub timestamp: Timestamp,
    /// An encrypted data message, from clients of 2014.
    pub body: Option<Vec<u8>>,
    /// Encrypted content.
    pub content: Option<Vec<u8>>,
    /// Identifies the message for acknowledgement.
    pub guid: Option<String>,
    /// When the server accepted the message.
    pub server_timestamp: Option<Timestamp>,
    /// The account of the device to which the message is addressed.
    pub destination: Option<AccountId>,
    /// The app of the device to which the message is addressed.
    pub destination_app: Option<String>,
    /// Whether it may wake the device.
    pub urgent: Option<bool>,
    /// Whether the server discards the message if the device is offline.
    pub ephemeral: Option<bool>,
    /// Proves to the server that it has delivered this message, if the user reports it.
    pub report_token: Option<Vec<u8>>,
}

impl Envelope {
    /// Creates an envelope with only a kind and a timestamp.
    pub const fn new(kind: EnvelopeKind, timestamp: Timestamp) -> Self {
        Self {
            kind,
            source: None,
            source_account: None,
            source_device: None,
            source_app: None,
            relay: None,
            timestamp,
            body: None,
            content: None,
            guid: None,
            server_timestamp: None,
            destination: None,
            destination_app: None,
            urgent: None,
            ephemeral: None,
            report_token: None,
        }
    }

    /// Decodes an envelope. Empty fields count as absent.
    ///
    /// # Errors
    /// The envelope is malformed; the server is defective.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        let proto = EnvelopeProto::decode(bytes).map_err(|_| EnvelopeError::Malformed)?;
        let device = match proto.source_device {
            None | Some(0) => None,
            Some(number) => Some(DeviceId::new(number).ok_or(EnvelopeError::Malformed)?),
        };
        Ok(Self {
            kind: EnvelopeKind::from_number(proto.kind.unwrap_or_default()),
            source: text(proto.source),
            source_account: account(proto.source_account)?,
            source_device: device,
            source_app: text(proto.source_app),
            relay: text(proto.relay),
            timestamp: Timestamp(proto.timestamp.unwrap_or_default()),
            body: proto.body.filter(|body| !body.is_empty()),
            content: proto.content.filter(|content| !content.is_empty()),
            guid: text(proto.guid),
            server_timestamp: proto.server_timestamp.map(Timestamp),
            destination: account(proto.destination)?,
            destination_app: text(proto.destination_app),
            urgent: proto.urgent,
            ephemeral: proto.ephemeral,
            report_token: proto.report_token.filter(|token| !token.is_empty()),
        })
    }

    /// Encodes the envelope. Absent and empty fields are omitted.
    pub fn encode(&self) -> Vec<u8> {
        let proto = EnvelopeProto {
            kind: Some(self.kind.number()),
            source: text(self.source.clone()),
            relay: text(self.relay.clone()),
            timestamp: Some(self.timestamp.0),
            body: self.body.clone().filter(|body| !body.is_empty()),
            source_device: self.source_device.map(|device| device.number().into()),
            content: self.content.clone().filter(|content| !content.is_empty()),
            guid: text(self.guid.clone()),
            server_timestamp: self.server_timestamp.map(|time| time.0),
            source_account: self.source_account.map(|account| account.to_string()),
            ephemeral: self.ephemeral,
            destination: self.destination.map(|account| account.to_string()),
            urgent: self.urgent,
            report_token: self.report_token.clone().filter(|token| !token.is_empty()),
            source_app: text(self.source_app.clone()),
            destination_app: text(self.destination_app.clone()),
        };
        proto.encode_to_vec()
    }
}

/// The kind of message in an envelope. The wire numbers differ from those of libsignal's messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EnvelopeKind {
    /// A [`crate::SignalMessage`].
    Ciphertext,
    /// From clients before 2014.
    KeyExchange,
    /// From clients of 2014: an unencrypted data message. Never displayed.
    Plaintext,
    /// A report that a message could not be decrypted.
    PlaintextContent,
    /// A [`crate::PreKeySignalMessage`].
    PreKeyBundle,
    /// The server delivered one of our messages.
    Receipt,
    /// A message encrypted with a group's sender key.
    SenderKey,
    /// A kind that this program does not know yet.
    Unknown(u32),
    /// A message that reveals its sender only to the recipient.
    UnidentifiedSender,
}

impl EnvelopeKind {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::Ciphertext => 1,
            Self::KeyExchange => 2,
            Self::PreKeyBundle => 3,
            Self::Plaintext => 4,
            Self::Receipt => 5,
            Self::UnidentifiedSender => 6,
            Self::SenderKey => 7,
            Self::PlaintextContent => 8,
            Self::Unknown(number) => number,
        }
    }

    /// The inverse of [`EnvelopeKind::number`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Ciphertext,
            2 => Self::KeyExchange,
            3 => Self::PreKeyBundle,
            4 => Self::Plaintext,
            5 => Self::Receipt,
            6 => Self::UnidentifiedSender,
            7 => Self::SenderKey,
            8 => Self::PlaintextContent,
            other => Self::Unknown(other),
        }
    }
}

/// Why bytes are not a valid envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not an envelope.
    #[error("malformed envelope")]
    Malformed,
    /// It is too long.
    #[error("an envelope of {0} bytes is too long")]
    TooLong(usize),
}

fn text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn account(id: Option<String>) -> Result<Option<AccountId>, EnvelopeError> {
    text(id).map(|id| id.parse()).transpose().map_err(|_| EnvelopeError::Malformed)
}

#[derive(Message)]
struct EnvelopeProto {
    #[prost(uint32, optional, tag = "1")]
    kind: Option<u32>,
    #[prost(string, optional, tag = "2")]
    source: Option<String>,
    #[prost(string, optional, tag = "3")]
    relay: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    timestamp: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "6")]
    body: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "7")]
    source_device: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "8")]
    content: Option<Vec<u8>>,
    #[prost(string, optional, tag = "9")]
    guid: Option<String>,
    #[prost(uint64, optional, tag = "10")]
    server_timestamp: Option<u64>,
    #[prost(string, optional, tag = "11")]
    source_account: Option<String>,
    #[prost(bool, optional, tag = "12")]
    ephemeral: Option<bool>,
    #[prost(string, optional, tag = "13")]
    destination: Option<String>,
    #[prost(bool, optional, tag = "14")]
    urgent: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "17")]
    report_token: Option<Vec<u8>>,
    // Our own fields, with numbers far from those that others may assign.
    #[prost(string, optional, tag = "100")]
    source_app: Option<String>,
    #[prost(string, optional, tag = "101")]
    destination_app: Option<String>,
}

/// Maximum length of an envelope: a message and its metadata.
pub const MAX_ENVELOPE: usize = MAX_MESSAGE + 4096;
