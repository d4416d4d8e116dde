//! Data messages: the `PushMessageContent` of the API of 2014, with the fields that came later.

use super::proto::{AttachmentProto, DataProto, GroupProto};
use super::{ContentError, bounded};
use crate::attachment::AttachmentKey;
use crate::time::Timestamp;

/// Text, attachments, and what goes with them. Begin with [`DataMessage::default`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DataMessage {
    /// The text.
    pub body: Option<String>,
    /// Files.
    pub attachments: Vec<AttachmentPointer>,
    /// The group the message is for, in the form of 2014.
    pub group: Option<Group>,
    /// The sender has left the session and will begin another.
    pub end_session: bool,
    /// The message only sets `expire_timer`.
    pub expire_timer_update: bool,
    /// The message only brings `profile_key`.
    pub profile_key_update: bool,
    /// Seconds after reading until the message must be gone; 0 and `None` mean never.
    pub expire_timer: Option<u32>,
    /// Opens the sender's profile.
    pub profile_key: Option<[u8; 32]>,
    /// When it was sent. Clients of 2014 leave it out.
    pub timestamp: Option<Timestamp>,
    /// The message needs a program that knows at least this.
    pub required_protocol_version: Option<u32>,
}

impl DataMessage {
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
            profile_key: proto.profile_key.and_then(|key| key.try_into().ok()),
            timestamp: proto.timestamp.map(Timestamp),
            required_protocol_version: proto.required_protocol_version,
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
            profile_key: self.profile_key.map(Vec::from),
            timestamp: self.timestamp.map(|time| time.0),
            required_protocol_version: self.required_protocol_version,
        }
    }
}

/// Where an attachment is, and how to open it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttachmentPointer {
    /// Where it is.
    pub place: AttachmentPlace,
    /// The MIME type that the sender claims.
    pub content_type: Option<String>,
    /// Opens it.
    pub key: AttachmentKey,
    /// Bytes of the plaintext; more than that is padding. Clients of 2014 leave it out.
    pub size: Option<u32>,
    /// The SHA-256 of the blob. Without it, the server could swap the blob for another one with
    /// the same key; clients of 2014 leave it out.
    pub digest: Option<[u8; 32]>,
    /// The name that the sender claims. Never use it as a path.
    pub file_name: Option<String>,
    /// 1: a voice message; 2: borderless; 8: a moving picture.
    pub flags: u32,
    /// Pixels across and down.
    pub dimensions: Option<(u32, u32)>,
    /// Text under the file.
    pub caption: Option<String>,
    /// When it was uploaded.
    pub uploaded: Option<Timestamp>,
}

/// Where an attachment is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AttachmentPlace {
    /// By number.
    Id(u64),
    /// By key, in the numbered store.
    Key(u32, String),
}

impl AttachmentPointer {
    /// A pointer with the fields that every client should send.
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

    fn from_proto(proto: AttachmentProto) -> Result<Self, ContentError> {
        let cdn_key = proto.cdn_key.filter(|key| !key.is_empty());
        let place = match (proto.id, cdn_key) {
            (_, Some(key)) => AttachmentPlace::Key(proto.cdn.unwrap_or_default(), key),
            (Some(id), None) => AttachmentPlace::Id(id),
            (None, None) => return Err(ContentError::Malformed),
        };
        let key = AttachmentKey::from_slice(&proto.key.unwrap_or_default());
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

    fn to_proto(&self) -> AttachmentProto {
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

/// A group in the form of 2014: its members say who belongs to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Names the group.
    pub id: Vec<u8>,
    /// What the message means for the group.
    pub change: GroupChange,
    /// The group's title.
    pub name: Option<String>,
    /// Numbers or UUIDs.
    pub members: Vec<String>,
    /// The group's picture.
    pub avatar: Option<AttachmentPointer>,
}

/// What a message means for its group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GroupChange {
    /// Nothing: it is for its members.
    Deliver,
    /// The sender leaves.
    Quit,
    /// Something newer than this program.
    Unknown,
    /// Title, members or picture are these now.
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
