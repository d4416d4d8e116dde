//! The timers of conversations: after how many seconds a message disappears.

use std::collections::BTreeMap;

use wormhole_chat::{AccountId, Content, DataMessage, Received, rules};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::Driver;
use crate::chat::message::transcript;

/// The timers of the conversations that have or had one.
#[derive(Debug, Default)]
pub(in crate::chat) struct Timers(BTreeMap<AccountId, Timer>);

/// The timer of a conversation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::chat) struct Timer {
    /// Seconds after reading; 0: messages stay.
    pub(in crate::chat) seconds: u32,
    /// Increases with every change.
    pub(in crate::chat) version: u32,
}

impl Timers {
    /// Decodes the setting. What is not readable counts as no timer.
    pub(in crate::chat) fn decode(setting: &[u8]) -> Self {
        let mut reader = Reader::new(setting);
        let mut timers = BTreeMap::new();
        while let (Ok(account), Ok(seconds), Ok(version)) =
            (reader.array(), reader.u32_be(), reader.u32_be())
        {
            timers.insert(AccountId::from_bytes(account), Timer { seconds, version });
        }
        Self(timers)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut value = Zeroizing::new(Vec::with_capacity(24 * self.0.len()));
        for (account, Timer { seconds, version }) in &self.0 {
            value.extend(account.as_bytes());
            value.extend(seconds.to_be_bytes());
            value.extend(version.to_be_bytes());
        }
        value
    }

    pub(in crate::chat) fn of(&self, account: AccountId) -> Timer {
        self.0.get(&account).copied().unwrap_or_default()
    }

    /// Sets a timer. Returns whether something has changed.
    fn set(&mut self, account: AccountId, timer: Timer) -> bool {
        let has_room = self.0.len() < MAX_TIMERS || self.0.contains_key(&account);
        if self.of(account) == timer || !has_room {
            return false;
        }
        self.0.insert(account, timer);
        true
    }

    /// A message of a conversation has arrived. Returns whether the timer has changed.
    fn arrived(&mut self, account: AccountId, message: &DataMessage) -> bool {
        let is_change = message.reaction.is_some() || message.delete.is_some();
        let current = self.of(account);
        let version = message.expire_timer_version;
        // Clients do not set the timer in changes of other messages.
        if is_change || message.group.is_some() || !rules::timer_applies(current.version, version) {
            return false;
        }
        let version = version.unwrap_or_default().max(current.version);
        self.set(account, Timer { seconds: message.expire_timer.unwrap_or_default(), version })
    }
}

impl Driver {
    /// Sets the timers that came with messages.
    pub(super) fn set_arrived_timers(&mut self, received: &[Received]) {
        let mut is_changed = false;
        for received in received {
            if let Content::Data(message) = &received.content {
                is_changed |= self.timers.arrived(received.from.account, message);
            }
            if let Some(sent) = transcript(received).filter(|sent| sent.edits.is_none()) {
                is_changed |= self.timers.arrived(sent.to, &sent.message);
            }
        }
        if is_changed {
            self.commits.add_setting(TIMERS.to_owned(), Some(self.timers.encode()));
        }
    }

    /// Sets the timer of a conversation. Returns it as the other side must learn it.
    pub(in crate::chat) fn set_timer(&mut self, account: AccountId, seconds: u32) -> Timer {
        let version = self.timers.of(account).version.saturating_add(1);
        let timer = Timer { seconds, version };
        if self.timers.set(account, timer) {
            self.commits.add_setting(TIMERS.to_owned(), Some(self.timers.encode()));
        }
        timer
    }

    pub(in crate::chat) fn timer(&self, account: AccountId) -> Timer {
        self.timers.of(account)
    }
}

/// The setting with all timers: account (16), seconds (4), version (4) of each.
pub(in crate::chat) const TIMERS: &str = "wormhole.timers";

/// Most conversations with a timer.
const MAX_TIMERS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: AccountId = AccountId::from_bytes([1; 16]);

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
        assert_eq!(Timers::decode(&timers.encode()).of(BOB), expected);
        let delete = DataMessage { delete: Some(wormhole_chat::Timestamp(1)), ..message(9, None) };
        assert!(!timers.arrived(BOB, &delete));
    }
}
