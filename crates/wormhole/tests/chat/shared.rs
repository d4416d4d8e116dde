//! What the user decides and sets on one device counts on all, also on one that is linked later.

use std::future::Future;

use wormhole::chat::store::Store;
use wormhole::chat::{AccountId, Client, Event, Options};

use crate::mailbox::Mailbox;
use crate::sync::take;
use crate::world::{Person, World, say, soon};

/// A client whose user is asked about strangers.
async fn open(person: &Person) -> Client {
    let mut options = Options::default();
    options.hold_unknown_senders = true;
    let client = Client::open(person.account(), options).await.unwrap();
    let mut events = client.events();
    soon(async { while events.next().await.unwrap() != Event::UpToDate {} }).await;
    client
}

/// Waits until this is true.
async fn until<F: Future<Output = bool>>(mut is_true: impl FnMut() -> F) {
    soon(async {
        while !is_true().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn blocks(client: &Client, account: AccountId) -> bool {
    client.blocked().await.unwrap().iter().any(|contact| contact.account == account)
}

async fn name(client: &Client, account: AccountId) -> Option<String> {
    let contacts = client.contacts().await.unwrap();
    contacts.into_iter().find(|contact| contact.account == account)?.name
}

async fn is_verified(client: &Client, account: AccountId) -> bool {
    client.safety_number(account).await.is_ok_and(|number| number.is_verified)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_device_learns_what_the_user_has_decided_and_set_before() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550881", 0).await;
    let [bob, carol, dave] = [
        world.register("+14155550882", 1).await,
        world.register("+14155550883", 1).await,
        world.register("+14155550884", 1).await,
    ];
    let (a, b, c, d) =
        (open(&alice).await, bob.open().await, carol.open().await, dave.open().await);
    let [bob_id, carol_id] = [&b, &c].map(|client| client.me().address.account);
    // Bob is verified, Carol blocked; to Dave, Alice has written; and nobody may learn what she reads.
    say(&b, &alice.destination(), "hello").await;
    until(async || a.requests().await.unwrap().len() == 1).await;
    a.accept_request(bob_id).await.unwrap();
    take(&a).await;
    let number = a.safety_number(bob_id).await.unwrap();
    a.verify_safety_number(bob_id, &number.digits).await.unwrap();
    a.block(carol_id).await.unwrap();
    say(&a, &dave.destination(), "hello Dave").await;
    a.set_read_receipts(false).await.unwrap();
    a.set_timer(&dave.destination(), Some(3600)).await.unwrap();
    let dave_id = d.me().address.account;
    a.name_contact(dave_id, Some("Dave".to_owned())).await.unwrap();
    soon(a.close()).await.unwrap();

    let laptop = mailbox.link(&alice, "laptop").await;
    // The new device asks, and the first one is interrupted again and again while it answers.
    let l = open(&laptop).await;
    for _ in 0..3 {
        alice.open().await.close().await.unwrap();
    }
    let a = open(&alice).await;
    until(async || blocks(&l, carol_id).await).await;
    until(async || is_verified(&l, bob_id).await).await;
    until(async || !l.read_receipts().await.unwrap()).await;
    until(async || l.timer(dave_id).await == Ok(Some(3600))).await;
    until(async || name(&l, dave_id).await.as_deref() == Some("Dave")).await;
    // Later names, too, in both directions.
    l.name_contact(dave_id, Some("David".to_owned())).await.unwrap();
    until(async || name(&a, dave_id).await.as_deref() == Some("David")).await;
    a.name_contact(dave_id, None).await.unwrap();
    until(async || name(&l, dave_id).await.is_none()).await;
    // Bob and Dave are no strangers to it.
    for (client, text) in [(&b, "from Bob"), (&d, "from Dave")] {
        say(client, &alice.destination(), text).await;
        assert_eq!(take(&l).await.text.as_deref(), Some(text));
    }
    assert!(l.requests().await.unwrap().is_empty());
    // It asks only once.
    l.close().await.unwrap();
    let l = open(&laptop).await;
    soon(l.synced()).await.unwrap();
    assert_eq!(l.outbox().await.unwrap(), []);
    assert!(blocks(&l, carol_id).await);
    drop(a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_decisions_and_settings_reach_all_devices_and_the_latest_counts() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550885", "+14155550886"]).await;
    let b = bob.open().await;
    let bob_id = b.me().address.account;
    let laptop = mailbox.link(&alice, "laptop").await;
    let (a, l) = (open(&alice).await, open(&laptop).await);
    say(&b, &alice.destination(), "hello").await;
    for client in [&a, &l] {
        until(async || client.requests().await.unwrap().len() == 1).await;
    }
    a.block(bob_id).await.unwrap();
    until(async || blocks(&l, bob_id).await).await;
    l.unblock(bob_id).await.unwrap();
    until(async || !blocks(&a, bob_id).await).await;
    l.set_read_receipts(false).await.unwrap();
    until(async || !a.read_receipts().await.unwrap()).await;
    // A setting that was changed while no client was running is told at the next start.
    a.close().await.unwrap();
    let mut store = Store::open(&alice.folder.0.join("store"), None).unwrap();
    store.set_read_receipts(true).unwrap();
    drop(store);
    let a = open(&alice).await;
    until(async || l.read_receipts().await.unwrap()).await;
    assert!(a.read_receipts().await.unwrap());
}
