//! Messages that wait are limited, for the application and for the server.

use futures_util::future::{join_all, try_join_all};
use wormhole::chat::{Client, Connection, DeliveryError, Event, Message, Options, QueueError};

use crate::world::{World, next_event, next_message, say, soon};

#[tokio::test]
async fn a_full_queue_of_unread_messages_stops_reading_until_the_application_takes_one() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550801", "+14155550802"]).await;
    let a = alice.open().await;
    for number in 0..6 {
        say(&a, &bob.destination(), &number.to_string()).await;
    }
    let mut options = Options::default();
    options.max_unread = 3;
    let b = Client::open(bob.account(), options).await.unwrap();
    let mut messages = b.messages();
    let mut ids = Vec::new();
    for number in 0..6 {
        let message = next_message(&mut messages).await;
        assert_eq!(message.text, Some(number.to_string()));
        ids.push(message.id);
        if number >= 2 {
            assert_ne!(b.connection(), Connection::UpToDate);
            // Twice, as after a crash of the application: it counts once.
            let oldest = ids.remove(0);
            b.done(oldest).await.unwrap();
            b.done(oldest).await.unwrap();
        }
    }
    next_event(&mut messages, |event| *event == Event::UpToDate).await;
}

#[tokio::test]
async fn one_recipient_cannot_fill_the_outbox() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550803", "+14155550804"]).await;
    let carol = world.register("+14155550805", 1).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    say(&a, &carol.destination(), "hello").await;
    world.stop().await;
    let to = bob.destination();
    try_join_all((0..1000).map(|_| a.send(&to, Message::text("later")))).await.unwrap();
    assert_eq!(a.send(&to, Message::text("later")).await.unwrap_err(), QueueError::OutboxFull);
    a.send(&carol.destination(), Message::text("later")).await.unwrap();
}

#[tokio::test]
async fn long_messages_to_one_recipient_are_limited_in_bytes() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550810", "+14155550811"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    world.stop().await;
    let long = Message::text("x".repeat(100_000));
    let mut sent = 0;
    let error = loop {
        match a.send(&bob.destination(), long.clone()).await {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, QueueError::OutboxFull);
    // Each is in memory twice: the text and its ciphertext.
    assert!((70..100).contains(&sent), "{sent}");
}

#[tokio::test]
async fn few_messages_wait_for_a_changed_identity_key() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550806", "+14155550807"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    let bob = world.register("+14155550807", 1).await;
    let to = bob.destination();
    let mut first = a.send(&to, Message::text("waits")).await.unwrap();
    let DeliveryError::IdentityChanged(key) = soon(first.on_server()).await.unwrap_err() else {
        panic!("{:?}", first.progress());
    };
    let more = join_all((0..20).map(|_| a.send(&to, Message::text("waits")))).await;
    assert_eq!(more.iter().filter(|sent| sent.is_ok()).count(), 15);
    let account = first.to().account().unwrap();
    let refused = Err(QueueError::IdentityChanged { account, key });
    assert_eq!(a.send(&to, Message::text("waits")).await.map(drop), refused);
    let changes = a.identity_changes().await.unwrap();
    assert_eq!((changes.len(), changes[0].account, changes[0].changed), (1, account, key));
}

#[tokio::test]
async fn nothing_is_uploaded_for_a_message_that_cannot_be_sent() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550808", "+14155550809"]).await;
    let a = alice.open().await;
    let _has_keys = bob.open().await;
    let long = Message::text("x".repeat(200_000)).with_file("/does/not/exist");
    assert_eq!(a.send(&bob.destination(), long).await.unwrap_err(), QueueError::TooLong);
}
