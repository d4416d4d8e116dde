//! Identity keys of other accounts: safety numbers, and accepting a new key.

use tokio::sync::oneshot;
use wormhole_chat::{AccountId, Fingerprint, PublicKey, safety_number};

use super::Client;
use crate::chat::error::IdentityError;
use crate::chat::message::SafetyNumber;

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
            Some((*driver.core().identity(), identity, verified))
        });
        let (our_key, identity, verified) = keys.await?.ok_or(IdentityError::Unknown)?;
        let key = identity.changed.unwrap_or(identity.accepted);
        Ok(SafetyNumber {
            digits: safety_number(&fingerprint(ours, &our_key), &fingerprint(account, &key)),
            key,
            is_verified: verified == Some(key),
            is_new: identity.changed.is_some(),
        })
    }

    /// Compares the digits that the other person sees with ours, and remembers that they are equal. Spaces are ignored. A
    /// new identity key must still be accepted.
    ///
    /// # Errors
    /// `Mismatch` if they differ: warn the user.
    pub async fn verify_safety_number(
        &self,
        account: AccountId,
        digits: &str,
    ) -> Result<(), IdentityError> {
        let ours = self.safety_number(account).await?;
        let theirs: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
        if theirs != ours.digits {
            return Err(IdentityError::Mismatch);
        }
        Ok(self.edit(account, move |contact| contact.verified = Some(ours.key)).await?)
    }

    /// Accepts the new identity key of an account. Messages that have waited for this are sent.
    ///
    /// # Errors
    /// The account has another key now, or the client has ended.
    pub async fn accept_identity(
        &self,
        account: AccountId,
        key: PublicKey,
    ) -> Result<(), IdentityError> {
        let (durable, committed) = oneshot::channel();
        let accepted = self.query(move |driver| driver.accept(account, key, durable)).await?;
        committed.await.map_err(|_| self.ended())?;
        if accepted { Ok(()) } else { Err(IdentityError::NotCurrent) }
    }
}

/// One side of a safety number. The name makes it different from those of other services.
fn fingerprint(account: AccountId, key: &PublicKey) -> Fingerprint {
    Fingerprint::new(format!("wormhole:{account}").as_bytes(), key)
}
