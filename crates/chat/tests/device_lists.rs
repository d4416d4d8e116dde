//! The signed lists of the devices of accounts: a server cannot add a device that nobody has signed, nor show an older list.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/world.rs"]
mod world;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use world::World;
use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, Address, ClientEvent, ClientInput, ConfigurationSync, Content, DataMessage,
    DeviceId, DeviceList, DeviceListUpdate, GroupEvent, KeyPair, OwnDevice, OwnDeviceList,
    ReadError, Received, Request, Response, SendFailure, SyncMessage, Timestamp,
};

const ALICE: u8 = 1;
const BOB: u8 = 2;

fn identity(seed: u8) -> KeyPair {
    KeyPair::random(&mut ChaCha8Rng::seed_from_u64(seed.into()))
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn address(number: u8, device: u32) -> Address {
    Address { account: account(number), device: DeviceId::new(device).unwrap() }
}

/// Alice and Bob have one device each, and have written to each other.
fn two() -> World {
    let mut world = World::new(7);
    world.server.has_lists = true;
    world.server.reports_other_devices = true;
    for person in [ALICE, BOB] {
        let which = world.join(person, 1, &identity(person));
        world.run(which);
    }
    say(&mut world, 0, BOB, "hello");
    say(&mut world, 1, ALICE, "hi");
    world.settle();
    world
}

/// Adds a device of Bob whose program knows no lists, or which the server has invented with a key of Bob.
fn inject(world: &mut World, device: u32) -> usize {
    world.server.has_lists = false;
    let which = world.join(BOB, device, &identity(BOB));
    world.run(which);
    world.server.has_lists = true;
    which
}

/// Adds a device of Bob that signs itself.
fn link(world: &mut World, device: u32) -> usize {
    let which = world.join(BOB, device, &identity(BOB));
    world.run(which);
    which
}

fn say(world: &mut World, which: usize, to: u8, text: &str) {
    let data = DataMessage { body: Some(text.to_owned()), ..DataMessage::default() };
    world.input(which, ClientInput::Send(account(to), Content::Data(Box::new(data))));
    world.run(which);
}

fn failures(world: &World, which: usize) -> Vec<SendFailure> {
    let events = world.devices[which].events.iter();
    let failure = |event: &ClientEvent| match event {
        ClientEvent::NotSent(_, failure) => Some(*failure),
        _ => None,
    };
    events.filter_map(failure).collect()
}

/// The devices about which the user of a device was told.
fn unsigned(world: &World, which: usize) -> Vec<Address> {
    let events = world.devices[which].events.iter();
    let device = |event: &ClientEvent| match event {
        ClientEvent::UnsignedDevice(device) => Some(*device),
        _ => None,
    };
    events.filter_map(device).collect()
}

fn refused(world: &World, which: usize) -> usize {
    let events = world.devices[which].events.iter();
    let is_refused =
        |event: &&ClientEvent| matches!(event, ClientEvent::NotRead(_, ReadError::UnsignedDevice));
    events.filter(is_refused).count()
}

fn revision(world: &World, which: usize, of: u8) -> Option<u64> {
    world.devices[which].client.device_list(account(of)).map(|list| list.revision)
}

/// A list of one device of Bob, with a greater revision than the newest one.
fn forged(of: AccountId, pair: &KeyPair) -> (u64, Vec<u8>) {
    let device = OwnDevice { device: DeviceId::PRIMARY, registration_id: 1, has_keys: true };
    let mut list = DeviceList::next(None, of, &[device], &[], Timestamp(1)).unwrap();
    list.revision = 50;
    (50, list.sign(pair, &mut ChaCha8Rng::seed_from_u64(99)))
}

/// The server names another device of Bob, so that Alice fetches his keys, with what it shows as his list.
fn fetch(world: &mut World, list: Option<(u64, Vec<u8>)>) -> Vec<SendFailure> {
    match list {
        Some(list) => drop(world.server.lists.insert(account(BOB), list)),
        None => drop(world.server.lists.remove(&account(BOB))),
    }
    inject(world, 9);
    say(world, 0, BOB, "to all your devices");
    failures(world, 0)
}

fn shown_to(world: &World, of: u8) -> OwnDeviceList {
    let Response::DeviceList(shown) = world.server.own_list(account(of)) else { panic!() };
    shown
}

/// What a device does about its list, if the user signs another one.
fn update(
    world: &mut World,
    which: usize,
    shown: &OwnDeviceList,
    sign: Option<u32>,
) -> DeviceListUpdate {
    let sign = sign.map(|number| {
        let device = DeviceId::new(number).unwrap();
        let shown = shown.devices.iter().find(|it| it.device == device).unwrap();
        (device, shown.registration_id)
    });
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[which].client.update_device_list(now, shown, sign.as_slice(), rng)
}

#[test]
fn each_device_signs_itself_before_others_get_its_keys() {
    let mut world = two();
    let second = world.join(BOB, 2, &identity(BOB));
    let is_about_keys = |request: &Request| matches!(request, Request::Publish(_));
    let keys = world.run_until(second, is_about_keys);
    let list = &world.server.lists[&account(BOB)].1;
    let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
    assert_eq!(list.devices.iter().map(|it| it.device.number()).collect::<Vec<_>>(), [1, 2]);
    world.answer(second, keys);
    world.run(second);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    assert_eq!(world.devices[1].texts().last().unwrap(), "to both");
    assert_eq!(world.devices[second].texts(), ["to both"]);
    // The list did not change its mind about anything, and nobody was worried.
    assert_eq!((revision(&world, 0, BOB), unsigned(&world, 0)), (Some(2), vec![]));
    assert_eq!(failures(&world, 0), []);
}

#[test]
fn attack_9_a_device_that_nobody_has_signed_gets_nothing_and_is_shown_once() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    for text in ["one", "two", "three"] {
        say(&mut world, 0, BOB, text);
    }
    world.exchange();
    let mut texts = world.devices[1].texts();
    texts.sort_unstable();
    assert_eq!(texts, ["hello", "one", "three", "two"]);
    assert!(world.devices[injected].texts().is_empty());
    assert_eq!((unsigned(&world, 0), failures(&world, 0)), (vec![address(BOB, 2)], vec![]));
    world.crash(0);
    say(&mut world, 0, BOB, "four");
    world.settle();
    assert_eq!(world.devices[1].texts().last().unwrap(), "four");
    assert_eq!(unsigned(&world, 0).len(), 1);
    // Bob's own device shows it, too.
    assert_eq!(unsigned(&world, 1), [address(BOB, 2)]);
}

#[test]
fn attack_9_a_server_that_insists_on_an_unsigned_device_makes_messages_fail() {
    let mut world = two();
    inject(&mut world, 2);
    world.server.insists = true;
    say(&mut world, 0, BOB, "one");
    assert_eq!(failures(&world, 0), [SendFailure::UnsignedDevice]);
    // An honest server is told once, and the next message arrives.
    world.server.insists = false;
    say(&mut world, 0, BOB, "two");
    world.exchange();
    assert_eq!(world.devices[1].texts(), ["hello", "two"]);
}

#[test]
fn attack_9_nothing_from_an_unsigned_device_is_read() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    say(&mut world, injected, ALICE, "I am Bob");
    world.exchange();
    world.exchange();
    assert_eq!(world.devices[0].texts(), ["hi"]);
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (1, vec![address(BOB, 2)]));
    // Bob does not believe what it says about messages that he has written.
    assert_eq!(world.devices[1].inbox.len(), 1);
    assert!(refused(&world, 1) > 0);
    // The owner signs it.
    let shown = shown_to(&world, BOB);
    let update = update(&mut world, 1, &shown, Some(2));
    let new = update.publish.unwrap();
    world.server.lists.insert(account(BOB), (new.revision, new.list));
    say(&mut world, 0, BOB, "welcome");
    world.settle();
    assert_eq!(world.devices[injected].texts(), ["welcome"]);
    say(&mut world, injected, ALICE, "now I am");
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "now I am"]);
}

#[test]
fn attack_9_an_older_list_is_refused_also_after_a_restart() {
    let mut world = two();
    let older = world.server.lists[&account(BOB)].clone();
    let second = link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    assert_eq!(revision(&world, 0, BOB), Some(2));
    // A removed device cannot come back.
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(second);
    world.exchange();
    let removed_from = world.server.lists[&account(BOB)].clone();
    say(&mut world, 0, BOB, "to one");
    world.crash(0);
    assert_eq!(fetch(&mut world, Some(older)), [SendFailure::DeviceList]);
    world.server.lists.insert(account(BOB), removed_from);
    say(&mut world, 0, BOB, "again");
    assert_eq!(failures(&world, 0).len(), 1);
}

#[test]
fn attack_9_a_list_that_has_vanished_is_missed() {
    assert_eq!(fetch(&mut two(), None), [SendFailure::DeviceList]);
}

#[test]
fn attack_9_another_list_with_the_same_revision_is_refused() {
    let mut world = two();
    let mut list = world.devices[0].client.device_list(account(BOB)).unwrap().clone();
    list.created = Timestamp(list.created.0 + 1);
    let signed = list.sign(&identity(BOB), &mut ChaCha8Rng::seed_from_u64(3));
    let shown = Some((list.revision, signed));
    assert_eq!(fetch(&mut world, shown), [SendFailure::DeviceList]);
}

#[test]
fn attack_9_the_list_of_another_account_is_refused() {
    let mut world = two();
    assert_eq!(
        fetch(&mut world, Some(forged(account(ALICE), &identity(BOB)))),
        [SendFailure::DeviceList]
    );
}

#[test]
fn attack_9_a_list_that_another_key_has_signed_is_refused() {
    let mut world = two();
    let list = forged(account(BOB), &identity(77));
    assert_eq!(fetch(&mut world, Some(list.clone())), [SendFailure::DeviceList]);
    assert_eq!(revision(&world, 0, BOB), Some(1));
    // Also if there was none before.
    let mut world = World::new(8);
    for person in [ALICE, BOB] {
        let which = world.join(person, 1, &identity(person));
        world.run(which);
    }
    world.server.lists.insert(account(BOB), list);
    say(&mut world, 0, BOB, "hello");
    assert_eq!(failures(&world, 0), [SendFailure::DeviceList]);
}

#[test]
fn attack_9_an_unsigned_device_of_our_own_account_gets_no_copies() {
    let mut world = two();
    let second = link(&mut world, 2);
    let injected = inject(&mut world, 3);
    for text in ["one", "two"] {
        say(&mut world, 1, ALICE, text);
    }
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "one", "two"]);
    // Copies of both.
    let is_copy = |received: &&Received| match &received.content {
        Content::Sync(sync) => matches!(SyncMessage::decode(sync), Ok(SyncMessage::Sent(_))),
        _ => false,
    };
    assert_eq!(world.devices[second].inbox.iter().filter(is_copy).count(), 2);
    assert!(world.devices[injected].inbox.is_empty());
    assert_eq!(unsigned(&world, 1), [address(BOB, 3)]);
}

#[test]
fn attack_9_a_server_that_loses_our_list_gets_it_again() {
    let mut world = two();
    link(&mut world, 2);
    world.exchange();
    let first = forged(account(BOB), &identity(77));
    for shown in [None, Some(first)] {
        match shown {
            Some(list) => drop(world.server.lists.insert(account(BOB), list)),
            None => drop(world.server.lists.remove(&account(BOB))),
        }
        let injected = inject(&mut world, 5);
        world.exchange();
        let (_, list) = &world.server.lists[&account(BOB)];
        let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
        let devices: Vec<_> = list.devices.iter().map(|it| it.device.number()).collect();
        // The server cannot use the moment to get another device signed.
        assert_eq!(devices, [1, 2]);
        world.server.devices.remove(&address(BOB, 5));
        world.devices.remove(injected);
    }
}

#[test]
fn two_devices_that_sign_themselves_at_once_are_both_in_the_list() {
    let mut world = two();
    let [second, third] = [2, 3].map(|device| world.join(BOB, device, &identity(BOB)));
    let is_list = |request: &Request| matches!(request, Request::PublishDeviceList(_));
    let list = world.run_until(second, is_list);
    world.run(third);
    world.answer(second, list);
    world.run(second);
    say(&mut world, 0, BOB, "to three");
    world.settle();
    for which in [1, second, third] {
        assert_eq!(world.devices[which].texts().last().unwrap(), "to three");
    }
    assert_eq!(revision(&world, 0, BOB), Some(3));
}

#[test]
fn what_a_device_has_sent_before_it_was_removed_is_read() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "sent before");
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(second);
    // Bob's other device notices it, and Alice learns that before she reads the message.
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert_eq!(world.server.lists[&account(BOB)].0, 3);
    say(&mut world, 0, BOB, "to one");
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "sent before"]);
    assert_eq!((refused(&world, 0), failures(&world, 0)), (0, vec![]));
    assert_eq!(revision(&world, 0, BOB), Some(3));
}

#[test]
fn the_list_of_an_earlier_identity_key_counts_until_the_new_one_is_accepted() {
    let mut world = two();
    link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    assert_eq!(revision(&world, 0, BOB), Some(2));
    // Bob registers again: another key, and a first list.
    world.now.0 += 60_000;
    world.devices.retain(|device| device.address.account != account(BOB));
    world.server.devices.retain(|address, _| address.account != account(BOB));
    world.server.lists.remove(&account(BOB));
    let new = identity(66);
    let bob = world.join(BOB, 1, &new);
    world.run(bob);
    // What Bob writes is read and reported as before: the list of the earlier key says nothing about this device.
    say(&mut world, bob, ALICE, "it is me");
    world.deliver(0);
    let received = world.devices[0].inbox.last().unwrap();
    assert!(received.identity_changed && refused(&world, 0) == 0);
    say(&mut world, 0, BOB, "who are you");
    assert_eq!(revision(&world, 0, BOB), Some(2));
    world.input(0, ClientInput::AcceptIdentity(account(BOB), *new.public()));
    world.run(0);
    world.settle();
    assert_eq!(world.devices[bob].texts(), ["who are you"]);
    assert_eq!((revision(&world, 0, BOB), failures(&world, 0)), (Some(1), vec![]));
}

#[test]
fn late_messages_of_a_removed_installation_do_not_bring_its_session_back() {
    let mut world = two();
    let former = link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    // The former session gets the post-quantum ratchet, which a new one does not have at once.
    for text in ["read", "late", "later"] {
        say(&mut world, former, ALICE, text);
        if text == "read" {
            world.exchange();
            say(&mut world, 0, BOB, "got it");
            world.exchange();
        }
    }
    // The same number, installed again, while two messages of the former installation wait.
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(former);
    world.now.0 += 60_000;
    world.input(1, ClientInput::Connected);
    world.run(1);
    let new = link(&mut world, 2);
    say(&mut world, 0, BOB, "welcome");
    let asked = world.server.asked_for_keys.len();
    world.deliver(0);
    assert_eq!(world.devices[0].texts(), ["hi", "read", "late", "later"]);
    // The session with the new installation, which has not answered yet, is still in use.
    say(&mut world, 0, BOB, "again");
    assert_eq!(world.server.asked_for_keys.len(), asked);
    world.deliver(new);
    assert_eq!(world.devices[new].texts(), ["welcome", "again"]);
}

#[test]
fn a_device_that_is_alone_asks_for_no_keys_of_its_own_account() {
    let mut world = two();
    let setting = ConfigurationSync { read_receipts: true, decided: Timestamp(1) };
    let synchronise = |world: &mut World| {
        world.input(0, ClientInput::Synchronise(SyncMessage::Configuration(setting)));
        world.run(0);
    };
    let asked = world.server.asked_for_keys.len();
    synchronise(&mut world);
    assert_eq!(world.server.asked_for_keys.len(), asked);
    // A linked device learns later changes.
    let laptop = world.join(ALICE, 2, &identity(ALICE));
    world.run(laptop);
    world.input(0, ClientInput::Connected);
    world.run(0);
    synchronise(&mut world);
    world.settle();
    let sent = Content::Sync(SyncMessage::Configuration(setting).encode().to_vec());
    assert!(world.devices[laptop].inbox.iter().any(|received| received.content == sent));
}

#[test]
fn an_account_without_a_list_works_as_before() {
    let mut world = World::new(9);
    world.server.has_lists = true;
    let alice = world.join(ALICE, 1, &identity(ALICE));
    world.run(alice);
    let bob = [1, 2].map(|device| inject(&mut world, device));
    say(&mut world, alice, BOB, "hello");
    say(&mut world, bob[1], ALICE, "hi");
    world.settle();
    assert_eq!(world.devices[alice].texts(), ["hi"]);
    assert_eq!(world.devices[bob[0]].texts(), ["hello"]);
    assert_eq!(revision(&world, alice, BOB), None);
}

#[test]
fn a_service_without_lists_is_no_obstacle() {
    let mut world = two();
    world.server.has_lists = false;
    let carol = world.join(3, 1, &identity(3));
    world.devices[carol].client.manage_device_list();
    world.run(carol);
    say(&mut world, carol, ALICE, "hello");
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "hello"]);
    assert_eq!(world.devices[carol].client.device_list(account(3)), None);
}

fn waiting(world: &World) -> usize {
    world.server.devices[&address(ALICE, 1)].waiting()
}

#[test]
fn attack_9_messages_of_an_unsigned_device_do_not_stop_those_of_others() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    for _ in 0..70 {
        say(&mut world, injected, ALICE, "I am Bob");
    }
    // No list can be fetched, so few messages wait for it. The others are not read.
    world.server.is_down = true;
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0), unsigned(&world, 0)), (32, 38, vec![]));
    world.server.is_down = false;
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (0, 70));
    assert_eq!(unsigned(&world, 0), [address(BOB, 2)]);
    // It may have been signed since, which is asked once in an hour.
    say(&mut world, injected, ALICE, "I am Bob");
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (0, 71));
    // The newest list is known for some time.
    say(&mut world, injected, ALICE, "I am Bob");
    world.server.is_down = true;
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (0, 72));
    world.server.is_down = false;
    world.now.0 += 11 * 60 * 1000;
    say(&mut world, injected, ALICE, "I am Bob");
    world.server.is_down = true;
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (1, 72));
}

#[test]
fn attack_9_a_device_that_was_just_signed_is_read_although_the_list_was_checked_a_moment_ago() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    say(&mut world, injected, ALICE, "I am Bob");
    world.deliver(0);
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (1, vec![address(BOB, 2)]));
    // Other devices do not use up what this one may make Alice ask.
    for device in 3..5 {
        let other = inject(&mut world, device);
        for _ in 0..5 {
            say(&mut world, other, ALICE, "I am Bob");
            world.deliver(0);
        }
    }
    assert_eq!(refused(&world, 0), 11);
    let shown = shown_to(&world, BOB);
    let new = update(&mut world, 1, &shown, Some(2)).publish.unwrap();
    world.server.lists.insert(account(BOB), (new.revision, new.list));
    say(&mut world, injected, ALICE, "now I am");
    world.deliver(0);
    assert_eq!(
        (world.devices[0].texts().last().unwrap().as_str(), refused(&world, 0)),
        ("now I am", 11)
    );
}

#[test]
fn attack_9_two_accounts_do_not_use_up_the_places_of_a_third() {
    let mut world = two();
    let mut injected = vec![inject(&mut world, 2)];
    for person in [3, 4] {
        let which = world.join(person, 1, &identity(person));
        world.run(which);
        say(&mut world, 0, person, "hello");
        say(&mut world, which, ALICE, "hi");
        world.settle();
        world.server.has_lists = false;
        let second = world.join(person, 2, &identity(person));
        world.run(second);
        world.server.has_lists = true;
        injected.push(second);
    }
    let before = refused(&world, 0);
    for (which, count) in [(injected[0], 40), (injected[1], 40), (injected[2], 3)] {
        for _ in 0..count {
            say(&mut world, which, ALICE, "read me");
        }
    }
    world.server.is_down = true;
    world.deliver(0);
    // Each of the first two has 32 places at most, and gives some to the third.
    assert_eq!((waiting(&world), refused(&world, 0) - before), (64, 19));
    assert_eq!(world.server.devices[&address(ALICE, 1)].waiting_from(account(4)), 3);
}

#[test]
fn attack_9_an_installation_whose_number_another_device_has_is_not_read() {
    let mut world = two();
    let old = link(&mut world, 2);
    say(&mut world, old, ALICE, "from the first");
    world.settle();
    say(&mut world, 0, BOB, "to the first");
    world.settle();
    // The device is removed, and another one gets its number. A server lets the old one go on.
    say(&mut world, old, ALICE, "sent before");
    world.server.devices.remove(&address(BOB, 2));
    world.input(1, ClientInput::Connected);
    world.run(1);
    world.now.0 += 1000;
    let new = link(&mut world, 2);
    say(&mut world, new, ALICE, "from the second");
    world.deliver(0);
    let texts = ["hi", "from the first", "sent before", "from the second"];
    assert_eq!(world.devices[0].texts(), texts);
    world.now.0 += 8 * 24 * 60 * 60 * 1000;
    say(&mut world, old, ALICE, "I am still here");
    world.deliver(0);
    assert_eq!(world.devices[0].texts().len(), 4);
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (1, vec![address(BOB, 2)]));
    world.now.0 += 1000;
    say(&mut world, new, ALICE, "and so am I");
    world.deliver(0);
    assert_eq!(world.devices[0].texts().last().unwrap(), "and so am I");
    assert_eq!(refused(&world, 0), 1);
}

#[test]
fn attack_9_an_answer_from_before_a_message_does_not_decide_about_it() {
    let mut world = two();
    inject(&mut world, 9);
    let data = DataMessage { body: Some("to all".to_owned()), ..DataMessage::default() };
    world.input(0, ClientInput::Send(account(BOB), Content::Data(Box::new(data))));
    let early = world.run_until(0, |request| matches!(request, Request::Bundles(_)));
    let older = world.server.lists[&account(BOB)].clone();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "I am new");
    world.hand_out(0);
    let newest = world.server.lists.insert(account(BOB), older).unwrap();
    world.answer(0, early);
    world.server.lists.insert(account(BOB), newest);
    world.run(0);
    assert_eq!(
        (world.devices[0].texts().last().unwrap().as_str(), refused(&world, 0)),
        ("I am new", 0)
    );
    assert_eq!(revision(&world, 0, BOB), Some(2));
}

#[test]
fn attack_9_a_list_counts_also_if_the_keys_with_it_are_invalid() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "I am new");
    world.server.edits_bundles = Some(|bundles| bundles.clear());
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (1, 0));
    world.server.edits_bundles = Some(|bundles| bundles[0].signed.2.0[0] ^= 1);
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert_eq!(world.devices[0].texts().last().unwrap(), "I am new");
}

#[test]
fn attack_9_a_device_that_changes_its_registration_id_is_reported_once() {
    let mut world = two();
    for _ in 0..20 {
        world.now.0 += 1000;
        let injected = inject(&mut world, 2);
        say(&mut world, injected, ALICE, "I am Bob");
        world.deliver(0);
    }
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (20, vec![address(BOB, 2)]));
    let of_bob: Vec<_> = world.devices[0].client.unsigned_devices(account(BOB)).collect();
    assert_eq!(of_bob.len(), 1);
}

#[test]
fn attack_9_what_was_encrypted_for_a_removed_device_is_not_sent_to_it() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    world.server.is_down = true;
    say(&mut world, 0, BOB, "secret");
    world.server.is_down = false;
    // Bob removes the device. The server goes on delivering messages to it.
    let removed = world.server.devices.remove(&address(BOB, 2)).unwrap();
    world.input(1, ClientInput::Connected);
    world.run(1);
    world.server.devices.insert(address(BOB, 2), removed);
    world.server.insists = true;
    // Alice sees the newest list.
    let injected = inject(&mut world, 9);
    say(&mut world, injected, ALICE, "I am Bob");
    world.deliver(0);
    assert_eq!(revision(&world, 0, BOB), Some(3));
    world.server.devices.remove(&address(BOB, 9));
    world.devices.remove(injected);
    world.exchange();
    world.exchange();
    assert_eq!(world.devices[second].texts(), ["to both"]);
}

/// Alice, Bob and Carol are in a group, and Bob has devices that he has not signed.
fn group_with_unsigned(devices: impl IntoIterator<Item = u32>) -> (World, GroupId, [usize; 2]) {
    let mut world = two();
    let carol = world.join(3, 1, &identity(3));
    world.run(carol);
    world.introduce();
    let group = world.group();
    let injected: Vec<_> = devices.into_iter().map(|device| inject(&mut world, device)).collect();
    (world, group, [carol, injected[0]])
}

#[test]
fn attack_9_a_server_that_insists_on_an_unsigned_device_withholds_a_message_from_its_owner_alone() {
    let (mut world, group, [carol, injected]) = group_with_unsigned([2]);
    world.server.insists = true;
    let timestamp = world.say(0, group, "to all");
    world.settle();
    assert_eq!(world.read(carol, group), ["to all"]);
    assert!(world.read(1, group).is_empty() && world.read(injected, group).is_empty());
    let partly = world.events(0, group).into_iter().find_map(|event| match event {
        GroupEvent::PartlySent(report) if report.timestamp == timestamp => Some(report),
        _ => None,
    });
    let partly = partly.unwrap();
    assert_eq!((partly.sent, partly.unreachable), (1, vec![account(BOB)]));
    // With the next connection, an honest server gets it for all.
    world.server.insists = false;
    world.exchange();
    world.say(0, group, "again");
    world.settle();
    assert_eq!(world.read(1, group), ["again"]);
    assert!(world.read(injected, group).is_empty());
}

#[test]
fn attack_9_a_member_whose_list_is_no_more_believed_does_not_stop_a_group() {
    let (mut world, group, [carol, _]) = group_with_unsigned([2]);
    let list = forged(account(BOB), &identity(77));
    world.server.lists.insert(account(BOB), list);
    world.say(0, group, "to all");
    world.settle();
    assert_eq!(world.read(carol, group), ["to all"]);
    assert!(world.read(1, group).is_empty());
}

#[test]
fn attack_9_a_list_that_the_server_has_denied_and_shown_to_others_is_published_again() {
    let mut world = two();
    let second = world.join(BOB, 2, &identity(BOB));
    let is_list = |request: &Request| matches!(request, Request::PublishDeviceList(_));
    let (id, request) = world.run_until(second, is_list);
    let Request::PublishDeviceList(new) = request else { panic!() };
    let honest = world.server.lists[&account(BOB)].clone();
    let denied = (new.revision, new.list);
    assert_eq!(fetch(&mut world, Some(denied)), []);
    assert_eq!(revision(&world, 0, BOB), Some(2));
    world.server.lists.insert(account(BOB), honest);
    world.input(second, ClientInput::Response(id, Response::DeviceListConflict));
    world.crash(second);
    world.run(second);
    say(&mut world, 0, BOB, "to both");
    world.exchange();
    assert_eq!(world.devices[second].texts().last().unwrap(), "to both");
    assert_eq!(failures(&world, 0), []);
    let (revision, list) = &world.server.lists[&account(BOB)];
    let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
    assert_eq!((*revision, Some(&list)), (2, world.devices[0].client.device_list(account(BOB))));
}

#[test]
fn attack_9_who_signs_a_device_again_replaces_a_list_that_others_refuse() {
    let mut world = two();
    link(&mut world, 2);
    world.exchange();
    let shown = shown_to(&world, BOB);
    assert_eq!(update(&mut world, 1, &shown, None).publish, None);
    let first = update(&mut world, 1, &shown, Some(2));
    assert_eq!(first.publish.unwrap().revision, 3);
    let _changes = world.devices[1].client.record_signed_list(&first.list.clone().unwrap());
    // A server that denies it each time cannot drive the revision up.
    let second = update(&mut world, 1, &shown, Some(2));
    assert_eq!((second.publish.unwrap().revision, second.list), (3, first.list));
}

#[test]
fn attack_9_a_list_with_the_greatest_revision_does_not_prevent_later_ones() {
    let mut world = two();
    let mut list = world.devices[0].client.device_list(account(BOB)).unwrap().clone();
    list.revision = DeviceList::MAX_REVISION;
    let signed = list.sign(&identity(BOB), &mut ChaCha8Rng::seed_from_u64(3));
    let last = Some((list.revision, signed));
    assert_eq!(fetch(&mut world, last), [SendFailure::DeviceList]);
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert!(world.server.lists[&account(BOB)].0 < 10);
    say(&mut world, 0, BOB, "again");
    world.exchange();
    assert_eq!(world.devices[1].texts().last().unwrap(), "again");
}

#[test]
fn attack_9_a_removed_device_is_only_signed_again_by_itself() {
    let mut world = two();
    let second = link(&mut world, 2);
    let before = shown_to(&world, BOB);
    world.server.devices.remove(&address(BOB, 2));
    world.input(1, ClientInput::Connected);
    world.run(1);
    let shown = OwnDeviceList { devices: before.devices, ..shown_to(&world, BOB) };
    let removed = shown.devices.iter().find(|it| it.device.number() == 2).copied().unwrap();
    let by_first = update(&mut world, 1, &shown, Some(2)).list.unwrap();
    assert!(!by_first.has(removed.device, removed.registration_id));
    let by_itself = update(&mut world, second, &shown, None).list.unwrap();
    assert!(by_itself.has(removed.device, removed.registration_id));
}

#[test]
fn attack_9_the_user_learns_if_our_list_cannot_be_completed() {
    let mut world = two();
    let second = world.join(BOB, 2, &identity(BOB));
    let is_list = |request: &Request| matches!(request, Request::PublishDeviceList(_));
    for _ in 0..11 {
        let (id, _) = world.run_until(second, is_list);
        assert_eq!(unsigned(&world, second), []);
        world.input(second, ClientInput::Response(id, Response::DeviceListConflict));
    }
    world.run(second);
    assert_eq!(unsigned(&world, second), [address(BOB, 2)]);
}

#[test]
fn attack_9_devices_that_are_shown_different_lists_notice_it_and_replace_both() {
    let mut world = two();
    let second = link(&mut world, 2);
    world.exchange();
    let older = world.server.lists[&account(BOB)].clone();
    let third = link(&mut world, 3);
    assert_eq!(revision(&world, third, BOB), Some(3));
    world.input(1, ClientInput::Connected);
    world.run(1);
    // The server hides the list with the third device from the second one.
    world.server.lists.insert(account(BOB), older);
    world.deliver(second);
    let differ = |world: &World, which: usize| {
        let events = world.devices[which].events.iter();
        events.filter(|event| **event == ClientEvent::ListsDiffer).count()
    };
    assert_eq!((differ(&world, second), revision(&world, second, BOB)), (1, Some(4)));
    let list = &world.server.lists[&account(BOB)].1;
    let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
    assert_eq!(list.devices.iter().map(|it| it.device.number()).collect::<Vec<_>>(), [1, 2, 3]);
    // The others are shown the new one, and nobody signs more.
    world.settle();
    assert_eq!((differ(&world, 1), differ(&world, second), differ(&world, third)), (0, 1, 0));
    assert_eq!(world.server.lists[&account(BOB)].0, 4);
}

#[test]
fn attack_11_a_device_that_is_gone_is_not_asked_again_after_each_connection() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "unreadable");
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(second);
    world.input(1, ClientInput::Connected);
    world.run(1);
    world.deliver_changed(0, |envelope| {
        *envelope.content.as_mut().unwrap().last_mut().unwrap() ^= 1;
    });
    for _ in 0..20 {
        world.input(0, ClientInput::Connected);
        world.run(0);
    }
    assert!(world.server.in_vain <= 1, "{}", world.server.in_vain);
    // The user learns it when it may not arrive any more.
    world.now.0 += 60 * 60 * 1000;
    world.input(0, ClientInput::Timeout);
    world.run(0);
    let is_report = |event: &&ClientEvent| matches!(event, ClientEvent::NotRead(..));
    assert_eq!(world.devices[0].events.iter().filter(is_report).count(), 1);
}
