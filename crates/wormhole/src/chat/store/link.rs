//! A link to an account that the server may have accepted, while its answer is not in the store.

use std::fmt;

use wormhole_chat::{AccountId, KeyPair, PrivateKey, ProfileKey};
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::records::{FORMAT, Registration, end, put_text, read_bytes, read_text, start};
use super::{Commit, Store, StoreError};
use crate::chat::profile::profile_key;

/// The data with which a new device repeats its request to be linked. `Debug` shows no secrets.
#[derive(Clone)]
pub(in crate::chat) struct PendingLink {
    /// Its account is missing.
    pub(in crate::chat) registration: Registration,
    pub(in crate::chat) account: AccountId,
    /// The identity key of the account.
    pub(in crate::chat) identity: KeyPair,
    /// The code with which the server accepts the device.
    pub(in crate::chat) code: Zeroizing<String>,
    /// The encrypted name of the device; empty if it has no name.
    pub(in crate::chat) sealed_name: Vec<u8>,
    /// The profile key of the account, if the primary device has one.
    pub(in crate::chat) profile_key: Option<ProfileKey>,
}

impl fmt::Debug for PendingLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PendingLink");
        shown.field("registration", &self.registration).finish_non_exhaustive()
    }
}

impl PendingLink {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let registration = self.registration.encode();
        let length = registration.len() + self.code.len() + self.sealed_name.len() + 128;
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let mut value = Zeroizing::new(Vec::with_capacity(length));
        value.push(FORMAT);
        put_bytes(&mut value, &registration);
        value.extend(self.account.as_bytes());
        value.extend(self.identity.private().as_secret().expose());
        put_text(&mut value, &self.code);
        put_bytes(&mut value, &self.sealed_name);
        value.extend(self.profile_key.iter().flat_map(|key| *key.as_secret().expose()));
        value
    }

    fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = start(value)?;
        let registration = Registration::decode(read_bytes(&mut reader)?)?;
        let account = AccountId::from_bytes(reader.array()?);
        let identity = read_pair(&mut reader)?;
        let code = Zeroizing::new(read_text(&mut reader)?);
        let sealed_name = read_bytes(&mut reader)?.to_vec();
        // Earlier versions of this program stored no profile key.
        let profile_key = match reader.is_empty() {
            true => None,
            false => Some(profile_key(*Zeroizing::new(reader.array()?))),
        };
        let link = Self { registration, account, identity, code, sealed_name, profile_key };
        end(&reader, link)
    }
}

impl Store {
    pub(in crate::chat) fn pending_link(&self) -> Result<Option<PendingLink>, StoreError> {
        self.setting(PENDING_LINK)?.map(|value| PendingLink::decode(&value)).transpose()
    }

    /// Replaces an earlier one.
    pub(in crate::chat) fn set_pending_link(
        &mut self,
        link: &PendingLink,
    ) -> Result<(), StoreError> {
        let settings = vec![(PENDING_LINK.to_owned(), Some(link.encode()))];
        self.commit(&Commit { settings, ..Commit::default() }).map(drop)
    }

    pub(in crate::chat) fn forget_link(&mut self) -> Result<(), StoreError> {
        self.set_setting(PENDING_LINK, None)
    }
}

impl Commit {
    /// Removes the link that waits: this device has an account.
    pub(in crate::chat) fn forget_link(&mut self) {
        self.settings.push((PENDING_LINK.to_owned(), None));
    }
}

fn put_bytes(value: &mut Vec<u8>, bytes: &[u8]) {
    // The values here are far shorter than 4 GiB.
    value.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    value.extend(bytes);
}

fn read_pair(reader: &mut Reader<'_>) -> Result<KeyPair, StoreError> {
    let secret = Secret::new(*Zeroizing::new(reader.array()?));
    Ok(PrivateKey::from_secret(&secret).into())
}

/// The setting with it. Settings of applications have other names.
const PENDING_LINK: &str = "wormhole.link";

#[cfg(test)]
mod tests {
    use rand_core::OsRng;

    use super::super::records::App;
    use super::*;

    #[test]
    fn a_pending_link_is_read_as_it_was_written_and_not_printed() {
        let link = PendingLink {
            registration: Registration {
                server: "https://a.b".to_owned(),
                app: Some(App {
                    name: "com.one".to_owned(),
                    token: Zeroizing::new("secret token".to_owned()),
                }),
                number: "+14155550101".to_owned(),
                password: Zeroizing::new("secret password".to_owned()),
                registration_id: 7,
                account: None,
            },
            account: AccountId::from_bytes([7; 16]),
            identity: KeyPair::random(&mut OsRng),
            code: Zeroizing::new("secret code".to_owned()),
            sealed_name: vec![1, 2, 3],
            profile_key: Some(profile_key([9; 32])),
        };
        let encoded = link.encode();
        let read = PendingLink::decode(&encoded).unwrap();
        assert!(read.registration == link.registration && read.account == link.account);
        assert_eq!((&read.identity, &read.code), (&link.identity, &link.code));
        assert_eq!(read.sealed_name, link.sealed_name);
        // Without the profile key, it is one of an earlier version.
        for length in (0..encoded.len()).filter(|length| *length != encoded.len() - 32) {
            assert!(PendingLink::decode(&encoded[..length]).is_err(), "{length}");
        }
        let printed = format!("{link:?}");
        assert!(!printed.contains("secret") && !printed.contains("+1415"), "{printed}");
    }
}
