//! What is lost is reported, however late the application asks.

use wormhole::chat::store::Store;
use wormhole::chat::{
    Connection, DeliveryError, Event, Message, Progress, QueueError, ReadError, ReceivedId,
    RequestError, SendFailure, Timestamp,
};
use wormhole_server::testing::app_command;

use crate::world::{World, next_event, next_message, say, soon};

#[tokio::test]
async fn a_message_that_failed_stays_until_the_application_forgets_it() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550701", "+14155550702"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    world.delete(&bob).await;
    let mut events = a.messages();
    let mut sent = a.send(&bob.destination(), Message::text("too late")).await.unwrap();
    let why = DeliveryError::Failed(SendFailure::NoDevice);
    assert_eq!(soon(sent.on_server()).await, Err(why.clone()));
    let event = next_event(&mut events, |event| matches!(event, Event::Progress { .. })).await;
    let (message, to) = (sent.timestamp(), sent.to());
    assert_eq!(event, Event::Progress { message, to, progress: Progress::NotSent(why) });
    a.close().await.unwrap();

    let store = Store::open(&alice.folder.0.join("store"), None).unwrap();
    assert_eq!((store.failed_count(), store.outbox()), (1, Ok(vec![])));
    let failed = store.failed().unwrap();
    drop(store);
    assert_eq!((failed[0].timestamp, failed[0].to), (message, to));
    assert_eq!(failed[0].text.as_deref(), Some("too late"));
    assert_eq!(failed[0].why, Some(SendFailure::NoDevice));
    let a = alice.open().await;
    assert_eq!(a.failed().await.unwrap(), failed);
    a.forget_failed(message).await.unwrap();
    a.forget_failed(message).await.unwrap();
    a.close().await.unwrap();
    let a = alice.open().await;
    assert_eq!(a.failed().await.unwrap(), []);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_stays_until_the_application_is_done_with_it() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550703", "+14155550704"]).await;
    let from = alice.registration().account;
    world.send_garbage(&alice, &bob, 1234).await;
    for _ in 0..2 {
        let b = bob.open().await;
        let mut messages = b.messages();
        let unread =
            next_event(&mut messages, |event| matches!(event, Event::NotRead { .. })).await;
        let (id, timestamp, why) =
            (ReceivedId(1), Some(Timestamp(1234)), ReadError::NotDecryptable);
        assert_eq!(unread, Event::NotRead { id, from, timestamp, why, more: 0 });
        next_event(&mut messages, |event| *event == Event::UpToDate).await;
        b.close().await.unwrap();
    }
    let b = bob.open().await;
    b.done(ReceivedId(1)).await.unwrap();
    say(&alice.open().await, &bob.destination(), "hello").await;
    let first = b.messages().next().await.unwrap();
    assert!(!matches!(first, Event::NotRead { .. }), "{first:?}");
    assert_eq!(next_message(&mut b.messages()).await.text.as_deref(), Some("hello"));
}

#[tokio::test]
async fn a_slow_application_learns_how_much_it_has_missed() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550705", "+14155550706"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    world.delete(&bob).await;
    let mut slow = a.messages();
    let to = bob.destination();
    let sent = (0..300).map(|number| a.send(&to, Message::text(number.to_string())));
    for mut sent in futures_util::future::try_join_all(sent).await.unwrap() {
        let failed = soon(sent.on_server()).await;
        assert_eq!(failed, Err(DeliveryError::Failed(SendFailure::NoDevice)));
    }
    let missed = next_event(&mut slow, |event| matches!(event, Event::Missed(_))).await;
    let Event::Missed(missed) = missed else { panic!("{missed:?}") };
    assert!(missed >= 44, "{missed}");
    let failed = a.failed().await.unwrap();
    // They were written at the same time, in any order.
    let mut numbers: Vec<usize> =
        failed.iter().map(|it| it.text.as_deref().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_after_a_refusal_reports_it_at_once() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550707", "+14155550708"]).await;
    let a = alice.open().await;
    assert_ne!(a.connection(), Connection::UpToDate);
    let mut events = a.messages();
    next_event(&mut events, |event| *event == Event::UpToDate).await;
    assert_eq!(a.connection(), Connection::UpToDate);
    say(&a, &bob.destination(), "before").await;
    app_command(&world.database(), &["revoke", "com.one"]);
    world.stop().await;
    world.start().await;
    let refused = Event::Disconnected(RequestError::AppRefused);
    next_event(&mut events, |event| *event == refused).await;
    assert_eq!(a.connection(), Connection::Disconnected(RequestError::AppRefused));
    let mut sent = a.send(&bob.destination(), Message::text("after")).await.unwrap();
    let refused = DeliveryError::Delayed(RequestError::AppRefused);
    assert_eq!(sent.progress(), Progress::NotSent(refused.clone()));
    assert_eq!(sent.on_server().await, Err(refused.clone()));
    a.close().await.unwrap();
    // An earlier run has left it.
    let a = alice.open().await;
    let mut events = a.messages();
    next_event(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    let outbox = a.outbox().await.unwrap();
    assert_eq!((outbox.len(), outbox[0].timestamp), (1, sent.timestamp()));
    assert_eq!(outbox[0].progress, Progress::NotSent(refused));
}

#[tokio::test]
async fn a_message_of_an_earlier_run_fails_like_a_new_one() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550709", "+14155550710"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "hello").await;
    world.stop().await;
    let sent = a.send(&bob.destination(), Message::text("left")).await.unwrap();
    a.close().await.unwrap();
    world.start().await;
    world.delete(&bob).await;
    let a = alice.open().await;
    let mut events = a.messages();
    let event = next_event(&mut events, |event| matches!(event, Event::Progress { .. })).await;
    let progress = Progress::NotSent(DeliveryError::Failed(SendFailure::NoDevice));
    assert_eq!(event, Event::Progress { message: sent.timestamp(), to: sent.to(), progress });
    // The server is asked again which account the number belongs to.
    let again = a.send(&bob.destination(), Message::text("again")).await.unwrap_err();
    assert_eq!(again, QueueError::NoSuchRecipient(bob.destination()));
}

#[tokio::test]
async fn the_events_can_be_read_without_the_messages() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550711", "+14155550712"]).await;
    say(&alice.open().await, &bob.destination(), "hello").await;
    let b = bob.open().await;
    let mut events = b.events();
    let mut all = Vec::new();
    while all.last() != Some(&Event::UpToDate) {
        all.push(soon(events.next()).await.unwrap());
    }
    assert_eq!(all, [Event::Connected, Event::UpToDate]);
    // A later stream begins with the state, and the message is still there.
    assert_eq!(soon(b.events().next()).await, Ok(Event::UpToDate));
    assert_eq!(next_message(&mut b.messages()).await.text.as_deref(), Some("hello"));
}
