//! The stored data about an account: its identity keys, and the user's decisions about them.
//!
//! The user decides on several devices, and the server may deliver the messages about it in any order. So each decision has a time,
//! and the same decisions lead to the same keys on all devices, whatever their order.

use wormhole_kit::Reader;

use super::store::{Changes, RestoreError, StoreKey, read_flag, read_key, read_time};
use crate::address::AccountId;
use crate::content::{IdentityChoice, IdentitySync};
use crate::key::PublicKey;
use crate::time::Timestamp;

/// Information about an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Peer {
    /// The first identity key that we saw, or the one that the latest decision says.
    pub(super) identity: PublicKey,
    /// A different key that was seen since, and about which the user has to decide.
    pub(super) changed: Option<PublicKey>,
    /// When the latest decision was made, 0 without a decision; and whether it was a refusal, which counts more at the same time.
    decided: (Timestamp, bool),
    /// The latest decision about each key, the latest first.
    verdicts: Vec<Verdict>,
    /// Whether a device with the accepted key ever had a post-quantum prekey: then every device must have one.
    pub(super) had_post_quantum: bool,
    /// When we last heard from an account that the user does not know: we never wrote to it. `None` for others.
    pub(super) stranger: Option<Timestamp>,
}

/// The user's decision about one identity key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Verdict {
    key: PublicKey,
    decided: Timestamp,
    is_refused: bool,
}

impl Peer {
    pub(super) fn new(identity: PublicKey) -> Self {
        Self {
            identity,
            changed: None,
            decided: (Timestamp(0), false),
            verdicts: Vec::new(),
            had_post_quantum: false,
            stranger: None,
        }
    }

    /// The keys that the user has refused, the latest first.
    pub(super) fn refused(&self) -> impl Iterator<Item = &PublicKey> {
        let refused = self.verdicts.iter().filter(|verdict| verdict.is_refused);
        refused.map(|verdict| &verdict.key).filter(|key| **key != self.identity)
    }

    /// Whether the user has decided about a key of this account.
    pub(super) const fn has_decisions(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// When the latest decision was made; 0 without a decision.
    pub(super) const fn last_decision(&self) -> Timestamp {
        self.decided.0
    }

    /// The decisions about the keys of this account.
    pub(super) fn decisions(&self, account: AccountId) -> impl Iterator<Item = IdentitySync> {
        let kept = self.identity;
        self.verdicts.iter().map(move |&Verdict { key, decided, is_refused }| {
            let is_refused = is_refused && key != kept;
            let refused = IdentityChoice::Refused { kept };
            let decision = if is_refused { refused } else { IdentityChoice::Accepted };
            IdentitySync { account, key, decision, decided }
        })
    }

    /// Applies a decision: the latest one about each key counts, and the latest one of all says which key is accepted.
    pub(super) fn decide(&mut self, decision: &IdentitySync) {
        let IdentitySync { key, decision, decided, account: _ } = *decision;
        let (accepted, is_refused) = match decision {
            IdentityChoice::Accepted | IdentityChoice::Verified => (key, false),
            IdentityChoice::Refused { kept } => (kept, kept != key),
        };
        self.add(Verdict { key, decided, is_refused });
        if is_refused {
            self.add(Verdict { key: accepted, decided, is_refused: false });
        }
        let (latest, was_refusal) = self.decided;
        let current = (latest, was_refusal, *self.identity.as_u());
        if (decided, is_refused, *accepted.as_u()) > current {
            self.identity = accepted;
            self.decided = (decided, is_refused);
        }
        let is_open = |changed: &PublicKey| {
            *changed != self.identity && !self.verdicts.iter().any(|it| it.key == *changed)
        };
        self.changed = self.changed.filter(is_open);
    }

    fn add(&mut self, verdict: Verdict) {
        let order = |verdict: &Verdict| (verdict.decided, verdict.is_refused);
        match self.verdicts.iter_mut().find(|known| known.key == verdict.key) {
            Some(known) if order(known) < order(&verdict) => *known = verdict,
            Some(_) => {}
            None => self.verdicts.push(verdict),
        }
        self.verdicts.sort_unstable_by_key(|it| std::cmp::Reverse((it.decided, *it.key.as_u())));
        self.verdicts.truncate(MAX_VERDICTS);
    }

    /// Reads the value of a row.
    pub(super) fn decode(value: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut peer = Self::new(read_key(value)?);
        peer.had_post_quantum = read_flag(value)?;
        let has_changed = read_flag(value)?;
        let verdicts = value.u8()?;
        peer.decided = (read_time(value)?, read_flag(value)?);
        peer.changed = if has_changed { Some(read_key(value)?) } else { None };
        for _ in 0..verdicts {
            let (key, decided) = (read_key(value)?, read_time(value)?);
            peer.verdicts.push(Verdict { key, decided, is_refused: read_flag(value)? });
        }
        peer.stranger = if value.is_empty() { None } else { Some(read_time(value)?) };
        Ok(peer)
    }
}

impl Changes {
    pub(super) fn put_peer(&mut self, account: AccountId, peer: &Peer) {
        let mut value = peer.identity.as_u().to_vec();
        value.push(peer.had_post_quantum.into());
        value.push(peer.changed.is_some().into());
        value.push(u8::try_from(peer.verdicts.len()).unwrap_or(u8::MAX));
        value.extend(peer.decided.0.0.to_be_bytes());
        value.push(peer.decided.1.into());
        value.extend(peer.changed.iter().flat_map(|key| *key.as_u()));
        for verdict in &peer.verdicts {
            value.extend(verdict.key.as_u());
            value.extend(verdict.decided.0.to_be_bytes());
            value.push(verdict.is_refused.into());
        }
        value.extend(peer.stranger.into_iter().flat_map(|heard| heard.0.to_be_bytes()));
        self.put(StoreKey::Peer(account), value);
    }
}

/// Maximum number of identity keys of one account about which decisions are remembered; the oldest is dropped first. The latest
/// decision is never dropped, so an older one cannot undo it.
const MAX_VERDICTS: usize = 16;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng};

    use super::*;
    use crate::key::KeyPair;

    const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

    fn random_decision(keys: &[PublicKey], rng: &mut ChaCha8Rng) -> IdentitySync {
        let mut pick = || keys[usize::try_from(rng.next_u32() % 4).unwrap()];
        let (key, kept) = (pick(), pick());
        let decision = match rng.next_u32() % 2 {
            0 => IdentityChoice::Accepted,
            _ => IdentityChoice::Refused { kept },
        };
        // Few times, so that many decisions are made at the same moment.
        let decided = Timestamp(u64::from(rng.next_u32() % 4) + 1);
        IdentitySync { account: ACCOUNT, key, decision, decided }
    }

    #[test]
    fn attack_6_the_same_decisions_lead_to_the_same_keys_in_any_order() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let keys: Vec<_> = (0..4).map(|_| *KeyPair::random(&mut rng).public()).collect();
        for _ in 0..500 {
            let decisions: Vec<_> = (0..5).map(|_| random_decision(&keys, &mut rng)).collect();
            let mut devices = [Peer::new(keys[0]), Peer::new(keys[1])];
            decisions.iter().for_each(|decision| devices[0].decide(decision));
            let mut rest = decisions.clone();
            while !rest.is_empty() {
                let next = usize::try_from(rng.next_u32()).unwrap() % rest.len();
                let decision = rest.swap_remove(next);
                devices[1].decide(&decision);
                // Some arrive twice.
                devices[1].decide(&decision);
            }
            assert_eq!(devices[0], devices[1], "{decisions:?}");
            assert!(!devices[0].refused().any(|key| *key == devices[0].identity));
            let mut changes = Changes::default();
            changes.put_peer(ACCOUNT, &devices[0]);
            let row = changes.rows[0].1.as_deref().unwrap();
            assert_eq!(Peer::decode(&mut Reader::new(row)).unwrap(), devices[0]);
            // A new device, which is told what this one knows, ends with the same keys.
            let mut new = Peer::new(keys[2]);
            devices[0].decisions(ACCOUNT).for_each(|decision| new.decide(&decision));
            assert_eq!(new.identity, devices[0].identity, "{decisions:?}");
            assert!(new.refused().eq(devices[0].refused()), "{decisions:?}");
        }
    }
}
