//! Field 100 of the content: the group to which a message belongs, and what members tell each other about it
//! (docs/chat-protocol.md "Groups").

use std::fmt;

use prost::Message;
use wormhole_kit::Secret;
use zeroize::{Zeroize, Zeroizing};

use super::{Content, ContentError};
use crate::group::{AdminKey, EntryHash, EpochKeys, GroupId, GroupSecret};

/// A message that belongs to a group. `Debug` prints neither text nor keys.
#[derive(Clone, Eq, PartialEq)]
pub struct GroupContent {
    /// The group.
    pub group: GroupId,
    /// The last change that the sender knows. A recipient that knows only earlier ones should read the log.
    pub revision: u64,
    /// The secret of the group, for somebody who is invited, or after somebody was removed.
    pub secret: Option<GroupSecret>,
    /// The key of administrators, for somebody who is one.
    pub admin: Option<AdminKey>,
    /// The hash of the entry with this revision.
    pub head: Option<EntryHash>,
    /// The recipient was removed from the group.
    pub removed: bool,
    /// The message itself: anything but another group's message.
    pub inner: Option<Box<Content>>,
}

impl GroupContent {
    /// A message that only says which change is the last one.
    pub const fn notice(group: GroupId, revision: u64) -> Self {
        Self { group, revision, secret: None, admin: None, head: None, removed: false, inner: None }
    }

    /// The keys that the message has.
    pub fn keys(&self) -> Option<EpochKeys> {
        let (secret, admin) = (self.secret.clone()?, self.admin.clone());
        Some(EpochKeys { secret, admin })
    }

    pub(super) fn from_proto(
        mut proto: GroupContentProto,
        inner: Option<Content>,
    ) -> Result<Self, ContentError> {
        let group = proto.group.take().and_then(|id| id.try_into().ok());
        let secret = key(proto.secret.as_deref())?;
        let admin = key(proto.admin.as_deref())?;
        let head = proto.head.take().map(TryInto::try_into).transpose();
        proto.wipe();
        Ok(Self {
            group: GroupId::from_bytes(group.ok_or(ContentError::Malformed)?),
            revision: proto.revision.unwrap_or_default(),
            secret: secret.map(GroupSecret::from_secret),
            admin: admin.map(AdminKey::from_secret),
            head: head.map_err(|_| ContentError::Malformed)?.map(EntryHash),
            removed: proto.removed.unwrap_or_default(),
            inner: inner.map(Box::new),
        })
    }

    pub(super) fn to_proto(&self) -> GroupContentProto {
        let secret = self.secret.as_ref().map(|secret| secret.as_secret().expose().to_vec());
        GroupContentProto {
            group: Some(self.group.as_bytes().to_vec()),
            revision: Some(self.revision),
            secret,
            admin: self.admin.as_ref().map(|admin| admin.as_secret().expose().to_vec()),
            head: self.head.map(|head| head.0.to_vec()),
            removed: self.removed.then_some(true),
        }
    }
}

/// Reads a key of 32 bytes.
fn key(bytes: Option<&[u8]>) -> Result<Option<Secret<32>>, ContentError> {
    let array: Option<[u8; 32]> =
        bytes.map(TryInto::try_into).transpose().map_err(|_| ContentError::Malformed)?;
    Ok(array.map(|array| Secret::new(*Zeroizing::new(array))))
}

impl fmt::Debug for GroupContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupContent")
            .field("group", &self.group)
            .field("revision", &self.revision)
            .field("has_secret", &self.secret.is_some())
            .field("has_admin_key", &self.admin.is_some())
            .field("removed", &self.removed)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Message)]
pub(super) struct GroupContentProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    group: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    revision: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    secret: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    head: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "5")]
    removed: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "6")]
    admin: Option<Vec<u8>>,
}

impl GroupContentProto {
    /// Overwrites the keys.
    pub(super) fn wipe(&mut self) {
        self.secret.zeroize();
        self.admin.zeroize();
    }
}
