//! One message of the history, as it is stored.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | `01` |
//! | 1, 16 | the conversation: `00` and an account, or `01` and the id of a group |
//! | 16, 1, 8 | author, device (0: not known), timestamp |
//! | 8 | when it came into the store |
//! | 1 | flags: ours (1), the identity key differed (2), deleted (4), expires (8), was edited (16) |
//! | 1 | what has become of it |
//! | 8 | when it is deleted; only if it expires |
//! | 8 | when it was edited last; only if it was edited |
//! | | the encoded content, after its length (4) |
//! | 1 | number of earlier texts, and for each: timestamp (8), length (4), text |
//! | 2 | number of reactions, and for each: account, timestamp (8), length (4), emoji (empty: taken back) |
//! | 2 | number of recipients, if it is ours and in a group, and for each: account, what has become of it (1). Missing: 0 |
//!
//! Then zeros up to a multiple of 64 bytes. Integers are big-endian.

use wormhole_chat::group::GroupId;
use wormhole_chat::{AccountId, Content, DataMessage, DeviceId, Emoji, Timestamp, rules};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use crate::chat::history::{
    Conversation, EarlierText, HistoryId, HistoryMessage, HistoryReaction, HistoryRecipient,
    HistoryState,
};
use crate::chat::message::Attachment;
use crate::chat::store::StoreError;
use crate::chat::store::records::{put_text, read_bytes, read_text, start};

/// A message of the history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::chat) struct HistoryRow {
    pub(in crate::chat) conversation: Conversation,
    pub(in crate::chat) author: AccountId,
    pub(in crate::chat) device: Option<DeviceId>,
    pub(in crate::chat) is_ours: bool,
    pub(in crate::chat) timestamp: Timestamp,
    /// When it came into the store.
    pub(in crate::chat) stored: Timestamp,
    pub(in crate::chat) state: HistoryState,
    pub(in crate::chat) identity_changed: bool,
    pub(in crate::chat) expires: Option<Timestamp>,
    /// Its text. `None`: its author has deleted it.
    pub(in crate::chat) message: Option<Box<DataMessage>>,
    /// When it was edited last.
    pub(in crate::chat) edited: Option<Timestamp>,
    pub(in crate::chat) edits: Vec<EarlierText>,
    pub(in crate::chat) reactions: Vec<StoredReaction>,
    /// The members who get it, if it is ours and in a group.
    pub(in crate::chat) recipients: Vec<StoredRecipient>,
}

/// The receipts of a member of a group for a message of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::chat) struct StoredRecipient {
    pub(in crate::chat) account: AccountId,
    pub(in crate::chat) state: HistoryState,
}

/// The last reaction of an account. `Debug` does not print it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::chat) struct StoredReaction {
    pub(in crate::chat) author: AccountId,
    pub(in crate::chat) timestamp: Timestamp,
    /// `None`: it was taken back.
    pub(in crate::chat) emoji: Option<Emoji>,
}

impl HistoryRow {
    /// Encodes the row.
    pub(in crate::chat) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let content = self.message.as_ref().map(|data| Content::Data(data.clone()).encode());
        let content = content.unwrap_or_default();
        let texts = self.edits.iter().map(|edit| edit.text.len() + 12);
        let emojis = self.reactions.iter().map(|_| 92);
        let recipients = 2 + 17 * self.recipients.len();
        let length = 80 + content.len() + texts.chain(emojis).sum::<usize>() + recipients;
        // In one piece, because a vector that grows leaves copies behind.
        let mut value = Zeroizing::new(Vec::with_capacity(length.next_multiple_of(PADDING)));
        value.push(FORMAT);
        put_conversation(&mut value, self.conversation);
        value.extend(self.author.as_bytes());
        value.push(self.device.map_or(0, DeviceId::number));
        value.extend(self.timestamp.0.to_be_bytes());
        value.extend(self.stored.0.to_be_bytes());
        value.push(self.flags());
        value.push(self.state.number());
        let times = self.expires.into_iter().chain(self.edited);
        value.extend(times.flat_map(|time| time.0.to_be_bytes()));
        put_bytes(&mut value, &content);
        self.put_lists(&mut value);
        let padded = value.len().next_multiple_of(PADDING);
        value.resize(padded, 0);
        value
    }

    fn put_lists(&self, value: &mut Vec<u8>) {
        value.push(u8::try_from(self.edits.len()).unwrap_or(u8::MAX));
        for edit in self.edits.iter().take(u8::MAX.into()) {
            value.extend(edit.timestamp.0.to_be_bytes());
            put_text(value, &edit.text);
        }
        value.extend(u16::try_from(self.reactions.len()).unwrap_or(u16::MAX).to_be_bytes());
        for reaction in self.reactions.iter().take(u16::MAX.into()) {
            value.extend(reaction.author.as_bytes());
            value.extend(reaction.timestamp.0.to_be_bytes());
            put_text(value, reaction.emoji.as_ref().map_or("", Emoji::as_str));
        }
        value.extend(u16::try_from(self.recipients.len()).unwrap_or(u16::MAX).to_be_bytes());
        for recipient in self.recipients.iter().take(u16::MAX.into()) {
            value.extend(recipient.account.as_bytes());
            value.push(recipient.state.number());
        }
    }

    fn flags(&self) -> u8 {
        u8::from(self.is_ours)
            | u8::from(self.identity_changed) << 1
            | u8::from(self.message.is_none()) << 2
            | u8::from(self.expires.is_some()) << 3
            | u8::from(self.edited.is_some()) << 4
    }

    /// Decodes a row.
    pub(in crate::chat) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = start(value)?;
        let conversation = read_conversation(&mut reader)?;
        let author = AccountId::from_bytes(reader.array()?);
        let device = match reader.u8()? {
            0 => None,
            number => Some(DeviceId::new(number.into()).ok_or(StoreError::Damaged)?),
        };
        let (timestamp, stored) = (read_timestamp(&mut reader)?, read_timestamp(&mut reader)?);
        let flags = reader.u8()?;
        let state = HistoryState::from_number(reader.u8()?).ok_or(StoreError::UnknownFormat)?;
        let mut time = |flag| (flags & flag != 0).then(|| read_timestamp(&mut reader)).transpose();
        let (expires, edited) = (time(8)?, time(16)?);
        let message = read_message(read_bytes(&mut reader)?, flags & 4 != 0)?;
        let edits = (0..reader.u8()?).map(|_| read_edit(&mut reader)).collect::<Result<_, _>>()?;
        let count = u16::from_be_bytes(reader.array()?);
        let reactions = (0..count).map(|_| read_reaction(&mut reader));
        let reactions = reactions.collect::<Result<_, _>>()?;
        let recipients = read_recipients(&mut reader)?;
        let is_valid = flags < 32 && reader.rest().iter().all(|byte| *byte == 0);
        let (is_ours, identity_changed) = (flags & 1 != 0, flags & 2 != 0);
        let row = Self {
            conversation,
            author,
            device,
            is_ours,
            timestamp,
            stored,
            state,
            identity_changed,
            expires,
            message,
            edited,
            edits,
            reactions,
            recipients,
        };
        if is_valid { Ok(row) } else { Err(StoreError::Damaged) }
    }

    /// The texts that a search looks at.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let message = self.message.iter();
        message.flat_map(|message| {
            let files = message.attachments.iter().filter_map(|it| it.file_name.as_deref());
            message.body.as_deref().into_iter().chain(files)
        })
    }

    /// Whether the message must not be shown any more.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Starts the timer of a message that was read, or of ours that was sent.
    pub(super) fn start_timer(&mut self, from: Timestamp) {
        let timer = self.message.as_ref().and_then(|message| message.expire_timer);
        self.expires = self.expires.or_else(|| rules::expires_at(from, timer));
    }

    /// Creates the message that the application sees.
    pub(in crate::chat::store) fn shown(self, id: HistoryId) -> HistoryMessage {
        let is_deleted = self.message.is_none();
        let message = self.message.map(|message| *message).unwrap_or_default();
        HistoryMessage {
            id,
            conversation: self.conversation,
            author: self.author,
            device: self.device,
            is_ours: self.is_ours,
            timestamp: self.timestamp,
            text: message.body,
            files: message.attachments.into_iter().map(Attachment).collect(),
            edits: self.edits,
            quote: message.quote,
            reactions: shown_reactions(self.reactions),
            recipients: shown_recipients(&self.recipients),
            is_deleted,
            expires: self.expires,
            state: self.state,
            identity_changed: self.identity_changed,
        }
    }
}

/// A conversation as the key of its row: 17 bytes.
pub(super) fn conversation_key(conversation: Conversation) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    put_conversation(&mut key, conversation);
    key
}

fn put_conversation(value: &mut Vec<u8>, conversation: Conversation) {
    match conversation {
        Conversation::Account(account) => {
            value.push(0);
            value.extend(account.as_bytes());
        }
        Conversation::Group(group) => {
            value.push(1);
            value.extend(group.as_bytes());
        }
    }
}

pub(super) fn read_conversation(reader: &mut Reader<'_>) -> Result<Conversation, StoreError> {
    match reader.u8()? {
        0 => Ok(Conversation::Account(AccountId::from_bytes(reader.array()?))),
        1 => Ok(Conversation::Group(GroupId::from_bytes(reader.array()?))),
        _ => Err(StoreError::UnknownFormat),
    }
}

pub(super) fn read_timestamp(reader: &mut Reader<'_>) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(u64::from_be_bytes(reader.array()?)))
}

fn read_message(content: &[u8], is_deleted: bool) -> Result<Option<Box<DataMessage>>, StoreError> {
    if is_deleted {
        return if content.is_empty() { Ok(None) } else { Err(StoreError::Damaged) };
    }
    match Content::decode_stored(content) {
        Ok(Content::Data(data)) => Ok(Some(data)),
        Ok(_) | Err(_) => Err(StoreError::Damaged),
    }
}

fn read_edit(reader: &mut Reader<'_>) -> Result<EarlierText, StoreError> {
    Ok(EarlierText { timestamp: read_timestamp(reader)?, text: read_text(reader)? })
}

fn read_reaction(reader: &mut Reader<'_>) -> Result<StoredReaction, StoreError> {
    let author = AccountId::from_bytes(reader.array()?);
    let timestamp = read_timestamp(reader)?;
    let emoji = match read_text(reader)? {
        empty if empty.is_empty() => None,
        emoji => Some(emoji.parse().map_err(|_| StoreError::Damaged)?),
    };
    Ok(StoredReaction { author, timestamp, emoji })
}

fn read_recipients(reader: &mut Reader<'_>) -> Result<Vec<StoredRecipient>, StoreError> {
    // Earlier versions did not write them, and this may be the end of the padding.
    let Ok(count) = reader.array() else { return Ok(Vec::new()) };
    let read = |_| {
        let account = AccountId::from_bytes(reader.array()?);
        let state = HistoryState::from_number(reader.u8()?).ok_or(StoreError::UnknownFormat)?;
        Ok(StoredRecipient { account, state })
    };
    (0..u16::from_be_bytes(count)).map(read).collect()
}

fn shown_recipients(recipients: &[StoredRecipient]) -> Vec<HistoryRecipient> {
    let shown = |it: &StoredRecipient| HistoryRecipient { account: it.account, state: it.state };
    recipients.iter().map(shown).collect()
}

/// Those that were not taken back.
fn shown_reactions(reactions: Vec<StoredReaction>) -> Vec<HistoryReaction> {
    let shown = reactions.into_iter().filter_map(|StoredReaction { author, timestamp, emoji }| {
        Some(HistoryReaction { author, timestamp, emoji: emoji? })
    });
    shown.collect()
}

pub(super) fn put_bytes(value: &mut Vec<u8>, bytes: &[u8]) {
    // Messages are far shorter than 4 GiB.
    value.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    value.extend(bytes);
}

/// First byte of a row.
const FORMAT: u8 = 1;

/// Rows have a multiple of this length, so that it says little about the text.
const PADDING: usize = 64;
