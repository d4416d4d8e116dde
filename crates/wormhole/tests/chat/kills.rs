//! Clients that are killed at any moment: every message arrives exactly once.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::runtime::{Builder, Runtime};
use wormhole::chat::{Event, Message};

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

/// Opens a client, and takes messages until it is killed. What the application has stored is in `taken`.
fn receive_until_killed(person: &Person, taken: &mut Vec<(u64, String)>) {
    let runtime = runtime();
    runtime.block_on(killed(
        async {
            let client = person.open().await;
            let mut messages = client.messages();
            loop {
                if let Ok(Event::Message(message)) = messages.next().await {
                    // An application stores the message with its id, and ignores one that it has.
                    let text = message.text.clone().unwrap_or_default();
                    if !taken.iter().any(|(id, _)| *id == message.id.0) {
                        taken.push((message.id.0, text));
                    }
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
        while taken.last().is_none_or(|(_, text)| text != "last") {
            let message = next_message(&mut messages).await;
            if !taken.iter().any(|(id, _)| *id == message.id.0) {
                taken.push((message.id.0, message.text.clone().unwrap_or_default()));
            }
            b.done(message.id).await.unwrap();
        }
    });
    let texts: Vec<_> = taken.iter().map(|(_, text)| text.clone()).collect();
    let distinct: BTreeSet<_> = texts.iter().cloned().collect();
    // A send that was killed before it returned may have happened: then the same number was sent again.
    let mut doubled = texts.clone();
    doubled.dedup();
    assert_eq!(distinct.len(), doubled.len(), "{texts:?}");
    for number in 0..next {
        assert!(distinct.contains(&number.to_string()), "{number} of {next} is lost");
    }
    drop(world);
}
