//! Changes of earlier messages: reactions, edits, deletions and timers.
//!
//! An author and a timestamp identify the message, which may not have arrived yet.

use wormhole_chat::{
    AccountId, Content, DataMessage, DeviceId, Emoji, MessageRef, Received, SentTranscript,
    SyncMessage, Timestamp, rules,
};

use super::message::{Event, ReceivedMessage, sent_to, transcript};
use super::store::{Contact, ReceivedId};

/// A change of an earlier message, or of a conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Pass it to [`Client::done`](super::Client::done) when the change is stored or shown.
    pub id: ReceivedId,
    /// Who has made it.
    pub from: Contact,
    /// To whom another device of our own account has sent it. `None`: it is for us.
    pub sent_to: Option<Contact>,
    /// The device of the sender.
    pub device: DeviceId,
    /// When it was made, according to the sender.
    pub timestamp: Timestamp,
    /// The message. In a change of the timer, the change itself.
    pub target: MessageRef,
    /// Whether the sender's identity key differs from the accepted one.
    pub identity_changed: bool,
}

/// What a content changes.
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
    match &received.content {
        Content::Data(data) => kind_of_data(data).is_some(),
        Content::Edit(edit) => {
            may_be_edited(received.from.account, received.timestamp, edit.target)
        }
        Content::Sync(sync) => match SyncMessage::decode(sync) {
            Ok(SyncMessage::Sent(sent)) => match sent.edits {
                Some(target) => may_be_edited(received.from.account, sent.timestamp, target),
                None => kind_of_data(&sent.message).is_some(),
            },
            Ok(
                SyncMessage::Other
                | SyncMessage::Read(_)
                | SyncMessage::Requests(_)
                | SyncMessage::SentToGroup(_),
            )
            | Err(_) => false,
        },
        Content::Call(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Group(_)
        | Content::Null
        | Content::Receipt(_)
        | Content::SenderKeyDistribution(_)
        | Content::Typing(_)
        | Content::Unknown => false,
    }
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

/// What the application sees of a content that the store has kept. `contact` describes an account.
///
/// # Errors
/// Those of `contact`.
pub(super) fn event<E>(
    id: ReceivedId,
    received: Received,
    contact: impl Fn(AccountId) -> Result<Contact, E>,
) -> Result<Event, E> {
    let (from, to) = (contact(received.from.account)?, sent_to(&received));
    let to = to.map(contact).transpose()?;
    let sent = transcript(&received);
    let Some(kind) = kind(&received.content, sent.as_ref()) else {
        return Ok(Event::Message(Box::new(ReceivedMessage::new(id, received, from, to))));
    };
    let timestamp = sent.as_ref().map_or(received.timestamp, |sent| sent.timestamp);
    let author = received.from.account;
    let own = |timestamp| MessageRef { author, timestamp };
    let target = match &kind {
        Kind::Reaction(target, _) => *target,
        Kind::Edit(target) => {
            let message = Box::new(ReceivedMessage::new(id, received.clone(), from, to));
            return Ok(Event::Edited { target: own(*target), message });
        }
        Kind::Delete(target) => own(*target),
        Kind::Timer(_) => own(timestamp),
    };
    let change = Box::new(Change {
        id,
        from,
        sent_to: to,
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

/// What a content, or the message that another device of ours has sent, changes. `None`: it is a message.
fn kind<'a>(content: &'a Content, sent: Option<&'a SentTranscript>) -> Option<Kind<'a>> {
    match (content, sent) {
        (_, Some(sent)) => sent.edits.map(Kind::Edit).or_else(|| kind_of_data(&sent.message)),
        (Content::Data(data), None) => kind_of_data(data),
        (Content::Edit(edit), None) => Some(Kind::Edit(edit.target)),
        (
            Content::Call(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Group(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::SenderKeyDistribution(_)
            | Content::Sync(_)
            | Content::Typing(_)
            | Content::Unknown,
            None,
        ) => None,
    }
}
