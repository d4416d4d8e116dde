//! Messages to groups that do not reach everybody at once: members without room, and members who cannot decrypt them.

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

use world::World;
use wormhole_chat::group::{GroupChange, GroupId};
use wormhole_chat::{
    AccountId, Address, ClientEvent, ClientInput, Content, DataMessage, DecryptionErrorMessage,
    Delivery, DeviceId, Envelope, EnvelopeKind, GroupEvent, KeyPair, Membership, PartlySent,
    ReadError, Receipt, ReceiptKind, StoreKey, Timestamp, Typing,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

const MINUTE: u64 = 60_000;

impl World {
    fn account(&self, which: usize) -> AccountId {
        self.devices[which].address.account
    }

    fn say(&mut self, which: usize, group: GroupId, body: &str) -> Timestamp {
        let mut data = DataMessage::default();
        data.body = Some(body.to_owned());
        let content = Content::Data(Box::new(data));
        self.now.0 += 1;
        let (now, rng) = (self.now, &mut self.rng);
        let said = self.devices[which].client.send_to_group(now, group, &content, rng).unwrap();
        self.run(which);
        said
    }

    /// The texts that a device has read in a group.
    fn read(&self, which: usize, group: GroupId) -> Vec<String> {
        let contents = self.devices[which].inbox.iter().map(|received| &received.content);
        let texts = contents.filter_map(|content| match content {
            Content::Group(content) if content.group == group => match content.inner.as_deref() {
                Some(Content::Data(data)) => data.body.clone(),
                other => panic!("{other:?}"),
            },
            _ => None,
        });
        texts.collect()
    }

    fn events(&self, which: usize, group: GroupId) -> Vec<GroupEvent> {
        let events = self.devices[which].events.iter().filter_map(|event| match event {
            ClientEvent::Group(id, event) if *id == group => Some(event.clone()),
            _ => None,
        });
        events.collect()
    }

    /// Everybody exchanges what is possible while the server has no room for somebody.
    fn settle_full(&mut self, full: AccountId) {
        self.server.full = Some(full);
        (0..5).for_each(|_| self.exchange());
    }

    /// The time passes, and the device notices it.
    fn wait(&mut self, which: usize, time: u64) {
        self.now.0 += time;
        self.input(which, ClientInput::Timeout);
        self.run(which);
    }
}

/// A group of people with one device each, who know each other, and have written to it.
fn group(count: u8) -> (World, GroupId) {
    let mut world = World::new(7);
    for account in 1..=count {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..count.into()).for_each(|which| world.run(which));
    for which in 0..count.into() {
        for other in (0..count.into()).filter(|other| *other != which) {
            let other = world.account(other);
            world.input(which, ClientInput::Keep(other));
        }
    }
    let (now, rng) = (world.now, &mut world.rng);
    let group = world.devices[ALICE].client.create_group(now, "Hike", None, rng).unwrap().0;
    let people = (1..count.into()).map(|which| (world.account(which), None)).collect();
    let (now, rng) = (world.now, &mut world.rng);
    let invite = GroupChange::Invite(people);
    world.devices[ALICE].client.change_group(now, group, invite, rng).unwrap();
    world.settle();
    for which in 0..count.into() {
        world.say(which, group, "hello");
    }
    world.settle();
    world.devices.iter_mut().for_each(|device| {
        device.inbox.clear();
        device.events.clear();
    });
    (world, group)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_full_queue_of_one_member_delays_a_message_only_for_that_member() {
    let (mut world, group) = group(4);
    let (bob, carol) = (world.account(BOB), world.account(CAROL));
    world.server.full = Some(bob);
    let first = world.say(ALICE, group, "first");
    let partly = PartlySent { timestamp: first, sent: 2, waiting: vec![bob], unreachable: vec![] };
    assert!(world.events(ALICE, group).contains(&GroupEvent::PartlySent(partly)));
    assert!(!world.events(ALICE, group).contains(&GroupEvent::Sent(first)));
    // A later message does not wait.
    let second = world.say(ALICE, group, "second");
    world.deliver(CAROL);
    assert_eq!(world.read(CAROL, group), texts(&["first", "second"]));
    assert_eq!(world.devices[ALICE].client.waiting_members(first), [bob]);
    // It is tried again with growing pauses, and nobody else gets it again.
    let sent = world.server.group_messages;
    (0..3600).for_each(|_| world.wait(ALICE, 1000));
    let tries = world.server.group_messages - sent;
    assert!((20..=40).contains(&tries), "{tries} for 2 messages in an hour");
    assert_eq!(world.waiting_kinds(CAROL), []);
    // A crash does not lose it.
    world.crash(ALICE);
    world.server.full = None;
    world.wait(ALICE, 10 * MINUTE);
    world.deliver(BOB);
    assert_eq!(world.read(BOB, group), texts(&["first", "second"]));
    for message in [first, second] {
        assert!(world.events(ALICE, group).contains(&GroupEvent::Sent(message)));
        assert_eq!(world.devices[ALICE].client.waiting_members(message), []);
    }
    let left = |key: &StoreKey| matches!(key, StoreKey::GroupOutgoing(_));
    assert!(!world.devices[ALICE].rows().keys().any(left));
    world.settle();
    assert_eq!(world.read(CAROL, group), texts(&["first", "second"]));
    assert_ne!(bob, carol);
}

#[test]
fn attack_18_a_full_queue_of_a_member_without_the_sender_key_does_not_stop_messages_to_others() {
    let (mut world, group) = group(4);
    let (bob, dave) = (world.account(BOB), world.account(3));
    let (now, rng) = (world.now, &mut world.rng);
    let remove = GroupChange::Remove { account: dave, password: None };
    world.devices[ALICE].client.change_group(now, group, remove, rng).unwrap();
    world.settle();
    // Each epoch has new keys.
    world.server.full = Some(bob);
    let first = world.say(ALICE, group, "first");
    let partly = PartlySent { timestamp: first, sent: 1, waiting: vec![bob], unreachable: vec![] };
    assert!(world.events(ALICE, group).contains(&GroupEvent::PartlySent(partly)));
    world.crash(ALICE);
    world.run(ALICE);
    let second = world.say(ALICE, group, "second");
    world.deliver(CAROL);
    assert_eq!(world.read(CAROL, group), texts(&["first", "second"]));
    assert_eq!(world.devices[ALICE].client.waiting_members(first), [bob]);
    // The key is replaced before he has got it.
    world.now.0 += 15 * 24 * 60 * MINUTE;
    world.input(ALICE, ClientInput::Connected);
    world.run(ALICE);
    world.say(ALICE, group, "third");
    world.deliver(CAROL);
    assert_eq!(world.read(CAROL, group), texts(&["first", "second", "third"]));
    // Not even a restart makes the others wait, or get it again.
    world.crash(ALICE);
    world.run(ALICE);
    assert_eq!(world.devices[ALICE].client.waiting_group_messages(), 0);
    world.server.full = None;
    world.settle();
    let mut read = world.read(BOB, group);
    read.sort();
    assert_eq!(read, texts(&["first", "second", "third"]));
    assert_eq!(world.read(CAROL, group), texts(&["first", "second", "third"]));
    for message in [first, second] {
        assert!(world.events(ALICE, group).contains(&GroupEvent::Sent(message)));
    }
    let left = |key: &StoreKey| matches!(key, StoreKey::GroupOutgoing(_) | StoreKey::Outgoing(_));
    assert!(!world.devices[ALICE].rows().keys().any(left));
}

#[test]
fn typing_in_a_group_reaches_its_members_but_nobody_who_has_left_and_is_not_kept() {
    let (mut world, group) = group(4);
    let typing = |world: &mut World| {
        let content =
            Content::Typing(Typing { timestamp: Timestamp(0), started: true, group: None });
        world.now.0 += 1;
        let (now, rng) = (world.now, &mut world.rng);
        world.devices[ALICE].client.send_online_to_group(now, group, &content, rng);
        world.run(ALICE);
    };
    let has_read = |world: &mut World, which: usize| {
        world.deliver(which);
        let received = world.devices[which].inbox.drain(..);
        let typing = received.filter(|it| match &it.content {
            Content::Group(content) => matches!(content.inner.as_deref(), Some(Content::Typing(_))),
            _ => false,
        });
        typing.count()
    };
    typing(&mut world);
    assert_eq!([BOB, CAROL, 3].map(|which| has_read(&mut world, which)), [1, 1, 1]);
    // From the moment at which Alice removes somebody, nobody learns it until the others have the next key.
    let dave = world.account(3);
    let (now, rng) = (world.now, &mut world.rng);
    let remove = GroupChange::Remove { account: dave, password: None };
    world.devices[ALICE].client.change_group(now, group, remove, rng).unwrap();
    typing(&mut world);
    world.settle();
    typing(&mut world);
    assert_eq!([BOB, CAROL, 3].map(|which| has_read(&mut world, which)), [0, 0, 0]);
    world.say(ALICE, group, "next");
    world.settle();
    world.devices.iter_mut().for_each(|device| device.inbox.clear());
    world.server.is_down = true;
    typing(&mut world);
    typing(&mut world);
    world.server.is_down = false;
    world.input(ALICE, ClientInput::Connected);
    world.run(ALICE);
    assert_eq!([BOB, CAROL].map(|which| has_read(&mut world, which)), [0, 0], "not repeated");
    typing(&mut world);
    assert_eq!([BOB, CAROL, 3].map(|which| has_read(&mut world, which)), [1, 1, 0]);
    assert_eq!(world.devices[ALICE].client.group_outbox().count(), 0);
}

#[test]
fn a_message_waits_for_members_with_and_without_its_key() {
    let (mut world, group) = group(4);
    let (bob, carol) = (world.account(BOB), world.account(CAROL));
    // Only Carol has the next key.
    world.now.0 += 15 * 24 * 60 * MINUTE;
    world.server.full = Some(bob);
    world.say(ALICE, group, "one");
    world.server.full = Some(carol);
    world.input(ALICE, ClientInput::Timeout);
    let second = world.say(ALICE, group, "two");
    assert_eq!(world.devices[ALICE].client.waiting_members(second), [bob, carol]);
    world.settle_full(carol);
    assert_eq!(world.read(BOB, group), texts(&["one", "two"]));
    assert_eq!(world.devices[ALICE].client.waiting_members(second), [carol]);
    world.server.full = None;
    world.wait(ALICE, 10 * MINUTE);
    world.settle();
    assert_eq!(world.read(CAROL, group), texts(&["one", "two"]));
    assert_eq!(world.read(BOB, group), texts(&["one", "two"]));
}

#[test]
fn a_message_waits_for_a_member_who_installs_again_or_leaves_meanwhile() {
    let (mut world, group) = group(4);
    let bob = world.account(BOB);
    world.server.full = Some(bob);
    let first = world.say(ALICE, group, "first");
    // The device of Bob is another one: the message must be encrypted again, with another key, and only for it.
    let address = world.devices[BOB].address;
    world.server.register(address, 9999);
    world.server.full = None;
    world.wait(ALICE, 10 * MINUTE);
    assert_eq!(world.devices[ALICE].client.waiting_members(first), [bob], "it has no keys yet");
    world.deliver(CAROL);
    assert_eq!(world.read(CAROL, group), texts(&["first"]));
    let (now, rng) = (world.now, &mut world.rng);
    let remove = GroupChange::Remove { account: bob, password: None };
    world.devices[ALICE].client.change_group(now, group, remove, rng).unwrap();
    world.run(ALICE);
    (0..10).for_each(|_| world.wait(ALICE, 10 * MINUTE));
    assert_eq!(world.devices[ALICE].client.waiting_members(first), []);
    assert_eq!(world.read(CAROL, group), texts(&["first"]));
}

/// A device loses the sender keys of all others.
fn lose_sender_keys(world: &mut World, which: usize) {
    let mut rows = world.devices[which].rows().clone();
    rows.retain(|key, _| !matches!(key, StoreKey::SenderKey { .. }));
    world.restore(which, rows);
}

fn not_read(world: &World, which: usize) -> Vec<ReadError> {
    let events = world.devices[which].events.iter();
    let errors = events.filter_map(|event| match event {
        ClientEvent::NotRead(_, why) => Some(*why),
        _ => None,
    });
    errors.collect()
}

/// A request of `from` to send a message of Alice again, which may be invented.
fn request(world: &mut World, from: Address, timestamp: Timestamp) {
    let device = DeviceId::PRIMARY;
    let error = DecryptionErrorMessage { ratchet_key: None, timestamp, device };
    let mut envelope = Envelope::new(EnvelopeKind::PlaintextContent, Timestamp(1));
    envelope.source_account = Some(from.account);
    envelope.source_device = Some(from.device);
    envelope.content = Some(error.to_plaintext());
    world.input(ALICE, ClientInput::Envelope(Delivery(7), Box::new(envelope)));
    world.run(ALICE);
}

#[test]
fn a_group_message_that_a_member_cannot_decrypt_is_sent_again_with_the_key_and_read_once() {
    let (mut world, group) = group(3);
    lose_sender_keys(&mut world, BOB);
    world.say(ALICE, group, "one");
    world.say(ALICE, group, "two");
    world.deliver(BOB);
    assert_eq!((world.read(BOB, group), not_read(&world, BOB)), (vec![], vec![]));
    let asked = world.waiting_kinds(ALICE);
    assert!(asked.iter().all(|(kind, _)| *kind == EnvelopeKind::PlaintextContent), "{asked:?}");
    assert_eq!(asked.len(), 2);
    // The request is acknowledged, so it must survive the end of the program.
    world.server.is_down = true;
    world.deliver(ALICE);
    world.crash(ALICE);
    world.server.is_down = false;
    world.crash(BOB);
    world.settle();
    let mut read = world.read(BOB, group);
    read.sort();
    assert_eq!(read, texts(&["one", "two"]));
    // Bob has the key again.
    world.say(ALICE, group, "three");
    world.deliver(BOB);
    assert_eq!(world.read(BOB, group).len(), 3);
    assert_eq!(world.waiting_kinds(ALICE), []);
    assert_eq!(world.read(CAROL, group), texts(&["one", "two"]));
    world.now.0 += 25 * 60 * MINUTE;
    world.wait(BOB, 0);
    assert_eq!(not_read(&world, BOB), []);
}

#[test]
fn a_group_message_that_nobody_has_any_more_is_reported_once() {
    let (mut world, group) = group(3);
    lose_sender_keys(&mut world, BOB);
    let mut rows = world.devices[ALICE].rows().clone();
    world.say(ALICE, group, "gone");
    world.deliver(BOB);
    // Alice has forgotten that she has sent it.
    rows.retain(|key, _| !matches!(key, StoreKey::SentToGroup(_)));
    world.restore(ALICE, rows);
    world.settle();
    assert_eq!(world.read(BOB, group), texts(&[]));
    assert_eq!(not_read(&world, BOB).len(), 1);
    world.wait(BOB, 61 * MINUTE);
    assert_eq!(not_read(&world, BOB).len(), 1);
}

#[test]
fn attack_11_invented_requests_get_group_messages_only_to_devices_that_got_them_and_six_times() {
    let (mut world, group) = group(3);
    let said = world.say(ALICE, group, "secret");
    world.settle();
    let carol = world.devices[CAROL].address;
    // Somebody who writes to Alice, but is not in the group; and a device of Carol that has come later.
    let identity = KeyPair::random(&mut world.rng);
    let dave = world.join(9, 1, &identity);
    world.run(dave);
    let to_alice = world.account(ALICE);
    let hello =
        Content::Data(Box::new(DataMessage { body: Some("hi".into()), ..DataMessage::default() }));
    world.input(dave, ClientInput::Send(to_alice, hello));
    world.run(dave);
    world.settle();
    let dave_address = world.devices[dave].address;
    let later = Address { device: DeviceId::new(2).unwrap(), ..carol };
    for from in [dave_address, later] {
        request(&mut world, from, said);
    }
    world.deliver(dave);
    assert_eq!(world.read(dave, group), texts(&[]));
    let before = world.devices[CAROL].inbox.clone();
    for _ in 0..10 {
        request(&mut world, carol, said);
    }
    let kinds = world.waiting_kinds(CAROL);
    let again = kinds.iter().filter(|(_, timestamp)| *timestamp == said).count();
    assert_eq!(again, 6, "{kinds:?}");
    assert!(kinds.len() <= 12, "six messages and at most as many keys: {kinds:?}");
    world.deliver(CAROL);
    // The store recognises them: they are the same.
    assert!(world.devices[CAROL].inbox.iter().all(|received| before.contains(received)));
}

#[test]
fn attack_18_a_removed_member_gets_old_group_messages_again_but_no_key() {
    let (mut world, group) = group(3);
    let said = world.say(ALICE, group, "for all");
    world.settle();
    let bob = world.account(BOB);
    let (now, rng) = (world.now, &mut world.rng);
    let remove = GroupChange::Remove { account: bob, password: None };
    world.devices[ALICE].client.change_group(now, group, remove, rng).unwrap();
    world.settle();
    let later = world.say(ALICE, group, "without Bob");
    world.settle();
    let address = world.devices[BOB].address;
    request(&mut world, address, later);
    request(&mut world, address, said);
    let kinds = world.waiting_kinds(BOB);
    // An empty message answers the first request, and no key follows.
    assert_eq!(kinds.iter().map(|(_, timestamp)| *timestamp).collect::<Vec<_>>(), [later, said]);
    world.deliver(BOB);
    assert!(!world.read(BOB, group).contains(&"without Bob".to_owned()));
}

#[test]
fn attack_11_only_what_a_person_has_sent_on_purpose_accepts_its_recipient() {
    let (mut world, group) = group(4);
    world.say(ALICE, group, "to all");
    let (bob, carol) = (world.account(BOB), world.account(CAROL));
    let (now, rng) = (world.now, &mut world.rng);
    let remove = GroupChange::Remove { account: bob, password: None };
    world.devices[ALICE].client.change_group(now, group, remove, rng).unwrap();
    world.settle();
    let receipt = Receipt { kind: ReceiptKind::Delivery, timestamps: vec![Timestamp(1)] };
    let typing = Typing { timestamp: Timestamp(0), started: true, group: None };
    for (content, is_online) in
        [(Content::Receipt(receipt), false), (Content::Typing(typing), true)]
    {
        world.input(ALICE, ClientInput::SendVolatile { to: carol, content, is_online });
    }
    let key = DataMessage { profile_key_update: true, ..DataMessage::default() };
    for content in [Content::Null, Content::Data(Box::new(key))] {
        world.input(ALICE, ClientInput::Send(carol, content));
    }
    // Carol cannot decrypt something, and asks for it.
    lose_sender_keys(&mut world, CAROL);
    world.say(ALICE, group, "again");
    world.settle();
    assert!(world.server.accepted.is_empty(), "{:?}", world.server.accepted);
    let hello = DataMessage { body: Some("hi".into()), ..DataMessage::default() };
    world.input(ALICE, ClientInput::Send(carol, Content::Data(Box::new(hello))));
    world.settle();
    assert_eq!(world.server.accepted.len(), 1);
    assert!(world.server.accepted.contains(&(world.account(ALICE), carol)));
}

#[test]
fn an_invitation_of_a_blocked_contact_is_not_accepted_without_asking() {
    let mut world = World::new(8);
    for account in [1, 2] {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    [ALICE, BOB].into_iter().for_each(|which| world.run(which));
    let (alice, bob) = (world.account(ALICE), world.account(BOB));
    world.input(BOB, ClientInput::Keep(alice));
    world.input(BOB, ClientInput::DoNotKeep(alice));
    let (now, rng) = (world.now, &mut world.rng);
    let group = world.devices[ALICE].client.create_group(now, "Hike", None, rng).unwrap().0;
    let invite = GroupChange::Invite([(bob, None)].into_iter().collect());
    world.devices[ALICE].client.change_group(now, group, invite, rng).unwrap();
    world.settle();
    assert_eq!(world.devices[BOB].client.group_membership(group), Some(Membership::Invited));
    assert!(world.events(BOB, group).contains(&GroupEvent::Invited(alice)));
}

#[test]
fn attack_11_deleted_and_old_messages_to_a_group_are_not_sent_again() {
    let (mut world, group) = group(3);
    lose_sender_keys(&mut world, BOB);
    let deleted = world.say(ALICE, group, "deleted");
    let old = world.say(ALICE, group, "old");
    let is_kept = |world: &World, name| {
        world.devices[ALICE].rows().contains_key(&StoreKey::SentToGroup(name))
    };
    assert!(is_kept(&world, deleted) && is_kept(&world, old));
    let delete = DataMessage { delete: Some(deleted), ..DataMessage::default() };
    let content = Content::Data(Box::new(delete));
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[ALICE].client.send_to_group(now, group, &content, rng).unwrap();
    world.run(ALICE);
    assert!(!is_kept(&world, deleted) && is_kept(&world, old));
    world.now.0 += 24 * 60 * MINUTE;
    let bob = world.devices[BOB].address;
    for name in [deleted, old] {
        request(&mut world, bob, name);
    }
    let sent_again = world.waiting_kinds(BOB).into_iter();
    let sent_again = sent_again.filter(|(kind, _)| *kind != EnvelopeKind::UnidentifiedSender);
    assert_eq!(sent_again.count(), 2, "empty messages");
    world.wait(ALICE, 0);
    assert!(!is_kept(&world, old));
    world.settle();
    assert_eq!(world.read(BOB, group), texts(&[]));
}
