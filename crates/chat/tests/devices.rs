//! People with several devices: each message reaches all devices of the recipient, and the other devices of the sender learn
//! what was sent.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use world::{Device, World};
use wormhole_chat::{
    AccountId, ClientEvent, ClientInput, Content, CopyFailure, DataMessage, KeyPair, SendFailure,
    SyncMessage, Timestamp,
};

/// A world whose server says who has other devices.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.server.reports_other_devices = true;
    world
}

fn identity(seed: u64) -> KeyPair {
    KeyPair::random(&mut ChaCha8Rng::seed_from_u64(seed))
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

/// How often each message has arrived on a device: its sender, its recipient and its text. With a recipient, it is a copy of what
/// another device of the same account has sent.
fn arrived(device: &Device) -> BTreeMap<(AccountId, Option<AccountId>, String), usize> {
    let mut arrived = BTreeMap::new();
    for received in &device.inbox {
        let from = received.from.account;
        let message = match &received.content {
            Content::Data(data) => (from, None, data.body.clone().unwrap()),
            Content::Sync(sync) => match SyncMessage::decode(sync).unwrap() {
                SyncMessage::Sent(sent) => {
                    assert_eq!(from, device.address.account);
                    (from, Some(sent.to), sent.message.body.unwrap())
                }
                SyncMessage::GroupsWanted
                | SyncMessage::Configuration(_)
                | SyncMessage::DeviceList(_)
                | SyncMessage::Identities(_)
                | SyncMessage::Names(_)
                | SyncMessage::Other
                | SyncMessage::Read(_)
                | SyncMessage::Timers(_)
                | SyncMessage::Requests(_)
                | SyncMessage::SentToGroup(_) => {
                    panic!("{received:?}")
                }
            },
            other => panic!("{other:?}"),
        };
        *arrived.entry(message).or_default() += 1;
    }
    arrived
}

fn say(world: &mut World, which: usize, to: u8, text: &str) {
    let data = DataMessage { body: Some(text.to_owned()), ..DataMessage::default() };
    world.input(which, ClientInput::Send(account(to), Content::Data(Box::new(data))));
}

#[test]
fn every_device_reads_every_message_once_in_spite_of_losses_and_crashes() {
    for seed in 0..6 {
        let mut world = world(seed);
        for person in 1..=3 {
            let identity = identity(u64::from(person));
            for device in 1..=u32::from(person) {
                world.join(person, device, &identity);
            }
        }
        // Devices without keys get nothing.
        for which in 0..world.devices.len() {
            world.run(which);
        }
        for _ in 0..2500 {
            world.step();
        }
        world.settle();
        let mut copies = 0;
        for sender in &world.devices {
            let from = sender.address.account;
            let accepted = sender.accepted.iter();
            for (timestamp, (to, text)) in accepted {
                let is_cancelled = sender.cancelled.contains(timestamp);
                for device in world.devices.iter().filter(|it| it.address != sender.address) {
                    let copy = if device.address.account == from { Some(*to) } else { None };
                    let is_for_it = device.address.account == *to || copy.is_some();
                    let count = arrived(device).get(&(from, copy, text.clone())).copied();
                    let count = count.unwrap_or_default();
                    if is_cancelled {
                        assert!(count <= 1, "seed {seed}");
                    } else {
                        assert_eq!(count, usize::from(is_for_it), "seed {seed}: {text}");
                    }
                    copies += usize::from(copy.is_some());
                }
            }
        }
        assert!(copies > 20, "seed {seed}: only {copies}");
    }
}

#[test]
fn a_copy_is_neither_reported_nor_listed_and_fails_silently() {
    let mut world = world(1);
    let (alice, bob) = (identity(1), identity(2));
    let phone = world.join(1, 1, &alice);
    let laptop = world.join(1, 2, &alice);
    world.join(2, 1, &bob);
    world.settle();
    say(&mut world, phone, 2, "one");
    world.settle();
    let events = world.devices[phone].events.iter();
    let reported = events.filter(|event| {
        matches!(event, ClientEvent::Accepted(..) | ClientEvent::NotSent(..) | ClientEvent::Sent(_))
    });
    assert_eq!(reported.count(), 2, "accepted and sent");
    assert_eq!(arrived(&world.devices[laptop]).len(), 1);
    // The laptop is removed after the server has said that it needs a copy.
    say(&mut world, phone, 2, "two");
    let address = world.devices[laptop].address;
    world.run_until_copy_waits(phone);
    assert_eq!(world.devices[phone].outbox_len(), 1);
    assert_eq!(world.devices[phone].waiting(), 0);
    world.server.devices.remove(&address);
    world.devices.remove(laptop);
    world.settle();
    let failed = |event: &ClientEvent| matches!(event, ClientEvent::NotSent(..));
    assert!(!world.devices[phone].events.iter().any(failed));
}

#[test]
fn attack_9_a_device_that_the_server_invents_gets_no_copy() {
    let mut world = world(2);
    let alice = identity(1);
    let phone = world.join(1, 1, &alice);
    world.join(2, 1, &identity(2));
    // It has another identity key. The server says so, or that it has ours.
    let invented = world.join(1, 2, &identity(66));
    world.settle();
    for claims in [false, true] {
        if claims {
            world.server.edits_bundles = Some(|bundles| {
                let first = bundles[0].identity;
                bundles.iter_mut().for_each(|bundle| bundle.identity = first);
            });
        }
        say(&mut world, phone, 2, "secret");
        world.settle();
        assert!(arrived(&world.devices[invented]).is_empty());
        let events = std::mem::take(&mut world.devices[phone].events);
        assert!(events.contains(&ClientEvent::ForeignDevice), "{events:?}");
    }
}

/// What a device of ours tells the others about its latest decision.
fn tell_decision(world: &mut World, which: usize, key: &KeyPair) {
    world.run(which);
    let decision = world.devices[which].identity_decision(account(2), key.public()).unwrap();
    let sync = SyncMessage::Identities(vec![decision]);
    world.input(which, ClientInput::Synchronise(sync));
    world.run(which);
}

/// The accepted key, the changed one and the refused ones of the second person, as two devices of the first one know them.
fn keys_of_both(
    world: &World,
) -> [(wormhole_chat::PublicKey, Option<wormhole_chat::PublicKey>, usize); 2] {
    [0, 1].map(|which| {
        let known = world.devices[which].identity_of(account(2)).unwrap();
        (known.accepted, known.changed, world.devices[which].refused(account(2)).len())
    })
}

#[test]
fn attack_6_a_server_that_delays_a_decision_brings_no_device_back_to_an_earlier_key() {
    let mut world = world(7);
    let (alice, first) = (identity(1), identity(2));
    let [phone, laptop] = [1, 2].map(|device| world.join(1, device, &alice));
    let mut bob = world.join(2, 1, &first);
    world.settle();
    say(&mut world, bob, 1, "first");
    world.settle();
    // Bob's key changes twice, and both devices of Alice see it.
    let keys = [identity(22), identity(23)];
    for key in &keys {
        world.now = Timestamp(world.now.0 + 1000);
        world.devices.remove(bob);
        bob = world.join(2, 1, key);
        world.run(bob);
        say(&mut world, bob, 1, "it is me");
        world.run(bob);
        [phone, laptop].into_iter().for_each(|device| world.deliver(device));
    }
    for key in &keys {
        world.input(phone, ClientInput::AcceptIdentity(account(2), *key.public()));
        tell_decision(&mut world, phone, key);
    }
    assert_eq!(keys_of_both(&world)[1], (*first.public(), Some(*keys[1].public()), 0));
    // The server delivers what the phone has said in the opposite order: first the decision about the last key.
    world.deliver_backwards(laptop);
    let expected = (*keys[1].public(), None, 0);
    assert_eq!(keys_of_both(&world), [expected; 2]);
    world.crash(laptop);
    assert_eq!(keys_of_both(&world), [expected; 2]);
}

#[test]
fn attack_6_an_older_acceptance_undoes_no_refusal_and_decisions_at_the_same_moment_end_equal() {
    let mut world = world(8);
    let (alice, first) = (identity(1), identity(2));
    let [phone, laptop] = [1, 2].map(|device| world.join(1, device, &alice));
    let mut bob = world.join(2, 1, &first);
    world.settle();
    say(&mut world, bob, 1, "first");
    world.settle();
    let other = identity(22);
    world.now = Timestamp(world.now.0 + 1000);
    world.devices.remove(bob);
    bob = world.join(2, 1, &other);
    world.run(bob);
    say(&mut world, bob, 1, "it is me");
    world.run(bob);
    [phone, laptop].into_iter().for_each(|device| world.deliver(device));
    // At the same moment, the user accepts the key on the phone and refuses it on the laptop.
    world.input(phone, ClientInput::AcceptIdentity(account(2), *other.public()));
    world.input(laptop, ClientInput::RefuseIdentity(account(2), *other.public()));
    let times = [phone, laptop].map(|device| {
        tell_decision(&mut world, device, &other);
        world.devices[device].identity_decision(account(2), other.public()).unwrap().decided
    });
    assert_eq!(times[0], times[1]);
    [phone, laptop].into_iter().for_each(|device| world.deliver(device));
    assert_eq!(keys_of_both(&world), [(*first.public(), None, 1); 2]);
    // Later, the user accepts it nevertheless. What the laptop has said before arrives again, and changes nothing.
    world.input(phone, ClientInput::AcceptIdentity(account(2), *other.public()));
    let decision = world.devices[laptop].identity_decision(account(2), other.public()).unwrap();
    tell_decision(&mut world, phone, &other);
    world.input(laptop, ClientInput::Synchronise(SyncMessage::Identities(vec![decision])));
    world.run(laptop);
    [phone, laptop].into_iter().for_each(|device| world.deliver(device));
    assert_eq!(keys_of_both(&world), [(*other.public(), None, 0); 2]);
}

#[test]
fn a_device_that_fetches_nothing_costs_the_oldest_copies_and_no_messages() {
    let mut world = world(5);
    let alice = identity(1);
    let phone = world.join(1, 1, &alice);
    world.join(1, 2, &alice);
    let bob = world.join(2, 1, &identity(2));
    world.settle();
    world.server.full = Some(account(1));
    for number in 0..1002 {
        say(&mut world, phone, 2, &number.to_string());
        world.run(phone);
    }
    let device = &world.devices[phone];
    assert_eq!((device.outbox_len(), device.waiting(), device.outbox_bytes()), (1000, 0, 0));
    let dropped =
        |event: &&ClientEvent| matches!(event, ClientEvent::NotCopied(_, CopyFailure::TooMany));
    assert_eq!(device.events.iter().filter(dropped).count(), 2);
    assert_eq!(world.waiting_versions(bob).len(), 1002, "each message was sent");
}

#[test]
fn a_copy_for_a_device_without_post_quantum_keys_is_reported_as_such() {
    let mut world = world(6);
    let alice = identity(1);
    let phone = world.join(1, 1, &alice);
    world.join(1, 2, &alice);
    world.join(2, 1, &identity(2));
    world.settle();
    world.server.edits_bundles =
        Some(|bundles| bundles.iter_mut().skip(1).for_each(|bundle| bundle.kem = None));
    say(&mut world, phone, 2, "hello");
    world.settle();
    let events = &world.devices[phone].events;
    let lacks = CopyFailure::NotSent(SendFailure::NoPostQuantum);
    assert!(events.iter().any(|it| matches!(it, ClientEvent::NotCopied(_, why) if *why == lacks)));
    assert!(!events.contains(&ClientEvent::ForeignDevice), "{events:?}");
}

#[test]
fn copies_are_made_again_when_the_server_names_the_right_keys() {
    let mut world = world(4);
    let alice = identity(1);
    let phone = world.join(1, 1, &alice);
    let laptop = world.join(1, 2, &alice);
    world.join(2, 1, &identity(2));
    world.settle();
    // The server names only a device of its own.
    let foreign = world.join(1, 3, &identity(66));
    world.run(foreign);
    let own = [phone, laptop].map(|which| world.devices[which].address);
    let registered = own.map(|address| world.server.devices.remove(&address).unwrap());
    say(&mut world, phone, 1, "to myself");
    world.run(phone);
    assert_eq!(world.devices[phone].outbox_len(), 1);
    let foreign = world.devices.remove(foreign).address;
    world.server.devices.remove(&foreign);
    world.server.devices.extend(own.into_iter().zip(registered));
    say(&mut world, phone, 2, "to Bob");
    world.settle();
    assert_eq!(arrived(&world.devices[laptop]).len(), 2);
}

#[test]
fn a_copy_from_another_account_is_refused() {
    let mut world = world(3);
    world.join(1, 1, &identity(1));
    let bob = world.join(2, 1, &identity(2));
    world.settle();
    say(&mut world, bob, 1, "hello");
    world.settle();
    let message = DataMessage { body: Some("you wrote this".to_owned()), ..DataMessage::default() };
    let sent = wormhole_chat::SentTranscript {
        to: account(3),
        number: None,
        app: None,
        timestamp: Timestamp(1),
        message,
        edits: None,
    };
    let sync = SyncMessage::Sent(Box::new(sent)).encode();
    world.input(bob, ClientInput::Send(account(1), Content::Sync(sync.to_vec())));
    world.settle();
    assert_eq!(world.devices[0].inbox.len(), 1);
    let refused = |event: &ClientEvent| matches!(event, ClientEvent::NotRead(..));
    assert!(world.devices[0].events.iter().any(refused));
}
