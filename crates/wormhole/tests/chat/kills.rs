//! Clients that are killed at any moment: every message arrives exactly once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::runtime::{Builder, Runtime};
use wormhole::chat::{AccountId, Event, Message, ReceivedId, ReceivedMessage, Timestamp};

use crate::world::{Folder, Person, World, next_message, say};

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs something of a person in a runtime that is ended at a random moment, as if the process was killed.
pub(crate) async fn killed<F: Future<Output = ()> + Send>(work: F, most: u64) {
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
        a.close().await.unwrap();
        (world, alice, bob)
    });
    let (mut next, mut taken) = (0, Vec::new());
    let mut rounds = 0;
    // On a slow computer, the first rounds may end before anything is sent.
    while rounds < 12 || (next == 0 && rounds < 100) {
        send_until_killed(&alice, &bob, &mut next);
        receive_until_killed(&bob, &mut taken);
        rounds += 1;
    }
    servers.block_on(check_all(&alice, &bob, next, taken));
    drop(world);
}

/// Not a test of its own: a process of the test below. Without the variables, it does nothing.
#[test]
fn client_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    // The test that has started this process removes the directory.
    let person = Person { folder: Folder(folder.into()), number: String::new() };
    let person = Box::leak(Box::new(person));
    runtime().block_on(async {
        let client = person.open().await;
        println!("\nopen");
        if let Ok(to) = std::env::var(RECIPIENT) {
            let first: u32 = std::env::var(FIRST).unwrap().parse().unwrap();
            for number in first..first + 4 {
                client.send(&to.parse().unwrap(), Message::text(number.to_string())).await.unwrap();
                println!("\nsent {number}");
            }
            std::future::pending::<()>().await;
        }
        let mut messages = client.messages();
        loop {
            if let Ok(Event::Message(message)) = messages.next().await {
                let (id, from, timestamp) =
                    (message.id.0, message.from.account, message.timestamp.0);
                println!("\ntaken {id} {from} {timestamp} {}", message.text.unwrap());
                client.done(message.id).await.unwrap();
            }
        }
    });
}

/// Runs a client in a process, and kills it at a random moment. Returns what it has printed.
fn process_until_killed(person: &Person, variables: &[(&str, String)]) -> Vec<String> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::client_until_killed", "--nocapture"])
        .env(FOLDER, &person.folder.0)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap() == "open"));
    std::thread::sleep(Duration::from_millis(OsRng.next_u64() % 300));
    process.kill().unwrap();
    process.wait().unwrap();
    lines.map_while(Result::ok).collect()
}

/// What a receiving process has printed.
fn taken(line: &str) -> Option<Taken> {
    let mut words = line.strip_prefix("taken ")?.split(' ');
    let id = ReceivedId(words.next()?.parse().ok()?);
    let from = words.next()?.parse().ok()?;
    let timestamp = Timestamp(words.next()?.parse().ok()?);
    Some(Taken { id, from, timestamp, text: words.next()?.to_owned() })
}

#[test]
fn no_message_is_lost_or_duplicated_when_processes_are_killed_in_a_conversation() {
    let servers = runtime();
    let (world, alice, bob) = servers.block_on(async {
        let world = World::new().await;
        let alice = world.register("+14155550603", 0).await;
        let bob = world.register("+14155550604", 1).await;
        (world, alice, bob)
    });
    let (mut next, mut all) = (0, Vec::<Taken>::new());
    let mut rounds = 0;
    while rounds < 10 || (next == 0 && rounds < 100) {
        rounds += 1;
        let variables = [(RECIPIENT, bob.number.clone()), (FIRST, u32::to_string(&next))];
        let printed = process_until_killed(&alice, &variables);
        let mut sent =
            printed.iter().filter_map(|line| line.strip_prefix("sent ")?.parse::<u32>().ok());
        next = sent.next_back().map_or(next, |last| last + 1);
        for taken in process_until_killed(&bob, &[]).iter().filter_map(|line| taken(line)) {
            if !all.iter().any(|it| it.id == taken.id) {
                all.push(taken);
            }
        }
    }
    servers.block_on(check_all(&alice, &bob, next, all));
    drop(world);
}

/// Takes the remaining messages, and checks that none of the first `next` numbers is missing and no message came twice.
async fn check_all(alice: &Person, bob: &Person, next: u32, mut taken: Vec<Taken>) {
    assert!(next > 0, "nothing was sent before a kill");
    let a = alice.open().await;
    let b = bob.open().await;
    say(&a, &bob.destination(), "last").await;
    let mut messages = b.messages();
    while taken.last().is_none_or(|last| last.text != "last") {
        let message = next_message(&mut messages).await;
        store(&message, &mut taken);
        b.done(message.id).await.unwrap();
    }
    // A send that was killed before it returned may have happened: then the same number was sent again, with another
    // timestamp.
    let messages: BTreeSet<_> = taken.iter().map(|it| (it.from, it.timestamp)).collect();
    assert_eq!(messages.len(), taken.len(), "duplicated: {taken:?}");
    let numbers: Vec<u32> = taken.iter().filter_map(|it| it.text.parse().ok()).collect();
    assert!(numbers.is_sorted(), "out of order: {numbers:?}");
    for number in 0..next {
        assert!(numbers.contains(&number), "{number} of {next} is lost");
    }
}

/// The directory of the person of a process.
const FOLDER: &str = "WORMHOLE_CHAT_TEST_FOLDER";

/// Whom a process writes to. Without it, the process receives.
const RECIPIENT: &str = "WORMHOLE_CHAT_TEST_RECIPIENT";

/// The first number that a process sends.
const FIRST: &str = "WORMHOLE_CHAT_TEST_FIRST";
