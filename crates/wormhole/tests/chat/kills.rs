//! Clients that are killed at any moment: every message arrives exactly once.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::runtime::{Builder, Runtime};
use wormhole::chat::{AccountId, Event, Message, ReceivedId, ReceivedMessage, Timestamp};

use crate::world::{Person, World, next_message, say};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs something of a person in a runtime that is ended at a random moment, as if the process was killed.
async fn killed<F: Future<Output = ()> + Send>(work: F, most: u64) {
    let pause = Duration::from_millis(OsRng.next_u64() % most);
    // If the work ends first, this was a life without a kill.
    let _killed = tokio::time::timeout(pause, work).await;
}

/// Opens a client, and sends the next numbers until it is killed. Returns how many numbers `send` has accepted.
fn send_until_killed(person: &Person, to: &Person, next: &mut u32) {
    let runtime = runtime();
    runtime.block_on(killed(
        async {
            let client = person.open().await;
            // The server limits how many messages it takes in a minute.
            for _ in 0..4 {
                client.send(&to.destination(), Message::text(next.to_string())).await.unwrap();
                *next += 1;
            }
            std::future::pending::<()>().await;
        },
        400,
    ));
    runtime.shutdown_timeout(Duration::from_secs(10));
}

/// A message that the application has stored.
#[derive(Debug)]
struct Taken {
    id: ReceivedId,
    from: AccountId,
    timestamp: Timestamp,
    text: String,
}

/// What an application does: it stores the message with its id, and ignores one that it has.
fn store(message: &ReceivedMessage, taken: &mut Vec<Taken>) {
    let ReceivedMessage { id, ref from, timestamp, ref text, .. } = *message;
    if !taken.iter().any(|it| it.id == id) {
        let text = text.clone().unwrap_or_default();
        taken.push(Taken { id, from: from.account, timestamp, text });
    }
}

/// Opens a client, and takes messages until it is killed. What the application has stored is in `taken`.
fn receive_until_killed(person: &Person, taken: &mut Vec<Taken>) {
    let runtime = runtime();
    runtime.block_on(killed(
        async {
            let client = person.open().await;
            let mut messages = client.messages();
            loop {
                if let Ok(Event::Message(message)) = messages.next().await {
                    store(&message, taken);
                    client.done(message.id).await.unwrap();
                }
            }
        },
        400,
    ));
    runtime.shutdown_timeout(Duration::from_secs(10));
}

#[test]
fn no_message_is_lost_or_duplicated_by_kills_of_both_clients() {
    let servers = runtime();
    let (world, alice, bob) = servers.block_on(async {
        let world = World::new().await;
        let alice = world.register("+14155550601", 0).await;
        let bob = world.register("+14155550602", 1).await;
        // The number is resolved, so that kills happen while messages are sent.
        let a = alice.open().await;
        say(&a, &bob.destination(), "first").await;
        a.close().await;
        (world, alice, bob)
    });
    let (mut next, mut taken) = (0, Vec::new());
    for _ in 0..12 {
        send_until_killed(&alice, &bob, &mut next);
        receive_until_killed(&bob, &mut taken);
    }
    servers.block_on(async {
        let a = alice.open().await;
        let b = bob.open().await;
        say(&a, &bob.destination(), "last").await;
        let mut messages = b.messages();
        while taken.last().is_none_or(|last| last.text != "last") {
            let message = next_message(&mut messages).await;
            store(&message, &mut taken);
            b.done(message.id).await.unwrap();
        }
    });
    // A send that was killed before it returned may have happened: then the same number was sent again, with another
    // timestamp.
    let messages: BTreeSet<_> = taken.iter().map(|it| (it.from, it.timestamp)).collect();
    assert_eq!(messages.len(), taken.len(), "duplicated: {taken:?}");
    let numbers: Vec<u32> = taken.iter().filter_map(|it| it.text.parse().ok()).collect();
    assert!(numbers.is_sorted(), "out of order: {numbers:?}");
    for number in 0..next {
        assert!(numbers.contains(&number), "{number} of {next} is lost");
    }
    drop(world);
}
