//! Identity keys of other accounts: safety numbers, and accepting a new key.

use tokio::sync::oneshot;
use wormhole_chat::{AccountId, Fingerprint, PublicKey, safety_number};

use super::Client;
use crate::chat::driver::IdentityDecision;
use crate::chat::error::IdentityError;
use crate::chat::message::{AcceptedNumber, RefusedNumber, SafetyNumber};

impl Client {
    /// The safety number that we share with an account. If the account has a new identity key, it is that of the new key.
    ///
    /// # Errors
    /// We have not exchanged messages with the account, or the client has ended.
    pub async fn safety_number(&self, account: AccountId) -> Result<SafetyNumber, IdentityError> {
        let ours = self.me.address.account;
        let keys = self.query(move |driver| {
            let identity = driver.core().identity_of(account)?;
            let verified = driver.contacts().get(account).and_then(|contact| contact.verified);
            let refused = driver.core().refused_identities(account);
            Some((*driver.core().identity(), identity, verified, refused))
        });
        let (our_key, identity, verified, refused) = keys.await?.ok_or(IdentityError::Unknown)?;
        let digits = |key: &PublicKey| {
            safety_number(&fingerprint(ours, &our_key), &fingerprint(account, key))
        };
        let accepted = identity.changed.map(|_| AcceptedNumber {
            digits: digits(&identity.accepted),
            key: identity.accepted,
            is_verified: verified == Some(identity.accepted),
        });
        let refused =
            refused.into_iter().map(|key| RefusedNumber { digits: digits(&key), key }).collect();
        let key = identity.changed.unwrap_or(identity.accepted);
        Ok(SafetyNumber {
            digits: digits(&key),
            key,
            is_verified: verified == Some(key),
            is_new: identity.changed.is_some(),
            accepted,
            refused,
        })
    }

    /// Compares the digits or [words](SafetyNumber::words) that the other person sees with ours, and remembers that they are equal.
    /// Spaces are ignored. A new identity key must still be accepted.
    ///
    /// # Errors
    /// `Mismatch` if they differ: warn the user. `NewKeyNotTheirs` if the account has a new key, but the other person has the
    /// accepted one: [refuse](Self::refuse_identity) the new key. `Refused` if the other person has a key that was refused.
    pub async fn verify_safety_number(
        &self,
        account: AccountId,
        digits: &str,
    ) -> Result<(), IdentityError> {
        let ours = self.safety_number(account).await?;
        let theirs = SafetyNumber::digits_of(digits).ok_or(IdentityError::Mismatch)?;
        if ours.accepted.is_some_and(|accepted| theirs == accepted.digits) {
            return Err(IdentityError::NewKeyNotTheirs);
        }
        if let Some(refused) = ours.refused.iter().find(|refused| refused.digits == theirs) {
            return Err(IdentityError::Refused(refused.key));
        }
        if theirs != ours.digits {
            return Err(IdentityError::Mismatch);
        }
        Ok(self.edit_contact(account, move |contact| contact.verified = Some(ours.key)).await?)
    }

    /// Accepts the new identity key of an account, or one that was refused. Messages that have waited for this are sent.
    ///
    /// # Errors
    /// The account has another key now, or the client has ended.
    pub async fn accept_identity(
        &self,
        account: AccountId,
        key: PublicKey,
    ) -> Result<(), IdentityError> {
        self.decide(account, key, IdentityDecision::Accept).await
    }

    /// Refuses the new identity key of an account, and keeps the accepted one. Messages that have waited for this are sent
    /// with the accepted key; they fail while the server names the refused one. Messages with the refused key are not read any
    /// more.
    ///
    /// If the returned future is dropped, the key may be refused or not; so with
    /// [`accept_identity`](Self::accept_identity). Both can be called again with the same key.
    ///
    /// # Errors
    /// The account has another new key now or none, or the client has ended.
    pub async fn refuse_identity(
        &self,
        account: AccountId,
        key: PublicKey,
    ) -> Result<(), IdentityError> {
        self.decide(account, key, IdentityDecision::Refuse).await
    }

    async fn decide(
        &self,
        account: AccountId,
        key: PublicKey,
        decision: IdentityDecision,
    ) -> Result<(), IdentityError> {
        let (durable, committed) = oneshot::channel();
        let decided = self.query(move |driver| driver.decide(account, key, decision, durable));
        let is_possible = decided.await?;
        if committed.await.is_err() {
            return Err(self.wait_for_end().await.into());
        }
        if is_possible { Ok(()) } else { Err(IdentityError::NotCurrent) }
    }
}

/// One side of a safety number. The name makes it different from those of other services.
fn fingerprint(account: AccountId, key: &PublicKey) -> Fingerprint {
    Fingerprint::new(format!("wormhole:{account}").as_bytes(), key)
}
