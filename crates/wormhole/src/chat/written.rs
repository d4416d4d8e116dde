//! Messages and changes of messages, as their authors have written them.
//!
//! It arrives in a session, in the name of a group, or as a copy of what another device of our own account has sent. The core
//! passes on only messages of a group that its members have sent, and only copies of our own devices.

use wormhole_chat::group::GroupId;
use wormhole_chat::{Content, DataMessage, Received, SentTranscript, SyncMessage, Timestamp};

use super::Conversation;

/// A message, or a change of an earlier one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Written {
    pub(super) conversation: Conversation,
    /// Whether another device of our account has sent it.
    pub(super) is_ours: bool,
    pub(super) timestamp: Timestamp,
    pub(super) message: DataMessage,
    /// It replaces this message of the same author.
    pub(super) edits: Option<Timestamp>,
}

impl Written {
    /// Returns the message or the change of a received content, if it is one.
    pub(super) fn from_received(received: &Received) -> Option<Self> {
        match &received.content {
            Content::Group(group) => {
                let conversation = Conversation::Group(group.group);
                Self::in_conversation(conversation, received.timestamp, group.inner.as_deref()?)
            }
            Content::Sync(sync) => Self::elsewhere(SyncMessage::decode(sync).ok()?),
            Content::Call(_)
            | Content::Data(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Edit(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::SenderKeyDistribution(_)
            | Content::Typing(_)
            | Content::Unknown => {
                let conversation = Conversation::Account(received.from.account);
                Self::in_conversation(conversation, received.timestamp, &received.content)
            }
        }
    }

    /// Returns the message or the change of a content.
    fn in_conversation(
        conversation: Conversation,
        timestamp: Timestamp,
        content: &Content,
    ) -> Option<Self> {
        let (message, edits) = match content {
            Content::Data(data) => ((**data).clone(), None),
            Content::Edit(edit) => (edit.message.clone(), Some(edit.target)),
            Content::Call(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Group(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::SenderKeyDistribution(_)
            | Content::Sync(_)
            | Content::Typing(_)
            | Content::Unknown => return None,
        };
        Some(Self { conversation, is_ours: false, timestamp, message, edits })
    }

    /// Returns the message or the change that another device of our account has sent.
    fn elsewhere(sync: SyncMessage) -> Option<Self> {
        let (conversation, timestamp, message, edits) = match sync {
            SyncMessage::Sent(sent) => {
                (Conversation::Account(sent.to), sent.timestamp, sent.message, sent.edits)
            }
            SyncMessage::SentToGroup(sent) => {
                (Conversation::Group(sent.group), sent.timestamp, sent.message, sent.edits)
            }
            SyncMessage::GroupsWanted
            | SyncMessage::Configuration(_)
            | SyncMessage::DeviceList(_)
            | SyncMessage::Identities(_)
            | SyncMessage::Names(_)
            | SyncMessage::Other
            | SyncMessage::Read(_)
            | SyncMessage::Requests(_)
            | SyncMessage::Timers(_) => return None,
        };
        Some(Self { conversation, is_ours: true, timestamp, message, edits })
    }

    /// Whether it is a message of its own, with something to see.
    pub(super) fn is_message(&self) -> bool {
        self.edits.is_none() && self.message.is_visible()
    }

    /// The group in which it was written.
    pub(super) const fn group(&self) -> Option<GroupId> {
        match self.conversation {
            Conversation::Account(_) => None,
            Conversation::Group(group) => Some(group),
        }
    }
}

/// The message, if another device of our account has sent it to a person. The core accepts such messages only from our account.
pub(super) fn transcript(received: &Received) -> Option<SentTranscript> {
    let Content::Sync(sync) = &received.content else { return None };
    match SyncMessage::decode(sync) {
        Ok(SyncMessage::Sent(sent)) => Some(*sent),
        Ok(
            SyncMessage::GroupsWanted
            | SyncMessage::Configuration(_)
            | SyncMessage::DeviceList(_)
            | SyncMessage::Identities(_)
            | SyncMessage::Names(_)
            | SyncMessage::Other
            | SyncMessage::Read(_)
            | SyncMessage::Requests(_)
            | SyncMessage::SentToGroup(_)
            | SyncMessage::Timers(_),
        )
        | Err(_) => None,
    }
}
