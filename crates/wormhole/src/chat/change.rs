//! Changes of earlier messages: reactions, edits, deletions and timers.
//!
//! An author and a timestamp identify the message, which may not have arrived yet.

use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, DataMessage, DeviceId, Emoji, MessageRef, Received, Timestamp, rules,
};

use super::Conversation;
use super::message::{Event, ReceivedMessage};
use super::store::{Contact, ReceivedId};
use super::written::Written;

/// A change of an earlier message, or of a conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Pass it to [`Client::done`](super::Client::done) when the change is stored or shown.
    pub id: ReceivedId,
    /// The author of the change.
    pub from: Contact,
    /// The recipient, if another device of our own account has sent it. `None`: it is for us, or in a group.
    pub sent_to: Option<Contact>,
    /// The group in which it was made.
    pub group: Option<GroupId>,
    /// The device of the sender.
    pub device: DeviceId,
    /// When it was made, according to the sender.
    pub timestamp: Timestamp,
    /// The message. In a change of the timer, the change itself.
    pub target: MessageRef,
    /// Whether the sender's identity key differs from the accepted one.
    pub identity_changed: bool,
}

impl Change {
    /// Where it was made.
    pub fn conversation(&self) -> Conversation {
        let other = self.sent_to.as_ref().unwrap_or(&self.from).account;
        self.group.map_or(Conversation::Account(other), Conversation::Group)
    }
}

/// The change that a content makes.
enum Kind<'a> {
    Reaction(MessageRef, Option<&'a Emoji>),
    Edit(Timestamp),
    Delete(Timestamp),
    Timer(Option<u32>),
}

/// Whether the application gets a content: a message, or a change that the rules allow.
pub(super) fn is_kept(received: &Received) -> bool {
    if received.content.is_visible() {
        return true;
    }
    Written::from_received(received).is_some_and(|written| match written.edits {
        Some(target) => may_be_edited(received.from.account, written.timestamp, target),
        None => kind_of_data(&written.message).is_some(),
    })
}

/// Whether a content changes an earlier message, or the timer of the conversation.
pub(super) fn is_change(received: &Received) -> bool {
    Written::from_received(received).is_some_and(|written| kind(&written).is_some())
}

/// Whether an edit comes in time. Whether there were too many is known only with the message.
fn may_be_edited(author: AccountId, now: Timestamp, sent: Timestamp) -> bool {
    rules::may_edit(&own_message(author, sent), author, now).is_ok()
}

/// A message of `author` that was not changed yet.
pub(super) const fn own_message(author: AccountId, sent: Timestamp) -> rules::Changeable {
    rules::Changeable { author, sent, is_visible: true, edits: 0, is_deleted: false }
}

const fn kind_of_data(data: &DataMessage) -> Option<Kind<'_>> {
    if let Some(target) = data.delete {
        Some(Kind::Delete(target))
    } else if let Some(reaction) = &data.reaction {
        Some(Kind::Reaction(reaction.target, reaction.emoji.as_ref()))
    } else if data.expire_timer_update {
        Some(Kind::Timer(data.expire_timer))
    } else {
        None
    }
}

/// The event for a content that the store has kept. `contact` describes an account.
///
/// # Errors
/// Those of `contact`.
pub(super) fn event<E>(
    id: ReceivedId,
    received: Received,
    contact: impl Fn(AccountId) -> Result<Contact, E>,
) -> Result<Event, E> {
    let from = contact(received.from.account)?;
    let written = Written::from_received(&received);
    let to = match written.as_ref().map(|it| (it.is_ours, it.conversation)) {
        Some((true, Conversation::Account(account))) => Some(contact(account)?),
        Some((_, Conversation::Account(_) | Conversation::Group(_))) | None => None,
    };
    let kind = written.as_ref().and_then(kind);
    let Some((written, kind)) = written.as_ref().zip(kind) else {
        let message = ReceivedMessage::new(id, &received, written, from, to);
        return Ok(Event::Message(Box::new(message)));
    };
    let (timestamp, group) = (written.timestamp, written.group());
    let author = received.from.account;
    let own = |timestamp| MessageRef { author, timestamp };
    let target = match &kind {
        Kind::Reaction(target, _) => *target,
        Kind::Edit(target) => {
            let written = Some(written.clone());
            let message = Box::new(ReceivedMessage::new(id, &received, written, from, to));
            return Ok(Event::Edited { target: own(*target), message });
        }
        Kind::Delete(target) => own(*target),
        Kind::Timer(_) => own(timestamp),
    };
    let change = Box::new(Change {
        id,
        from,
        sent_to: to,
        group,
        device: received.from.device,
        timestamp,
        target,
        identity_changed: received.identity_changed,
    });
    Ok(match kind {
        Kind::Reaction(_, emoji) => Event::Reaction { change, emoji: emoji.cloned() },
        Kind::Edit(_) | Kind::Delete(_) => Event::Deleted(change),
        Kind::Timer(timer) => {
            Event::TimerChanged { change, seconds: timer.filter(|seconds| *seconds > 0) }
        }
    })
}

/// The change that somebody has made. `None`: it is a message.
fn kind(written: &Written) -> Option<Kind<'_>> {
    written.edits.map(Kind::Edit).or_else(|| kind_of_data(&written.message))
}
