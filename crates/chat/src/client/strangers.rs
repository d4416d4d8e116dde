//! Accounts that wrote to us and that the user does not know. Anyone can invent accounts, so their number is limited.

use super::Client;
use super::store::{Changes, StoreKey};
use crate::address::{AccountId, Address};
use crate::time::{DAY, Timestamp};

impl Client {
    /// An unknown account has written its first message. If there are too many, the one that has been silent for longest is
    /// forgotten.
    pub(super) fn add_stranger(
        &mut self,
        now: Timestamp,
        account: AccountId,
        changes: &mut Changes,
    ) {
        if !self.may_be_stranger(account) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&account) else { return };
        peer.stranger = Some(now);
        changes.put_peer(account, peer);
        let others = self.strangers().filter(|(_, other)| *other != account);
        if self.strangers().count() > MAX_STRANGERS
            && let Some((_, silent)) = others.min()
        {
            self.forget(silent, changes);
        }
    }

    /// Whether the user may not know an account, as far as we can say without what is stored about it.
    fn may_be_stranger(&self, account: AccountId) -> bool {
        // We may be writing to it at the moment.
        let is_written_to = self.outbox.has(account);
        account != self.us.account && !self.kept.contains(&account) && !is_written_to
    }

    /// Whether an account is unknown to the user. It may also be unknown to us.
    pub(super) fn is_stranger(&self, account: AccountId) -> bool {
        let peer = self.peers.get(&account);
        self.may_be_stranger(account) && peer.is_none_or(|peer| peer.stranger.is_some())
    }

    /// The accounts that may be forgotten, and when we last heard from them. Decisions about their keys must be remembered.
    fn strangers(&self) -> impl Iterator<Item = (Timestamp, AccountId)> {
        self.peers.iter().filter_map(|(account, peer)| {
            let heard = peer.stranger.filter(|_| !peer.has_decisions())?;
            Some((heard, *account))
        })
    }

    /// An account has written another message. The time is stored once per day.
    pub(super) fn heard(&mut self, now: Timestamp, account: AccountId, changes: &mut Changes) {
        if let Some(peer) = self.peers.get_mut(&account)
            && let Some(heard) = &mut peer.stranger
            && now.since(*heard) >= DAY
        {
            *heard = now;
            changes.put_peer(account, peer);
        }
    }

    /// The user knows an account, also if it has not written yet.
    pub(super) fn keep(&mut self, account: AccountId) {
        self.kept.insert(account);
        let mut changes = Changes::default();
        self.not_a_stranger(account, &mut changes);
        self.commit(changes, Vec::new());
    }

    /// The user has blocked an account, or does not want to know it any more. Its sessions stay.
    pub(super) fn do_not_keep(&mut self, account: AccountId) {
        self.kept.remove(&account);
    }

    /// The user knows an account, or writes to it: it is never forgotten.
    pub(super) fn not_a_stranger(&mut self, account: AccountId, changes: &mut Changes) {
        if let Some(peer) = self.peers.get_mut(&account)
            && peer.stranger.take().is_some()
        {
            changes.put_peer(account, peer);
        }
    }

    /// Deletes everything about an account.
    fn forget(&mut self, account: AccountId, changes: &mut Changes) {
        let addresses = self.sessions.keys().filter(|address| address.account == account);
        let addresses: Vec<Address> = addresses.copied().collect();
        for address in addresses {
            self.delete_sessions(address, changes);
            self.sessions.remove(&address);
            self.archived_rows.remove(&address);
            changes.delete(StoreKey::Session(address));
            self.forget_newest(address, changes);
        }
        for name in self.retries.messages_of(account) {
            self.forget_retry(name, changes);
        }
        for name in self.sent_log.names_of(account) {
            self.forget_logged(name, changes);
        }
        self.unpin(account, changes);
        self.peers.remove(&account);
        changes.delete(StoreKey::Peer(account));
    }
}

/// Maximum number of accounts that wrote to us and that the user does not know.
const MAX_STRANGERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::address::DeviceId;
    use crate::client::peer::Peer;
    use crate::content::{Content, IdentityChoice, IdentitySync};
    use crate::key::KeyPair;
    use crate::record::{Identity, SessionRecord};

    fn account(number: u16) -> AccountId {
        let mut bytes = [0xaa; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        AccountId::from_bytes(bytes)
    }

    fn primary(account: AccountId) -> Address {
        Address { account, device: DeviceId::PRIMARY }
    }

    #[test]
    fn attack_11_only_so_many_unknown_accounts_are_remembered() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let identity = Identity { pair: KeyPair::random(&mut rng), registration_id: 1 };
        let now = Timestamp(1_600_000_000_000);
        let mut client = Client::new(primary(account(0)), identity, now, &mut rng);
        let key = *KeyPair::random(&mut rng).public();
        let [named, refused, written, silent, active] = [1, 2, 3, 4, 5].map(account);
        client.keep(named);
        let mut changes = Changes::default();
        let mut write = |client: &mut Client, number: u16| {
            let now = Timestamp(now.0 + u64::from(number));
            client.peers.insert(account(number), Peer::new(key));
            client.sessions.insert(primary(account(number)), SessionRecord::default());
            changes = Changes::default();
            client.add_stranger(now, account(number), &mut changes);
            changes.rows.iter().filter(|(_, value)| value.is_none()).count()
        };
        for number in 1..=3 {
            assert_eq!(write(&mut client, number), 0);
        }
        let other = *KeyPair::random(&mut rng).public();
        let decision = IdentityChoice::Refused { kept: key };
        let decided = Timestamp(1);
        let decision = IdentitySync { account: refused, key: other, decision, decided };
        client.peers.get_mut(&refused).unwrap().decide(&decision);
        client.send(now, written, &Content::Null);
        for number in 4..=10_003 {
            assert_eq!(write(&mut client, number), 0);
        }
        let mut heard = Changes::default();
        client.heard(Timestamp(now.0 + 2 * DAY), active, &mut heard);
        assert_eq!(heard.rows.len(), 1);
        // The rows of the session and of the account are deleted.
        for (number, gone) in [(10_004, silent), (10_005, account(6))] {
            assert_eq!(write(&mut client, number), 2);
            assert!(client.identity_of(gone).is_none());
            assert!(!client.sessions.contains_key(&primary(gone)));
        }
        for kept in [named, refused, written, active, account(10_005)] {
            assert!(client.identity_of(kept).is_some());
        }
    }
}
