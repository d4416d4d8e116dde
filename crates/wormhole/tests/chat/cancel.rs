//! Messages that are cancelled before the server has them.

use std::time::Duration;

use tokio::runtime::Builder;
use wormhole::chat::store::Store;
use wormhole::chat::{
    CancelOutcome, Client, DeliveryError, Event, Message, Progress, SentMessage, Timestamp,
};

use crate::files::{create, files_below};
use crate::world::{Person, World, next_event, next_message, say, soon};

/// Two people who have exchanged a message.
async fn two(world: &World, numbers: [&str; 2]) -> (Person, Person) {
    let alice = world.register(numbers[0], 0).await;
    let bob = world.register(numbers[1], 1).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "first").await;
    a.close().await.unwrap();
    (alice, bob)
}

/// Waits until an attempt to send a message has failed.
async fn delayed(client: &Client, sent: &SentMessage) {
    let mut events = client.events();
    while !matches!(sent.progress(), Progress::NotSent(DeliveryError::Delayed(_))) {
        soon(events.next()).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_waits_for_the_server_can_be_cancelled() {
    let mut world = World::new().await;
    let (alice, bob) = two(&world, ["+14155550901", "+14155550902"]).await;
    world.stop().await;
    let a = alice.open().await;
    let left = a.send(&bob.destination(), Message::text("left")).await.unwrap().timestamp();
    a.close().await.unwrap();
    let a = alice.open().await;
    let mut events = a.messages();
    let mut sent = a.send(&bob.destination(), Message::text("wrong")).await.unwrap();
    delayed(&a, &sent).await;
    assert_eq!(a.cancel(sent.timestamp()).await, Ok(CancelOutcome::Cancelled));
    assert_eq!(soon(sent.on_server()).await, Err(DeliveryError::Cancelled));
    let event = next_event(&mut events, |event| matches!(event, Event::Progress { .. })).await;
    let (message, to) = (sent.timestamp(), sent.to());
    let progress = Progress::NotSent(DeliveryError::Cancelled);
    assert_eq!(event, Event::Progress { message, to, progress });
    // An earlier run of the client may have sent this one.
    assert_eq!(a.cancel(left).await, Ok(CancelOutcome::MaybeSent));
    for unknown in [message, left, Timestamp(1)] {
        assert_eq!(a.cancel(unknown).await, Ok(CancelOutcome::NotWaiting));
    }
    assert_eq!((a.outbox().await, a.failed().await), (Ok(vec![]), Ok(vec![])));
    world.start().await;
    say(&a, &bob.destination(), "right").await;
    let mut messages = bob.open().await.messages();
    for text in ["first", "right"] {
        assert_eq!(next_message(&mut messages).await.text.as_deref(), Some(text));
    }
}

#[tokio::test]
async fn a_message_that_waits_for_an_identity_key_can_be_cancelled() {
    let world = World::new().await;
    let (alice, _) = two(&world, ["+14155550903", "+14155550904"]).await;
    let bob = world.register("+14155550904", 1).await;
    let a = alice.open().await;
    let mut sent = a.send(&bob.destination(), Message::text("wrong")).await.unwrap();
    let DeliveryError::IdentityChanged(key) = soon(sent.on_server()).await.unwrap_err() else {
        panic!("{:?}", sent.progress());
    };
    assert_eq!(a.cancel(sent.timestamp()).await, Ok(CancelOutcome::Cancelled));
    a.close().await.unwrap();
    let a = alice.open().await;
    a.accept_identity(sent.to().account().unwrap(), key).await.unwrap();
    say(&a, &bob.destination(), "right").await;
    let mut messages = bob.open().await.messages();
    assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("right"));
}

#[tokio::test]
async fn what_is_being_sent_is_cancelled_or_sent_but_never_both() {
    let world = World::new().await;
    let (alice, bob) = two(&world, ["+14155550905", "+14155550906"]).await;
    let a = alice.open().await;
    let mut expected = vec!["first".to_owned()];
    for number in 0..20 {
        let text = number.to_string();
        let mut sent = a.send(&bob.destination(), Message::text(&text)).await.unwrap();
        // The request is started, on the way, or answered.
        for _ in 0..number * 10 {
            tokio::task::yield_now().await;
        }
        let outcome = soon(a.cancel(sent.timestamp())).await.unwrap();
        let sent = soon(sent.on_server()).await;
        if outcome == CancelOutcome::Cancelled {
            assert_eq!(sent, Err(DeliveryError::Cancelled));
        } else {
            assert!(matches!(outcome, CancelOutcome::NotWaiting | CancelOutcome::Sent));
            assert_eq!(sent, Ok(()));
            expected.push(text);
        }
    }
    say(&a, &bob.destination(), "last").await;
    expected.push("last".to_owned());
    let mut messages = bob.open().await.messages();
    for text in expected {
        assert_eq!(next_message(&mut messages).await.text, Some(text));
    }
}

#[test]
fn a_cancelled_message_is_not_sent_after_the_client_was_killed() {
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (world, alice, bob) = servers.block_on(async {
        let mut world = World::new().await;
        let (alice, bob) = two(&world, ["+14155550907", "+14155550908"]).await;
        world.stop().await;
        (world, alice, bob)
    });
    let killed = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    killed.block_on(async {
        let a = alice.open().await;
        let sent = a.send(&bob.destination(), Message::text("wrong")).await.unwrap();
        soon(a.cancel(sent.timestamp())).await.unwrap();
    });
    killed.shutdown_timeout(Duration::from_secs(10));
    let store = Store::open(&alice.folder.0.join("store"), None).unwrap();
    assert_eq!((store.outbox(), store.failed_count()), (Ok(vec![]), 0));
    drop((store, world));
}

#[tokio::test]
async fn an_upload_is_cancelled_with_its_future() {
    let world = World::new().await;
    let (alice, bob) = two(&world, ["+14155550909", "+14155550910"]).await;
    let path = alice.folder.0.join("large");
    create(&path, 50 << 20);
    let (a, to) = (alice.open().await, bob.destination());
    {
        let message = Message::text("wrong").with_file(&path);
        let sending = a.send(&to, message);
        tokio::pin!(sending);
        let blobs = world.folder.0.join("blobs");
        while files_below(&blobs).is_empty() {
            tokio::select! {
                sent = &mut sending => panic!("too fast: {sent:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    assert_eq!(a.outbox().await, Ok(vec![]));
    say(&a, &to, "right").await;
    let mut messages = bob.open().await.messages();
    for text in ["first", "right"] {
        assert_eq!(next_message(&mut messages).await.text.as_deref(), Some(text));
    }
}
