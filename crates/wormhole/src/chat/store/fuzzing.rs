//! The fuzz target for what the store reads from its file.
//!
//! It exists only with the feature `fuzzing` and is not part of the public interface.

#![expect(clippy::expect_used, reason = "a panic is how a fuzz target reports an error")]

use rand_core::OsRng;

use super::master::{Cost, KeyFile, MasterKey, Passphrase, WrappedKey, Wrapping};
use super::records::{Contact, Registration};
use super::sealing::{RowKeys, Table};
use super::seen::Seen;
use super::{StoreError, StoredMessage, history, items, state_key};

/// The file of a store: a wrapped key, a sealed row, and rows that are opened because they are sealed correctly.
pub fn sdk_chat_store(bytes: &[u8]) {
    wrapped_key(bytes);
    let keys = RowKeys::derive(&MasterKey::random(&mut OsRng));
    let opened = keys.open(Table::Client, &[7; 32], bytes);
    assert!(opened.is_err(), "nobody knows the key");

    let (key, value) = bytes.split_at(bytes.len().min(40));
    let (id, sealed) = keys.seal(Table::Client, key, value).expect("a short key");
    let (same_key, same_value) = keys.open(Table::Client, &id, &sealed).expect("our own row");
    assert_eq!((same_key.as_slice(), same_value.as_slice()), (key, value));
    values(bytes);
}

fn wrapped_key(bytes: &[u8]) {
    let Ok(wrapped) = WrappedKey::decode(bytes) else { return };
    assert_eq!(wrapped.encode(), bytes);
    let is_cheap = matches!(wrapped.wrapping(), Wrapping::Passphrase { cost: Cost::LEAST, .. });
    if is_cheap {
        let opened = wrapped.open_with_passphrase(&Passphrase::from("wrong".to_owned()));
        assert!(opened.is_err_and(|error| error == StoreError::WrongPassphrase));
    }
    assert!(wrapped.key_file().is_none() || wrapped.keyring_key().is_none());
    if let Some(id) = wrapped.key_file() {
        let file = KeyFile::random(id, &mut OsRng);
        assert!(wrapped.open_with_file(&file).is_err());
    }
}

fn values(bytes: &[u8]) {
    if let Ok(key) = state_key::decode(bytes) {
        assert_eq!(state_key::encode(&key), bytes);
    }
    if let Ok(registration) = Registration::decode(bytes) {
        assert_eq!(registration.encode().as_slice(), bytes);
    }
    if let Ok(contact) = Contact::decode(&[7; 16], bytes) {
        assert_eq!(contact.encode().as_slice(), bytes);
    }
    if let Ok(StoredMessage::Read(message)) = items::decode_received(bytes) {
        let again = items::decode_received(&items::encode_received(&message));
        assert_eq!(again, Ok(StoredMessage::Read(message)));
    }
    let _ = items::decode_failed(&[7; 8], bytes);
    history::fuzz(bytes);
    let _ = Seen::default().restore(&[1; 21], bytes, &Default::default());
}
