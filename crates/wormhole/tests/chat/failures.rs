//! Servers that are away, refuse or are full.

use wormhole::chat::{
    DeliveryError, Destination, Event, KeyState, Message, Progress, QueueError, RequestError,
    SendFailure, Server, Transport,
};
use wormhole_server::testing::app_command;

use crate::proxy::Proxy;
use crate::world::{Folder, Person, World, next_event, next_message, register, say, soon};

#[tokio::test]
async fn messages_wait_for_a_server_that_is_away_also_over_a_restart_of_the_client() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550501", "+14155550502"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut messages = b.messages();
    say(&a, &bob.destination(), "zero").await;
    world.stop().await;
    let sent = a.send(&bob.destination(), Message::text("one")).await.unwrap();
    assert_eq!(sent.progress(), Progress::Waiting);
    a.close().await.unwrap();
    let a = alice.open().await;
    let mut sent = a.send(&bob.destination(), Message::text("two")).await.unwrap();
    assert_eq!(a.outbox().await.unwrap().len(), 2);
    world.start().await;
    soon(sent.on_server()).await.unwrap();
    for text in ["zero", "one", "two"] {
        assert_eq!(next_message(&mut messages).await.text.as_deref(), Some(text));
    }
    assert_eq!(a.outbox().await.unwrap(), []);
}

#[tokio::test]
async fn a_client_reconnects_when_the_server_restarts() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550503", "+14155550504"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut messages = b.messages();
    for round in 0..3 {
        next_event(&mut messages, |event| *event == Event::UpToDate).await;
        say(&a, &bob.destination(), &round.to_string()).await;
        assert_eq!(next_message(&mut messages).await.text, Some(round.to_string()));
        world.stop().await;
        next_event(&mut messages, |event| matches!(event, Event::Disconnected(_))).await;
        world.start().await;
    }
}

#[tokio::test]
async fn a_revoked_app_token_stops_messages_without_losing_them() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550505", "+14155550506"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "before").await;
    app_command(&world.database(), &["revoke", "com.one"]);
    let mut sent = a.send(&bob.destination(), Message::text("after")).await.unwrap();
    let refused = soon(sent.on_server()).await.unwrap_err();
    assert_eq!(refused, DeliveryError::Delayed(RequestError::AppRefused));
    assert_eq!(a.outbox().await.unwrap().len(), 1);
    // The socket notices it at the next connection.
    let mut events = a.messages();
    world.stop().await;
    world.start().await;
    let refused = Event::Disconnected(RequestError::AppRefused);
    next_event(&mut events, |event| *event == refused).await;
}

#[tokio::test]
async fn an_application_learns_that_the_server_refuses_its_keys() {
    let world = World::new().await;
    let proxy = Proxy::start(world.address).await;
    let server = world.server_at(proxy.address, 0);
    proxy.lose_answer_to("PUT /v2/keys");
    let alice = register("+14155550517", &server).await;
    assert!(proxy.has_cut());
    proxy.open();
    app_command(&world.database(), &["revoke", "com.one"]);
    let a = alice.open().await;
    let mut events = a.events();
    let refused = RequestError::AppRefused;
    while soon(events.next()).await.unwrap() != Event::KeysRefused(refused.clone()) {}
    assert_eq!(a.key_state(), KeyState::Refused(refused));
}

#[tokio::test]
async fn a_message_within_an_app_that_delivers_them_itself_is_not_sent() {
    let world = World::new().await;
    let token = app_command(&world.database(), &["add", "com.three", "--policy", "inter-only"]);
    let token = token.trim().split_once(' ').unwrap().1.parse().unwrap();
    let server = Server::new(world.server(0).url).with_app("com.three".parse().unwrap(), token);
    let mut clients = Vec::new();
    for number in ["+14155550507", "+14155550508"] {
        let person = register(number, &server).await;
        clients.push((person.open().await, person));
    }
    let to = clients[1].1.destination();
    let mut sent = clients[0].0.send(&to, Message::text("hello")).await.unwrap();
    let refused = soon(sent.on_server()).await.unwrap_err();
    assert_eq!(refused.to_string(), "the app delivers messages between its own users itself");
    assert_eq!(clients[0].0.outbox().await.unwrap(), []);
}

#[tokio::test]
async fn messages_that_the_server_delays_arrive_in_order() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550510", "+14155550511"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut last = None;
    // More than the server takes at once. It answers 413 with `Retry-After` to the others.
    for number in 0..64 {
        let message = Message::text(number.to_string());
        last = Some(a.send(&bob.destination(), message).await.unwrap());
    }
    soon(last.unwrap().on_server()).await.unwrap();
    let mut messages = b.messages();
    for number in 0..64 {
        assert_eq!(next_message(&mut messages).await.text, Some(number.to_string()));
    }
}

#[tokio::test]
async fn a_number_without_a_device_is_looked_up_again() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550512", "+14155550513"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "before").await;
    // Registers again, with a program that publishes no keys.
    let service = world.server(1);
    let other = Folder::new();
    let account = Person { folder: other, number: bob.number.clone() }.account();
    account.register(&service, &bob.number.parse().unwrap(), Transport::Sms).await.unwrap();
    world.confirm_without_keys(&bob.number, 1).await;
    let mut sent = a.send(&bob.destination(), Message::text("after")).await.unwrap();
    let failed = soon(sent.on_server()).await.unwrap_err();
    assert_eq!(failed, DeliveryError::Failed(SendFailure::NoDevice));
    assert_eq!(failed.to_string(), "the recipient has no device that can receive messages");
    let again = a.send(&bob.destination(), Message::text("again")).await.unwrap_err();
    assert_eq!(again, QueueError::NoSuchRecipient(bob.destination()));
    let known = a.contacts().await.unwrap();
    // What the user sees stays.
    assert_eq!(known[0].number, Some(bob.number));
}

#[tokio::test]
async fn an_unknown_account_is_reported() {
    let world = World::new().await;
    let alice = world.register("+14155550509", 0).await;
    let a = alice.open().await;
    let nobody: Destination = "9d0652a3-dcc3-4d11-975f-74d61598733f".parse().unwrap();
    let error = a.send(&nobody, Message::text("hello")).await.unwrap_err();
    assert_eq!(error, QueueError::NoSuchRecipient(nobody));
}

#[tokio::test]
async fn a_deleted_account_is_reported() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550514", "+14155550515"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    world.delete(&bob).await;
    let mut sent = a.send(&bob.destination(), Message::text("too late")).await.unwrap();
    let error = soon(sent.on_server()).await;
    assert_eq!(error, Err(DeliveryError::Failed(SendFailure::NoDevice)));
    assert_eq!(a.outbox().await.unwrap(), []);
}
