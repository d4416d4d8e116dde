//! Clients whose server cannot be reached.

use std::path::PathBuf;

use rand_core::{OsRng, RngCore as _};
use tokio::time::timeout;
use wormhole_chat::{Address, ClientOutput, DeviceId, Identity, KeyPair};
use zeroize::Zeroizing;

use super::*;
use crate::chat::account::now;
use crate::chat::error::NotStored;
use crate::chat::message::{CancelOutcome, Connection, Event};
use crate::chat::store::{Commit, Protection, Registration, Store, StoreError};
use crate::chat::{Network, RequestError};

/// A directory that is removed with this value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A registered account whose server does not exist.
fn account() -> (Folder, Account) {
    let path = std::env::temp_dir().join(format!("wormhole-client-{:016x}", OsRng.next_u64()));
    let mut store = Store::create(&path, &Protection::KeyFile).unwrap();
    let id = AccountId::from_bytes([9; 16]);
    let address = Address { account: id, device: DeviceId::PRIMARY };
    let registration = Registration {
        server: "http://127.0.0.1:1".into(),
        app: None,
        number: "+14155550123".into(),
        password: Zeroizing::new("password".into()),
        registration_id: 1,
        account: Some(address),
    };
    let mut commit = Commit { registration: Some(registration), ..Commit::default() };
    let identity = Identity { pair: KeyPair::random(&mut OsRng), registration_id: 1 };
    let mut core = Core::new(address, identity, now(), &mut OsRng);
    while let Some(output) = core.poll() {
        if let ClientOutput::Commit(_, changes) = output {
            commit.add(changes);
        }
    }
    store.commit(&commit).unwrap();
    (Folder(path), Account::new(store, Network::default()))
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.unwrap()
}

#[tokio::test]
async fn a_panic_of_the_task_ends_all_handles() {
    let (_folder, account) = account();
    let client = Client::open(account, Options::default()).await.unwrap();
    let mut messages = client.messages();
    let panicked = client.query(|_| assert_eq!(1, 2, "a defect"));
    assert_eq!(soon(panicked).await, Err(Ended::Failed));
    soon(async { while messages.next().await != Err(Ended::Failed) {} }).await;
    assert_eq!(soon(client.outbox()).await, Err(Ended::Failed));
    assert_eq!(soon(client.close()).await.map(drop), Err(Ended::Failed));
}

#[tokio::test]
async fn the_store_is_free_when_the_closed_account_is_dropped() {
    let (folder, mut account) = account();
    for _ in 0..20 {
        let client = Client::open(account, Options::default()).await.unwrap();
        let busy = (0..4).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { while client.note(ReceivedId(1)).await.is_ok() {} })
        });
        let busy: Vec<_> = busy.collect();
        client.name_contact(AccountId::from_bytes([7; 16]), None).await.unwrap();
        let other = client.clone();
        let closed = soon(client.close()).await.unwrap();
        assert_eq!(soon(other.close()).await.map(drop), Err(Ended::Closed));
        // It is still locked, until it is dropped.
        assert_eq!(Store::open(&folder.0, None).map(drop), Err(StoreError::InUse));
        drop(closed);
        let store = Store::open(&folder.0, None).unwrap();
        account = Account::new(store, Network::default());
        for handle in busy {
            soon(handle).await.unwrap();
        }
    }
    // It can also be opened again at once.
    let client = Client::open(account, Options::default()).await.unwrap();
    let account = soon(client.close()).await.unwrap();
    Client::open(account, Options::default()).await.unwrap();
}

#[tokio::test]
async fn settings_and_protection_can_be_changed_while_the_client_runs() {
    let (folder, account) = account();
    let client = Client::open(account, Options::default()).await.unwrap();
    assert_eq!(client.setting("colour").await, Ok(None));
    client.set_setting("colour", Some(b"green")).await.unwrap();
    assert_eq!(client.setting("colour").await.unwrap().unwrap().as_slice(), b"green");
    let long = "x".repeat(65);
    let refused = Err(NotStored::Store(StoreError::SettingNameTooLong));
    assert_eq!(client.set_setting(&long, Some(b"")).await, refused);
    let refused = Err(NotStored::Store(StoreError::NoteTooLong));
    assert_eq!(client.set_note(ReceivedId(1), vec![0; (1 << 20) + 1]).await, refused);
    client.set_protection(Protection::Passphrase(String::from("secret").into())).await.unwrap();
    // It runs on.
    client.set_setting("size", Some(b"large")).await.unwrap();
    client.set_setting("colour", None).await.unwrap();
    drop(client.close().await.unwrap());
    assert_eq!(Store::open(&folder.0, None).map(drop), Err(StoreError::PassphraseNeeded));
    let store = Store::open(&folder.0, Some(&String::from("secret").into())).unwrap();
    let stored = [store.setting("colour"), store.setting("size")];
    assert_eq!(stored, [Ok(None), Ok(Some(Zeroizing::new(b"large".to_vec())))]);
    let client = Client::open(Account::new(store, Network::default()), Options::default()).await;
    client.unwrap().set_protection(Protection::KeyFile).await.unwrap();
}

#[tokio::test]
async fn all_who_wait_learn_that_the_store_has_failed() {
    let (folder, account) = account();
    let client = Client::open(account, Options::default()).await.unwrap();
    let bob = AccountId::from_bytes([7; 16]);
    client.name_contact(bob, Some("Bob".to_owned())).await.unwrap();
    let database = rusqlite::Connection::open(folder.0.join("store.sqlite")).unwrap();
    database.execute("DROP TABLE rows", []).unwrap();
    let to = Destination::Account(bob);
    let (sent, named) = soon(async {
        let sent = client.send(&to, Message::text("hello"));
        tokio::join!(sent, client.name_contact(bob, None))
    })
    .await;
    let is_store = |ended: &Ended| matches!(ended, Ended::Store(_));
    assert!(matches!(&sent, Err(QueueError::Ended(ended)) if is_store(ended)), "{sent:?}");
    assert!(named.as_ref().is_err_and(is_store), "{named:?}");
    let (note, failed) = (client.note(ReceivedId(1)).await, client.failed().await);
    assert!(note.is_err_and(|ended| is_store(&ended)) && failed.is_err_and(|it| is_store(&it)));
    let event = client.events().next().await;
    assert!(event.as_ref().is_err_and(is_store), "{event:?}");
    let next = client.messages().next().await;
    assert!(next.as_ref().is_err_and(is_store), "{next:?}");
}

#[tokio::test]
async fn the_stream_of_messages_keeps_the_client_running() {
    let (_folder, account) = account();
    let client = Client::open(account, Options::default()).await.unwrap();
    assert_eq!(client.connection(), Connection::Connecting);
    let mut messages = client.messages();
    drop(client);
    let event = soon(messages.next()).await;
    assert!(matches!(event, Ok(Event::Disconnected(RequestError::Connection(_)))), "{event:?}");
}

#[tokio::test]
async fn a_message_can_be_cancelled_without_a_connection() {
    let (folder, account) = account();
    let client = Client::open(account, Options::default()).await.unwrap();
    let bob = AccountId::from_bytes([7; 16]);
    client.name_contact(bob, Some("Bob".to_owned())).await.unwrap();
    let to = Destination::Account(bob);
    let sent = client.send(&to, Message::text("hello")).await.unwrap().timestamp();
    let other = client.send(&to, Message::text("stays")).await.unwrap().timestamp();
    drop(soon(client.close()).await.unwrap());

    let account = Account::new(Store::open(&folder.0, None).unwrap(), Network::default());
    let outbox = account.outbox().await.unwrap();
    let texts: Vec<_> = outbox.iter().map(|message| message.text.as_deref()).collect();
    assert_eq!(texts, [Some("hello"), Some("stays")]);
    assert!(outbox.iter().all(|message| message.to == bob.into() && message.files.is_empty()));
    assert_eq!(account.contacts().await.unwrap()[0].name.as_deref(), Some("Bob"));
    assert_eq!(account.cancel(sent).await, Ok(CancelOutcome::Cancelled));
    assert_eq!(account.cancel(sent).await, Ok(CancelOutcome::NotWaiting));
    let client = Client::open(account, Options::default()).await.unwrap();
    let left: Vec<_> = client.outbox().await.unwrap().iter().map(|it| it.timestamp).collect();
    assert_eq!(left, [other]);
}
