//! Written rows are read again, and hidden on the disk.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER as HEX;
use proptest::prelude::*;

use wormhole_chat::group::GroupId;
use wormhole_chat::{DecryptError, DistributionId, Failed, SendFailure, Unreadable};

use super::*;

#[test]
fn what_is_committed_is_there_after_reopening() {
    let folder = Folder::new();
    let mut store = folder.create();
    assert_eq!(store.registration(), Ok(None));
    let contacts = [contact(2), contact(1)];
    let mut commit = row(StoreKey::Session(address(1)), Some(b"session"));
    merge(&mut commit, received(vec![message(1, "one"), message(2, "two")]));
    commit.registration = Some(registration());
    contacts.iter().cloned().for_each(|contact| commit.add_contact(contact));
    commit.settings = setting("colour", b"green").settings;
    assert_eq!(store.commit(&commit), Ok(vec![ReceivedId(1), ReceivedId(2)]));
    drop(store);

    let store = folder.open().unwrap();
    assert_eq!(store.registration(), Ok(Some(registration())));
    assert_eq!(store.contacts().unwrap(), [contacts[1].clone(), contacts[0].clone()]);
    assert_eq!(store.contact(account(2)), Ok(Some(contacts[0].clone())));
    assert_eq!(store.contact(account(3)), Ok(None));
    assert_eq!(store.setting("colour").unwrap().unwrap().as_slice(), b"green");
    assert_eq!(store.setting("other"), Ok(None));
    let rows = store.client_rows().unwrap();
    assert_eq!(rows, [(StoreKey::Session(address(1)), Zeroizing::new(b"session".to_vec()))]);
    assert_eq!(store.received_count(), 2);
    let first = store.received_after(None).unwrap().unwrap();
    assert_eq!(first, (ReceivedId(1), StoredMessage::Read(message(1, "one"))));
    let second = store.received_after(Some(first.0)).unwrap().unwrap();
    assert_eq!(second, (ReceivedId(2), StoredMessage::Read(message(2, "two"))));
    assert_eq!(store.received_after(Some(second.0)), Ok(None));
}

#[test]
fn an_id_of_a_received_message_is_never_used_again() {
    let folder = Folder::new();
    let mut store = folder.create();
    let ids = store.commit(&received(vec![message(1, "one"), message(2, "two")])).unwrap();
    let taken = Commit { taken: ids, ..Commit::default() };
    assert_eq!(store.commit(&taken), Ok(vec![]));
    assert_eq!(store.received_after(None), Ok(None));
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(store.commit(&received(vec![message(3, "three")])), Ok(vec![ReceivedId(3)]));
}

#[test]
fn a_row_that_cannot_be_read_does_not_hide_later_messages() {
    let folder = Folder::new();
    let mut store = folder.create();
    let mut commit = received(vec![message(1, "one"), message(2, "two"), message(3, "three")]);
    commit.received[1].damage();
    store.commit(&commit).unwrap();
    drop(store);
    let store = folder.open().unwrap();
    let why = crate::chat::ReadError::Damaged;
    let damaged = StoredMessage::Unreadable { from: None, timestamp: None, why, more: 0 };
    assert_eq!(store.received_after(Some(ReceivedId(1))), Ok(Some((ReceivedId(2), damaged))));
    let third = StoredMessage::Read(message(3, "three"));
    assert_eq!(store.received_after(Some(ReceivedId(2))), Ok(Some((ReceivedId(3), third))));
}

#[test]
fn messages_that_cannot_be_read_or_sent_are_kept_with_their_reason() {
    let folder = Folder::new();
    let mut store = folder.create();
    let unreadable = Unreadable {
        from: Some(address(1)),
        timestamp: Timestamp(7),
        why: DecryptError::NoSession.into(),
    };
    let Content::Data(data) = message(1, "text").content else { panic!() };
    let content = Zeroizing::new(Content::Data(data).encode().to_vec());
    let why = SendFailure::IntraApp;
    let failed = Failed { timestamp: Timestamp(9), to: account(2), content, why };
    let changes =
        Changes { unreadable: vec![unreadable], failed: vec![failed], ..Changes::default() };
    assert_eq!(store.commit(&commit_of(changes)), Ok(vec![ReceivedId(1)]));
    for _ in 0..2 {
        let (id, message) = store.received_after(None).unwrap().unwrap();
        assert_eq!(id, ReceivedId(1));
        let (from, timestamp) = (Some(address(1)), Some(Timestamp(7)));
        let why = crate::chat::ReadError::MissingKey;
        assert_eq!(message, StoredMessage::Unreadable { from, timestamp, why, more: 0 });
        let failed = store.failed().unwrap();
        assert_eq!((failed.len(), store.failed_count()), (1, 1));
        assert_eq!((failed[0].timestamp, failed[0].to), (Timestamp(9), account(2).into()));
        assert_eq!(failed[0].text.as_deref(), Some("text"));
        assert_eq!(failed[0].why, Some(SendFailure::IntraApp));
        assert_eq!(store.received_bytes(), 28);
        drop(store);
        store = folder.open().unwrap();
    }
    let forgotten = Commit { forgotten: vec![Timestamp(9), Timestamp(9)], ..Commit::default() };
    store.commit(&forgotten).unwrap();
    assert_eq!((store.failed().unwrap().len(), store.failed_count()), (0, 0));
}

#[test]
fn a_name_of_a_setting_that_is_too_long_changes_nothing() {
    let folder = Folder::new();
    let mut store = folder.create();
    let mut commit = setting(&"x".repeat(65), b"value");
    commit.registration = Some(registration());
    assert_eq!(store.commit(&commit), Err(StoreError::SettingNameTooLong));
    assert_eq!(store.registration(), Ok(None));
    drop(store);
    folder.open().unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&setting("colour", b"green")).unwrap();
    assert_eq!(mode(&folder.0), 0o700);
    assert!(folder.files().len() >= 4, "database, log, lock and key file");
    for file in folder.files() {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn no_file_contains_what_was_stored() {
    let folder = Folder::new();
    let mut store = folder.create();
    let mut commit = received(vec![message(1, "a secret text")]);
    commit.registration = Some(registration());
    commit.add_contact(contact(1));
    commit.settings = setting("colour", b"bright green").settings;
    merge(&mut commit, row(StoreKey::Peer(account(7)), Some(b"a private key")));
    store.commit(&commit).unwrap();
    let account = account(7);
    let secrets: [&[u8]; 8] = [
        b"a secret text",
        b"+14155550123",
        b"com.example",
        b"chat.example",
        b"colour",
        b"bright green",
        b"a private key",
        account.as_bytes(),
    ];
    for file in folder.files() {
        let bytes = std::fs::read(file).unwrap();
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{secret:?}");
        }
    }
}

#[test]
fn nothing_secret_is_printed() {
    let folder = Folder::new();
    let store = folder.create();
    let key = HEX.encode(store.master.secret().expose());
    let texts = [
        format!("{store:?}"),
        format!("{:?}", registration()),
        format!("{:?}", Protection::Passphrase("a secret passphrase".to_owned().into())),
    ];
    for text in texts {
        for secret in ["a secret", "+1415", "token", "password\"", &key] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn every_key_of_the_client_is_encoded_without_loss() {
    let public = *KeyPair::random(&mut OsRng).public();
    for key in [
        StoreKey::Account,
        StoreKey::SessionWithoutOneTimePreKey { signed: 1, kem: Some(2), base_key: public },
        StoreKey::SessionWithoutOneTimePreKey { signed: 1, kem: None, base_key: public },
        StoreKey::KemPreKey(3),
        StoreKey::LastWritten,
        StoreKey::OneTimePreKey(3),
        StoreKey::Outgoing(Timestamp(4)),
        StoreKey::Peer(account(5)),
        StoreKey::Session(address(5)),
        StoreKey::SignedPreKey(3),
        StoreKey::Unpublished,
        StoreKey::SignedDeviceList,
        StoreKey::EarlyGroupMessage(6),
        StoreKey::Group(GroupId::from_bytes([7; 16])),
        StoreKey::GroupOutgoing(Timestamp(8)),
        StoreKey::OwnSenderKey(GroupId::from_bytes([9; 16])),
        StoreKey::SenderKey { from: address(5), distribution: DistributionId::from_bytes([1; 16]) },
        StoreKey::ArchivedSession { address: address(5), number: u64::MAX },
        StoreKey::Newest(address(6)),
        StoreKey::Retry { from: address(6), timestamp: Timestamp(5) },
        StoreKey::SentMessage { to: account(6), timestamp: Timestamp(5) },
    ] {
        let bytes = state_key::encode(&key);
        assert_eq!(state_key::decode(&bytes), Ok(key));
        assert_eq!(state_key::decode(&[&bytes[..], &[0]].concat()), Err(StoreError::Damaged));
        assert!(state_key::decode(&bytes[..bytes.len() - 1]).is_err());
    }
    assert_eq!(state_key::decode(&[99]), Err(StoreError::UnknownFormat));
}

/// A step of the property test.
#[derive(Clone, Debug)]
enum Step {
    Set(u8, Option<Vec<u8>>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..300));
    let step = prop_oneof![
        9 => (0_u8..12, value).prop_map(|(key, value)| Step::Set(key, value)),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(proptest::collection::vec(step, 1..6), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_store_holds_what_a_map_would_hold(commits in steps()) {
        let folder = Folder::new();
        let mut store = folder.create();
        let mut map = BTreeMap::new();
        for steps in commits {
            let mut commit = Commit::default();
            for step in &steps {
                let Step::Set(key, value) = step else { continue };
                let key = StoreKey::OneTimePreKey((*key).into());
                merge(&mut commit, row(key, value.as_deref()));
                match value {
                    Some(value) => map.insert(key, value.clone()),
                    None => map.remove(&key),
                };
            }
            store.commit(&commit).unwrap();
            if steps.iter().any(|step| matches!(step, Step::Reopen)) {
                drop(store);
                store = folder.open().unwrap();
            }
            let rows = store.client_rows().unwrap().into_iter();
            let rows = rows.map(|(key, value)| (key, value.to_vec()));
            prop_assert_eq!(rows.collect::<BTreeMap<_, _>>(), map.clone());
        }
    }
}

#[test]
fn the_token_of_the_app_can_be_replaced() {
    let folder = Folder::new();
    let mut store = folder.create();
    let token = "second".parse().unwrap();
    assert_eq!(store.set_token(&token), Ok(false));
    let mut registration = Registration {
        server: "https://chat.example".into(),
        app: None,
        number: "+14155550101".into(),
        password: Zeroizing::new("password".into()),
        registration_id: 1,
        account: Some(address(1)),
    };
    for app in [None, Some("com.example.one")] {
        let first = Zeroizing::new("first".to_owned());
        registration.app = app.map(|name| App { name: name.to_owned(), token: first });
        let stored = Some(registration.clone());
        store.commit(&Commit { registration: stored, ..Commit::default() }).unwrap();
        assert_eq!(store.set_token(&token), Ok(app.is_some()));
    }
    let token = Zeroizing::new("second".to_owned());
    let app = Some(App { name: "com.example.one".to_owned(), token });
    let expected = Registration { app, ..registration };
    drop(store);
    assert!(folder.open().unwrap().registration().unwrap() == Some(expected));
}
