//! The messages of the outbox, found by their timestamps or by their recipients.
//!
//! An event for one recipient, or for one message, must not cost more because messages to others wait: the outbox may
//! hold thousands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::exchange::DeviceCiphertext;
use super::outbox::Outgoing;
use crate::address::AccountId;
use crate::time::Timestamp;

/// The messages of the outbox.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: BTreeMap<Timestamp, Outgoing>,
    /// The recipient of each message, and whether the message is encrypted.
    by_recipient: BTreeSet<(AccountId, bool, Timestamp)>,
}

impl Queue {
    /// Adds a message.
    pub(super) fn insert(&mut self, timestamp: Timestamp, outgoing: Outgoing) {
        self.remove(&timestamp);
        self.by_recipient.insert((outgoing.to, outgoing.ciphertexts.is_some(), timestamp));
        self.messages.insert(timestamp, outgoing);
    }

    pub(super) fn remove(&mut self, timestamp: &Timestamp) -> Option<Outgoing> {
        let outgoing = self.messages.remove(timestamp)?;
        self.by_recipient.remove(&(outgoing.to, outgoing.ciphertexts.is_some(), *timestamp));
        Some(outgoing)
    }

    pub(super) fn get(&self, timestamp: &Timestamp) -> Option<&Outgoing> {
        self.messages.get(timestamp)
    }

    /// Changes a message. Its recipient stays the same.
    pub(super) fn update<T>(
        &mut self,
        timestamp: Timestamp,
        change: impl FnOnce(&mut Outgoing) -> T,
    ) -> Option<T> {
        let outgoing = self.messages.get_mut(&timestamp)?;
        let (to, was_encrypted) = (outgoing.to, outgoing.ciphertexts.is_some());
        let result = change(outgoing);
        let is_encrypted = outgoing.ciphertexts.is_some();
        if is_encrypted != was_encrypted {
            self.by_recipient.remove(&(to, was_encrypted, timestamp));
            self.by_recipient.insert((to, is_encrypted, timestamp));
        }
        Some(result)
    }

    /// Replaces the ciphertexts of a message, which no ratchet step has aged yet.
    pub(super) fn set_ciphertexts(
        &mut self,
        timestamp: Timestamp,
        ciphertexts: Option<Arc<[DeviceCiphertext]>>,
    ) {
        self.update(timestamp, |outgoing| {
            let devices = ciphertexts.iter().flat_map(|ciphertexts| ciphertexts.iter());
            outgoing.encrypted_for.extend(devices.map(|message| message.device));
            (outgoing.ciphertexts, outgoing.steps) = (ciphertexts, 0);
        });
    }

    /// The messages for an account that are encrypted, oldest first.
    pub(super) fn encrypted_for(&self, account: AccountId) -> Vec<Timestamp> {
        self.messages_of(account, true)
    }

    /// The messages for an account that are not encrypted yet, oldest first.
    pub(super) fn unencrypted_for(&self, account: AccountId) -> Vec<Timestamp> {
        self.messages_of(account, false)
    }

    fn messages_of(&self, account: AccountId, is_encrypted: bool) -> Vec<Timestamp> {
        let first = (account, is_encrypted, Timestamp(0));
        let of_account = self.by_recipient.range(first..);
        let of_account = of_account
            .take_while(|(to, encrypted, _)| *to == account && *encrypted == is_encrypted);
        of_account.map(|(_, _, timestamp)| *timestamp).collect()
    }

    /// Whether a message waits for an account.
    pub(super) fn has(&self, account: AccountId) -> bool {
        let mut rest = self.by_recipient.range((account, false, Timestamp(0))..);
        rest.next().is_some_and(|(to, _, _)| *to == account)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// All messages, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Timestamp, &Outgoing)> {
        self.messages.iter()
    }

    /// The timestamps of all messages, oldest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Timestamp> {
        self.messages.keys()
    }

    /// All messages, oldest first.
    pub(super) fn values(&self) -> impl Iterator<Item = &Outgoing> {
        self.messages.values()
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::outbox::Lifetime;
    use super::*;

    fn outgoing(to: u8) -> Outgoing {
        let to = AccountId::from_bytes([to; 16]);
        let plaintext = Zeroizing::new(Vec::new());
        let lifetime = Lifetime::Durable;
        Outgoing { steps: 1, ..Outgoing::new(to, plaintext, lifetime) }
    }

    #[test]
    fn messages_are_found_by_recipient_and_state() {
        let mut queue = Queue::default();
        let [alice, bob, carol] = [1, 2, 3].map(|number| AccountId::from_bytes([number; 16]));
        for (time, to) in [(1, 1), (2, 2), (3, 2), (4, 1), (5, 2)] {
            queue.insert(Timestamp(time), outgoing(to));
        }
        queue.set_ciphertexts(Timestamp(3), Some(Arc::new([])));
        assert_eq!(queue.get(&Timestamp(3)).unwrap().steps, 0);
        assert_eq!(queue.unencrypted_for(bob), [2, 5].map(Timestamp));
        assert_eq!(queue.encrypted_for(bob), [3].map(Timestamp));
        assert_eq!(queue.unencrypted_for(alice), [1, 4].map(Timestamp));
        assert!(queue.has(alice) && queue.has(bob) && !queue.has(carol));
        queue.remove(&Timestamp(2));
        queue.remove(&Timestamp(5));
        assert!(queue.has(bob));
        queue.insert(Timestamp(3), outgoing(3));
        assert!(!queue.has(bob) && queue.has(carol));
        queue.set_ciphertexts(Timestamp(3), None);
        assert_eq!(queue.update(Timestamp(9), |_| ()), None);
        assert_eq!((queue.len(), queue.by_recipient.len()), (3, 3));
    }
}
