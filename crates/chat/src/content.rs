//! The content of an encrypted message (docs/chat-protocol.md "Content").
//!
//! Clients of 2014 put a bare data message into the `body` of an envelope; later ones wrap it in
//! a `Content`. This module reads both and writes the latter.

mod data;
mod direct;
mod group;
mod preview;
mod proto;
mod quote;
mod ranges;
mod reaction;
pub mod rules;
mod short_id;
mod sync;

use std::fmt;

use prost::Message;
use zeroize::Zeroizing;

use crate::message::MAX_MESSAGE;
use crate::time::Timestamp;
use proto::ContentProto;

pub use data::{AttachmentPlace, AttachmentPointer, DataMessage, Group, GroupChange};
pub use direct::{DirectAnswer, DirectContent, DirectOffer, OfferId};
pub use group::GroupContent;
pub use preview::LinkPreview;
pub use quote::{Quote, QuotedFile};
pub use ranges::{BodyRange, RangeKind, TextPart, text_parts};
pub use reaction::{Emoji, MessageRef, NotAnEmoji, Reaction};
pub use sync::{
    ConfigurationSync, GroupTranscript, IdentityChoice, IdentitySync, MAX_NAME, NameSync,
    PersonDecision, RequestDecision, RequestSync, SentTranscript, SyncMessage, TimerScope,
    TimerSync,
};

/// The content of a message. `Debug` prints neither text nor keys.
#[derive(Clone, Eq, PartialEq)]
pub enum Content {
    /// Call signalling, which this module does not decode.
    Call(Vec<u8>),
    /// Text, attachments and related fields.
    Data(Box<DataMessage>),
    /// The recipient could not decrypt one of our messages; this identifies it.
    DecryptionError(Vec<u8>),
    /// An offer of a direct file, or the answer to it.
    Direct(Box<DirectContent>),
    /// A new text for a message of the same sender.
    Edit(Box<Edit>),
    /// A message that belongs to a group, or is about one.
    Group(Box<GroupContent>),
    /// Empty: it only advances a session.
    Null,
    /// Some of our messages were delivered, read or viewed.
    Receipt(Receipt),
    /// A group's sender key.
    SenderKeyDistribution(Vec<u8>),
    /// From another device of our own account: [`SyncMessage`].
    Sync(Vec<u8>),
    /// Someone started or stopped typing.
    Typing(Typing),
    /// Content that this program does not know yet.
    Unknown,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(bytes) => write!(f, "Call({} bytes)", bytes.len()),
            Self::Data(data) => data.fmt(f),
            Self::DecryptionError(bytes) => write!(f, "DecryptionError({} bytes)", bytes.len()),
            Self::Direct(direct) => direct.fmt(f),
            Self::Edit(edit) => edit.fmt(f),
            Self::Group(group) => group.fmt(f),
            Self::Null => f.write_str("Null"),
            Self::Receipt(receipt) => receipt.fmt(f),
            Self::SenderKeyDistribution(_) => f.write_str("SenderKeyDistribution(…)"),
            Self::Sync(bytes) => write!(f, "Sync({} bytes)", bytes.len()),
            Self::Typing(typing) => typing.fmt(f),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

impl Content {
    /// Decodes the plaintext of an envelope's `content`, without its padding.
    ///
    /// # Errors
    /// The content is malformed. The sender's program is defective; skip the message.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        Self::decode_stored(checked(bytes)?)
    }

    /// Decodes the result of [`Content::encode`]. Its length is not limited: it can be longer than the plaintext that
    /// arrived, because it has fields that the sender left out.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, ContentError> {
        let proto = ContentProto::decode(bytes).map_err(|_| ContentError::Malformed)?;
        proto.try_into()
    }

    /// Decodes the plaintext of an envelope's `body`, without its padding: a bare data message.
    ///
    /// # Errors
    /// See [`Content::decode`].
    pub fn decode_body(bytes: &[u8]) -> Result<Self, ContentError> {
        let proto = Message::decode(checked(bytes)?).map_err(|_| ContentError::Malformed)?;
        DataMessage::from_proto(proto).map(|data| Self::Data(Box::new(data)))
    }

    /// Encodes the plaintext for an envelope's `content`, without padding.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut proto = ContentProto::from(self);
        let bytes = Zeroizing::new(proto.encode_to_vec());
        proto.wipe();
        bytes
    }

    /// Whether it has a text or files for a person.
    pub fn is_visible(&self) -> bool {
        match self {
            Self::Data(data) => data.is_visible(),
            Self::Group(group) => group.inner.as_ref().is_some_and(|inner| inner.is_visible()),
            Self::Sync(sync) => SyncMessage::decode(sync).is_ok_and(|sync| sync.is_visible()),
            Self::Call(_)
            | Self::DecryptionError(_)
            | Self::Direct(_)
            | Self::Edit(_)
            | Self::Null
            | Self::Receipt(_)
            | Self::SenderKeyDistribution(_)
            | Self::Typing(_)
            | Self::Unknown => false,
        }
    }

    /// Whether only a person sends this, on purpose, to the recipient: then the recipient may answer.
    pub fn is_on_purpose(&self) -> bool {
        match self {
            Self::Call(_) | Self::Edit(_) => true,
            Self::Data(data) => !data.profile_key_update && !data.end_session,
            Self::DecryptionError(_)
            | Self::Direct(_)
            | Self::Group(_)
            | Self::Null
            | Self::Receipt(_)
            | Self::SenderKeyDistribution(_)
            | Self::Sync(_)
            | Self::Typing(_)
            | Self::Unknown => false,
        }
    }

    /// When the message was sent, according to the sender. It must be the envelope's timestamp;
    /// otherwise the server, which writes the envelope, could give a message another place in the
    /// conversation.
    pub fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::Data(data) => data.timestamp,
            Self::Edit(edit) => edit.message.timestamp,
            Self::Group(group) => group.inner.as_ref().and_then(|inner| inner.timestamp()),
            Self::Typing(typing) => Some(typing.timestamp),
            Self::Call(_)
            | Self::DecryptionError(_)
            | Self::Direct(_)
            | Self::Null
            | Self::Receipt(_)
            | Self::SenderKeyDistribution(_)
            | Self::Sync(_)
            | Self::Unknown => None,
        }
    }

    /// Sets [`Content::timestamp`], if this content has one.
    pub(crate) fn set_timestamp(&mut self, timestamp: Timestamp) {
        match self {
            Self::Data(data) => data.timestamp = Some(timestamp),
            Self::Edit(edit) => edit.message.timestamp = Some(timestamp),
            Self::Group(group) => {
                if let Some(inner) = &mut group.inner {
                    inner.set_timestamp(timestamp);
                }
            }
            Self::Typing(typing) => typing.timestamp = timestamp,
            Self::Call(_)
            | Self::DecryptionError(_)
            | Self::Direct(_)
            | Self::Null
            | Self::Receipt(_)
            | Self::SenderKeyDistribution(_)
            | Self::Sync(_)
            | Self::Unknown => {}
        }
    }
}

/// A new version of a message of the same sender: [`rules::apply_edit`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// When the message was sent, or one of its earlier edits.
    pub target: Timestamp,
    /// The new text, with the time of the edit.
    pub message: DataMessage,
}

/// A report about messages that were delivered, read or viewed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The event.
    pub kind: ReceiptKind,
    /// When the messages were sent, which identifies them.
    pub timestamps: Vec<Timestamp>,
}

/// The kind of a [`Receipt`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReceiptKind {
    /// The messages arrived on a device.
    Delivery,
    /// The messages were displayed.
    Read,
    /// Media in the messages was played.
    Viewed,
}

/// Someone started or stopped typing. `Debug` does not print the group.
#[derive(Clone, Eq, PartialEq)]
pub struct Typing {
    /// When.
    pub timestamp: Timestamp,
    /// Whether they are typing now.
    pub started: bool,
    /// The group, if it is in one.
    pub group: Option<Vec<u8>>,
}

impl fmt::Debug for Typing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, started, group: _ } = self;
        f.debug_struct("Typing")
            .field("timestamp", timestamp)
            .field("started", started)
            .finish_non_exhaustive()
    }
}

/// Why a plaintext could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ContentError {
    /// The bytes are not valid content.
    #[error("malformed content")]
    Malformed,
    /// A list in it is longer than any client needs.
    #[error("content has a list of {0} entries, which is too long")]
    TooMany(usize),
}

fn checked(bytes: &[u8]) -> Result<&[u8], ContentError> {
    if bytes.len() > MAX_MESSAGE { Err(ContentError::Malformed) } else { Ok(bytes) }
}

/// Maximum number of entries in any list of the content.
const MAX_LIST: usize = 1024;

fn bounded<T>(list: Vec<T>) -> Result<Vec<T>, ContentError> {
    bounded_to(list, MAX_LIST)
}

fn bounded_to<T>(list: Vec<T>, max: usize) -> Result<Vec<T>, ContentError> {
    if list.len() > max { Err(ContentError::TooMany(list.len())) } else { Ok(list) }
}

impl TryFrom<ContentProto> for Content {
    type Error = ContentError;

    fn try_from(mut proto: ContentProto) -> Result<Self, ContentError> {
        if let Some(group) = proto.group.take() {
            let inner = Self::try_from(proto)?;
            let inner = Some(inner).filter(|inner| *inner != Self::Unknown);
            return GroupContent::from_proto(group, inner)
                .map(|group| Self::Group(Box::new(group)));
        }
        // Before the empty message that comes with it for programs which do not know it.
        if let Some(direct) = proto.direct {
            return DirectContent::from_proto(direct).map(|direct| Self::Direct(Box::new(direct)));
        }
        Ok(if let Some(data) = proto.data {
            Self::Data(Box::new(DataMessage::from_proto(data)?))
        } else if let Some(sync) = proto.sync {
            Self::Sync(sync)
        } else if let Some(call) = proto.call {
            Self::Call(call)
        } else if proto.null.is_some() {
            Self::Null
        } else if let Some(receipt) = proto.receipt {
            Self::receipt(receipt)?
        } else if let Some(typing) = proto.typing {
            Self::Typing(Typing {
                timestamp: Timestamp(typing.timestamp.unwrap_or_default()),
                started: typing.action.unwrap_or_default() == 0,
                group: typing.group,
            })
        } else if let Some(key) = proto.sender_key_distribution {
            Self::SenderKeyDistribution(key)
        } else if let Some(error) = proto.decryption_error {
            Self::DecryptionError(error)
        } else if let Some(edit) = proto.edit {
            Self::Edit(Box::new(Edit::from_proto(edit)?))
        } else {
            Self::Unknown
        })
    }
}

impl Content {
    fn receipt(proto: proto::ReceiptProto) -> Result<Self, ContentError> {
        let kind = match proto.kind.unwrap_or_default() {
            0 => ReceiptKind::Delivery,
            1 => ReceiptKind::Read,
            2 => ReceiptKind::Viewed,
            _ => return Ok(Self::Unknown),
        };
        let timestamps = bounded(proto.timestamps)?.into_iter().map(Timestamp).collect();
        Ok(Self::Receipt(Receipt { kind, timestamps }))
    }
}

impl Edit {
    fn from_proto(proto: proto::EditProto) -> Result<Self, ContentError> {
        let target = Timestamp(proto.target.ok_or(ContentError::Malformed)?);
        let message = proto.message.ok_or(ContentError::Malformed)?;
        Ok(Self { target, message: DataMessage::from_proto(message)? })
    }

    fn to_proto(&self) -> proto::EditProto {
        proto::EditProto { target: Some(self.target.0), message: Some(self.message.to_proto()) }
    }
}

impl From<&Content> for ContentProto {
    fn from(content: &Content) -> Self {
        let mut proto = Self::default();
        match content {
            Content::Call(call) => proto.call = Some(call.clone()),
            Content::Data(data) => proto.data = Some(data.to_proto()),
            Content::DecryptionError(error) => proto.decryption_error = Some(error.clone()),
            Content::Direct(direct) => {
                proto.direct = Some(direct.to_proto());
                proto.null = Some(Vec::new());
            }
            Content::Edit(edit) => proto.edit = Some(edit.to_proto()),
            Content::Group(group) => {
                proto = group.inner.as_ref().map(|inner| Self::from(&**inner)).unwrap_or_default();
                proto.group = Some(group.to_proto());
            }
            Content::Null => proto.null = Some(Vec::new()),
            Content::Receipt(receipt) => {
                let kind = match receipt.kind {
                    ReceiptKind::Delivery => 0,
                    ReceiptKind::Read => 1,
                    ReceiptKind::Viewed => 2,
                };
                let timestamps = receipt.timestamps.iter().map(|time| time.0).collect();
                proto.receipt = Some(proto::ReceiptProto { kind: Some(kind), timestamps });
            }
            Content::SenderKeyDistribution(key) => {
                proto.sender_key_distribution = Some(key.clone());
            }
            Content::Sync(sync) => proto.sync = Some(sync.clone()),
            Content::Typing(typing) => {
                proto.typing = Some(proto::TypingProto {
                    timestamp: Some(typing.timestamp.0),
                    action: Some(u32::from(!typing.started)),
                    group: typing.group.clone(),
                });
            }
            Content::Unknown => {}
        }
        proto
    }
}

#[cfg(test)]
mod tests;
