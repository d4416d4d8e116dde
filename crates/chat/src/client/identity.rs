//! The identity keys of other accounts: the first one is trusted, and a changed one needs the user's decision.

use super::peer::Peer;
use super::store::Changes;
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
        if let Some(peer) = self.peers.get_mut(&account).filter(|_| account != self.us.account) {
            // The user was asked about this key, and has chosen.
            peer.changed = None;
        }
        let decided = self.next_decision(now, account);
        let decision = IdentityChoice::Accepted;
        self.decide(now, &IdentitySync { account, key: identity, decision, decided });
    }

    /// Keeps the accepted identity key of an account. Messages with the refused key are rejected from now on, and
    /// sending fails while the server names it.
    pub(super) fn refuse_identity(
        &mut self,
        now: Timestamp,
        account: AccountId,
        identity: PublicKey,
    ) {
        let peer = self.peers.get(&account).filter(|peer| peer.changed == Some(identity));
        if let Some(peer) = peer {
            let decision = IdentityChoice::Refused { kept: peer.identity };
            let decided = self.next_decision(now, account);
            self.decide(now, &IdentitySync { account, key: identity, decision, decided });
        }
    }

    /// Another device of ours has made these decisions. This one may not have seen the keys yet.
    pub(super) fn learn_identities(&mut self, now: Timestamp, decisions: &[IdentitySync]) {
        for decision in decisions {
            // Without a time, it is older than everything that is known.
            let has_time = decision.decided > Timestamp(0);
            let is_possible = has_time || !self.peers.contains_key(&decision.account);
            if is_possible && decision.decided.0 <= 2 * MAX_DECIDED {
                self.decide(now, decision);
            }
        }
    }

    /// The time of a decision that is made now: later than all that are known, whatever the clocks say.
    fn next_decision(&self, now: Timestamp, account: AccountId) -> Timestamp {
        let last = self.peers.get(&account).map_or(Timestamp(0), Peer::last_decision);
        Timestamp(now.0.min(MAX_DECIDED).max(last.0.saturating_add(1)))
    }

    /// Applies a decision to the keys and sessions of an account.
    fn decide(&mut self, now: Timestamp, decision: &IdentitySync) {
        let account = decision.account;
        if account == self.us.account {
            return;
        }
        let before = self.peers.get(&account).cloned();
        let mut peer = before.clone().unwrap_or_else(|| Peer::new(decision.accepted()));
        peer.decide(decision);
        if decision.accepted() == decision.key {
            peer.stranger = None;
        }
        if before.as_ref() == Some(&peer) {
            return;
        }
        let has_new_key = before.as_ref().is_none_or(|before| before.identity != peer.identity);
        let was_refused = |key: &PublicKey| {
            before.as_ref().is_some_and(|before| before.refused().any(|known| known == key))
        };
        let is_refusal = peer.refused().any(|key| !was_refused(key));
        let mut changes = Changes::default();
        self.decide_sessions(account, &mut peer, has_new_key, is_refusal, &mut changes);
        if has_new_key {
            // The list of the previous key says nothing about the devices of this one.
            self.unpin(account, &mut changes);
        }
        changes.put_peer(account, &peer);
        self.peers.insert(account, peer);
        self.commit(changes, Vec::new());
        self.advance_account(now, account);
    }

    /// Changes the sessions with an account, whose accepted key is another one now, or of which keys were refused.
    fn decide_sessions(
        &mut self,
        account: AccountId,
        peer: &mut Peer,
        has_new_key: bool,
        is_refusal: bool,
        changes: &mut Changes,
    ) {
        if !has_new_key && !is_refusal {
            return;
        }
        let refused: Vec<_> = peer.refused().copied().collect();
        let of_account = |address: &Address| address.account == account;
        if has_new_key {
            let mut records = self.sessions.iter().filter(|(address, _)| of_account(address));
            peer.had_post_quantum =
                records.any(|(_, record)| record.is_post_quantum(&peer.identity));
        }
        for (address, record) in &mut self.sessions {
            if !of_account(address) {
                continue;
            }
            if has_new_key {
                record.accept_identity(&peer.identity);
            }
            if is_refusal {
                record.refuse_identities(&refused, &peer.identity, peer.had_post_quantum);
            }
            changes.put_session(*address, record, &mut self.archived_rows);
        }
    }

    /// Whether the user has refused this identity key of an account.
    pub(super) fn is_refused(&self, account: AccountId, identity: &PublicKey) -> bool {
        self.peers.get(&account).is_some_and(|peer| peer.refused().any(|key| key == identity))
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

/// The latest time at which a decision can be made, in milliseconds: the year 4199. A clock that is wrong by more than that cannot
/// make later decisions impossible.
const MAX_DECIDED: u64 = 1 << 46;
