//! Reactions, edits, deletions, timers, and what others learn about reading and typing.

use wormhole_chat::{Content, DataMessage, Edit, Emoji, MessageRef, Reaction, Timestamp, rules};

use super::{Client, SentMessage};
use crate::chat::Conversation;
use crate::chat::account::now;
use crate::chat::change::own_message;
use crate::chat::driver::TooManyTimers;
use crate::chat::error::{Ended, NotStored, QueueError};
use crate::chat::message::{Message, Recipient};
use crate::chat::store::{Store, StoreError};

impl Client {
    /// Reacts to a message in the conversation with `to`, a person or a group, or takes the reaction back (`None`). A person has one reaction to each
    /// message. Like [`send`](Self::send), the reaction survives a crash.
    ///
    /// # Errors
    /// The reaction is not in the outbox.
    pub async fn react(
        &self,
        to: impl Into<Recipient>,
        target: MessageRef,
        emoji: Option<Emoji>,
    ) -> Result<SentMessage, QueueError> {
        let reaction = Some(Reaction { emoji, target });
        self.change(to, DataMessage { reaction, ..DataMessage::default() }).await
    }

    /// Deletes a message of ours for all in the conversation with `to`, a person or a group.
    ///
    /// # Errors
    /// The deletion is not in the outbox.
    pub async fn delete(
        &self,
        to: impl Into<Recipient>,
        target: Timestamp,
    ) -> Result<SentMessage, QueueError> {
        self.change(to, DataMessage { delete: Some(target), ..DataMessage::default() }).await
    }

    /// Replaces the text of a message of ours in the conversation with `to`, a person or a group. Files, the quoted message and the timer stay.
    ///
    /// # Errors
    /// The edit is not in the outbox: the message was deleted, or the edit comes too late or too often (`NotAllowed`), or as in [`send`](Self::send).
    pub async fn edit(
        &self,
        to: impl Into<Recipient>,
        target: Timestamp,
        new: Message,
    ) -> Result<SentMessage, QueueError> {
        if new.text.is_empty() {
            return Err(QueueError::Empty);
        }
        let own = self.me().address.account;
        rules::may_edit(&own_message(own, target), own, now())?;
        let to = self.conversation(to.into()).await?;
        let known = self.store.run(move |store| store.changeable(to, own, target)).await;
        // What the history does not know is decided by those who get the edit.
        if let Some(Ok(Some(message))) = known {
            rules::may_edit(&message, own, now())?;
        }
        let message =
            DataMessage { body: Some(new.text), ranges: new.mentions, ..DataMessage::default() };
        self.put(to, Content::Edit(Box::new(Edit { target, message }))).await
    }

    /// Sets after how many seconds the messages of the conversation with `to`, a person or a group disappear, for everybody; `None`: they stay. It
    /// holds for messages that are sent from now on.
    ///
    /// # Errors
    /// The change is not in the outbox.
    pub async fn set_timer(
        &self,
        to: impl Into<Recipient>,
        seconds: Option<u32>,
    ) -> Result<SentMessage, QueueError> {
        let to = self.conversation(to.into()).await?;
        let seconds = seconds.unwrap_or_default();
        let timer = self.query(move |driver| driver.set_timer(to, seconds)).await?;
        let timer = timer.map_err(|TooManyTimers| QueueError::TooManyTimers)?;
        let data = DataMessage {
            expire_timer_update: true,
            expire_timer: Some(timer.seconds),
            expire_timer_version: Some(timer.version),
            ..DataMessage::default()
        };
        self.put(to, Content::Data(Box::new(data))).await
    }

    /// After how many seconds the messages to an account or a group disappear. `None`: they stay.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn timer(&self, of: impl Into<Conversation>) -> Result<Option<u32>, Ended> {
        let conversation = of.into();
        let timer = self.query(move |driver| driver.timer(conversation)).await?;
        Ok(Some(timer.seconds).filter(|seconds| *seconds > 0))
    }

    /// Tells an account, or the members of a group, that the user types, or has stopped. Only devices that are connected get it. An
    /// account gets it only if the user has written to it before; members only if the user has written to the group since the last
    /// member or device has left it, and if there are at most 100.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn typing(&self, with: impl Into<Conversation>, started: bool) -> Result<(), Ended> {
        let with = with.into();
        self.query(move |driver| driver.typing(with, started)).await
    }

    /// The user has read these messages of a conversation: tells our other devices, and the authors, unless the user does not want that
    /// ([`set_read_receipts`](Self::set_read_receipts)), or has never written to them and this is not a group of theirs. Receipts are lost if the program ends before
    /// they are sent: [`synced`](Self::synced) waits for them.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn mark_read(
        &self,
        with: impl Into<Conversation>,
        messages: Vec<MessageRef>,
    ) -> Result<(), Ended> {
        let with = with.into();
        self.query(move |driver| driver.mark_read(with, messages)).await
    }

    /// Whether authors learn that their messages were read. It is on at first.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be read.
    pub async fn read_receipts(&self) -> Result<bool, Ended> {
        Ok(are_read_receipts_on(self.setting(READ_RECEIPTS).await?.as_deref().map(Vec::as_slice)))
    }

    /// Sets whether authors learn that their messages were read. When this returns, the change is durable.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn set_read_receipts(&self, is_on: bool) -> Result<(), NotStored> {
        self.set_setting(READ_RECEIPTS, (!is_on).then_some(&[0][..])).await?;
        Ok(self.query(move |driver| driver.set_read_receipts(is_on)).await?)
    }

    async fn change(
        &self,
        to: impl Into<Recipient>,
        data: DataMessage,
    ) -> Result<SentMessage, QueueError> {
        let to = self.conversation(to.into()).await?;
        self.put(to, Content::Data(Box::new(data))).await
    }
}

impl Store {
    /// Whether authors learn that their messages were read: [`Client::read_receipts`].
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn read_receipts(&self) -> Result<bool, StoreError> {
        Ok(are_read_receipts_on(self.setting(READ_RECEIPTS)?.as_deref().map(Vec::as_slice)))
    }

    /// Sets whether authors learn that their messages were read.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn set_read_receipts(&mut self, is_on: bool) -> Result<(), StoreError> {
        self.set_setting(READ_RECEIPTS, (!is_on).then_some(&[0][..]))
    }
}

/// Decodes the setting.
pub(super) fn are_read_receipts_on(setting: Option<&[u8]>) -> bool {
    setting != Some(&[0])
}

/// The setting: `00` if read receipts are off.
pub(in crate::chat) const READ_RECEIPTS: &str = "wormhole.read-receipts";
