//! Processes that are killed at random moments: nothing is lost, and nothing is there twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::{OsRng, RngCore as _};
use serde_json::Value;

use crate::service::{ALICE, BOB, Person, Service, messages};
use crate::world::Running;

/// Kills a command after a random time, unless it ends before. Returns whether it succeeded, and its output.
fn killed(mut running: Running) -> (bool, String) {
    let patience = Duration::from_micros(u64::from(OsRng.next_u32() % MAX_LIFE_US));
    let deadline = Instant::now() + patience;
    running.end_input();
    while Instant::now() < deadline && running.is_running() {
        std::thread::yield_now();
    }
    running.kill();
    let ended = running.end();
    (ended.exit == 0, ended.out())
}

/// The messages in the output of a killed command. Its last line may be incomplete.
fn whole_messages(output: &str) -> Vec<Value> {
    messages(output.rsplit_once('\n').map_or("", |(whole, _)| whole))
}

/// Remembers messages by their ids. A message that was shown when the command was killed is shown again with the same id.
fn remember(shown: &mut BTreeMap<u64, String>, messages: &[Value]) {
    for message in messages {
        let text = message["text"].as_str().unwrap().to_owned();
        let before = shown.insert(message["id"].as_u64().unwrap(), text.clone());
        assert!(before.is_none_or(|before| before == text), "another message with this id");
    }
}

/// Sends until a command succeeds, so that at least one attempt is complete. Each attempt has its own text.
fn send_until_done(
    alice: &Person,
    number: usize,
    attempts: &mut Vec<String>,
    must: &mut Vec<String>,
) {
    for attempt in 0.. {
        let text = format!("{number}.{attempt}");
        attempts.push(text.clone());
        let sending = alice.start(&["send", "--json", BOB, &text]);
        let (is_done, output) = killed(sending);
        if output.lines().any(|line| line.contains("chat-queued")) {
            // It is in the outbox: it must arrive, whatever happens now.
            must.push(text);
        }
        if is_done {
            return;
        }
    }
}

#[test]
fn killed_at_random_moments_two_people_lose_nothing_and_get_nothing_twice() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let (mut attempts, mut must) = (Vec::new(), Vec::new());
    let mut shown = BTreeMap::new();
    for number in 0..ROUNDS {
        send_until_done(&alice, number, &mut attempts, &mut must);
        let (_, output) = killed(bob.start(&["receive", "--json"]));
        remember(&mut shown, &whole_messages(&output));
        if number % 5 == 4 {
            service.stop();
            service.resume();
        }
    }
    alice.succeed(&["send", BOB, "the end"]);
    must.push("the end".into());
    attempts.push("the end".into());
    remember(&mut shown, &bob.messages());
    assert_eq!(bob.messages().len(), 0);

    let texts: Vec<_> = shown.values().collect();
    let mut unique = texts.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), texts.len(), "twice: {texts:?}");
    assert!(must.iter().all(|text| texts.contains(&text)), "lost: {must:?} in {texts:?}");
    assert!(texts.iter().all(|text| attempts.contains(text)), "{texts:?}");
    // In the order in which they were sent.
    let order: Vec<_> = attempts.iter().filter(|text| texts.contains(text)).collect();
    assert_eq!(texts, order);
}

/// Number of messages that must arrive.
const ROUNDS: usize = 25;

/// Longest life of a command before it is killed, in microseconds. Most of them end earlier.
const MAX_LIFE_US: u32 = 400_000;
