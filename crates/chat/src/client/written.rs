//! The text in a message of ours that was sent: how long it may be kept to be sent again, and which later ones belong to it.

use std::collections::BTreeSet;

use super::sent_log::KEPT;
use crate::content::{Content, DataMessage, SyncMessage};
use crate::padding::unpad;
use crate::time::Timestamp;

/// A message that a person has written, or the copy of it for our other devices.
#[derive(Debug)]
pub(super) struct Written {
    /// The timestamp of the message, also if this is a copy with a timestamp of its own.
    timestamp: Timestamp,
    message: DataMessage,
    /// The message that it edits.
    edits: Option<Timestamp>,
}

impl Written {
    /// The message in a padded content. `None` if nobody has written it.
    pub(super) fn read(timestamp: Timestamp, padded: &[u8]) -> Option<Self> {
        let content = Content::decode_stored(unpad(padded)?).ok()?;
        if let Content::Group(group) = content {
            Self::from_content(timestamp, *group.inner?)
        } else {
            Self::from_content(timestamp, content)
        }
    }

    pub(super) fn from_content(timestamp: Timestamp, content: Content) -> Option<Self> {
        match content {
            Content::Data(message) => Some(Self { timestamp, message: *message, edits: None }),
            Content::Edit(edit) => {
                Some(Self { timestamp, message: edit.message, edits: Some(edit.target) })
            }
            Content::Sync(sync) => Self::from_copy(SyncMessage::decode(&sync).ok()?),
            Content::Call(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Group(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::SenderKeyDistribution(_)
            | Content::Typing(_)
            | Content::Unknown => None,
        }
    }

    /// The message that was sent from one of our devices.
    pub(super) fn from_copy(sync: SyncMessage) -> Option<Self> {
        let (timestamp, message, edits) = match sync {
            SyncMessage::Sent(sent) => (sent.timestamp, sent.message, sent.edits),
            SyncMessage::SentToGroup(sent) => (sent.timestamp, sent.message, sent.edits),
            SyncMessage::Configuration(_)
            | SyncMessage::DeviceList(_)
            | SyncMessage::GroupsWanted
            | SyncMessage::Identities(_)
            | SyncMessage::Names(_)
            | SyncMessage::Other
            | SyncMessage::Read(_)
            | SyncMessage::Requests(_)
            | SyncMessage::Timers(_) => return None,
        };
        Some(Self { timestamp, message, edits })
    }

    /// The message that it deletes for all.
    pub(super) const fn deletes(&self) -> Option<Timestamp> {
        self.message.delete
    }

    /// Milliseconds for which it may be kept: at most as long as the message itself, if that disappears.
    pub(super) fn kept(&self) -> u64 {
        let timer = self.message.expire_timer.filter(|seconds| *seconds > 0);
        timer.map_or(KEPT, |seconds| KEPT.min(u64::from(seconds).saturating_mul(1000)))
    }
}

/// Milliseconds for which a padded content of ours may be kept.
pub(super) fn kept(padded: &[u8]) -> u64 {
    Written::read(Timestamp(0), padded).map_or(KEPT, |written| written.kept())
}

/// Chooses the message with this timestamp, its edits, and the copies of all these. Timestamps of ours are used only once.
pub(super) fn versions_of<Name>(
    message: Timestamp,
    sent: impl Iterator<Item = (Name, Option<Written>)>,
) -> Vec<Name> {
    let mut sent: Vec<_> = sent.filter_map(|(name, written)| Some((name, written?))).collect();
    // An edit may name an earlier edit.
    sent.sort_by_key(|(_, written)| written.timestamp);
    let mut versions = BTreeSet::from([message]);
    let belongs = |(name, written): (Name, Written)| {
        let is_edit = written.edits.is_some_and(|edited| versions.contains(&edited));
        let is_version = is_edit || versions.contains(&written.timestamp);
        is_version.then(|| {
            versions.insert(written.timestamp);
            name
        })
    };
    sent.into_iter().filter_map(belongs).collect()
}
