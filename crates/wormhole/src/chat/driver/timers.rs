//! The timers of conversations: after how many seconds a message disappears.

use std::collections::BTreeMap;

use wormhole_chat::group::GroupId;
use wormhole_chat::rules::Timer;
use wormhole_chat::{AccountId, DataMessage, Received, SyncMessage, TimerScope, TimerSync, rules};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::Driver;
use crate::chat::Conversation;
use crate::chat::written::Written;

/// The timers of the conversations that have or had one.
#[derive(Debug, Default)]
pub(in crate::chat) struct Timers(BTreeMap<Conversation, Timer>);

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

    /// Sets a timer. If there are too many, forgets the timer of an unknown person, or one that is off.
    ///
    /// # Errors
    /// There is no room.
    fn set(
        &mut self,
        of: Conversation,
        timer: Timer,
        is_known: impl Fn(Conversation) -> bool,
    ) -> Result<(), TooManyTimers> {
        if self.0.len() >= MAX_TIMERS && !self.0.contains_key(&of) {
            let may_be_forgotten = |(it, timer): &(&Conversation, &Timer)| {
                !is_known(**it) || timer.seconds == 0 && is_known(of)
            };
            let forgotten = self.0.iter().find(may_be_forgotten).map(|(it, _)| *it);
            self.0.remove(&forgotten.ok_or(TooManyTimers)?);
        }
        self.0.insert(of, timer);
        Ok(())
    }

    /// The timer of the conversation after a message. `None` if it stays as it is.
    fn after(&self, of: Conversation, message: &DataMessage) -> Option<Timer> {
        // Clients do not set the timer in changes of other messages.
        if message.reaction.is_some() || message.delete.is_some() || message.group.is_some() {
            return None;
        }
        let current = self.get(of);
        let seconds = message.expire_timer.unwrap_or_default();
        let version = message.expire_timer_version.unwrap_or_default();
        let applies =
            rules::timer_applies(current, Timer { seconds, version }, message.expire_timer_update);
        let timer = Timer { seconds, version: version.max(current.version) };
        (applies && timer != current).then_some(timer)
    }
}

/// So many conversations have a timer that there is no room for another one.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::chat) struct TooManyTimers;

impl Driver {
    /// Sets the timers that came with messages.
    pub(super) fn set_arrived_timers(&mut self, received: &[Received]) {
        let trusted = received.iter().filter(|received| !received.identity_changed);
        let mut is_changed = false;
        for written in trusted.filter_map(Written::from_received).filter(|it| it.edits.is_none()) {
            let of = written.conversation;
            if let Some(timer) = self.timers.after(of, &written.message) {
                is_changed |= self.put_timer(of, timer).is_ok();
            }
        }
        if is_changed {
            self.store_timers();
        }
    }

    /// Learns the timers from another device of our account. A timer replaces ours if it is newer or shorter.
    pub(super) fn learn_timers(&mut self, timers: &[TimerSync]) {
        let mut is_changed = false;
        for TimerSync { of, timer } in timers {
            let of = match of {
                TimerScope::Account(account) => Conversation::Account(*account),
                TimerScope::Group(group) => Conversation::Group(*group),
            };
            let current = self.timers.get(of);
            if timer.version > current.version || rules::timer_applies(current, *timer, false) {
                let version = timer.version.max(current.version);
                is_changed |= self.put_timer(of, Timer { version, ..*timer }).is_ok();
            }
        }
        if is_changed {
            self.store_timers();
        }
    }

    /// The timers, in messages for a new device of our account.
    pub(super) fn timers_for_new_device(&self) -> Vec<SyncMessage> {
        let timer = |(of, timer): (&Conversation, &Timer)| {
            let of = match of {
                Conversation::Account(account) => TimerScope::Account(*account),
                Conversation::Group(group) => TimerScope::Group(*group),
            };
            TimerSync { of, timer: *timer }
        };
        let timers: Vec<_> = self.timers.0.iter().map(timer).collect();
        timers.chunks(MAX_TIMERS_AT_ONCE).map(|some| SyncMessage::Timers(some.to_vec())).collect()
    }

    /// The user does not want to hear from an account any more.
    pub(super) fn forget_timer(&mut self, of: AccountId) {
        if self.timers.0.remove(&Conversation::Account(of)).is_some() {
            self.store_timers();
        }
    }

    fn put_timer(&mut self, of: Conversation, timer: Timer) -> Result<(), TooManyTimers> {
        let Self { timers, accepted, .. } = self;
        timers.set(of, timer, |it| it.account().is_none_or(|account| accepted.contains(&account)))
    }

    fn store_timers(&mut self) {
        let [people, groups] = self.timers.encode();
        self.commits.add_setting(TIMERS.to_owned(), Some(people));
        let groups = Some(groups).filter(|groups| !groups.is_empty());
        self.commits.add_setting(GROUP_TIMERS.to_owned(), groups);
    }

    /// Sets the timer of a conversation. Returns it as the others must learn it.
    ///
    /// # Errors
    /// There is no room for another timer.
    pub(in crate::chat) fn set_timer(
        &mut self,
        of: Conversation,
        seconds: u32,
    ) -> Result<Timer, TooManyTimers> {
        let version = self.timers.get(of).version.saturating_add(1);
        let timer = Timer { seconds, version };
        self.put_timer(of, timer)?;
        self.store_timers();
        Ok(timer)
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
const MAX_TIMERS: usize = 5000;

/// Maximum number of timers in one message to a new device.
const MAX_TIMERS_AT_ONCE: usize = 1000;

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

    fn update(seconds: u32, version: Option<u32>) -> DataMessage {
        DataMessage { expire_timer_update: true, ..message(seconds, version) }
    }

    impl Timers {
        fn arrived(&mut self, of: Conversation, message: &DataMessage) -> bool {
            let timer = self.after(of, message);
            timer.is_some_and(|timer| self.set(of, timer, |_| true).is_ok())
        }
    }

    #[test]
    fn a_newer_timer_counts_and_is_stored() {
        let mut timers = Timers::default();
        assert!(!timers.arrived(BOB, &message(0, None)));
        assert!(timers.arrived(BOB, &update(60, Some(3))));
        assert!(!timers.arrived(BOB, &update(5, Some(2))));
        assert!(timers.arrived(BOB, &message(30, None)));
        let expected = Timer { seconds: 30, version: 3 };
        let walks = Conversation::Group(GroupId::from_bytes([1; 16]));
        assert!(timers.arrived(walks, &message(7, Some(1))));
        let [people, groups] = timers.encode();
        let stored = Timers::decode(&people, &groups);
        assert_eq!((stored.get(BOB), stored.get(walks).seconds), (expected, 7));
        let delete = DataMessage { delete: Some(wormhole_chat::Timestamp(1)), ..update(9, None) };
        assert!(!timers.arrived(BOB, &delete));
    }

    #[test]
    fn a_message_of_a_device_that_does_not_know_the_timer_leaves_it_on() {
        let mut timers = Timers::default();
        timers.arrived(BOB, &update(60, Some(3)));
        for version in [None, Some(1), Some(4)] {
            assert!(!timers.arrived(BOB, &message(0, version)));
        }
        assert!(timers.arrived(BOB, &update(0, Some(4))));
    }

    #[test]
    fn strangers_cannot_keep_the_user_from_setting_a_timer() {
        let (mut timers, timer) = (Timers::default(), Timer { seconds: 60, version: 1 });
        let is_known = |it| it == BOB;
        let stranger = |number: usize| {
            let mut id = [0xaa; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Conversation::Account(AccountId::from_bytes(id))
        };
        for number in 0..=MAX_TIMERS {
            timers.set(stranger(number), timer, is_known).unwrap();
        }
        timers.set(BOB, timer, is_known).unwrap();
        assert_eq!((timers.0.len(), timers.get(BOB)), (MAX_TIMERS, timer));
        // Nor do they displace that of a person who is known.
        timers.set(stranger(0), timer, is_known).unwrap();
        assert_eq!(timers.get(BOB), timer);
        let new = stranger(MAX_TIMERS + 1);
        assert_eq!(timers.set(new, timer, |it| it != new), Err(TooManyTimers));
    }
}
