//! Texts between two people on two apps.

use wormhole::chat::{Connection, Event, Message, Options, QueueError, Route};

use crate::world::{World, next_event, next_message, say, soon};

#[tokio::test]
async fn two_people_on_two_apps_exchange_messages() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550101", "+14155550102"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (mut to_alice, mut to_bob) = (a.messages(), b.messages());
    for number in 0..3 {
        say(&a, &bob.destination(), &format!("question {number}")).await;
        let message = next_message(&mut to_bob).await;
        assert_eq!(message.text, Some(format!("question {number}")));
        assert_eq!(message.from.number.as_deref(), Some("+14155550101"));
        assert_eq!(message.from.app.as_deref(), Some("com.one"));
        assert!(!message.identity_changed);
        b.done(message.id).await.unwrap();
        let account = message.from.account.to_string().parse().unwrap();
        say(&b, &account, &format!("answer {number}")).await;
        let message = next_message(&mut to_alice).await;
        assert_eq!(message.text, Some(format!("answer {number}")));
        assert_eq!(message.from.app.as_deref(), Some("com.two"));
        a.done(message.id).await.unwrap();
    }
    let contacts = a.contacts().await.unwrap();
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].number.as_deref(), Some("+14155550102"));
    assert_eq!(a.outbox().await.unwrap(), []);
}

#[tokio::test]
async fn a_number_in_another_app_is_another_account() {
    let world = World::new().await;
    let alice = world.register("+14155550103", 0).await;
    let bob = [world.register("+14155550104", 0).await, world.register("+14155550104", 1).await];
    let a = alice.open().await;
    let b = [bob[0].open().await, bob[1].open().await];
    say(&a, &"+14155550104".parse().unwrap(), "to the first").await;
    say(&a, &"+14155550104@com.two".parse().unwrap(), "to the second").await;
    for (client, text) in b.iter().zip(["to the first", "to the second"]) {
        assert_eq!(next_message(&mut client.messages()).await.text.as_deref(), Some(text));
    }
    // The first account writes. The bare number still means it, and the other name the other one.
    say(&b[1], &alice.destination(), "hello").await;
    next_message(&mut a.messages()).await;
    let resolved = a.resolve(&"+14155550104".parse().unwrap()).await.unwrap();
    assert_eq!(resolved.account, b[0].me().address.account);
}

#[tokio::test]
async fn messages_that_were_sent_while_the_recipient_was_away_arrive_in_order() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550105", "+14155550106"]).await;
    let a = alice.open().await;
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(a.send(&bob.destination(), Message::text(number.to_string())).await.unwrap());
    }
    // A message that arrives later comes after `UpToDate`.
    for message in &mut sent {
        soon(message.on_server()).await.unwrap();
    }
    let b = bob.open().await;
    let mut messages = b.messages();
    for number in 0..20 {
        assert_eq!(next_message(&mut messages).await.text, Some(number.to_string()));
    }
    // The event may have come between the messages, if the sender was slow.
    if b.connection() != Connection::UpToDate {
        next_event(&mut messages, |event| *event == Event::UpToDate).await;
    }
}

#[tokio::test]
async fn a_message_comes_again_until_the_application_is_done_with_it() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550107", "+14155550108"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "one").await;
    say(&a, &bob.destination(), "two").await;
    for _ in 0..2 {
        let b = bob.open().await;
        let mut messages = b.messages();
        assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("one"));
        assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("two"));
        b.close().await.unwrap();
    }
    let b = bob.open().await;
    let one = next_message(&mut b.messages()).await;
    b.done(one.id).await.unwrap();
    b.close().await.unwrap();
    let b = bob.open().await;
    assert_eq!(next_message(&mut b.messages()).await.text.as_deref(), Some("two"));
}

#[tokio::test]
async fn an_app_can_deliver_messages_itself() {
    let world = World::new().await;
    let alice = world.register("+14155550109", 0).await;
    let bob = world.register("+14155550110", 0).await;
    let _bob_has_keys = bob.open().await;
    let mut options = Options::default();
    options.route = Some(Box::new(|contact| match contact.app.as_deref() {
        Some("com.one") => Route::Own,
        _ => Route::Wormhole,
    }));
    let a = wormhole::chat::Client::open(alice.account(), options).await.unwrap();
    let refused = soon(a.send(&bob.destination(), Message::text("hello"))).await;
    assert!(matches!(refused, Err(QueueError::OwnRoute(_))), "{refused:?}");
    assert_eq!(a.outbox().await.unwrap(), []);
}

#[tokio::test]
async fn messages_that_cannot_be_sent_are_refused_at_once() {
    let world = World::new().await;
    let alice = world.register("+14155550111", 0).await;
    let a = alice.open().await;
    let nobody = "+14155550199".parse().unwrap();
    let refused = a.send(&nobody, Message::text("hello")).await.unwrap_err();
    assert_eq!(refused, QueueError::NoSuchRecipient(nobody.clone()));
    assert_eq!(refused.to_string(), "+14155550199 is not registered at this server");
    assert_eq!(a.send(&nobody, Message::text("")).await.unwrap_err(), QueueError::Empty);
    let bob = world.register("+14155550112", 1).await;
    let long = Message::text("x".repeat(200_000));
    assert_eq!(a.send(&bob.destination(), long).await.unwrap_err(), QueueError::TooLong);
}
