//! The rules for changes of messages: who may make them, and which of several changes counts.
//!
//! These rules depend only on what was sent, never on the order in which it arrived, so all devices of all people show the same
//! in the end. Changes may arrive before the message that they change: keep them until it arrives, and apply the rules then.
//!
//! | change | who | how long | how often |
//! |---|---|---|---|
//! | edit | the author of the message | 24 hours after it was sent | 10 times |
//! | delete for all | the author | always | once |
//! | react | everybody in the conversation | always | the last one counts |
//!
//! Times are those of the senders. A sender can lie about them, but only about its own messages.

use super::data::DataMessage;
use super::reaction::Reaction;
use crate::address::AccountId;
use crate::time::{DAY, Timestamp};

/// The data about a message that decide about a change of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Changeable {
    /// The sender.
    pub author: AccountId,
    /// When it was sent, not edited.
    pub sent: Timestamp,
    /// Whether it has a text or files. Others, such as reactions, cannot be changed.
    pub is_visible: bool,
    /// How many edits were applied so far.
    pub edits: usize,
    /// Whether it was deleted for all.
    pub is_deleted: bool,
}

/// Why a change of a message is not allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeRefusal {
    /// The message was deleted for all.
    #[error("the message was deleted")]
    Deleted,
    /// It was sent by somebody else.
    #[error("only the author can change a message")]
    NotTheAuthor,
    /// It has neither a text nor files.
    #[error("this message cannot be changed")]
    NothingToChange,
    /// More than 24 hours have passed.
    #[error("a message can be edited only within 24 hours")]
    TooLate,
    /// It was edited 10 times.
    #[error("a message can be edited only 10 times")]
    TooOften,
}

/// Whether `editor` may edit a message at the time `now`. If edits arrive in another order, apply them in the order of their
/// timestamps.
///
/// # Errors
/// It may not. Ignore the edit.
pub fn may_edit(
    message: &Changeable,
    editor: AccountId,
    now: Timestamp,
) -> Result<(), ChangeRefusal> {
    may_delete(message, editor)?;
    if message.is_deleted {
        Err(ChangeRefusal::Deleted)
    } else if now < message.sent || now.since(message.sent) > EDIT_PERIOD {
        Err(ChangeRefusal::TooLate)
    } else if message.edits >= MAX_EDITS {
        Err(ChangeRefusal::TooOften)
    } else {
        Ok(())
    }
}

/// Whether `deleter` may delete a message for all. Deleting it again changes nothing.
///
/// # Errors
/// It may not. Ignore the deletion.
pub fn may_delete(message: &Changeable, deleter: AccountId) -> Result<(), ChangeRefusal> {
    if deleter != message.author {
        Err(ChangeRefusal::NotTheAuthor)
    } else if message.is_visible {
        Ok(())
    } else {
        Err(ChangeRefusal::NothingToChange)
    }
}

/// Whether somebody may react to a message. The caller checks that they are in the conversation.
///
/// # Errors
/// They may not. Ignore the reaction.
pub fn may_react(message: &Changeable) -> Result<(), ChangeRefusal> {
    if message.is_deleted {
        Err(ChangeRefusal::Deleted)
    } else if message.is_visible {
        Ok(())
    } else {
        Err(ChangeRefusal::NothingToChange)
    }
}

/// The message after an edit: the text is replaced, with everything that is about it. Files, the quoted message and the timer
/// stay, and so does the time at which it was sent.
pub fn apply_edit(message: &DataMessage, edit: DataMessage) -> DataMessage {
    let DataMessage { body, ranges, previews, .. } = edit;
    DataMessage { body, ranges, previews, ..message.clone() }
}

/// Whether the reaction `new` replaces `old`, another one of the same person to the same message. Each comes with the time at
/// which it was sent.
pub fn reaction_wins(old: (Timestamp, &Reaction), new: (Timestamp, &Reaction)) -> bool {
    // Two devices can send at the same time. Then it does not matter which one counts, as long as all agree.
    (old.0, &old.1.emoji) < (new.0, &new.1.emoji)
}

/// The timer of a conversation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Timer {
    /// Seconds after reading; 0: messages stay.
    pub seconds: u32,
    /// Increases with every change in the conversation. 0: the sender's program does not count the changes.
    pub version: u32,
}

/// Whether a timer that came with a message becomes the timer of the conversation. `is_update`: the message was sent to set the
/// timer, so the user sees the change. Other messages repeat the timer as their sender knows it, and a new device or a new member may not know it
/// yet. So they can only introduce or shorten a timer: no message switches it off unseen.
pub fn timer_applies(current: Timer, new: Timer, is_update: bool) -> bool {
    let is_newer = new.version == 0 || new.version >= current.version;
    let is_shorter = new.seconds > 0 && (current.seconds == 0 || new.seconds < current.seconds);
    is_newer && (is_update || is_shorter)
}

/// When a message must be deleted: `timer` seconds after it was read, or sent by ourselves. `None`: never.
pub fn expires_at(read: Timestamp, timer: Option<u32>) -> Option<Timestamp> {
    let seconds = timer.filter(|seconds| *seconds > 0)?;
    Some(Timestamp(read.0.saturating_add(u64::from(seconds) * 1000)))
}

/// How long a message can be edited, in milliseconds.
const EDIT_PERIOD: u64 = DAY;

/// How often a message can be edited.
const MAX_EDITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::reaction::MessageRef;
    use super::*;

    const ALICE: AccountId = AccountId::from_bytes([1; 16]);
    const BOB: AccountId = AccountId::from_bytes([2; 16]);
    const SENT: Timestamp = Timestamp(1_600_000_000_000);

    fn message() -> Changeable {
        Changeable { author: ALICE, sent: SENT, is_visible: true, edits: 0, is_deleted: false }
    }

    #[test]
    fn only_the_author_edits_a_message_within_a_day_and_ten_times() {
        let last = Timestamp(SENT.0 + DAY);
        assert_eq!(may_edit(&message(), ALICE, SENT), Ok(()));
        assert_eq!(may_edit(&Changeable { edits: 9, ..message() }, ALICE, last), Ok(()));
        assert_eq!(may_edit(&message(), BOB, SENT), Err(ChangeRefusal::NotTheAuthor));
        for late in [Timestamp(last.0 + 1), Timestamp(SENT.0 - 1), Timestamp(u64::MAX)] {
            assert_eq!(may_edit(&message(), ALICE, late), Err(ChangeRefusal::TooLate));
        }
        let often = Changeable { edits: 10, ..message() };
        assert_eq!(may_edit(&often, ALICE, SENT), Err(ChangeRefusal::TooOften));
        let deleted = Changeable { is_deleted: true, ..message() };
        assert_eq!(may_edit(&deleted, ALICE, SENT), Err(ChangeRefusal::Deleted));
        let invisible = Changeable { is_visible: false, ..message() };
        assert_eq!(may_edit(&invisible, ALICE, SENT), Err(ChangeRefusal::NothingToChange));
    }

    #[test]
    fn only_the_author_deletes_a_message_and_nobody_reacts_to_a_deleted_one() {
        let deleted = Changeable { is_deleted: true, ..message() };
        assert_eq!(may_delete(&message(), ALICE), Ok(()));
        assert_eq!(may_delete(&deleted, ALICE), Ok(()));
        assert_eq!(may_delete(&message(), BOB), Err(ChangeRefusal::NotTheAuthor));
        assert_eq!(may_react(&message()), Ok(()));
        assert_eq!(may_react(&deleted), Err(ChangeRefusal::Deleted));
    }

    #[test]
    fn an_edit_replaces_the_text_and_keeps_the_timer() {
        let original = DataMessage {
            body: Some("helo".to_owned()),
            expire_timer: Some(60),
            timestamp: Some(SENT),
            ..DataMessage::default()
        };
        let edit = DataMessage {
            body: Some("hello".to_owned()),
            expire_timer: Some(0),
            timestamp: Some(Timestamp(SENT.0 + 1)),
            ..DataMessage::default()
        };
        let expected = DataMessage { body: Some("hello".to_owned()), ..original.clone() };
        assert_eq!(apply_edit(&original, edit), expected);
    }

    #[test]
    fn the_last_reaction_counts_in_any_order() {
        let target = MessageRef { author: ALICE, timestamp: SENT };
        let reaction =
            |emoji: Option<&str>| Reaction { emoji: emoji.map(|it| it.parse().unwrap()), target };
        let (up, down, removed) = (reaction(Some("👍")), reaction(Some("👎")), reaction(None));
        let (first, second) = (SENT, Timestamp(SENT.0 + 1));
        assert!(reaction_wins((first, &up), (second, &removed)));
        assert!(!reaction_wins((second, &removed), (first, &up)));
        assert!(!reaction_wins((first, &up), (first, &up)));
        assert_ne!(
            reaction_wins((first, &up), (first, &down)),
            reaction_wins((first, &down), (first, &up))
        );
    }

    #[test]
    fn a_timer_that_is_older_than_the_present_one_is_ignored() {
        let applies = |version| timer_applies(timer(60, 3), timer(0, version), true);
        assert_eq!([0, 2, 3, 4].map(applies), [true, false, true, true]);
    }

    #[test]
    fn a_message_that_repeats_the_timer_never_lengthens_it() {
        let applies = |current, seconds| timer_applies(timer(current, 3), timer(seconds, 4), false);
        assert!(applies(0, 60) && applies(60, 30));
        assert!(!applies(60, 0) && !applies(60, 60) && !applies(60, 90) && !applies(0, 0));
        assert!(!timer_applies(timer(60, 3), timer(30, 2), false));
    }

    fn timer(seconds: u32, version: u32) -> Timer {
        Timer { seconds, version }
    }

    #[test]
    fn a_message_expires_after_it_was_read() {
        assert_eq!(expires_at(SENT, Some(60)), Some(Timestamp(SENT.0 + 60_000)));
        assert_eq!([None, Some(0)].map(|timer| expires_at(SENT, timer)), [None, None]);
        let never = expires_at(Timestamp(u64::MAX), Some(u32::MAX));
        assert_eq!(never, Some(Timestamp(u64::MAX)));
    }
}
