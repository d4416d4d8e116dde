//! Sessions that others started without one of our one-time prekeys. They are remembered, because their first messages could
//! otherwise be replayed.

use std::collections::BTreeMap;

use crate::address::AccountId;
use crate::key::PublicKey;

/// The post-quantum prekey of a session, and the initiator's base key.
pub(super) type SessionName = (Option<u32>, PublicKey);

/// The sessions that started with one signed prekey and without a one-time prekey.
#[derive(Debug, Default)]
pub(super) struct RememberedSessions {
    /// With the account that started each one. `None`: an earlier version of this program did not store it.
    sessions: BTreeMap<SessionName, Option<AccountId>>,
    /// Number of sessions that each account started.
    by_account: BTreeMap<AccountId, usize>,
}

impl RememberedSessions {
    /// Number of sessions.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn contains(&self, session: &SessionName) -> bool {
        self.sessions.contains_key(session)
    }

    /// Whether another session of this account can be remembered. None is forgotten in favour of another, or its first
    /// message could be replayed. Each account has a share, so that one cannot keep all others from starting sessions.
    pub(super) fn has_room(&self, account: AccountId) -> bool {
        let of_account = self.by_account.get(&account).copied().unwrap_or_default();
        self.sessions.len() < MAX_SESSIONS && of_account < MAX_OF_ACCOUNT
    }

    /// Whether the signed prekey should be replaced soon, because few more sessions can be remembered.
    pub(super) fn is_filling(&self) -> bool {
        self.sessions.len() >= MAX_SESSIONS / 4 * 3
    }

    /// Remembers a session.
    pub(super) fn insert(&mut self, session: SessionName, account: Option<AccountId>) {
        let is_new = self.sessions.insert(session, account).is_none();
        if let Some(account) = account.filter(|_| is_new) {
            *self.by_account.entry(account).or_default() += 1;
        }
    }

    /// All sessions.
    pub(super) fn into_names(self) -> impl Iterator<Item = SessionName> {
        self.sessions.into_keys()
    }
}

/// Maximum number of remembered sessions that started with the same signed prekey.
const MAX_SESSIONS: usize = 20_000;

/// Maximum number of those that one account started.
const MAX_OF_ACCOUNT: usize = 100;
