//! Receipts: what arrived on this device, and what the user has read.
//!
//! They wait in memory until the one before has left, so many messages of one account are confirmed together. They are lost
//! when the program ends: nothing depends on them.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::OsRng;
use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, ClientInput, Content, MessageRef, Receipt, ReceiptKind, SyncMessage, Timestamp,
    Typing,
};

use super::Driver;
use crate::chat::Conversation;
use crate::chat::account::now;
use crate::chat::message::Connection;

/// The receipts that are not sent yet.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    delivered: Waiting,
    read: Waiting,
    /// Accounts for which one is on its way.
    on_the_way: BTreeSet<AccountId>,
    /// Whether others may learn what the user has read.
    pub(super) are_read_receipts_on: bool,
}

type Waiting = BTreeMap<AccountId, BTreeSet<Timestamp>>;

impl Receipts {
    pub(super) fn new(are_read_receipts_on: bool) -> Self {
        Self { are_read_receipts_on, ..Self::default() }
    }

    /// Whether authors may learn what was read.
    pub(super) const fn are_read_on(&self) -> bool {
        self.are_read_receipts_on
    }

    pub(super) const fn set_read(&mut self, is_on: bool) {
        self.are_read_receipts_on = is_on;
    }

    fn add(&mut self, kind: ReceiptKind, message: MessageRef) {
        let waiting = match kind {
            ReceiptKind::Delivery => &mut self.delivered,
            ReceiptKind::Read | ReceiptKind::Viewed => &mut self.read,
        };
        if waiting.len() >= MAX_ACCOUNTS && !waiting.contains_key(&message.author) {
            return;
        }
        let timestamps = waiting.entry(message.author).or_default();
        if timestamps.len() < MAX_TIMESTAMPS {
            timestamps.insert(message.timestamp);
        }
    }

    /// Takes the next receipt for each account for which no other is being sent.
    fn take(&mut self) -> Vec<(AccountId, Receipt)> {
        let mut ready = Vec::new();
        let waiting =
            [(ReceiptKind::Delivery, &mut self.delivered), (ReceiptKind::Read, &mut self.read)];
        for (kind, waiting) in waiting {
            waiting.retain(|account, timestamps| {
                let is_free = self.on_the_way.insert(*account);
                if is_free {
                    let timestamps = std::mem::take(timestamps).into_iter().collect();
                    ready.push((*account, Receipt { kind, timestamps }));
                }
                !is_free
            });
        }
        ready
    }

    /// For how many accounts receipts wait or are on their way.
    pub(super) fn len(&self) -> usize {
        let waiting = self.delivered.keys().chain(self.read.keys()).chain(&self.on_the_way);
        waiting.collect::<BTreeSet<_>>().len()
    }
}

impl Driver {
    /// Whether an account may learn what has arrived here, what the user has read, and when the user types: if the user has
    /// written to it or named it, and its identity key is the accepted one.
    pub(super) fn may_send_receipts(&self, account: AccountId) -> bool {
        let core = &self.core;
        let is_changed = core.identity_of(account).is_none_or(|it| it.changed.is_some());
        // The client has written to members of its groups, too, without asking the user.
        let is_accepted = self.accepted.contains(&account) || !core.shares_group_with(account);
        account != core.address().account && !is_changed && core.knows(account) && is_accepted
    }

    /// Whether a member of a group may learn what becomes of a message there: if its identity key is the accepted one.
    fn may_send_receipts_to_member(&self, account: AccountId, group: GroupId) -> bool {
        let core = &self.core;
        let is_changed = core.identity_of(account).is_none_or(|it| it.changed.is_some());
        account != self.own && !is_changed && core.is_in_group(group, account)
    }

    /// Confirms messages that are durable on this device.
    pub(super) fn confirm_delivered(&mut self, messages: Vec<(MessageRef, Option<GroupId>)>) {
        for (message, group) in messages {
            let is_member =
                group.is_some_and(|it| self.may_send_receipts_to_member(message.author, it));
            if is_member || self.may_send_receipts(message.author) {
                self.receipts.add(ReceiptKind::Delivery, message);
            }
        }
    }

    /// Notifies the authors of messages of a conversation that the user has read, if the user wants that, and our other devices.
    pub(in crate::chat) fn mark_read(&mut self, with: Conversation, messages: Vec<MessageRef>) {
        let own = self.core.address().account;
        let others: Vec<_> = messages.into_iter().filter(|it| it.author != own).collect();
        if self.receipts.are_read_receipts_on {
            for message in &others {
                // A member of one of our groups learns nothing about other messages.
                let group = with.group();
                let is_member =
                    group.is_some_and(|it| self.may_send_receipts_to_member(message.author, it));
                if is_member || self.may_send_receipts(message.author) {
                    self.receipts.add(ReceiptKind::Read, *message);
                }
            }
        }
        if self.core.has_other_devices() {
            for messages in others.chunks(MAX_TIMESTAMPS) {
                let sync = SyncMessage::Read(messages.to_vec()).encode().to_vec();
                self.input(ClientInput::Send(own, Content::Sync(sync)));
            }
        }
    }

    /// Notifies an account or the members of a group that the user types, or has stopped.
    pub(in crate::chat) fn typing(&mut self, with: Conversation, started: bool) {
        if !self.is_connected() {
            return;
        }
        let group = with.group().map(|group| group.as_bytes().to_vec());
        let content = Content::Typing(Typing { timestamp: Timestamp(0), started, group });
        match with {
            Conversation::Account(to) => {
                // Two at the same time would say nothing more.
                if self.may_send_receipts(to) && self.core.volatile_messages(to) < MAX_VOLATILE {
                    self.input(ClientInput::SendVolatile { to, content, is_online: true });
                }
            }
            Conversation::Group(group) => {
                self.core.send_online_to_group(now(), group, &content, &mut OsRng);
            }
        }
    }

    /// The user has set whether authors learn what was read. It is stored already; our other devices are told.
    pub(in crate::chat) fn set_read_receipts(&mut self, is_on: bool) {
        self.receipts.set_read(is_on);
        self.share_configuration();
        self.process_outputs();
    }

    /// Sends the receipts that wait. While there is no connection, they are collected.
    pub(super) fn send_receipts(&mut self) {
        let Self { core, receipts, .. } = self;
        receipts.on_the_way.retain(|account| core.volatile_messages(*account) > 0);
        if !self.is_connected() {
            return;
        }
        for (to, receipt) in self.receipts.take() {
            let content = Content::Receipt(receipt);
            self.input(ClientInput::SendVolatile { to, content, is_online: false });
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        let connection = self.signals.connection.borrow();
        matches!(*connection, Connection::Connected | Connection::UpToDate)
    }
}

/// Maximum number of accounts for which receipts of one kind wait.
const MAX_ACCOUNTS: usize = 1000;

/// Maximum number of messages that are confirmed together. Receivers refuse more than 1024.
const MAX_TIMESTAMPS: usize = 1000;

/// Maximum number of receipts and typing indicators to one account that are on their way.
const MAX_VOLATILE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: AccountId = AccountId::from_bytes([1; 16]);

    #[test]
    fn what_waits_for_one_account_is_confirmed_together_and_bounded() {
        let mut receipts = Receipts::new(true);
        let add = |receipts: &mut Receipts, time| {
            let message = MessageRef { author: BOB, timestamp: Timestamp(time) };
            receipts.add(ReceiptKind::Delivery, message);
        };
        add(&mut receipts, 1);
        assert_eq!(receipts.take().len(), 1);
        (2..2000).for_each(|time| add(&mut receipts, time));
        receipts.add(ReceiptKind::Read, MessageRef { author: BOB, timestamp: Timestamp(1) });
        assert_eq!((receipts.take(), receipts.len()), (Vec::new(), 1));
        receipts.on_the_way.clear();
        let (to, receipt) = receipts.take().remove(0);
        assert_eq!((to, receipt.kind), (BOB, ReceiptKind::Delivery));
        assert_eq!(receipt.timestamps.len(), MAX_TIMESTAMPS);
        receipts.on_the_way.clear();
        assert_eq!(receipts.take()[0].1.kind, ReceiptKind::Read);
        receipts.on_the_way.clear();
        assert_eq!(receipts.len(), 0);
    }
}
