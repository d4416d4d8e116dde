//! Shows reactions, edits, deletions, timers and receipts, as text or as JSON.

use serde_json::{Value, json};
use wormhole::chat::{
    AccountId, Change, Conversation, Event, MessageRef, ReceiptKind, ReceivedId, Timestamp,
};

use super::people::{self, People};
use super::recent::{self, Recent};
use super::{changes, show};
use crate::json::set;
use crate::units;

/// A change, as it is shown.
#[derive(Debug)]
pub(super) struct ChangeText {
    /// The id for `Client::done` when it was shown. `None`: it is not stored.
    pub(super) id: Option<ReceivedId>,
    /// The conversation. Receipts can be about several.
    pub(super) with: Conversation,
    pub(super) value: Value,
    /// The lines for people; may be empty.
    pub(super) text: String,
}

/// The id of an edit of a message that its author has deleted before: it changes nothing, so it is not shown.
pub(super) fn pointless(event: &Event, recent: &Recent) -> Option<ReceivedId> {
    let Event::Edited { target, message } = event else { return None };
    recent.is_deleted(*target).then_some(message.id)
}

/// A change of a message or a conversation, or a receipt. Remembers what has become of the message. `None`: the event is
/// another one.
pub(super) fn describe(event: &Event, people: &People, recent: &mut Recent) -> Option<ChangeText> {
    match event {
        Event::Deleted(change) => {
            let what = recent.quote_in_words(change.target, people.own());
            recent.delete(change.target);
            let text = format!("{} deleted {what}\n", heading(change, people));
            Some(change_text(change, "chat-deleted", text))
        }
        Event::Edited { target, message } => {
            let new = show::text(message, people);
            let what = recent.quote_in_words(*target, people.own());
            recent.replace(*target, if message.expire_timer.is_some() { "" } else { &new });
            let (mut value, _) = show::describe(message, people, recent);
            set(&mut value, "event", "chat-edited");
            set(&mut value, "target", recent::json(*target));
            let heading = show::heading(message, people);
            let text = format!("{heading} edited {what}: {}\n", show::safe(&new));
            let with = message.conversation();
            Some(ChangeText { id: Some(message.id), with, value, text })
        }
        Event::Reaction { change, emoji } => {
            let what = recent.quote_in_words(change.target, people.own());
            let heading = heading(change, people);
            let text = match emoji {
                Some(emoji) => format!("{heading} reacted {emoji} to {what}\n"),
                None => format!("{heading} removed the reaction to {what}\n"),
            };
            let mut shown = change_text(change, "chat-reaction", text);
            set(&mut shown.value, "emoji", emoji.as_ref().map(ToString::to_string));
            Some(shown)
        }
        Event::TimerChanged { change, seconds } => {
            let timer = changes::describe_timer(*seconds);
            let text = format!("{} set the timer. {timer}\n", heading(change, people));
            let mut shown = change_text(change, "chat-timer-changed", text);
            set(&mut shown.value, "seconds", *seconds);
            Some(shown)
        }
        Event::Receipt { from, kind, messages } => {
            Some(describe_receipt(*from, *kind, messages, people, recent))
        }
        Event::Typing { from, group, started } => {
            let with = group.map_or(Conversation::Account(*from), Conversation::Group);
            Some(typing(*from, with, *started, people, recent))
        }
        Event::Connected
        | Event::Disconnected(_)
        | Event::ForeignDevice
        | Event::Group { .. }
        | Event::IdentityChanged { .. }
        | Event::KeysRefused(_)
        | Event::ListsDiffer
        | Event::Message(_)
        | Event::Missed(_)
        | Event::NotCopied(_)
        | Event::NotRead { .. }
        | Event::Progress { .. }
        | Event::ReadElsewhere(_)
        | Event::Request { .. }
        | Event::StoreIsOlder
        | Event::UnsignedDevice { .. }
        | Event::UntrustedCertificates
        | Event::UpToDate => None,
        // Later events of the SDK.
        _ => None,
    }
}

/// Messages have arrived or were read.
fn describe_receipt(
    from: AccountId,
    kind: ReceiptKind,
    messages: &[Timestamp],
    people: &People,
    recent: &Recent,
) -> ChangeText {
    let sent = recent.sent_to(from, people, messages);
    let times: Vec<_> = messages.iter().map(|time| time.0).collect();
    let value = json!({
        "event": "chat-receipt", "from": people.json_of(from), "kind": name(kind),
        "timestamps": times,
    });
    let ids: Vec<_> = sent.iter().map(|(_, message)| *message).collect();
    let text = receipt(kind, &people.label_of(from), &ids, recent);
    let with = sent.last().map_or(Conversation::Account(from), |(with, _)| *with);
    ChangeText { id: None, with, value, text }
}

/// Somebody types, or has stopped.
fn typing(
    from: AccountId,
    with: Conversation,
    started: bool,
    people: &People,
    recent: &Recent,
) -> ChangeText {
    let value = json!({
        "event": "chat-typing", "from": people.json_of(from), "group": people::group_json(with),
        "started": started,
    });
    let is_typing = format!("    {} is typing...\n", people.label_of(from));
    let text = if started && recent.shows_ids { is_typing } else { String::new() };
    ChangeText { id: None, with, value, text }
}

/// When a change was made, and by whom.
fn heading(change: &Change, people: &People) -> String {
    let who = match &change.sent_to {
        Some(to) => format!("you to {}:", people.label(to)),
        None if change.from.account == people.own() => "you".to_owned(),
        None => people.label(&change.from),
    };
    let time = units::time(change.timestamp.0 / 1000);
    format!("{time}  {who}{}", people.in_group(change.group))
}

fn change_text(change: &Change, event: &str, text: String) -> ChangeText {
    let value = json!({
        "event": event, "id": change.id.0, "from": people::json(&change.from),
        "to": change.sent_to.as_ref().map(people::json), "timestamp": change.timestamp.0,
        "group": change.group.map(|group| group.to_string()),
        "target": recent::json(change.target), "identity_changed": change.identity_changed,
    });
    let with = change.conversation();
    ChangeText { id: Some(change.id), with, value, text }
}

const fn name(kind: ReceiptKind) -> &'static str {
    match kind {
        ReceiptKind::Delivery => "delivered",
        ReceiptKind::Read => "read",
        ReceiptKind::Viewed => "viewed",
    }
}

/// One quiet line about messages that have arrived or were read. Nothing where ids are not shown.
fn receipt(kind: ReceiptKind, who: &str, sent: &[MessageRef], recent: &Recent) -> String {
    if sent.is_empty() || !recent.shows_ids {
        return String::new();
    }
    let (ticks, done) = match kind {
        ReceiptKind::Delivery => ("✓", "has"),
        ReceiptKind::Read => ("✓✓", "has read"),
        ReceiptKind::Viewed => ("✓✓", "has played"),
    };
    let ids: Vec<_> = sent.iter().rev().take(MAX_IDS).map(|message| recent::id(*message)).collect();
    let more = match sent.len().saturating_sub(MAX_IDS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("    {ticks} {who} {done} {}{more}\n", ids.join(", "))
}

/// Maximum number of ids in one line.
const MAX_IDS: usize = 5;
