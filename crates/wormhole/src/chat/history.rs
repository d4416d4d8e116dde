//! The message history: what was written, with whom, and what has become of it.
//!
//! It is optional. A store without it keeps a message only until it is sent or the application is [`done`](super::Client::done)
//! with it. With it, a message is in the history as soon as it is durable, and stays until it expires or is removed.

mod access;
mod search;

use std::fmt;
use std::time::Duration;

use wormhole_chat::group::GroupId;
use wormhole_chat::{AccountId, DeviceId, Emoji, Quote, Timestamp};

use super::message::Attachment;
pub use search::Search;

/// With whom messages are exchanged.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Conversation {
    /// With an account.
    Account(AccountId),
    /// With the members of a group, which has this id.
    Group(GroupId),
}

impl Conversation {
    /// The other person; `None` in a group.
    pub const fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) => Some(account),
            Self::Group(_) => None,
        }
    }

    /// The group; `None` if it is with a person.
    pub const fn group(self) -> Option<GroupId> {
        match self {
            Self::Account(_) => None,
            Self::Group(group) => Some(group),
        }
    }
}

/// The id of the account or of the group: 36 or 32 characters.
impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => account.fmt(f),
            Self::Group(group) => group.fmt(f),
        }
    }
}

impl From<AccountId> for Conversation {
    fn from(account: AccountId) -> Self {
        Self::Account(account)
    }
}

impl From<GroupId> for Conversation {
    fn from(group: GroupId) -> Self {
        Self::Group(group)
    }
}

/// Identifies a message in the history of one store. Older messages have smaller ids.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HistoryId(pub i64);

/// Whether a store keeps a history, and how much of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum HistoryMode {
    /// It keeps none.
    #[default]
    Off,
    /// It keeps what these limits permit.
    On(HistoryLimits),
}

/// How much of the history a store keeps. The default is everything.
///
/// Messages beyond the limits are removed within an hour while a client runs, otherwise when the store is opened the next time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "applications create it")]
pub struct HistoryLimits {
    /// How long messages are kept, counted from when they came into the store.
    pub max_age: Option<Duration>,
    /// How many messages are kept, the newest.
    pub max_messages: Option<u64>,
}

impl HistoryMode {
    /// Keeps everything.
    pub const ALL: Self = Self::On(HistoryLimits { max_age: None, max_messages: None });

    /// Keeps messages for this number of days.
    pub fn days(days: u32) -> Self {
        let seconds = u64::from(days) * 24 * 60 * 60;
        Self::On(HistoryLimits { max_age: Some(Duration::from_secs(seconds)), max_messages: None })
    }
}

/// A message in the history. `Debug` does not print what it says.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct HistoryMessage {
    /// Identifies it in this store.
    pub id: HistoryId,
    /// Where it was written.
    pub conversation: Conversation,
    /// The author.
    pub author: AccountId,
    /// The author's device; `None` if it is a message of ours that was sent before this device existed.
    pub device: Option<DeviceId>,
    /// Whether our account wrote it.
    pub is_ours: bool,
    /// When it was sent, according to the author. Identifies the message together with the author.
    pub timestamp: Timestamp,
    /// The text, as it was edited last.
    pub text: Option<String>,
    /// The attached files, which the server keeps for some time.
    pub files: Vec<Attachment>,
    /// Its texts before it was edited, the oldest first.
    pub edits: Vec<EarlierText>,
    /// The message that this one answers.
    pub quote: Option<Quote>,
    /// How others, and we, have reacted.
    pub reactions: Vec<HistoryReaction>,
    /// The members of a group that got or read a message of ours. `state` is the least that all of them have done.
    pub recipients: Vec<HistoryRecipient>,
    /// Whether the author has deleted it for all. Then it has neither a text nor files.
    pub is_deleted: bool,
    /// When it is deleted here.
    pub expires: Option<Timestamp>,
    /// Its progress.
    pub state: HistoryState,
    /// Whether the author's identity key differed from the accepted one when the message arrived.
    pub identity_changed: bool,
}

impl fmt::Debug for HistoryMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryMessage")
            .field("id", &self.id)
            .field("conversation", &self.conversation)
            .field("author", &self.author)
            .field("timestamp", &self.timestamp)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A message that an application kept before: [`Store::add_earlier`](super::store::Store::add_earlier). `Debug` does not
/// print the text.
#[derive(Clone, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "applications create it")]
pub struct EarlierMessage {
    /// Where it was written.
    pub conversation: Conversation,
    /// The author; `None` if it is ours.
    pub author: Option<AccountId>,
    /// When it was sent, according to the author.
    pub timestamp: Timestamp,
    /// The text.
    pub text: String,
}

impl fmt::Debug for EarlierMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conversation, timestamp, author: _, text: _ } = self;
        let mut shown = f.debug_struct("EarlierMessage");
        shown.field("conversation", conversation).field("timestamp", timestamp);
        shown.finish_non_exhaustive()
    }
}

/// A text of a message before it was edited. `Debug` does not print it.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct EarlierText {
    /// When it was written.
    pub timestamp: Timestamp,
    /// The text.
    pub text: String,
}

impl fmt::Debug for EarlierText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlierText").field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}

/// A reaction to a message. `Debug` does not print it.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct HistoryReaction {
    /// The author of the reaction.
    pub author: AccountId,
    /// When.
    pub timestamp: Timestamp,
    /// The emoji. It is safe to show.
    pub emoji: Emoji,
}

impl fmt::Debug for HistoryReaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryReaction").field("author", &self.author).finish_non_exhaustive()
    }
}

/// A member of a group who gets a message of ours, and what has become of it there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HistoryRecipient {
    /// The member.
    pub account: AccountId,
    /// `Delivered` or `Read` if the member has confirmed that; otherwise something less.
    pub state: HistoryState,
}

/// The progress of a message in the history.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum HistoryState {
    /// Ours: it waits in the outbox.
    Waiting,
    /// Ours: it cannot be sent.
    Failed,
    /// Ours: it was cancelled, but the server may have it.
    MaybeSent,
    /// Ours: the server has it.
    OnServer,
    /// Ours: a device of the recipient has it.
    Delivered,
    /// Of others: it has arrived, and the application is not [`done`](super::Client::done) with it.
    Unread,
    /// It was read: by us, or by a recipient who told us so.
    Read,
}

impl HistoryState {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Failed => 1,
            Self::MaybeSent => 2,
            Self::OnServer => 3,
            Self::Delivered => 4,
            Self::Unread => 5,
            Self::Read => 6,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Waiting,
            1 => Self::Failed,
            2 => Self::MaybeSent,
            3 => Self::OnServer,
            4 => Self::Delivered,
            5 => Self::Unread,
            6 => Self::Read,
            _ => return None,
        })
    }
}

/// A conversation of which the history has messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConversationSummary {
    /// With whom.
    pub conversation: Conversation,
    /// Number of messages.
    pub messages: u64,
    /// When the latest message came into the history.
    pub latest: Timestamp,
}
