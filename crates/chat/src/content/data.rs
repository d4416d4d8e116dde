//! Data messages: `PushMessageContent` of clients of 2014, with the fields that were added
//! later.

use std::fmt;

use super::preview::{self, LinkPreview};
use super::proto::{AttachmentProto, DataProto, DeleteProto, GroupProto};
use super::quote::Quote;
use super::ranges::{self, BodyRange};
use super::reaction::Reaction;
use super::{ContentError, bounded};
use crate::attachment::AttachmentKey;
use crate::time::Timestamp;
use zeroize::Zeroizing;

/// Text, attachments and related fields. Start with [`DataMessage::default`]. `Debug` prints neither text nor keys.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct DataMessage {
    /// The text.
    pub body: Option<String>,
    /// Attached files.
    pub attachments: Vec<AttachmentPointer>,
    /// The group of the message, in the format of clients of 2014.
    pub group: Option<Group>,
    /// The sender has discarded the session and will start another.
    pub end_session: bool,
    /// The message only sets `expire_timer`.
    pub expire_timer_update: bool,
    /// The message only carries `profile_key`.
    pub profile_key_update: bool,
    /// Seconds after reading until the message must be deleted; 0 and `None` mean never.
    pub expire_timer: Option<u32>,
    /// The version of the conversation's timer that the sender has seen last:
    /// [`timer_applies`](super::rules::timer_applies).
    pub expire_timer_version: Option<u32>,
    /// The key to the sender's profile.
    pub profile_key: Option<[u8; 32]>,
    /// When the message was sent. Clients of 2014 omit it.
    pub timestamp: Option<Timestamp>,
    /// The minimum protocol version that the recipient's program must support.
    pub required_protocol_version: Option<u32>,
    /// The message that this one replies to.
    pub quote: Option<Quote>,
    /// Previews of links in the text, made by the sender. Never fetch anything to show them.
    pub previews: Vec<LinkPreview>,
    /// A reaction to a message. Ignore the text and the files of such a message.
    pub reaction: Option<Reaction>,
    /// When the sender has sent a message that it deletes for all. Ignore everything else in such a message.
    pub delete: Option<Timestamp>,
    /// Mentions and styles in the text.
    pub ranges: Vec<BodyRange>,
}

impl fmt::Debug for DataMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataMessage")
            .field("body_bytes", &self.body.as_ref().map(String::len))
            .field("attachments", &self.attachments)
            .field("group", &self.group)
            .field("timestamp", &self.timestamp)
            .field("quote", &self.quote)
            .field("reaction", &self.reaction)
            .field("delete", &self.delete)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AttachmentPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentPointer")
            .field("place", &self.place)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("change", &self.change)
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl DataMessage {
    /// Whether it has a text or files for a person, and not only a change of another message.
    pub const fn is_visible(&self) -> bool {
        let is_change = self.reaction.is_some() || self.delete.is_some();
        !is_change && (self.body.is_some() || !self.attachments.is_empty())
    }

    pub(super) fn from_proto(proto: DataProto) -> Result<Self, ContentError> {
        let flags = proto.flags.unwrap_or_default();
        let pointers = bounded(proto.attachments)?.into_iter().map(AttachmentPointer::from_proto);
        Ok(Self {
            body: proto.body.filter(|body| !body.is_empty()),
            attachments: pointers.collect::<Result<_, _>>()?,
            group: proto.group.map(Group::from_proto).transpose()?,
            end_session: flags & END_SESSION != 0,
            expire_timer_update: flags & EXPIRE_TIMER_UPDATE != 0,
            profile_key_update: flags & PROFILE_KEY_UPDATE != 0,
            expire_timer: proto.expire_timer,
            expire_timer_version: proto.expire_timer_version,
            profile_key: proto.profile_key.and_then(|key| key.try_into().ok()),
            timestamp: proto.timestamp.map(Timestamp),
            required_protocol_version: proto.required_protocol_version,
            quote: proto.quote.map(Quote::from_proto).transpose()?.flatten(),
            previews: preview::from_protos(proto.previews)?,
            reaction: proto.reaction.map(Reaction::from_proto).transpose()?,
            delete: match proto.delete {
                None => None,
                Some(delete) => Some(delete.timestamp.ok_or(ContentError::Malformed)?),
            }
            .map(Timestamp),
            ranges: ranges::from_protos(proto.ranges)?,
        })
    }

    pub(super) fn to_proto(&self) -> DataProto {
        let flag = |set: bool, flag| if set { flag } else { 0 };
        let flags = flag(self.end_session, END_SESSION)
            | flag(self.expire_timer_update, EXPIRE_TIMER_UPDATE)
            | flag(self.profile_key_update, PROFILE_KEY_UPDATE);
        DataProto {
            body: self.body.clone().filter(|body| !body.is_empty()),
            attachments: self.attachments.iter().map(AttachmentPointer::to_proto).collect(),
            group: self.group.as_ref().map(Group::to_proto),
            flags: Some(flags).filter(|flags| *flags != 0),
            expire_timer: self.expire_timer,
            expire_timer_version: self.expire_timer_version,
            profile_key: self.profile_key.map(Vec::from),
            timestamp: self.timestamp.map(|time| time.0),
            required_protocol_version: self.required_protocol_version,
            quote: self.quote.as_ref().map(Quote::to_proto),
            previews: self.previews.iter().map(LinkPreview::to_proto).collect(),
            reaction: self.reaction.as_ref().map(Reaction::to_proto),
            delete: self.delete.map(|time| DeleteProto { timestamp: Some(time.0) }),
            ranges: self.ranges.iter().copied().map(BodyRange::to_proto).collect(),
        }
    }
}

/// The location and the key of an attachment. `Debug` prints neither the key nor texts.
#[derive(Clone, Eq, PartialEq)]
pub struct AttachmentPointer {
    /// The location.
    pub place: AttachmentPlace,
    /// The MIME type that the sender claims.
    pub content_type: Option<String>,
    /// The key that decrypts it.
    pub key: AttachmentKey,
    /// Size of the plaintext in bytes; the rest is padding. Clients of 2014 omit it.
    pub size: Option<u32>,
    /// The SHA-256 of the blob. Without it, the server could swap the blob for another one with the
    /// same key; clients of 2014 omit it.
    pub digest: Option<[u8; 32]>,
    /// The file name that the sender claims. Never use it as a path.
    pub file_name: Option<String>,
    /// 1: a voice message; 2: borderless; 8: an animation.
    pub flags: u32,
    /// Width and height in pixels.
    pub dimensions: Option<(u32, u32)>,
    /// A caption.
    pub caption: Option<String>,
    /// When it was uploaded.
    pub uploaded: Option<Timestamp>,
}

/// The location of an attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AttachmentPlace {
    /// By number.
    Id(u64),
    /// By key, in the store with this number.
    Key(u32, String),
}

impl AttachmentPointer {
    /// Creates a pointer with the fields that every client should send.
    pub fn new(
        place: AttachmentPlace,
        key: AttachmentKey,
        size: u32,
        digest: [u8; 32],
        content_type: &str,
    ) -> Self {
        Self {
            place,
            content_type: Some(content_type.to_owned()),
            key,
            size: Some(size),
            digest: Some(digest),
            file_name: None,
            flags: 0,
            dimensions: None,
            caption: None,
            uploaded: None,
        }
    }

    pub(super) fn from_proto(proto: AttachmentProto) -> Result<Self, ContentError> {
        let cdn_key = proto.cdn_key.filter(|key| !key.is_empty());
        let place = match (proto.id, cdn_key) {
            (_, Some(key)) => AttachmentPlace::Key(proto.cdn.unwrap_or_default(), key),
            (Some(id), None) => AttachmentPlace::Id(id),
            (None, None) => return Err(ContentError::Malformed),
        };
        let key = AttachmentKey::from_slice(&Zeroizing::new(proto.key.unwrap_or_default()));
        Ok(Self {
            place,
            content_type: proto.content_type,
            key: key.ok_or(ContentError::Malformed)?,
            size: proto.size,
            digest: match proto.digest {
                None => None,
                Some(digest) if digest.is_empty() => None,
                Some(digest) => Some(digest.try_into().map_err(|_| ContentError::Malformed)?),
            },
            file_name: proto.file_name,
            flags: proto.flags.unwrap_or_default(),
            dimensions: proto.width.zip(proto.height),
            caption: proto.caption,
            uploaded: proto.uploaded.map(Timestamp),
        })
    }

    pub(super) fn to_proto(&self) -> AttachmentProto {
        let (id, cdn, cdn_key) = match &self.place {
            AttachmentPlace::Id(id) => (Some(*id), None, None),
            AttachmentPlace::Key(cdn, key) => (None, Some(*cdn), Some(key.clone())),
        };
        AttachmentProto {
            id,
            content_type: self.content_type.clone(),
            key: Some(self.key.expose().to_vec()),
            size: self.size,
            digest: self.digest.map(Vec::from),
            file_name: self.file_name.clone(),
            flags: Some(self.flags).filter(|flags| *flags != 0),
            width: self.dimensions.map(|(width, _)| width),
            height: self.dimensions.map(|(_, height)| height),
            caption: self.caption.clone(),
            uploaded: self.uploaded.map(|time| time.0),
            cdn,
            cdn_key,
        }
    }
}

/// A group in the format of clients of 2014: the message carries the list of members. `Debug` prints neither its name nor
/// its members.
#[derive(Clone, Eq, PartialEq)]
pub struct Group {
    /// Identifies the group.
    pub id: Vec<u8>,
    /// The purpose of the message.
    pub change: GroupChange,
    /// The group's title.
    pub name: Option<String>,
    /// Phone numbers or UUIDs.
    pub members: Vec<String>,
    /// The group's picture.
    pub avatar: Option<AttachmentPointer>,
}

/// The purpose of a message to a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GroupChange {
    /// An ordinary message to the members.
    Deliver,
    /// The sender leaves the group.
    Quit,
    /// A purpose that this program does not know yet.
    Unknown,
    /// The message sets the title, members or picture.
    Update,
}

impl Group {
    fn from_proto(proto: GroupProto) -> Result<Self, ContentError> {
        Ok(Self {
            id: proto.id.unwrap_or_default(),
            change: match proto.kind {
                Some(1) => GroupChange::Update,
                Some(2) => GroupChange::Deliver,
                Some(3) => GroupChange::Quit,
                _ => GroupChange::Unknown,
            },
            name: proto.name,
            members: bounded(proto.members)?,
            avatar: proto.avatar.map(AttachmentPointer::from_proto).transpose()?,
        })
    }

    fn to_proto(&self) -> GroupProto {
        let kind = match self.change {
            GroupChange::Unknown => 0,
            GroupChange::Update => 1,
            GroupChange::Deliver => 2,
            GroupChange::Quit => 3,
        };
        GroupProto {
            id: Some(self.id.clone()),
            kind: Some(kind),
            name: self.name.clone(),
            members: self.members.clone(),
            avatar: self.avatar.as_ref().map(AttachmentPointer::to_proto),
        }
    }
}

const END_SESSION: u32 = 1;
const EXPIRE_TIMER_UPDATE: u32 = 2;
const PROFILE_KEY_UPDATE: u32 = 4;
