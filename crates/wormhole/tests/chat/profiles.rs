//! Profiles, and messages whose sender the server does not learn.

use rusqlite::Connection;
use wormhole::chat::{
    Client, Contact, DeliveryError, Event, Message, ProfileChange, ProfileError, Progress,
    RequestError,
};

use crate::mailbox::Mailbox;
use crate::world::{World, next_event, next_message, say, soon};

/// Waits until the server has the profile and the access key of a person.
async fn published(client: &Client) {
    soon(async {
        while !client.profile().await.unwrap().is_some_and(|profile| profile.is_published) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn named(name: &str) -> ProfileChange {
    ProfileChange { name: Some(name.to_owned()), ..ProfileChange::default() }
}

/// What a client knows of another person.
async fn contact(client: &Client, of: &Client) -> Contact {
    let account = of.me().address.account;
    let contacts = client.contacts().await.unwrap();
    contacts.into_iter().find(|contact| contact.account == account).unwrap()
}

/// Waits until a client knows this name from the profile of another person.
async fn knows(client: &Client, of: &Client, name: Option<&str>) {
    soon(async {
        loop {
            let known = contact(client, of).await;
            let known = known.profile.and_then(|profile| profile.name);
            if known.as_deref() == name {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Receives a text, and removes it from the store.
async fn receive(client: &Client, text: &str) {
    let message = next_message(&mut client.messages()).await;
    assert_eq!(message.text.as_deref(), Some(text));
    client.done(message.id).await.unwrap();
}

/// The kinds and the senders of the messages that wait at the server, as it knows them.
fn at_the_server(world: &World) -> Vec<(u32, String)> {
    let database = Connection::open(world.database()).unwrap();
    let sql = "SELECT kind, source_number FROM messages WHERE kind != 5 ORDER BY position";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

const SEALED: u32 = 6;

#[tokio::test]
async fn a_profile_is_shared_with_the_first_message_and_shown_to_the_other_person() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155551001", "+14155551002"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let change = ProfileChange { about: Some("I am here".into()), ..named("Alice\u{202e}\0Smith") };
    let own = a.set_profile(change).await.unwrap();
    assert!(own.is_published && !own.has_picture);
    let error = b.profile_of(a.me().address.account).await;
    assert_eq!(error.err(), Some(ProfileError::NotShared));
    say(&a, &bob.destination(), "hello").await;
    receive(&b, "hello").await;
    knows(&b, &a, Some("Alice Smith")).await;
    let profile = b.profile_of(a.me().address.account).await.unwrap();
    assert_eq!(profile.about.as_deref(), Some("I am here"));
    assert_eq!(b.picture_of(a.me().address.account).await.unwrap(), None);
    // A changed name arrives with a later look, also after a restart. The own name for her stays.
    a.set_profile(ProfileChange { picture: Some(vec![1, 2, 0]), ..named("Al") }).await.unwrap();
    drop(b.close().await.unwrap());
    let b = bob.open().await;
    b.name_contact(a.me().address.account, Some("My Alice".into())).await.unwrap();
    let profile = b.profile_of(a.me().address.account).await.unwrap();
    assert_eq!(profile.name.as_deref(), Some("Al"));
    let picture = b.picture_of(a.me().address.account).await.unwrap();
    assert_eq!(picture.as_deref(), Some(&vec![1, 2, 0]));
    let known = contact(&b, &a).await;
    assert_eq!(known.name.as_deref(), Some("My Alice"));
    assert_eq!(known.profile.unwrap().name.as_deref(), Some("Al"));
    // The picture stays if the name changes, and is removed with an empty one.
    assert!(a.set_profile(named("Alice")).await.unwrap().has_picture);
    assert!(b.picture_of(a.me().address.account).await.unwrap().is_some());
    let without = ProfileChange { picture: Some(Vec::new()), ..ProfileChange::default() };
    assert!(!a.set_profile(without).await.unwrap().has_picture);
    assert_eq!(b.picture_of(a.me().address.account).await.unwrap(), None);
}

#[tokio::test]
async fn an_answer_is_sealed_and_the_server_does_not_know_its_sender() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155551003", "+14155551004"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    published(&a).await;
    published(&b).await;
    say(&a, &bob.destination(), "hello").await;
    receive(&b, "hello").await;
    a.close().await.unwrap();
    say(&b, &alice.destination(), "sealed").await;
    let waiting = at_the_server(&world);
    assert_eq!(waiting, [(SEALED, String::new())]);
    let a = alice.open().await;
    let message = next_message(&mut a.messages()).await;
    assert_eq!(message.text.as_deref(), Some("sealed"));
    assert_eq!(message.from.account, b.me().address.account);
    assert_eq!(message.from.number.as_deref(), Some("+14155551004"));
    a.done(message.id).await.unwrap();
    // The certificate is in the store, so the next message is sealed at once.
    b.close().await.unwrap();
    say(&a, &bob.destination(), "sealed, too").await;
    // Also the receipt for the answer, if it has come too late.
    let waiting = at_the_server(&world);
    assert!(!waiting.is_empty() && waiting.iter().all(|it| *it == (SEALED, String::new())));
    receive(&bob.open().await, "sealed, too").await;
}

#[tokio::test]
async fn a_device_whose_number_was_registered_again_sends_nothing_not_even_sealed() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155551021", "+14155551022"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    published(&a).await;
    say(&a, &bob.destination(), "hello").await;
    receive(&b, "hello").await;
    a.close().await.unwrap();
    say(&b, &alice.destination(), "sealed").await;
    assert_eq!(at_the_server(&world), [(SEALED, String::new())]);
    let mut at_bob = b.messages();
    let again = world.register("+14155551022", 1).await;
    let is_refused =
        |event: &Event| matches!(event, Event::Disconnected(RequestError::CredentialsRefused));
    next_event(&mut at_bob, is_refused).await;
    let sent = b.send(&alice.destination(), Message::text("stolen")).await.unwrap();
    // Meanwhile the message would arrive.
    let new = again.open().await;
    published(&new).await;
    say(&new, &alice.destination(), "new phone").await;
    assert_eq!(at_the_server(&world).len(), 2);
    let refused = DeliveryError::Delayed(RequestError::CredentialsRefused);
    assert_eq!(sent.progress(), Progress::NotSent(refused));
}

#[tokio::test]
async fn after_the_key_is_replaced_messages_come_openly_until_the_new_one_is_shared() {
    let world = World::new().await;
    let alice = world.register("+14155551005", 0).await;
    let bob = world.register("+14155551006", 0).await;
    let (a, b) = (alice.open().await, bob.open().await);
    a.set_profile(ProfileChange { picture: Some(vec![7; 100]), ..named("Alice") }).await.unwrap();
    say(&a, &bob.destination(), "one").await;
    receive(&b, "one").await;
    knows(&b, &a, Some("Alice")).await;
    let rotated = a.rotate_profile_key().await.unwrap();
    assert!(rotated.has_picture && rotated.name.as_deref() == Some("Alice"));
    assert_eq!(b.profile_of(a.me().address.account).await.err(), Some(ProfileError::Outdated));
    drop(a.close().await.unwrap());
    // The server refuses the old access key.
    say(&b, &alice.destination(), "two").await;
    let waiting = at_the_server(&world);
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].1, "+14155551006");
    let a = alice.open().await;
    receive(&a, "two").await;
    say(&a, &bob.destination(), "three").await;
    receive(&b, "three").await;
    let profile = b.profile_of(a.me().address.account).await.unwrap();
    assert_eq!(profile.name.as_deref(), Some("Alice"));
    let picture = b.picture_of(a.me().address.account).await.unwrap();
    assert_eq!(picture.as_deref(), Some(&vec![7; 100]));
    a.close().await.unwrap();
    say(&b, &alice.destination(), "four").await;
    // A receipt for an earlier message may wait, too.
    let waiting = at_the_server(&world);
    assert!(!waiting.is_empty());
    assert!(waiting.iter().all(|it| *it == (SEALED, String::new())), "{waiting:?}");
}

#[tokio::test]
async fn a_linked_device_has_the_profile_key_and_gets_copies_of_sealed_messages() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155551007", "+14155551008"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    a.set_profile(named("Alice")).await.unwrap();
    published(&b).await;
    say(&b, &alice.destination(), "hello").await;
    receive(&a, "hello").await;
    a.close().await.unwrap();
    let laptop = mailbox.link(&alice, "laptop").await;
    let (a, l) = (alice.open().await, laptop.open().await);
    assert!(l.profile().await.unwrap().is_some_and(|profile| profile.is_published));
    b.close().await.unwrap();
    say(&a, &bob.destination(), "sealed").await;
    soon(a.synced()).await.unwrap();
    assert!(at_the_server(&world).contains(&(SEALED, String::new())));
    let copy = next_message(&mut l.messages()).await;
    assert_eq!(copy.sent_to.unwrap().account, bob.registration().account.unwrap().account);
    let b = bob.open().await;
    receive(&b, "sealed").await;
    knows(&b, &a, Some("Alice")).await;
    // The primary device replaces the key, and the other one learns it from the next copy.
    let old = l.profile().await.unwrap().unwrap();
    a.rotate_profile_key().await.unwrap();
    say(&a, &bob.destination(), "new key").await;
    soon(a.synced()).await.unwrap();
    receive(&b, "new key").await;
    soon(async {
        while l.profile().await.unwrap().unwrap() == old {
            tokio::task::yield_now().await;
        }
    })
    .await;
    say(&l, &bob.destination(), "from the laptop").await;
    receive(&b, "from the laptop").await;
    let account = a.me().address.account;
    assert_eq!(b.profile_of(account).await.unwrap().name.as_deref(), Some("Alice"));
    // A change on the other device keeps what it does not name.
    let about = ProfileChange { about: Some("from the laptop".into()), ..ProfileChange::default() };
    assert_eq!(l.set_profile(about).await.unwrap().name.as_deref(), Some("Alice"));
    let refreshed = a.refresh_profile().await.unwrap();
    assert_eq!(refreshed.about.as_deref(), Some("from the laptop"));
}

#[tokio::test]
async fn another_root_of_the_server_is_reported_and_messages_are_sent_openly() {
    let mut world = World::new().await;
    let alice = world.register("+14155551009", 0).await;
    let bob = world.register("+14155551010", 0).await;
    let (a, b) = (alice.open().await, bob.open().await);
    published(&a).await;
    say(&a, &bob.destination(), "hello").await;
    receive(&b, "hello").await;
    a.close().await.unwrap();
    // Somebody else runs the server now, with keys of its own.
    world.stop().await;
    let database = Connection::open(world.database()).unwrap();
    database.execute("DELETE FROM delivery_keys", []).unwrap();
    drop(database);
    world.start().await;
    let mut events = b.messages();
    say(&b, &alice.destination(), "openly").await;
    let waiting = at_the_server(&world);
    assert_eq!(waiting[0].1, "+14155551010");
    next_event(&mut events, |event| matches!(event, Event::UntrustedCertificates)).await;
    receive(&alice.open().await, "openly").await;
}

#[tokio::test]
async fn an_account_of_an_earlier_version_gets_a_profile_at_the_next_start() {
    let world = World::new().await;
    let alice = world.register("+14155551011", 0).await;
    {
        let account = alice.account();
        drop(account);
        let path = alice.folder.0.join("store");
        let mut store = wormhole::chat::store::Store::open(&path, None).unwrap();
        store.set_setting("wormhole.profile", None).unwrap();
        store.set_setting("wormhole.root", None).unwrap();
    }
    let a = alice.open().await;
    published(&a).await;
    let profile = a.profile().await.unwrap().unwrap();
    assert_eq!((profile.name, profile.has_picture), (None, false));
}
