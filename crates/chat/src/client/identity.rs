//! The identity keys of other accounts: the first one is trusted, and a changed one needs the user's decision.

use super::store::{Changes, Peer};
use super::{Client, ClientEvent};
use crate::address::{AccountId, Address};
use crate::content::{IdentityChoice, IdentitySync};
use crate::key::PublicKey;
use crate::time::Timestamp;

impl Client {
    /// Whether an account may have this identity key: the first one that we saw, or the accepted
    /// one. A different key is recorded and blocks sending. All our own devices have our key.
    pub(super) fn is_trusted(
        &mut self,
        changes: &mut Changes,
        account: AccountId,
        identity: PublicKey,
    ) -> bool {
        let first =
            if account == self.us.account { *self.identity.pair.public() } else { identity };
        let peer = self.peers.entry(account);
        let peer = peer.or_insert_with(|| Peer::new(first));
        let trusted = peer.identity == identity;
        let is_news = !trusted && peer.changed != Some(identity);
        if is_news {
            peer.changed = Some(identity);
        }
        changes.put_peer(account, peer);
        if is_news {
            self.event(ClientEvent::IdentityChanged(account, identity));
        }
        trusted
    }

    pub(super) fn accept_identity(
        &mut self,
        now: Timestamp,
        account: AccountId,
        identity: PublicKey,
    ) {
        if account == self.us.account {
            return;
        }
        let mut changes = Changes::default();
        let known = self.peers.get(&account).filter(|peer| peer.identity == identity);
        let is_new = known.is_none();
        let mut peer = Peer::new(identity);
        peer.had_post_quantum = known.is_some_and(|peer| peer.had_post_quantum);
        if let Some(known) = self.peers.get(&account) {
            peer.refused = known.refused.iter().filter(|key| **key != identity).copied().collect();
        }
        for (address, record) in &mut self.sessions {
            if is_new && address.account == account {
                record.accept_identity(&identity);
                peer.had_post_quantum |= record.is_post_quantum(&identity);
                changes.put_session(*address, record, &mut self.archived_rows);
            }
        }
        changes.put_peer(account, &peer);
        self.peers.insert(account, peer);
        if is_new {
            // The list of the previous key says nothing about the devices of this one.
            self.unpin(account, &mut changes);
        }
        self.commit(changes, Vec::new());
        self.advance_account(now, account);
    }

    /// Keeps the accepted identity key of an account. Messages with the refused key are rejected from now on, and
    /// sending fails while the server names it.
    pub(super) fn refuse_identity(
        &mut self,
        now: Timestamp,
        account: AccountId,
        identity: PublicKey,
    ) {
        let changed = self.peers.get(&account).and_then(|peer| peer.changed);
        if changed == Some(identity) {
            self.refuse(now, account, identity);
        }
    }

    /// Another device of ours has decided about an identity key. This one may not have seen the key yet.
    pub(super) fn learn_identity(&mut self, now: Timestamp, sync: &IdentitySync) {
        let IdentitySync { account, key, decision } = *sync;
        let known = self.peers.get(&account).map(|peer| (peer.identity, peer.changed));
        let is_settled = known == Some((key, None));
        match decision {
            _ if account == self.us.account || is_settled => {}
            IdentityChoice::Accepted | IdentityChoice::Verified => {
                self.accept_identity(now, account, key);
            }
            IdentityChoice::Refused => {
                let is_new = !self.is_refused(account, &key);
                if is_new && known.is_some_and(|(accepted, _)| accepted != key) {
                    self.refuse(now, account, key);
                }
            }
        }
    }

    fn refuse(&mut self, now: Timestamp, account: AccountId, identity: PublicKey) {
        let Some(peer) = self.peers.get_mut(&account) else { return };
        peer.changed = peer.changed.filter(|changed| *changed != identity);
        peer.refused.truncate(MAX_REFUSED - 1);
        peer.refused.insert(0, identity);
        let had_post_quantum = peer.had_post_quantum;
        let mut changes = Changes::default();
        changes.put_peer(account, peer);
        for (address, record) in &mut self.sessions {
            if address.account == account {
                record.refuse_identity(&identity, had_post_quantum);
                changes.put_session(*address, record, &mut self.archived_rows);
            }
        }
        self.commit(changes, Vec::new());
        self.advance_account(now, account);
    }

    /// Whether the user has refused this identity key of an account.
    pub(super) fn is_refused(&self, account: AccountId, identity: &PublicKey) -> bool {
        self.peers.get(&account).is_some_and(|peer| peer.refused.contains(identity))
    }

    /// Remembers that an account has post-quantum prekeys, if a session with its accepted identity key shows that.
    pub(super) fn record_post_quantum(&mut self, address: Address, changes: &mut Changes) {
        if let (Some(peer), Some(record)) =
            (self.peers.get_mut(&address.account), self.sessions.get(&address))
            && !peer.had_post_quantum
            && record.is_post_quantum(&peer.identity)
        {
            peer.had_post_quantum = true;
            changes.put_peer(address.account, peer);
        }
    }
}

/// Maximum number of refused identity keys that are remembered for each account; the oldest is dropped first.
const MAX_REFUSED: usize = 8;
