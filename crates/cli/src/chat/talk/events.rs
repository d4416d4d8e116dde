//! The events of a running conversation: messages, changes of them, receipts, and the connection.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::group::GroupId;
use wormhole::chat::{
    AccountId, Conversation, Event, GroupEvent, MessageRef, ReceiptKind, ReceivedMessage,
    RequestError, Timestamp,
};

use super::Talk;
use crate::chat::people;
use crate::chat::receive::note::{self, FileState};
use crate::chat::{explain, groups, recent, show, show_changes};
use crate::console::Console;
use crate::printable;

impl Talk<'_> {
    pub(super) async fn event(&mut self, event: Event, console: &mut Console) -> Result<()> {
        match event {
            Event::Deleted(_)
            | Event::Edited { .. }
            | Event::Reaction { .. }
            | Event::Receipt { .. }
            | Event::TimerChanged { .. }
            | Event::Typing { .. } => self.change(&event, console).await,
            Event::Message(message) if message.conversation() == self.with => {
                self.received(&message, console).await
            }
            Event::Message(message) => self.leave(message.id.0),
            Event::NotRead { .. } => self.unreadable(&event, console).await,
            Event::Progress { message, progress, .. } => {
                self.progress(message, progress, console).await
            }
            Event::IdentityChanged { account, .. }
                if self.with == Conversation::Account(account) =>
            {
                self.blocked(console).await
            }
            Event::NotCopied(why) => {
                let (value, text) = show::not_copied(why, self.args);
                self.notice(&text, &value, console).await
            }
            Event::Connected => self.connected(console).await,
            Event::Disconnected(why) => self.disconnected(&why, console).await,
            Event::Missed(_) => self.missed(console).await,
            Event::UpToDate => {
                self.is_up_to_date = true;
                self.mark_read(console).await?;
                console.report(&json!({"event": "chat-up-to-date"}))
            }
            Event::Group { group, event } => self.group_changed(group, &event, console).await,
            // `chat receive` explains it.
            Event::ForeignDevice
            | Event::IdentityChanged { .. }
            | Event::KeysRefused(_)
            | Event::ListsDiffer
            | Event::ReadElsewhere(_)
            | Event::Request { .. }
            | Event::StoreIsOlder
            | Event::UnsignedDevice { .. }
            | Event::UntrustedCertificates => Ok(()),
            // Later events of the SDK.
            _ => Ok(()),
        }
    }

    /// Shows a change of a message in the conversation, or a receipt. Those of others stay for `chat receive`.
    pub(super) async fn change(&mut self, event: &Event, console: &mut Console) -> Result<()> {
        if let (Event::Receipt { from, kind, messages }, Conversation::Group(group)) =
            (event, self.with)
        {
            return self.group_receipt(group, *from, *kind, messages, console).await;
        }
        if let Some(id) = show_changes::pointless(event, &self.recent) {
            let done = console.unless_interrupted(self.client.done(id)).await?;
            return done.map_err(|error| explain::ended(&error).into());
        }
        let Some(shown) = show_changes::describe(event, &self.people, &mut self.recent) else {
            return Ok(());
        };
        match shown.id {
            Some(id) if shown.with != self.with => self.leave(id.0),
            None if shown.with != self.with => Ok(()),
            None if shown.text.is_empty() => console.report(&shown.value),
            None => self.state(shown.text.trim_end(), &shown.value, console).await,
            Some(id) => {
                self.show(shown.text, &shown.value, console).await?;
                self.recent.save(self.client, console).await?;
                let done = console.unless_interrupted(self.client.done(id)).await?;
                done.map_err(|error| explain::ended(&error).into())
            }
        }
    }

    /// Shows the receipt of a member. Only the first and the last member who has read a line are worth a line here.
    pub(super) async fn group_receipt(
        &mut self,
        group: GroupId,
        from: AccountId,
        kind: ReceiptKind,
        messages: &[Timestamp],
        console: &Console,
    ) -> Result<()> {
        let members: BTreeSet<_> = self.people.other_members(group).collect();
        let has_read = matches!(kind, ReceiptKind::Read | ReceiptKind::Viewed);
        if !has_read || !members.contains(&from) {
            return Ok(());
        }
        for timestamp in messages {
            let Some(readers) = self.readers.get_mut(timestamp) else { continue };
            if !readers.insert(from) {
                continue;
            }
            let (count, all) = (readers.len(), members.len());
            let message = MessageRef { author: self.people.own(), timestamp: *timestamp };
            let value = json!({
                "event": "chat-read", "group": group.to_string(), "timestamp": timestamp.0,
                "short_id": message.short_id(), "readers": count, "members": all,
            });
            if self.recent.shows_ids && (count == 1 || count == all) {
                let id = recent::id(message);
                let text = format!("    ✓✓ {id} was read by {count} of {all}");
                self.state(&text, &value, console).await?;
            } else {
                console.report(&value)?;
            }
        }
        Ok(())
    }

    /// Shows that a message cannot be read.
    async fn unreadable(&mut self, event: &Event, console: &mut Console) -> Result<()> {
        let Event::NotRead { id, from, .. } = event else { return Ok(()) };
        if from.is_none_or(|from| self.with != Conversation::Account(from.account)) {
            return self.leave(id.0);
        }
        let (value, text) = show::unreadable(event, &self.people, self.args);
        self.show(text, &value, console).await?;
        let done = console.unless_interrupted(self.client.done(*id)).await?;
        done.map_err(|error| explain::ended(&error).into())
    }

    /// Handles an event of the group.
    pub(super) async fn group_changed(
        &mut self,
        group: GroupId,
        event: &GroupEvent,
        console: &mut Console,
    ) -> Result<()> {
        if self.with != Conversation::Group(group) {
            return Ok(());
        }
        if *event == GroupEvent::Removed {
            return Err(groups::not_a_member(&self.people.group(group), self.args).into());
        }
        let shown =
            self.notices.describe(group, event, &mut self.people, self.client, console).await?;
        match shown {
            Some((value, text)) => self.notice(&text, &value, console).await,
            None => Ok(()),
        }
    }

    /// Says that messages were read, once all that had waited are shown.
    pub(super) async fn mark_read(&mut self, console: &mut Console) -> Result<()> {
        if !self.is_up_to_date || self.read.is_empty() {
            return Ok(());
        }
        self.recent.save(self.client, console).await?;
        let read = std::mem::take(&mut self.read);
        let marked = console.unless_interrupted(self.client.mark_read(self.with, read)).await?;
        marked.map_err(|error| explain::ended(&error).into())
    }

    /// Lines wait until the user accepts a changed identity key.
    pub(super) async fn blocked(&mut self, console: &Console) -> Result<()> {
        if std::mem::replace(&mut self.is_blocked, true) {
            return Ok(());
        }
        let (who, label) = (self.people.json_in(self.with), self.people.label_in(self.with));
        let argument = self.people.argument_in(self.with);
        let text = explain::changed_recipient(&label, &argument, self.args);
        self.notice(&text, &json!({"event": "chat-identity-changed", "who": who}), console).await
    }

    /// Leaves a message of somebody else to `chat receive`.
    pub(super) fn leave(&mut self, id: u64) -> Result<()> {
        self.others.insert(id);
        Ok(())
    }

    /// Shows a message. Its files stay for `chat receive`, which does not show the message again.
    pub(super) async fn received(
        &mut self,
        message: &ReceivedMessage,
        console: &mut Console,
    ) -> Result<()> {
        if !message.files.is_empty() {
            self.has_files = true;
            let noted = console.unless_interrupted(self.client.note(message.id)).await?;
            if noted.map_err(|error| explain::ended(&error))?.is_some() {
                return Ok(());
            }
        }
        if message.from.account != self.people.own() {
            self.people.insert(message.from.clone());
        }
        let (own_text, disappears) =
            (show::text(message, &self.people), message.expire_timer.is_some());
        self.recent.add(self.with, message.reference(), &own_text, disappears);
        if message.sent_to.is_none() {
            self.read.push(message.reference());
        }
        let (value, text) = show::describe(message, &self.people, &self.recent);
        self.show(text, &value, console).await?;
        self.mark_read(console).await?;
        if message.identity_changed {
            let label = self.people.label(&message.from);
            let argument = people::argument(&message.from);
            let text = explain::changed_sender(&label, &argument, self.args);
            self.notice(&text, &Value::Null, console).await?;
        }
        if message.files.is_empty() {
            let done = console.unless_interrupted(self.client.done(message.id)).await?;
            return done.map_err(|error| explain::ended(&error).into());
        }
        let states = note::encode(&vec![FileState::Waiting; message.files.len()]);
        let noted = console.unless_interrupted(self.client.set_note(message.id, states)).await?;
        noted.map_err(|error| explain::not_stored(&error).into())
    }

    /// Handles a new connection.
    pub(super) async fn connected(&mut self, console: &Console) -> Result<()> {
        if !std::mem::take(&mut self.is_lost) {
            return Ok(());
        }
        self.notice("Connected again.", &json!({"event": "chat-connected"}), console).await
    }

    pub(super) async fn disconnected(
        &mut self,
        why: &RequestError,
        console: &Console,
    ) -> Result<()> {
        if !why.may_retry() {
            return Err(explain::client_request(why, self.client.me(), self.args).into());
        }
        if std::mem::replace(&mut self.is_lost, true) {
            return Ok(());
        }
        let why = printable::line(&why.to_string());
        let value = json!({"event": "chat-disconnected", "reason": why});
        let text =
            format!("Not connected: {why}. Trying again; lines that you type are sent later.");
        self.notice(&text, &value, console).await
    }
}
