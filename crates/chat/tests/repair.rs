//! Messages that could not be decrypted are sent again: who gets what, how often, and what the users learn.

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
use wormhole_chat::{
    Address, ClientEvent, ClientInput, Content, DataMessage, DecryptError, DecryptionErrorMessage,
    Delivery, DeviceId, Edit, Envelope, EnvelopeKind, KeyPair, ReadError, Receipt, ReceiptKind,
    StoreKey, Timestamp,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const HOUR: u64 = 3_600_000;

/// Two people who have exchanged a message in each direction.
fn met() -> World {
    let mut world = World::new(1);
    let alice = KeyPair::random(&mut world.rng);
    meet(&mut world, &alice);
    world
}

/// The same, and the index of a second device of Alice.
fn met_with_laptop() -> (World, usize) {
    let mut world = World::new(1);
    world.server.reports_other_devices = true;
    let alice = KeyPair::random(&mut world.rng);
    meet(&mut world, &alice);
    let laptop = world.join(1, 2, &alice);
    world.run(laptop);
    world.settle();
    (world, laptop)
}

fn meet(world: &mut World, alice: &KeyPair) {
    world.join(1, 1, alice);
    let bob = KeyPair::random(&mut world.rng);
    world.join(2, 1, &bob);
    world.run(ALICE);
    world.run(BOB);
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        say(world, from, to, "hello");
        world.deliver(to);
    }
    // From now on, no response is lost.
    world.settle();
}

/// Writes a text, and returns its timestamp.
fn say(world: &mut World, from: usize, to: usize, text: &str) -> Timestamp {
    let data = DataMessage { body: Some(text.to_owned()), ..DataMessage::default() };
    let to = world.devices[to].address.account;
    world.now.0 += 1;
    world.input(from, ClientInput::Send(to, Content::Data(Box::new(data))));
    world.run(from);
    let accepted = world.devices[from].events.iter().rev().find_map(|event| match event {
        ClientEvent::Accepted(timestamp, _) => Some(*timestamp),
        _ => None,
    });
    accepted.unwrap()
}

fn text(text: &str) -> DataMessage {
    DataMessage { body: Some(text.to_owned()), ..DataMessage::default() }
}

/// Sends something of Alice to Bob.
fn send(world: &mut World, content: Content) {
    let to = world.devices[BOB].address.account;
    world.now.0 += 1;
    world.input(ALICE, ClientInput::Send(to, content));
    world.run(ALICE);
}

/// Whether a device keeps a message with this text to send it again.
fn keeps(world: &World, which: usize, text: &str) -> bool {
    let rows = world.devices[which].rows().iter();
    let mut sent = rows.filter(|(key, _)| matches!(key, StoreKey::SentMessage { .. }));
    sent.any(|(_, value)| value.windows(text.len()).any(|part| part == text.as_bytes()))
}

/// A device loses its session with another one.
fn lose_session(world: &mut World, which: usize, with: usize) {
    let with = world.devices[with].address;
    let mut rows = world.devices[which].rows().clone();
    rows.remove(&StoreKey::Session(with));
    rows.retain(
        |key, _| !matches!(key, StoreKey::ArchivedSession { address, .. } if *address == with),
    );
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
fn request(from: Address, error: DecryptionErrorMessage) -> ClientInput {
    let mut envelope = Envelope::new(EnvelopeKind::PlaintextContent, Timestamp(1));
    envelope.source_account = Some(from.account);
    envelope.source_device = Some(from.device);
    envelope.content = Some(error.to_plaintext());
    ClientInput::Envelope(Delivery(7), Box::new(envelope))
}

fn error(timestamp: Timestamp) -> DecryptionErrorMessage {
    DecryptionErrorMessage { ratchet_key: None, timestamp, device: DeviceId::PRIMARY }
}

#[test]
fn what_a_lost_session_made_unreadable_is_sent_again_and_read_once() {
    let mut world = met();
    lose_session(&mut world, BOB, ALICE);
    let texts = ["one", "two", "three"];
    for text in texts {
        say(&mut world, ALICE, BOB, text);
    }
    world.deliver(BOB);
    // The user learns nothing, and Alice gets a request for each message.
    assert_eq!((world.devices[BOB].texts(), not_read(&world, BOB)), (vec!["hello".into()], vec![]));
    assert_eq!(world.waiting_kinds(ALICE).len(), 3);
    world.crash(BOB);
    world.deliver(ALICE);
    world.deliver(BOB);
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "one", "two", "three"]);
    // The new session works in both directions.
    say(&mut world, BOB, ALICE, "back");
    say(&mut world, ALICE, BOB, "again");
    world.settle();
    assert_eq!(world.devices[ALICE].texts(), ["hello", "back"]);
    assert_eq!(world.devices[BOB].texts().len(), 5);
    world.now.0 += 25 * HOUR;
    world.input(BOB, ClientInput::Timeout);
    world.run(BOB);
    assert_eq!(not_read(&world, BOB), []);
}

#[test]
fn the_resent_message_goes_only_to_the_device_that_asked() {
    let mut world = met();
    let identity = KeyPair::random(&mut world.rng);
    // Carol has two devices.
    let carol = [world.join(3, 1, &identity), world.join(3, 2, &identity)];
    carol.iter().for_each(|which| world.run(*which));
    say(&mut world, ALICE, carol[0], "first");
    carol.iter().for_each(|which| world.deliver(*which));
    lose_session(&mut world, carol[1], ALICE);
    say(&mut world, ALICE, carol[0], "second");
    carol.iter().for_each(|which| world.deliver(*which));
    world.deliver(ALICE);
    assert_eq!(world.waiting_kinds(carol[0]), []);
    assert_eq!(world.waiting_kinds(carol[1]).len(), 1);
    world.settle();
    for which in carol {
        assert_eq!(world.devices[which].texts(), ["first", "second"]);
    }
}

#[test]
fn a_message_that_does_not_arrive_again_is_reported_once_and_may_still_arrive() {
    let mut world = met();
    lose_session(&mut world, BOB, ALICE);
    say(&mut world, ALICE, BOB, "late");
    world.deliver(BOB);
    world.now.0 += HOUR - 1;
    world.input(BOB, ClientInput::Timeout);
    world.run(BOB);
    assert_eq!(not_read(&world, BOB), []);
    // Also after a restart.
    world.crash(BOB);
    world.now.0 += 1;
    for _ in 0..2 {
        world.input(BOB, ClientInput::Timeout);
        world.run(BOB);
        assert_eq!(not_read(&world, BOB), [ReadError::Decrypt(DecryptError::NoSession)]);
        world.crash(BOB);
    }
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "late"]);
    assert_eq!(not_read(&world, BOB).len(), 1);
}

#[test]
fn a_sender_that_does_not_have_the_message_says_so() {
    let mut world = met();
    lose_session(&mut world, BOB, ALICE);
    let timestamp = say(&mut world, ALICE, BOB, "lost");
    let mut rows = world.devices[ALICE].rows().clone();
    let to = world.devices[BOB].address.account;
    assert!(rows.remove(&StoreKey::SentMessage { to, timestamp }).is_some());
    world.restore(ALICE, rows);
    world.settle();
    assert_eq!(not_read(&world, BOB), [ReadError::Decrypt(DecryptError::NoSession)]);
    say(&mut world, ALICE, BOB, "found");
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "found"]);
}

#[test]
fn a_message_that_can_never_be_decrypted_is_asked_for_six_times() {
    let mut world = met();
    say(&mut world, ALICE, BOB, "never");
    for _ in 0..9 {
        world.deliver_changed(BOB, |envelope| {
            // The server damages it, and each copy of it.
            *envelope.content.as_mut().unwrap().last_mut().unwrap() ^= 1;
        });
        world.deliver(ALICE);
    }
    assert_eq!(not_read(&world, BOB), [ReadError::Decrypt(DecryptError::BadMac)]);
    assert_eq!((world.waiting_kinds(ALICE), world.waiting_kinds(BOB)), (vec![], vec![]));
    say(&mut world, ALICE, BOB, "next");
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "next"]);
}

#[test]
fn attack_11_requests_that_somebody_invents_make_a_device_send_little() {
    let mut world = met();
    let timestamp = say(&mut world, ALICE, BOB, "once");
    world.deliver(BOB);
    let bob = world.devices[BOB].address;
    for _ in 0..100 {
        let error = error(timestamp);
        world.input(ALICE, request(bob, error));
        world.run(ALICE);
        world.input(
            ALICE,
            request(bob, DecryptionErrorMessage { timestamp: Timestamp(5), ..error }),
        );
        world.run(ALICE);
    }
    // The message six times, and 20 empty ones in an hour. A store drops the copies.
    let sent = world.waiting_kinds(BOB);
    let resent = sent.iter().filter(|(_, it)| *it == timestamp).count();
    assert_eq!((resent, sent.len()), (6, 26));
    world.settle();
    assert_eq!(world.devices[BOB].texts()[..2], ["hello", "once"]);
}

#[test]
fn attack_11_only_a_device_that_got_a_message_can_ask_for_it() {
    let mut world = met();
    let identity = KeyPair::random(&mut world.rng);
    let carol = world.join(3, 1, &identity);
    world.run(carol);
    say(&mut world, carol, ALICE, "hello");
    world.deliver(ALICE);
    let timestamp = say(&mut world, ALICE, BOB, "for Bob");
    world.deliver(BOB);
    let [carol, bob] = [carol, BOB].map(|which| world.devices[which].address);
    let second = Address { device: DeviceId::new(2).unwrap(), ..bob };
    let stranger = Address { account: wormhole_chat::AccountId::from_bytes([9; 16]), ..bob };
    for from in [carol, second, stranger] {
        world.input(ALICE, request(from, error(timestamp)));
        world.run(ALICE);
    }
    // For another device of Alice.
    let other = DecryptionErrorMessage { device: DeviceId::new(2).unwrap(), ..error(timestamp) };
    world.input(ALICE, request(bob, other));
    world.run(ALICE);
    assert_eq!(world.waiting_kinds(BOB), []);
    world.settle();
    assert_eq!(world.devices[2].texts(), Vec::<String>::new());
    assert_eq!(world.devices[BOB].texts(), ["hello", "for Bob"]);
}

#[test]
fn attack_11_nothing_is_sent_again_to_another_identity_key() {
    let mut world = met();
    let timestamp = say(&mut world, ALICE, BOB, "for the real Bob");
    // Somebody takes over the number, and the user accepts the new key.
    let bob = world.devices.pop().unwrap().address;
    let identity = KeyPair::random(&mut world.rng);
    world.join(2, 1, &identity);
    world.run(BOB);
    say(&mut world, BOB, ALICE, "it is me");
    world.deliver(ALICE);
    for accepts in [false, true] {
        if accepts {
            let input = ClientInput::AcceptIdentity(bob.account, *identity.public());
            world.input(ALICE, input);
        }
        world.input(ALICE, request(bob, error(timestamp)));
        world.run(ALICE);
        world.input(ALICE, ClientInput::Connected);
        world.run(ALICE);
        world.settle();
    }
    assert_eq!(world.devices[BOB].texts(), Vec::<String>::new());
}

#[test]
fn attack_11_somebody_who_sends_junk_gets_few_requests() {
    let mut world = met();
    let stranger = Address {
        account: wormhole_chat::AccountId::from_bytes([9; 16]),
        ..world.devices[BOB].address
    };
    world.server.register(stranger, 9);
    let key = *KeyPair::random(&mut world.rng).public();
    for number in 1..=50 {
        let mut envelope = Envelope::new(EnvelopeKind::Ciphertext, Timestamp(number));
        envelope.source_account = Some(stranger.account);
        envelope.source_device = Some(stranger.device);
        // Well-formed: ratchet key, counter and ciphertext, then a MAC.
        let message =
            [&[0x33, 0x0a, 0x21][..], &key.encode(), &[0x10, 0, 0x22, 0], &[7; 8]].concat();
        envelope.content = Some(message);
        world.input(ALICE, ClientInput::Envelope(Delivery(7), Box::new(envelope)));
        world.run(ALICE);
    }
    assert_eq!(not_read(&world, ALICE).len(), 40);
    let requests = world.devices[ALICE].rows().keys();
    assert_eq!(requests.filter(|key| matches!(key, StoreKey::Retry { .. })).count(), 10);
    // The server has refused to deliver nothing: the account exists.
    let asked = &world.server.devices[&stranger];
    assert!(format!("{asked:?}").matches("PlaintextContent").count() == 10);
}

#[test]
fn attack_23_a_sender_with_an_older_copy_of_its_store_is_understood() {
    let mut world = met();
    let backup = world.devices[ALICE].rows().clone();
    for text in ["one", "two"] {
        say(&mut world, ALICE, BOB, text);
        world.deliver(BOB);
    }
    world.restore(ALICE, backup);
    // Its keys have been used before, so these look like duplicates.
    for text in ["three", "four", "five"] {
        say(&mut world, ALICE, BOB, text);
        world.deliver(BOB);
    }
    world.settle();
    let mut texts = world.devices[BOB].texts();
    texts.sort_unstable();
    assert_eq!(texts, ["five", "four", "hello", "one", "three", "two"]);
    assert_eq!(not_read(&world, BOB), []);
}

#[test]
fn attack_23_an_older_store_is_noticed_when_the_server_knows_more() {
    let mut world = met();
    let backup = world.devices[ALICE].rows().clone();
    let timestamp = say(&mut world, ALICE, BOB, "one");
    world.restore(ALICE, backup);
    let mut receipt = Envelope::new(EnvelopeKind::Receipt, timestamp);
    receipt.source_account = Some(world.devices[BOB].address.account);
    let receive = |world: &mut World, receipt: &Envelope| {
        let input = ClientInput::Envelope(Delivery(1), Box::new(receipt.clone()));
        world.input(ALICE, input);
        world.run(ALICE);
        let events = std::mem::take(&mut world.devices[ALICE].events);
        events.contains(&ClientEvent::StoreIsOlder)
    };
    // A time that cannot be is no evidence.
    let future = Envelope { timestamp: Timestamp(u64::MAX), ..receipt.clone() };
    assert!(!receive(&mut world, &future));
    assert!(receive(&mut world, &receipt));
    assert!(!receive(&mut world, &receipt));
    say(&mut world, ALICE, BOB, "two");
    assert_eq!(world.waiting_kinds(BOB).last().unwrap().0, EnvelopeKind::PreKeyBundle);
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "one", "two"]);
    world.crash(ALICE);
    assert!(!receive(&mut world, &receipt));
}

#[test]
fn attack_23_the_server_hands_out_a_prekey_that_the_store_does_not_have() {
    let mut world = met();
    let key = *KeyPair::random(&mut world.rng).public();
    world.check_published(ALICE, 1, &key);
    world.run(ALICE);
    assert!(world.devices[ALICE].events.contains(&ClientEvent::StoreIsOlder));
    // It has published others, and is not told again.
    world.devices[ALICE].events.clear();
    world.crash(ALICE);
    let (id, key) = world.published(ALICE);
    assert_eq!(id, 2);
    world.check_published(ALICE, id, &key);
    world.run(ALICE);
    assert!(!world.devices[ALICE].events.contains(&ClientEvent::StoreIsOlder));
}

#[test]
fn a_recipient_without_the_prekeys_that_the_server_hands_out_publishes_new_ones() {
    let mut world = met();
    let backup = world.devices[BOB].rows().clone();
    // Bob publishes other keys, and loses them.
    world.now.0 += 8 * 24 * HOUR;
    world.keys_left(BOB, 0);
    world.run(BOB);
    world.restore(BOB, backup);
    lose_session(&mut world, ALICE, BOB);
    lose_session(&mut world, BOB, ALICE);
    say(&mut world, ALICE, BOB, "first");
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "first"]);
    assert_eq!(not_read(&world, BOB), []);
}

#[test]
fn a_confirmed_message_is_not_kept() {
    let mut world = met();
    let timestamp = say(&mut world, ALICE, BOB, "read this");
    world.deliver(BOB);
    let to = world.devices[BOB].address.account;
    let row = StoreKey::SentMessage { to, timestamp };
    assert!(world.devices[ALICE].rows().contains_key(&row));
    let receipt = Receipt { kind: ReceiptKind::Read, timestamps: vec![timestamp] };
    let alice = world.devices[ALICE].address.account;
    world.input(BOB, ClientInput::Send(alice, Content::Receipt(receipt)));
    world.run(BOB);
    world.deliver(ALICE);
    assert!(!world.devices[ALICE].rows().contains_key(&row));
}

#[test]
fn attack_11_a_message_that_was_deleted_for_all_is_not_sent_again_in_any_version() {
    let (mut world, _) = met_with_laptop();
    lose_session(&mut world, BOB, ALICE);
    let sent = say(&mut world, ALICE, BOB, "the secret");
    for (target, body) in [(sent, "the second secret"), (sent, "the third secret")] {
        send(&mut world, Content::Edit(Box::new(Edit { target, message: text(body) })));
    }
    say(&mut world, ALICE, BOB, "something else");
    assert!(keeps(&world, ALICE, "third secret") && keeps(&world, ALICE, "something else"));
    let delete = DataMessage { delete: Some(sent), ..DataMessage::default() };
    send(&mut world, Content::Data(Box::new(delete)));
    assert!(!keeps(&world, ALICE, "secret"), "neither the message, nor copies for the laptop");
    assert!(keeps(&world, ALICE, "something else"));
    world.settle();
    // Bob asks for all of them.
    assert_eq!(world.devices[BOB].texts(), ["hello", "something else"]);
    assert!(!keeps(&world, ALICE, "secret"));
}

#[test]
fn attack_11_a_message_that_was_deleted_on_another_device_is_not_sent_again() {
    let (mut world, laptop) = met_with_laptop();
    let sent = say(&mut world, ALICE, BOB, "the secret");
    world.settle();
    assert!(keeps(&world, ALICE, "secret"));
    let delete = DataMessage { delete: Some(sent), ..DataMessage::default() };
    let to = world.devices[BOB].address.account;
    world.now.0 += 1;
    world.input(laptop, ClientInput::Send(to, Content::Data(Box::new(delete))));
    world.run(laptop);
    world.settle();
    assert!(!keeps(&world, ALICE, "secret"));
}

#[test]
fn attack_11_a_disappearing_message_is_kept_only_as_long_as_its_timer() {
    let mut world = met();
    let message = DataMessage { expire_timer: Some(5), ..text("the secret") };
    send(&mut world, Content::Data(Box::new(message)));
    world.deliver(BOB);
    let sent = world.now;
    say(&mut world, ALICE, BOB, "something else");
    world.now = sent;
    assert_eq!(world.devices[ALICE].client.deadline(), Some(Timestamp(sent.0 + 5_000)));
    assert!(keeps(&world, ALICE, "secret"));
    world.now.0 += 5_000;
    // A request comes before the program has noticed the time.
    let bob = world.devices[BOB].address;
    world.input(ALICE, request(bob, error(sent)));
    world.run(ALICE);
    assert!(!keeps(&world, ALICE, "secret") && keeps(&world, ALICE, "something else"));
    world.settle();
    assert_eq!(
        world.devices[BOB].texts().iter().filter(|it| it.as_str() == "the secret").count(),
        1
    );
}

#[test]
fn attack_11_a_message_is_forgotten_after_a_day_although_nothing_is_sent_any_more() {
    let mut world = met();
    let sent = say(&mut world, ALICE, BOB, "the secret");
    world.deliver(BOB);
    assert!(world.devices[ALICE].client.deadline().is_some());
    world.now.0 = sent.0 + 24 * HOUR;
    assert!(keeps(&world, ALICE, "secret"));
    world.input(ALICE, ClientInput::Timeout);
    world.run(ALICE);
    assert!(!keeps(&world, ALICE, "secret"));
}

#[test]
fn attack_11_a_program_that_was_not_running_forgets_old_messages_when_it_starts() {
    let mut world = met();
    let sent = say(&mut world, ALICE, BOB, "the secret");
    world.deliver(BOB);
    world.now.0 = sent.0 + 24 * HOUR;
    world.crash(ALICE);
    world.run(ALICE);
    assert!(!keeps(&world, ALICE, "secret"));
}

#[test]
fn attack_11_a_request_for_a_message_of_the_day_before_is_not_answered() {
    let mut world = met();
    let sent = say(&mut world, ALICE, BOB, "the secret");
    world.deliver(BOB);
    world.now.0 = sent.0 + 24 * HOUR;
    let bob = world.devices[BOB].address;
    world.input(ALICE, request(bob, error(sent)));
    world.run(ALICE);
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["hello", "the secret"], "not again");
}
