//! The timers of conversations: after how many seconds a message disappears.

use std::collections::BTreeMap;

use wormhole_chat::group::GroupId;
use wormhole_chat::{AccountId, DataMessage, Received, rules};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::Driver;
use crate::chat::Conversation;
use crate::chat::written::Written;

/// The timers of the conversations that have or had one.
#[derive(Debug, Default)]
pub(in crate::chat) struct Timers(BTreeMap<Conversation, Timer>);

/// The timer of a conversation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::chat) struct Timer {
    /// Seconds after reading; 0: messages stay.
    pub(in crate::chat) seconds: u32,
    /// Increases with every change.
    pub(in crate::chat) version: u32,
}

impl Timers {
    /// Decodes the settings with the timers of people and of groups. What is not readable counts as no timer.
    pub(in crate::chat) fn decode(people: &[u8], groups: &[u8]) -> Self {
        let account = |id| Conversation::Account(AccountId::from_bytes(id));
        let group = |id| Conversation::Group(GroupId::from_bytes(id));
        let mut timers: BTreeMap<_, _> =
            decode(people).into_iter().map(|(id, timer)| (account(id), timer)).collect();
        timers.extend(decode(groups).into_iter().map(|(id, timer)| (group(id), timer)));
        Self(timers)
    }

    /// Encodes the settings with the timers of people and of groups.
    fn encode(&self) -> [Zeroizing<Vec<u8>>; 2] {
        let mut people = Zeroizing::new(Vec::with_capacity(24 * self.0.len()));
        let mut groups = Zeroizing::new(Vec::with_capacity(24 * self.0.len()));
        for (conversation, Timer { seconds, version }) in &self.0 {
            let (value, id) = match conversation {
                Conversation::Account(account) => (&mut people, account.as_bytes()),
                Conversation::Group(group) => (&mut groups, group.as_bytes()),
            };
            value.extend(id);
            value.extend(seconds.to_be_bytes());
            value.extend(version.to_be_bytes());
        }
        [people, groups]
    }

    pub(in crate::chat) fn get(&self, conversation: Conversation) -> Timer {
        self.0.get(&conversation).copied().unwrap_or_default()
    }

    /// Sets a timer. Returns whether something has changed.
    fn set(&mut self, of: Conversation, timer: Timer) -> bool {
        let has_capacity = self.0.len() < MAX_TIMERS || self.0.contains_key(&of);
        if self.get(of) == timer || !has_capacity {
            return false;
        }
        self.0.insert(of, timer);
        true
    }

    /// Takes over the timer of a message that has arrived. Returns whether the timer has changed.
    fn arrived(&mut self, of: Conversation, message: &DataMessage) -> bool {
        let is_change = message.reaction.is_some() || message.delete.is_some();
        let current = self.get(of);
        let version = message.expire_timer_version;
        // Clients do not set the timer in changes of other messages.
        if is_change || message.group.is_some() || !rules::timer_applies(current.version, version) {
            return false;
        }
        let version = version.unwrap_or_default().max(current.version);
        self.set(of, Timer { seconds: message.expire_timer.unwrap_or_default(), version })
    }
}

impl Driver {
    /// Sets the timers that came with messages.
    pub(super) fn set_arrived_timers(&mut self, received: &[Received]) {
        let mut is_changed = false;
        for written in
            received.iter().filter_map(Written::from_received).filter(|it| it.edits.is_none())
        {
            is_changed |= self.timers.arrived(written.conversation, &written.message);
        }
        if is_changed {
            self.store_timers();
        }
    }

    fn store_timers(&mut self) {
        let [people, groups] = self.timers.encode();
        self.commits.add_setting(TIMERS.to_owned(), Some(people));
        let groups = Some(groups).filter(|groups| !groups.is_empty());
        self.commits.add_setting(GROUP_TIMERS.to_owned(), groups);
    }

    /// Sets the timer of a conversation. Returns it as the others must learn it.
    pub(in crate::chat) fn set_timer(&mut self, of: Conversation, seconds: u32) -> Timer {
        let version = self.timers.get(of).version.saturating_add(1);
        let timer = Timer { seconds, version };
        if self.timers.set(of, timer) {
            self.store_timers();
        }
        timer
    }

    pub(in crate::chat) fn timer(&self, of: Conversation) -> Timer {
        self.timers.get(of)
    }
}

fn decode(setting: &[u8]) -> Vec<([u8; 16], Timer)> {
    let mut reader = Reader::new(setting);
    let mut timers = Vec::new();
    while let (Ok(id), Ok(seconds), Ok(version)) =
        (reader.array(), reader.u32_be(), reader.u32_be())
    {
        timers.push((id, Timer { seconds, version }));
    }
    timers
}

/// The setting with the timers of groups: id (16), seconds (4), version (4) of each.
pub(in crate::chat) const GROUP_TIMERS: &str = "wormhole.group-timers";

/// The setting with the timers of people: account (16), seconds (4), version (4) of each.
pub(in crate::chat) const TIMERS: &str = "wormhole.timers";

/// Maximum number of conversations with a timer.
const MAX_TIMERS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: Conversation = Conversation::Account(AccountId::from_bytes([1; 16]));

    fn message(seconds: u32, version: Option<u32>) -> DataMessage {
        DataMessage {
            expire_timer: Some(seconds),
            expire_timer_version: version,
            ..DataMessage::default()
        }
    }

    #[test]
    fn a_newer_timer_counts_and_is_stored() {
        let mut timers = Timers::default();
        assert!(!timers.arrived(BOB, &message(0, None)));
        assert!(timers.arrived(BOB, &message(60, Some(3))));
        assert!(!timers.arrived(BOB, &message(5, Some(2))));
        assert!(timers.arrived(BOB, &message(30, None)));
        let expected = Timer { seconds: 30, version: 3 };
        let walks = Conversation::Group(GroupId::from_bytes([1; 16]));
        assert!(timers.arrived(walks, &message(7, Some(1))));
        let [people, groups] = timers.encode();
        let stored = Timers::decode(&people, &groups);
        assert_eq!((stored.get(BOB), stored.get(walks).seconds), (expected, 7));
        let delete = DataMessage { delete: Some(wormhole_chat::Timestamp(1)), ..message(9, None) };
        assert!(!timers.arrived(BOB, &delete));
    }
}
