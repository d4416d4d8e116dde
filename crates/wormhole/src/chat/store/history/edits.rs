//! Edits, deletions for all and reactions: changes of messages that were sent before.
//!
//! `wormhole_chat::rules` decides who may do what. A change of a message that is not here waits for it: `early.rs`.

use wormhole_chat::rules::{self, Changeable};
use wormhole_chat::{AccountId, DataMessage, MessageRef, Reaction, Timestamp};

use super::row::{HistoryRow, StoredReaction};
use super::write::HistoryWriter;
use crate::chat::history::{Conversation, EarlierText};
use crate::chat::store::StoreError;

/// A change of a message. `Debug` does not print texts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::chat) enum MessageChange {
    /// The author deletes the message with this timestamp for all.
    Delete(Timestamp),
    /// The author replaces the text of the message with this timestamp.
    Edit(Timestamp, Box<DataMessage>),
    /// Somebody reacts, or takes the reaction back.
    React(Reaction),
}

impl HistoryWriter<'_, '_> {
    /// Applies a change that somebody has sent in a conversation at this time.
    pub(super) fn change_message(
        &mut self,
        conversation: Conversation,
        author: AccountId,
        timestamp: Timestamp,
        change: &MessageChange,
    ) -> Result<(), StoreError> {
        let target = match change {
            MessageChange::Delete(target) | MessageChange::Edit(target, _) => {
                MessageRef { author, timestamp: *target }
            }
            MessageChange::React(reaction) => reaction.target,
        };
        if self.change_known(conversation, target, author, timestamp, change)? {
            return Ok(());
        }
        self.keep_change(conversation, target, author, timestamp, change)
    }

    /// Changes a message that is here. Returns whether it is.
    pub(super) fn change_known(
        &mut self,
        conversation: Conversation,
        target: MessageRef,
        author: AccountId,
        timestamp: Timestamp,
        change: &MessageChange,
    ) -> Result<bool, StoreError> {
        let found = self.find(target.author, target.timestamp, Some(conversation))?;
        let Some((number, row)) = found else { return Ok(false) };
        let message = changeable(&row);
        let is_allowed = match change {
            MessageChange::Delete(_) => rules::may_delete(&message, author),
            MessageChange::Edit(..) => rules::may_edit(&message, author, timestamp),
            MessageChange::React(_) => rules::may_react(&message),
        };
        if is_allowed.is_err() {
            return Ok(true);
        }
        self.change(number, |row| match change {
            MessageChange::Delete(_) => {
                (row.message, row.edited) = (None, None);
                row.edits.clear();
                row.reactions.clear();
            }
            MessageChange::Edit(_, edit) => row.edit(timestamp, edit),
            MessageChange::React(reaction) => row.react(author, timestamp, reaction),
        })?;
        Ok(true)
    }
}

/// What decides whether a message may be changed.
pub(super) fn changeable(row: &HistoryRow) -> Changeable {
    Changeable {
        author: row.author,
        sent: row.timestamp,
        // Others are not in the history.
        is_visible: true,
        edits: row.edits.len(),
        is_deleted: row.message.is_none(),
    }
}

impl HistoryRow {
    /// Replaces the text, or adds an earlier version of it, if the edits arrive in another order.
    fn edit(&mut self, timestamp: Timestamp, edit: &DataMessage) {
        let Some(message) = self.message.take() else { return };
        let current = self.edited.unwrap_or(self.timestamp);
        let is_known =
            current == timestamp || self.edits.iter().any(|it| it.timestamp == timestamp);
        let text = |message: &DataMessage| message.body.clone().unwrap_or_default();
        if is_known {
            self.message = Some(message);
        } else if timestamp > current {
            self.edits.push(EarlierText { timestamp: current, text: text(&message) });
            self.message = Some(Box::new(rules::apply_edit(&message, edit.clone())));
            self.edited = Some(timestamp);
        } else {
            self.edits.push(EarlierText { timestamp, text: text(edit) });
            self.edits.sort_by_key(|edit| edit.timestamp);
            self.message = Some(message);
        }
    }

    /// Replaces the reaction of an account, if this one is later.
    fn react(&mut self, author: AccountId, timestamp: Timestamp, reaction: &Reaction) {
        let has_capacity = self.reactions.len() < MAX_REACTIONS;
        let known = self.reactions.iter_mut().find(|it| it.author == author);
        let new = StoredReaction { author, timestamp, emoji: reaction.emoji.clone() };
        match known {
            Some(known) => {
                let old = Reaction { emoji: known.emoji.clone(), ..reaction.clone() };
                if rules::reaction_wins((known.timestamp, &old), (timestamp, reaction)) {
                    *known = new;
                }
            }
            None if has_capacity => self.reactions.push(new),
            None => {}
        }
    }
}

/// Maximum number of reactions to one message. A group has at most 1,000 members.
const MAX_REACTIONS: usize = 1000;
