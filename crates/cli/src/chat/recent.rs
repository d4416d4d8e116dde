//! The messages that were shown or sent last, which a person can name by the first letters of their ids.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::store::StoreError;
use wormhole::chat::{
    Account, AccountId, Client, Conversation, HistoryMode, MessageRef, Quote, Timestamp,
};
use zeroize::Zeroizing;

use super::people::People;
use super::{explain, show};
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// The messages that were shown or sent last, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    messages: VecDeque<RecentMessage>,
    is_changed: bool,
    /// Whether no history is kept, and so no texts here.
    drops_texts: bool,
    /// Whether people see the ids.
    pub(super) shows_ids: bool,
}

/// A message that was shown or sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RecentMessage {
    /// Where it was written.
    pub(super) conversation: Conversation,
    pub(super) message: MessageRef,
    /// The beginning of its text; empty if it disappears, has no text, or is not kept in the history.
    pub(super) text: String,
    /// Whether the author has deleted it for all.
    pub(super) is_deleted: bool,
}

impl RecentMessage {
    /// The message as another one quotes it.
    pub(super) fn quote(&self) -> Quote {
        let text = Some(self.text.clone()).filter(|text| !text.is_empty());
        Quote { target: self.message, text, ranges: Vec::new(), files: Vec::new() }
    }
}

impl Recent {
    /// Those that earlier commands have stored. What cannot be decoded counts as nothing.
    ///
    /// # Errors
    /// The client has ended, or a signal came.
    pub(super) async fn load(client: &Client, console: &mut Console) -> Result<Self> {
        let stored = console.unless_interrupted(client.setting(RECENT)).await?;
        let stored = stored.map_err(|error| explain::ended(&error))?;
        let messages = stored.and_then(|stored| decode(&stored)).unwrap_or_default();
        let shows_ids = console.screen.is_terminal();
        let mut recent = Self { messages, is_changed: false, drops_texts: false, shows_ids };
        let mode = console.unless_interrupted(client.history_mode()).await?;
        recent.limit(mode.map_err(|error| explain::ended(&error))?, now());
        Ok(recent)
    }

    /// Removes the texts that the history may not keep. `now`: milliseconds since 1970.
    fn limit(&mut self, mode: HistoryMode, now: u64) {
        self.drops_texts = mode == HistoryMode::Off;
        let max_age = if let HistoryMode::On(limits) = mode { limits.max_age } else { None };
        let max_age = max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let oldest = max_age.map_or(0, |age| now.saturating_sub(age));
        let drops_texts = self.drops_texts;
        self.clear_texts(|known| drops_texts || known.message.timestamp < Timestamp(oldest));
    }

    fn clear_texts(&mut self, of: impl Fn(&RecentMessage) -> bool) {
        let with_text = self.messages.iter_mut().filter(|known| !known.text.is_empty());
        for known in with_text.filter(|known| of(known)) {
            known.text.clear();
            self.is_changed = true;
        }
    }

    /// Stores what has changed.
    ///
    /// # Errors
    /// The client has ended, or a signal came.
    pub(super) async fn save(&mut self, client: &Client, console: &mut Console) -> Result<()> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        let encoded = self.encode();
        let saved = console
            .unless_interrupted(client.set_setting(RECENT, Some(encoded.as_slice())))
            .await?;
        saved.map_err(|error| explain::not_stored(&error).into())
    }

    /// Adds a message that was shown or sent. Its text is not kept if it disappears.
    pub(super) fn add(
        &mut self,
        conversation: Conversation,
        message: MessageRef,
        text: &str,
        disappears: bool,
    ) {
        self.is_changed = true;
        self.messages.retain(|known| known.message != message);
        while self.messages.len() >= MAX_MESSAGES {
            self.messages.pop_front();
        }
        let text = if disappears || self.drops_texts { String::new() } else { beginning(text) };
        self.messages.push_back(RecentMessage { conversation, message, text, is_deleted: false });
    }

    /// The author has deleted a message for all.
    pub(super) fn delete(&mut self, message: MessageRef) {
        for known in self.messages.iter_mut().filter(|known| known.message == message) {
            known.text.clear();
            known.is_deleted = true;
            self.is_changed = true;
        }
    }

    /// Whether the author has deleted a message for all, as far as this is known.
    pub(super) fn is_deleted(&self, message: MessageRef) -> bool {
        self.messages.iter().any(|known| known.message == message && known.is_deleted)
    }

    /// Replaces the text of a message that was edited.
    pub(super) fn replace(&mut self, message: MessageRef, text: &str) {
        for known in self.messages.iter_mut().filter(|known| known.message == message) {
            if !known.text.is_empty() {
                known.text = beginning(text);
                self.is_changed = true;
            }
        }
    }

    /// The message in a conversation whose id begins with what the user has typed. With an author, only a message of this author.
    ///
    /// # Errors
    /// No message matches, or several do.
    pub(super) fn find(
        &self,
        conversation: Conversation,
        typed: &str,
        author: Option<AccountId>,
    ) -> Result<&RecentMessage> {
        let is_meant = |known: &&RecentMessage| {
            let is_of_author = author.is_none_or(|author| known.message.author == author);
            let is_here = known.conversation == conversation && is_of_author;
            is_here && known.message.has_short_id(typed)
        };
        let mut found = self.messages.iter().filter(is_meant);
        let typed = printable::line(typed);
        match (found.next(), found.next()) {
            (Some(message), None) => Ok(message),
            (Some(_), Some(_)) => {
                let why = format!("several messages have an id that begins with '{typed}'");
                Err(Failure::usage(why).hint("write more letters of it").into())
            }
            (None, _) => Err(Failure::usage(match author {
                Some(_) => format!("none of your last messages has the id '{typed}'"),
                None => format!("none of the last messages has the id '{typed}'"),
            })
            .hint(if self.shows_ids {
                "only the last 100 messages that were sent or shown have an id"
            } else {
                "`receive --ids` and `talk --ids` show the ids of messages, and --json has them as `short_id`; the last \
                 100 messages have one"
            })
            .into()),
        }
    }

    /// Quotes a message in a few words, for people.
    pub(super) fn quote_in_words(&self, message: MessageRef, own: AccountId) -> String {
        let whose = if message.author == own { "your message" } else { "the message" };
        let known = self.messages.iter().find(|known| known.message == message);
        match known.filter(|known| !known.text.is_empty()) {
            Some(known) => format!("{whose} \"{}\"", excerpt(&known.text)),
            None => format!("{whose} {}", id(message)),
        }
    }

    /// The id of a message behind the name of its author, if ids are shown.
    pub(super) fn shown_id(&self, message: MessageRef) -> String {
        if self.shows_ids { format!(" [{}]", id(message)) } else { String::new() }
    }

    /// Those of these messages of ours that an account has got: alone, or as a member of a group.
    pub(super) fn sent_to(
        &self,
        account: AccountId,
        people: &People,
        timestamps: &[Timestamp],
    ) -> Vec<(Conversation, MessageRef)> {
        let has_got = |conversation| match conversation {
            Conversation::Account(to) => to == account,
            Conversation::Group(group) => people.other_members(group).any(|it| it == account),
            // Later kinds of the SDK.
            _ => false,
        };
        let is_sent = |known: &&RecentMessage| {
            let is_own = known.message.author == people.own();
            is_own && timestamps.contains(&known.message.timestamp) && has_got(known.conversation)
        };
        let sent = self.messages.iter().filter(is_sent);
        sent.map(|known| (known.conversation, known.message)).collect()
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let messages = self.messages.iter().map(|known| {
            json!([
                known.conversation.to_string(),
                known.message.author.to_string(),
                known.message.timestamp.0,
                known.text,
                known.is_deleted,
            ])
        });
        Zeroizing::new(Value::from_iter(messages).to_string().into_bytes())
    }
}

/// Removes the texts of a conversation, or all (`None`), before the history of it is deleted.
///
/// # Errors
/// The store cannot be read or written.
pub(super) async fn forget_texts(
    account: &Account,
    of: Option<Conversation>,
) -> Result<(), StoreError> {
    let stored = account.setting(RECENT).await?;
    let messages = stored.and_then(|stored| decode(&stored)).unwrap_or_default();
    let mut recent = Recent { messages, ..Recent::default() };
    recent.clear_texts(|known| of.is_none_or(|of| known.conversation == of));
    if recent.is_changed {
        account.set_setting(RECENT, Some(&recent.encode())).await?;
    }
    Ok(())
}

fn decode(stored: &[u8]) -> Option<VecDeque<RecentMessage>> {
    let stored: Vec<(String, String, u64, String, bool)> = serde_json::from_slice(stored).ok()?;
    let messages = stored.into_iter().map(|(conversation, author, timestamp, text, is_deleted)| {
        let (conversation, author) = (conversation_of(&conversation)?, author.parse().ok()?);
        let message = MessageRef { author, timestamp: Timestamp(timestamp) };
        Some(RecentMessage { conversation, message, text, is_deleted })
    });
    messages.collect()
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn conversation_of(id: &str) -> Option<Conversation> {
    let group = || id.parse().ok().map(Conversation::Group);
    id.parse().ok().map(Conversation::Account).or_else(group)
}

/// The id of a message that a person types.
pub(super) fn id(message: MessageRef) -> String {
    message.short_id().chars().take(SHOWN).collect()
}

/// A message for programs.
pub(super) fn json(message: MessageRef) -> Value {
    json!({
        "author": message.author.to_string(), "timestamp": message.timestamp.0,
        "short_id": message.short_id(),
    })
}

/// The first words of a text, on one line.
pub(super) fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(EXCERPT).collect();
    if shown.len() < text.trim_end().len() {
        shown += "…";
    }
    show::safe(&shown)
}

fn beginning(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The setting with the messages.
const RECENT: &str = "cli.recent";

/// Maximum number of messages. Each has about 200 bytes.
const MAX_MESSAGES: usize = 100;

/// Maximum number of characters of a text that are kept: enough for a quote.
const MAX_TEXT: usize = 120;

/// Maximum number of characters of a text that are shown to name it.
const EXCERPT: usize = 40;

/// Letters of an id that are shown.
const SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use wormhole::chat::group::GroupId;

    use super::*;
    use crate::chat::people;

    const BOB: AccountId = AccountId::from_bytes([2; 16]);
    const WALKS: GroupId = GroupId::from_bytes([7; 16]);
    const WITH_BOB: Conversation = Conversation::Account(BOB);

    fn message(author: u8, time: u64) -> MessageRef {
        MessageRef { author: AccountId::from_bytes([author; 16]), timestamp: Timestamp(time) }
    }

    #[test]
    fn a_message_is_found_by_its_id_after_it_was_stored() {
        let mut recent = Recent::default();
        for time in 1..=150 {
            recent.add(WITH_BOB, message(1, time), &format!("number {time}\nmore"), time == 140);
        }
        let messages = decode(&recent.encode()).unwrap();
        assert_eq!((messages.len(), &messages), (100, &recent.messages));
        let (own, last) = (AccountId::from_bytes([1; 16]), message(1, 150));
        let found = recent.find(WITH_BOB, &last.short_id(), Some(own)).unwrap();
        assert_eq!(found.message, last);
        assert_eq!(recent.quote_in_words(last, own), "your message \"number 150…\"");
        assert_eq!(recent.quote_in_words(last, BOB), "the message \"number 150…\"");
        let secret = message(1, 140);
        assert_eq!(recent.quote_in_words(secret, own), format!("your message {}", id(secret)));
        let forgotten = recent.find(WITH_BOB, &message(1, 1).short_id(), None);
        assert!(forgotten.is_err() && recent.find(WITH_BOB, &last.short_id(), Some(BOB)).is_err());
        assert!(!recent.is_deleted(last));
        recent.delete(last);
        assert_eq!(recent.quote_in_words(last, own), format!("your message {}", id(last)));
        recent.add(Conversation::Group(WALKS), message(1, 151), "at three?", false);
        let mut recent = Recent { messages: decode(&recent.encode()).unwrap(), ..recent };
        assert!(recent.is_deleted(last) && !recent.is_deleted(secret));
        let people = people::tests::with_group(own, WALKS, &[own, BOB]);
        let times = [151, 150, 7].map(Timestamp);
        let sent = recent.sent_to(BOB, &people, &times);
        let in_group = (Conversation::Group(WALKS), message(1, 151));
        assert_eq!(sent, [(WITH_BOB, last), in_group]);
        // Somebody who is no member has not got it, whatever the receipt says.
        assert_eq!(recent.sent_to(AccountId::from_bytes([9; 16]), &people, &times), []);
        recent.is_changed = false;
    }

    #[test]
    fn texts_are_kept_only_as_long_as_the_history() {
        let mut recent = Recent::default();
        let (old, new) = (message(1, DAY), message(1, 3 * DAY));
        for message in [old, new] {
            recent.add(WITH_BOB, message, "at three?", false);
        }
        let texts = |recent: &Recent| [old, new].map(|it| recent.quote_in_words(it, BOB));
        let without = [old, new].map(|it| format!("the message {}", id(it)));
        let with = "the message \"at three?\"";
        recent.limit(HistoryMode::ALL, 4 * DAY);
        assert_eq!(texts(&recent), [with, with]);
        recent.limit(HistoryMode::days(2), 4 * DAY);
        assert_eq!(texts(&recent), [without[0].as_str(), with]);
        recent.limit(HistoryMode::Off, 4 * DAY);
        recent.add(WITH_BOB, new, "at four?", false);
        assert_eq!(texts(&recent), without);
    }

    /// Milliseconds of a day.
    const DAY: u64 = 86_400_000;
}
