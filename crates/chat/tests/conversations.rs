//! Conversations of clients through a server, with losses, duplicates, crashes and cancelled messages.
//!
//! `WORMHOLE_CHAT_SEEDS=1000 cargo nextest run -p wormhole-chat --test conversations` runs more of
//! them than usual.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and asks the environment how long to run"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use world::World;
use wormhole_chat::{
    Client, ClientEvent, ClientInput, Content, DataMessage, DeviceId, KeyPair, PreKeyBundle,
    RestoreError, SendFailure, StoreKey, Timestamp,
};

/// Every accepted message is read exactly once on every device of the recipient, and every cancelled one at most once.
fn check(world: &World, seed: u64) {
    let mut read: BTreeMap<_, usize> = BTreeMap::new();
    for device in &world.devices {
        for received in &device.inbox {
            let name = (device.address, received.from, received.timestamp);
            *read.entry(name).or_default() += 1;
        }
        let lost: Vec<_> = device
            .events
            .iter()
            .filter(|event| matches!(event, ClientEvent::NotRead(..) | ClientEvent::NotSent(..)))
            .collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?}");
    }
    assert!(read.values().all(|times| *times == 1), "seed {seed}: read twice");
    for sender in &world.devices {
        for (timestamp, (to, text)) in &sender.accepted {
            for device in world.devices.iter().filter(|device| device.address.account == *to) {
                let name = (device.address, sender.address, *timestamp);
                if sender.cancelled.contains(timestamp) && !read.contains_key(&name) {
                    continue;
                }
                assert_eq!(read.get(&name), Some(&1), "seed {seed}: {text} was not read");
                assert!(device.texts().contains(text), "seed {seed}: {text}");
            }
        }
    }
}

#[test]
fn every_message_is_read_exactly_once_despite_losses_and_crashes() {
    let seeds = std::env::var("WORMHOLE_CHAT_SEEDS").ok().and_then(|text| text.parse().ok());
    let (mut conversations, mut accepted) = (0, 0);
    for seed in 0..seeds.unwrap_or(100) {
        let mut world = World::new(seed);
        let identities: Vec<_> = (0..3).map(|_| KeyPair::random(&mut world.rng)).collect();
        world.join(1, 1, &identities[0]);
        world.join(2, 1, &identities[1]);
        if seed % 2 == 1 {
            world.join(3, 1, &identities[2]);
            world.join(2, 2, &identities[1]);
        }
        // From then on every message goes to all of them.
        (0..world.devices.len()).for_each(|which| world.run(which));
        for _ in 0..400 {
            world.step();
        }
        world.settle();
        check(&world, seed);
        conversations += 1;
        accepted += world.devices.iter().map(|device| device.accepted.len()).sum::<usize>();
    }
    assert!(accepted > 10 * conversations, "{accepted} messages in all");
}

/// Two people; the second one has published keys.
fn two() -> World {
    let mut world = World::new(1);
    for account in [1, 2] {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    world.run(1);
    world.run(0);
    world
}

fn text(body: &str) -> Content {
    let mut data = DataMessage::default();
    data.body = Some(body.to_owned());
    Content::Data(Box::new(data))
}

#[test]
fn attack_6_a_changed_identity_stops_sending_until_it_is_accepted() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["first"]);

    // Bob registers his device again, or someone impersonates him.
    world.devices.pop();
    let identity = KeyPair::random(&mut world.rng);
    world.join(2, 1, &identity);
    world.run(1);
    world.input(0, ClientInput::Send(bob, text("second")));
    world.run(0);
    let changed = ClientEvent::IdentityChanged(bob, *identity.public());
    assert!(world.devices[0].events.contains(&changed));
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert!(
        world.server.devices.values().all(|device| format!("{device:?}").contains("queue: []"))
    );

    // His messages arrive, marked as being from a new identity.
    let alice = world.devices[0].address.account;
    world.input(1, ClientInput::Send(alice, text("it is me")));
    world.run(1);
    world.hand_out(0);
    world.run(0);
    assert!(world.devices[0].inbox[0].identity_changed);

    world.input(0, ClientInput::AcceptIdentity(bob, *identity.public()));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["second"]);
}

#[test]
fn attack_6_a_refused_identity_does_not_end_the_conversation() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    let accepted = world.devices[0].identity_of(bob).unwrap().accepted;
    // Someone else writes in his name.
    let registered = world.server.devices.remove(&world.devices[1].address).unwrap();
    let real = world.devices.pop().unwrap();
    let identity = KeyPair::random(&mut world.rng);
    world.join(2, 1, &identity);
    world.run(1);
    let alice = world.devices[0].address.account;
    world.input(1, ClientInput::Send(alice, text("it is me")));
    world.run(1);
    world.hand_out(0);
    world.run(0);
    let changed = ClientEvent::IdentityChanged(bob, *identity.public());
    assert!(world.devices[0].events.contains(&changed));
    world.input(0, ClientInput::Send(bob, text("second")));
    world.run(0);

    // Alice refuses the key: what she wrote goes to the real Bob only, also after a restart.
    world.server.devices.insert(real.address, registered);
    let forger = std::mem::replace(&mut world.devices[1], real);
    world.input(0, ClientInput::RefuseIdentity(bob, *identity.public()));
    world.run(0);
    world.crash(0);
    let known = world.devices[0].identity_of(bob).unwrap();
    assert_eq!((known.accepted, known.changed), (accepted, None));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["first", "second"]);
    // The forger is not read any more, and there is no second event.
    world.devices.push(forger);
    world.devices[0].events.clear();
    world.input(2, ClientInput::Send(alice, text("really")));
    world.run(2);
    world.hand_out(0);
    world.run(0);
    assert!(!world.devices[0].events.contains(&changed));
    assert_eq!(world.devices[0].texts(), ["it is me"]);
    // If the server names the refused key, sending fails.
    world.devices.remove(1);
    world.server.devices.remove(&world.devices[1].address);
    world.join(2, 1, &identity);
    world.run(2);
    world.input(0, ClientInput::Send(bob, text("third")));
    world.run(0);
    assert_eq!(not_sent(&world, 0), [SendFailure::RefusedIdentity]);
}

#[test]
fn a_session_whose_key_was_refused_is_used_again_when_the_user_accepts_the_key() {
    let mut world = two();
    let [alice, bob] = [0, 1].map(|which| world.devices[which].address.account);
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    // Bob has a new phone, and writes first.
    world.server.devices.remove(&world.devices[1].address).unwrap();
    world.devices.pop();
    let identity = KeyPair::random(&mut world.rng);
    world.join(2, 1, &identity);
    world.run(1);
    let says = |world: &mut World, words: &str| {
        world.input(1, ClientInput::Send(alice, text(words)));
        world.run(1);
        world.hand_out(0);
        world.run(0);
    };
    says(&mut world, "it is me");
    world.input(0, ClientInput::RefuseIdentity(bob, *identity.public()));
    world.run(0);
    world.crash(0);
    says(&mut world, "really");
    assert_eq!(world.devices[0].texts(), ["it is me"]);
    world.input(0, ClientInput::AcceptIdentity(bob, *identity.public()));
    world.run(0);
    world.crash(0);
    // Bob's program does not need to send anything again.
    for words in ["you see", "the same session"] {
        says(&mut world, words);
    }
    assert_eq!(world.devices[0].texts(), ["it is me", "you see", "the same session"]);
    assert!(!world.devices[0].inbox.last().unwrap().identity_changed);
    world.input(0, ClientInput::Send(bob, text("welcome back")));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["welcome back"]);
}

#[test]
fn attack_2_a_server_that_names_no_device_does_not_make_us_encrypt_twice() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.server.lies_about_devices = true;
    world.input(0, ClientInput::Send(bob, text("pay 100")));
    for _ in 0..3 {
        world.run(0);
        world.input(0, ClientInput::Connected);
    }
    world.server.lies_about_devices = false;
    world.settle();
    assert_eq!(world.devices[1].texts(), ["pay 100"]);
}

#[test]
fn attack_7_a_device_that_comes_back_without_post_quantum_keys_is_refused() {
    let mut world = World::new(1);
    let [alices, bobs] = [0; 2].map(|_| KeyPair::random(&mut world.rng));
    world.join(1, 1, &alices);
    let first = world.join(2, 1, &bobs);
    world.join(2, 2, &bobs);
    (0..3).for_each(|which| world.run(which));
    let bob = world.devices[first].address;
    world.input(0, ClientInput::Send(bob.account, text("first")));
    world.settle();
    // The server removes Bob's first device from the account, and adds it again without post-quantum keys.
    let removed = world.server.devices.remove(&bob).unwrap();
    world.input(0, ClientInput::Send(bob.account, text("second")));
    world.run(0);
    world.server.devices.insert(bob, removed);
    world.server.strips_post_quantum_keys = true;
    world.input(0, ClientInput::Send(bob.account, text("third")));
    world.run(0);
    let refused =
        |event: &&ClientEvent| matches!(event, ClientEvent::NotSent(_, SendFailure::NoPostQuantum));
    assert_eq!(world.devices[0].events.iter().filter(refused).count(), 1);
}

/// The errors of messages that a device could not send.
fn not_sent(world: &World, which: usize) -> Vec<SendFailure> {
    let events = world.devices[which].events.iter();
    let errors = events.filter_map(|event| match event {
        ClientEvent::NotSent(_, error) => Some(*error),
        _ => None,
    });
    errors.collect()
}

/// Adds a copy of the first device, without its signature.
fn add_unsigned_device(bundles: &mut Vec<PreKeyBundle>) {
    let mut invented = bundles[0].clone();
    invented.device = DeviceId::new(2).unwrap();
    invented.signed.1 = *KeyPair::random(&mut ChaCha8Rng::seed_from_u64(9)).public();
    bundles.push(invented);
}

#[test]
fn attack_6_a_rejected_bundle_does_not_lose_the_first_identity_key() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.server.edits_bundles = Some(add_unsigned_device);
    world.input(0, ClientInput::Send(bob, text("first")));
    world.run(0);
    assert_eq!(not_sent(&world, 0), [SendFailure::NotAuthentic]);
    world.server.edits_bundles = None;
    world.input(0, ClientInput::Send(bob, text("second")));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["second"]);

    // After a restart, another key is a changed key.
    world.crash(0);
    world.devices.pop();
    let identity = KeyPair::random(&mut world.rng);
    world.join(2, 1, &identity);
    world.run(1);
    world.input(0, ClientInput::Send(bob, text("third")));
    world.run(0);
    let changed = ClientEvent::IdentityChanged(bob, *identity.public());
    assert!(world.devices[0].events.contains(&changed));
    assert_eq!(world.devices[0].outbox_len(), 1);
}

#[test]
fn a_cancelled_message_is_never_sent_and_the_next_one_is_read() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    world.server.is_down = true;
    world.input(0, ClientInput::Send(bob, text("second")));
    world.run(0);
    world.input(0, ClientInput::Cancel(last_accepted(&world, 0)));
    world.run(0);
    let cancelled = ClientEvent::Cancelled(last_accepted(&world, 0));
    assert_eq!(world.devices[0].events.last(), Some(&cancelled));
    world.crash(0);
    assert_eq!(world.devices[0].outbox_len(), 0);
    world.server.is_down = false;
    world.input(0, ClientInput::Send(bob, text("third")));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["first", "third"]);
}

#[test]
fn a_request_that_waits_for_the_store_is_dropped_with_its_message() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    world.input(0, ClientInput::Send(bob, text("second")));
    let timestamp = Timestamp(last_accepted(&world, 0).0 + 1);
    // It is encrypted, but its request waits for the commit.
    world.input(0, ClientInput::Cancel(timestamp));
    world.run(0);
    assert_eq!(world.devices[0].events.last(), Some(&ClientEvent::Cancelled(timestamp)));
    world.settle();
    assert_eq!(world.devices[1].texts(), ["first"]);
    // Nothing happens for a message that is not in the outbox.
    world.input(0, ClientInput::Cancel(timestamp));
    assert!(world.devices[0].poll().is_none());
}

/// The timestamp of the message that was accepted last.
fn last_accepted(world: &World, which: usize) -> Timestamp {
    let mut accepted = world.devices[which].events.iter().rev();
    let last = accepted.find_map(|event| match event {
        ClientEvent::Accepted(timestamp, _) => Some(*timestamp),
        _ => None,
    });
    last.unwrap()
}

#[test]
fn attack_6_a_session_without_a_stored_identity_key_keeps_its_key() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    let rows = world.devices[0].rows().iter();
    let rows = rows.filter(|(key, _)| !matches!(key, StoreKey::Peer(_)));
    let restored = Client::restore(rows.map(|(key, value)| (*key, value.clone()))).unwrap();
    assert!(restored.identity_of(bob).is_some());
}

#[test]
fn attack_7_no_device_of_an_account_with_post_quantum_keys_may_lack_them() {
    let mut world = World::new(1);
    let [alices, bobs] = [0; 2].map(|_| KeyPair::random(&mut world.rng));
    world.join(1, 1, &alices);
    let bob = world.join(2, 1, &bobs);
    (0..2).for_each(|which| world.run(which));
    let bob = world.devices[bob].address.account;
    // A copy of the first device, with a signed prekey that really is Bob's.
    world.server.edits_bundles = Some(|bundles| {
        let mut invented = bundles[0].clone();
        invented.device = DeviceId::new(2).unwrap();
        bundles.push(invented);
    });
    world.input(0, ClientInput::Send(bob, text("first")));
    world.run(0);
    assert_eq!(not_sent(&world, 0), [SendFailure::NotAuthentic]);
    world.server.edits_bundles = None;
    world.input(0, ClientInput::Send(bob, text("second")));
    world.settle();
    world.crash(0);
    // A device of its own, from which the server takes the post-quantum key.
    let second = world.join(2, 2, &bobs);
    world.run(second);
    world.server.edits_bundles = Some(|bundles| bundles[1].kem = None);
    world.input(0, ClientInput::Send(bob, text("third")));
    world.run(0);
    let refused = |lacking| {
        [&[SendFailure::NotAuthentic][..], &vec![SendFailure::NoPostQuantum; lacking]].concat()
    };
    assert_eq!(not_sent(&world, 0), refused(1));
    // The same if it names only that device.
    world.server.edits_bundles = Some(|bundles| {
        bundles.remove(0);
        bundles[0].kem = None;
    });
    world.input(0, ClientInput::Send(bob, text("fourth")));
    world.run(0);
    assert_eq!(not_sent(&world, 0), refused(2));
}

#[test]
fn attack_7_a_forged_first_message_pins_nothing_for_the_accepted_identity() {
    for refuses in [true, false] {
        let mut world = two();
        let [alice, bob] = [0, 1].map(|which| world.devices[which].address.account);
        // Bob's program has no post-quantum keys.
        world.server.strips_post_quantum_keys = true;
        world.input(0, ClientInput::Send(bob, text("first")));
        world.settle();
        let accepted = world.devices[0].identity_of(bob).unwrap().accepted;
        // Someone else writes in his name, with post-quantum protection.
        world.server.strips_post_quantum_keys = false;
        let registered = world.server.devices.remove(&world.devices[1].address).unwrap();
        let real = world.devices.pop().unwrap();
        let identity = KeyPair::random(&mut world.rng);
        world.join(2, 1, &identity);
        world.run(1);
        world.input(1, ClientInput::Send(alice, text("it is me")));
        world.run(1);
        assert_eq!(world.waiting_versions(0), [4]);
        world.hand_out(0);
        world.run(0);
        assert_eq!(world.devices[0].texts(), ["it is me"]);
        world.server.strips_post_quantum_keys = true;
        world.server.devices.insert(real.address, registered);
        world.devices[1] = real;
        world.input(
            0,
            if refuses {
                ClientInput::RefuseIdentity(bob, *identity.public())
            } else {
                ClientInput::AcceptIdentity(bob, accepted)
            },
        );
        world.run(0);
        world.crash(0);
        // The unanswered session is too old, so a new one starts.
        world.now.0 += 31 * 24 * 60 * 60 * 1000;
        world.input(0, ClientInput::Send(bob, text("second")));
        world.run(0);
        assert!(not_sent(&world, 0).is_empty(), "{:?}", not_sent(&world, 0));
        world.settle();
        assert_eq!(world.devices[1].texts(), ["first", "second"]);
    }
}

#[test]
fn attack_7_a_weaker_session_that_a_new_device_starts_is_for_reading_only() {
    let mut world = World::new(1);
    let [alices, bobs] = [0; 2].map(|_| KeyPair::random(&mut world.rng));
    world.join(1, 1, &alices);
    let first = world.join(2, 1, &bobs);
    (0..2).for_each(|which| world.run(which));
    let [alice, bob] = [0, first].map(|which| world.devices[which].address.account);
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    // The new device knows nothing about Alice, and the server gives it her bundle without the post-quantum key.
    let second = world.join(2, 2, &bobs);
    world.run(second);
    world.server.strips_post_quantum_keys = true;
    world.input(second, ClientInput::Send(alice, text("from the new device")));
    world.run(second);
    assert_eq!(world.waiting_versions(0), [3]);
    world.hand_out(0);
    world.run(0);
    assert_eq!(world.devices[0].texts(), ["from the new device"]);
    // She encrypts nothing for it while the server hides its key, and then with it.
    world.input(0, ClientInput::Send(bob, text("second")));
    world.run(0);
    assert_eq!(not_sent(&world, 0), [SendFailure::NoPostQuantum]);
    world.server.strips_post_quantum_keys = false;
    world.input(0, ClientInput::Send(bob, text("third")));
    world.run(0);
    assert_eq!(world.waiting_versions(second), [4]);
    world.settle();
    assert_eq!(world.devices[first].texts(), ["first", "third"]);
    assert_eq!(world.devices[second].texts(), ["third"]);
    // The new device follows.
    world.input(second, ClientInput::Send(alice, text("thanks")));
    world.run(second);
    assert_eq!(world.waiting_versions(0), [4]);
}

#[test]
fn attack_7_a_weaker_session_never_replaces_a_stronger_one_when_first_messages_cross() {
    let mut world = two();
    let [alice, bob] = [0, 1].map(|which| world.devices[which].address.account);
    world.input(0, ClientInput::Send(bob, text("a1")));
    world.run(0);
    world.server.strips_post_quantum_keys = true;
    world.input(1, ClientInput::Send(alice, text("b1")));
    world.run(1);
    assert_eq!((world.waiting_versions(0), world.waiting_versions(1)), (vec![3], vec![4]));
    world.hand_out(0);
    world.run(0);
    assert_eq!(world.devices[0].texts(), ["b1"]);
    world.input(0, ClientInput::Send(bob, text("a2")));
    world.run(0);
    assert_eq!(world.waiting_versions(1), [4, 4]);
    world.settle();
    // Bob has read her messages, and follows. Nothing is lost.
    world.input(1, ClientInput::Send(alice, text("b2")));
    world.run(1);
    assert_eq!(world.waiting_versions(0), [4]);
    world.settle();
    assert_eq!(world.devices[0].texts(), ["b1", "b2"]);
    assert_eq!(world.devices[1].texts(), ["a1", "a2"]);
}

#[test]
fn attack_9_a_device_of_our_own_account_needs_our_identity() {
    let mut world = two();
    let (alice, identity) = (world.devices[0].address, KeyPair::random(&mut world.rng));
    // The server invents a second device of Alice's account, and hands out only its keys.
    let foreign = world.join(1, 2, &identity);
    world.run(foreign);
    let own = world.server.devices.remove(&alice).unwrap();
    world.input(0, ClientInput::Send(alice.account, text("to my other devices")));
    world.run(0);
    let changed = ClientEvent::IdentityChanged(alice.account, *identity.public());
    assert!(world.devices[0].events.contains(&changed));
    // Nobody can accept them.
    world.input(0, ClientInput::AcceptIdentity(alice.account, *identity.public()));
    world.run(0);
    assert_eq!(world.devices[0].outbox_len(), 1);
    // The device cannot write to her either.
    world.server.devices.insert(alice, own);
    world.server.devices.remove(&world.devices[foreign].address);
    world.input(foreign, ClientInput::Send(alice.account, text("from your other device")));
    world.run(foreign);
    world.hand_out(0);
    world.run(0);
    assert!(world.devices[0].inbox.is_empty());
}

#[test]
fn prekeys_that_the_server_hands_out_survive_publications_that_fail() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.server.is_down = true;
    world.now.0 += 60 * 60 * 1000;
    world.keys_left(1, 0);
    for _ in 0..40 {
        world.run(1);
        world.crash(1);
    }
    world.run(1);
    let is_one_time = |key: &&StoreKey| matches!(key, StoreKey::OneTimePreKey(_));
    assert!(world.devices[1].rows().keys().filter(is_one_time).count() <= 1_100);
    world.server.is_down = false;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.run(0);
    world.hand_out(1);
    world.run(1);
    assert_eq!(world.devices[1].texts(), ["first"]);
    // The server gets the newest keys after all.
    world.settle();
    assert!(!world.devices[1].rows().contains_key(&StoreKey::Unpublished));
}

#[test]
fn attack_22_the_signed_prekey_of_a_device_that_was_offline_for_long_still_works() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.run(0);
    world.now.0 += 40 * 24 * 60 * 60 * 1000;
    world.keys_left(1, 100);
    world.run(1);
    world.hand_out(1);
    world.run(1);
    assert_eq!(world.devices[1].texts(), ["first"]);
}

#[test]
fn a_stranger_who_shows_nothing_leaves_nothing_behind() {
    let mut world = two();
    world.settle();
    let (alice, bob) = (world.devices[0].address.account, world.devices[1].address.account);
    let before = world.devices[0].rows().clone();
    world.input(1, ClientInput::Send(alice, Content::Null));
    world.input(1, ClientInput::Send(alice, Content::Data(Box::default())));
    world.settle();
    assert_eq!(*world.devices[0].rows(), before);
    assert_eq!(world.devices[0].identity_of(bob), None);
    // A later message of the same session can be read.
    world.input(1, ClientInput::Send(alice, text("hello")));
    world.input(1, ClientInput::Send(alice, Content::Null));
    world.settle();
    assert_eq!(world.devices[0].inbox.len(), 2);
    assert!(world.devices[0].inbox[0].content.is_visible());
    assert!(world.devices[0].identity_of(bob).is_some());
}

#[test]
fn nothing_is_sent_before_it_is_durable() {
    let mut world = two();
    let bob = world.devices[1].address.account;
    world.input(0, ClientInput::Send(bob, text("first")));
    world.settle();
    world.input(0, ClientInput::Send(bob, text("second")));
    // Two commits, and no request before they are durable.
    let mut outputs = Vec::new();
    while let Some(output) = world.devices[0].poll() {
        outputs.push(format!("{output:?}"));
    }
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|output| output.starts_with("Commit")), "{outputs:?}");
}

#[test]
fn an_account_without_devices_is_an_error_for_the_sender() {
    let mut world = two();
    let nobody = wormhole_chat::AccountId::from_bytes([9; 16]);
    world.input(0, ClientInput::Send(nobody, text("hello")));
    world.settle();
    let errors = world.devices[0].events.iter();
    let errors =
        errors.filter(|event| matches!(event, ClientEvent::NotSent(_, SendFailure::NoDevice)));
    assert_eq!(errors.count(), 1);
}

#[test]
fn a_damaged_store_is_refused() {
    let world = two();
    let rows = world.devices[0].rows();
    assert_eq!(Client::restore(std::iter::empty()).err(), Some(RestoreError::NoAccount));
    for (key, value) in rows {
        let cut = rows.iter().filter(|(other, _)| *other != key);
        let cut = cut.map(|(key, value)| (*key, value.clone()));
        if let Some((_, shorter)) = value.split_last() {
            let damaged = cut.chain([(*key, shorter.to_vec().into())]);
            assert_eq!(Client::restore(damaged).err(), Some(RestoreError::Damaged), "{key:?}");
        }
    }
}
