//! What a client stores for its sessions: how much one message changes, and how much one account can make it keep.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/bob.rs"]
mod bob;
#[path = "support/person.rs"]
mod person;

use bob::{Bob, start, start_with, text};
use person::{Person, address};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::{Address, Ciphertext, ClientInput, Content, DeviceId, Response, StoreKey, pad};

#[test]
fn a_message_rewrites_only_the_current_session() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    bob.keep(&alice);
    for _ in 0..30 {
        let sent = start(&mut alice, &bob, 60);
        bob.read(alice.address, &sent);
        assert!(bob.written.len() <= 6, "{:?}", bob.written);
        let sent = text(&mut alice, "second");
        bob.read(alice.address, &sent);
        let current = StoreKey::Session(alice.address);
        let newest = StoreKey::Newest(alice.address);
        assert_eq!(bob.written, [current, StoreKey::Peer(alice.address.account), newest]);
    }
    assert_eq!((bob.texts.len(), bob.errors), (60, 0));
    assert_eq!(bob.stored(alice.address).len(), 30);
    assert!(bob.rows[&StoreKey::Session(alice.address)].len() < 4000);
}

#[test]
fn archived_sessions_are_restored_in_their_order() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    bob.keep(&alice);
    let mut late = Vec::new();
    for _ in 0..10 {
        let sent = start(&mut alice, &bob, 1);
        late.push(text(&mut alice, "late"));
        bob.read(alice.address, &sent);
        bob.restart();
    }
    // Those that decrypt something become the current session, one after the other.
    for place in [3, 0, 9, 5, 5] {
        let rows = bob.stored(alice.address).len();
        let read = bob.texts.len();
        bob.read(alice.address, &late[place]);
        bob.restart();
        assert_eq!(bob.stored(alice.address).len(), rows);
        // The second copy of one is a duplicate.
        assert!(bob.texts.len() > read || place == 5);
    }
    assert_eq!((bob.texts.len(), bob.errors), (14, 0));
    // The oldest are dropped first: 32 more leave the newest 40 archived.
    for _ in 0..32 {
        let sent = start(&mut alice, &bob, 0);
        bob.read(alice.address, &sent);
        bob.restart();
    }
    assert_eq!(bob.stored(alice.address).len(), 41);
    // Of the first ten, only the one that was used longest ago is gone. Its message looks like a repeated one, but is newer than all
    // that were read.
    bob.read(alice.address, &late[1]);
    assert_eq!((bob.texts.len(), bob.errors), (46, 1));
    for place in [2, 4, 6, 7, 8] {
        bob.read(alice.address, &late[place]);
    }
    assert_eq!((bob.texts.len(), bob.errors), (51, 1));
}

#[test]
fn attack_11_one_account_with_many_devices_cannot_fill_the_store() {
    let mut bob = Bob::new();
    let mut alice = Person::new(1);
    bob.keep(&alice);
    let honest = start(&mut alice, &bob, 0);
    let late = text(&mut alice, "late");
    bob.read(alice.address, &honest);
    let next = text(&mut alice, "next");
    bob.read(alice.address, &next);
    let mut one_time = Vec::new();
    for number in 2..=16 {
        let mut device = alice.clone();
        device.rng = ChaCha20Rng::seed_from_u64(u64::from(number));
        device.address.device = DeviceId::new(number).unwrap();
        for _ in 0..20 {
            if one_time.is_empty() {
                bob.refill();
                one_time.clone_from(&bob.keys.as_ref().unwrap().one_time);
            }
            let mut bundle = bob.bundle();
            bundle.one_time = one_time.pop();
            let sent = start_with(&mut device, bundle, 100);
            bob.read(device.address, &sent);
        }
    }
    assert_eq!(bob.errors, 0);
    let rows = bob.stored(alice.address);
    assert!(rows.len() <= 16 + 80, "{}", rows.len());
    assert!(rows.iter().sum::<usize>() < 256 << 10, "{}", rows.iter().sum::<usize>());
    // The device with few skipped messages has lost none of them.
    bob.restart();
    bob.read(alice.address, &late);
    assert_eq!((bob.texts.last().map(String::as_str), bob.errors), (Some("late"), 0));
}

#[test]
fn attack_3_forged_sessions_do_not_displace_those_with_the_accepted_key() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    bob.keep(&alice);
    let first = start(&mut alice, &bob, 0);
    let late = text(&mut alice, "late");
    bob.read(alice.address, &first);
    for number in 10..60 {
        let mut mallory = Person::new(number);
        mallory.address = alice.address;
        let sent = start(&mut mallory, &bob, 0);
        bob.read(mallory.address, &sent);
        bob.restart();
    }
    assert_eq!((bob.texts.len(), bob.errors), (51, 0));
    assert_eq!(bob.stored(alice.address).len(), 41);
    bob.read(alice.address, &late);
    assert_eq!((bob.texts.last().map(String::as_str), bob.errors), (Some("late"), 0));
    // The first message cannot be used again, either.
    bob.read(alice.address, &first);
    assert_eq!((bob.texts.len(), bob.errors), (52, 0));
}

#[test]
fn attack_4_forged_sessions_do_not_delete_the_keys_of_late_messages() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    bob.keep(&alice);
    let first = start(&mut alice, &bob, 0);
    bob.read(alice.address, &first);
    let late: Vec<_> = (0..50).map(|_| text(&mut alice, "late")).collect();
    let next = text(&mut alice, "next");
    bob.read(alice.address, &next);
    // Somebody else claims to be Alice, and to have sent many messages; also from a second device.
    for device in [1, 2] {
        let mut mallory = Person::new(10);
        mallory.rng = ChaCha20Rng::seed_from_u64(device.into());
        mallory.address = Address { device: DeviceId::new(device).unwrap(), ..alice.address };
        let sent = start(&mut mallory, &bob, 1_999);
        bob.read(mallory.address, &sent);
        let sent = text(&mut mallory, "forged");
        bob.read(mallory.address, &sent);
    }
    bob.restart();
    for message in &late {
        bob.read(alice.address, message);
    }
    assert_eq!((bob.texts.len(), bob.errors), (2 + 4 + 50, 0));
}

#[test]
fn attack_4_a_message_whose_key_was_deleted_is_reported() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    bob.keep(&alice);
    let first = start(&mut alice, &bob, 0);
    bob.read(alice.address, &first);
    let late: Vec<_> = (0..2_010).map(|_| text(&mut alice, "late")).collect();
    let next = text(&mut alice, "next");
    bob.read(alice.address, &next);
    bob.restart();
    for message in &late {
        bob.read(alice.address, message);
    }
    assert_eq!((bob.texts.len(), bob.errors), (2 + 2_000, 10));
    // Repetitions of the others are still recognised.
    for message in late.iter().skip(10) {
        bob.read(alice.address, message);
    }
    assert_eq!((bob.texts.len(), bob.errors), (2 + 2_000, 10));
}

#[test]
fn attack_11_unknown_accounts_without_a_message_for_a_person_leave_no_trace() {
    let mut bob = Bob::new();
    let before = bob.rows.clone();
    let mut mallory = Person::new(10);
    start(&mut mallory, &bob, 0);
    let receipt = mallory.write(address(2), &pad(&Content::Null.encode()));
    bob.read(mallory.address, &receipt);
    let rubbish = mallory.write(address(2), b"no padding");
    bob.read(mallory.address, &rubbish);
    assert_eq!((&bob.rows, bob.errors), (&before, 1));
    // The next message starts the session, and the first one cannot be used twice to leave a trace.
    let sent = text(&mut mallory, "hello");
    bob.read(mallory.address, &sent);
    assert_eq!((bob.texts.len(), bob.errors), (1, 1));
    let stored = bob.rows.clone();
    bob.read(mallory.address, &sent);
    assert_eq!((bob.texts.len(), bob.rows == stored), (1, true));
}

/// A first message of another device of this person.
fn from_device(person: &Person, number: u32, bob: &Bob, skipped: usize) -> (Address, Ciphertext) {
    let mut device = person.clone();
    let seed = u64::from(person.identity.registration_id) << 32 | u64::from(number);
    device.rng = ChaCha20Rng::seed_from_u64(seed);
    device.address.device = DeviceId::new(number).unwrap();
    device.sessions.clear();
    (device.address, start(&mut device, bob, skipped))
}

#[test]
fn attack_11_only_so_many_devices_of_one_account_have_sessions() {
    for (is_known, limit) in [(true, 16), (false, 6)] {
        let (mut bob, alice) = (Bob::new(), Person::new(1));
        if is_known {
            bob.keep(&alice);
        }
        for number in 1..=limit {
            let (from, sent) = from_device(&alice, number, &bob, 0);
            bob.read(from, &sent);
        }
        assert_eq!((bob.texts.len(), bob.errors), (usize::try_from(limit).unwrap(), 0));
        let rows = bob.rows.clone();
        for number in limit + 1..=127 {
            let (from, sent) = from_device(&alice, number, &bob, 0);
            bob.read(from, &sent);
        }
        assert_eq!(bob.errors, usize::try_from(127 - limit).unwrap());
        assert_eq!(bob.rows, rows, "{limit} devices");
        // Those that have sessions can start others, also after a restart.
        bob.restart();
        let mut again = alice.clone();
        let sent = start(&mut again, &bob, 0);
        bob.read(again.address, &sent);
        assert_eq!(bob.texts.len(), usize::try_from(limit).unwrap() + 1);
    }
}

#[test]
fn attack_11_invented_devices_with_another_key_do_not_keep_a_real_one_out() {
    let (mut bob, alice) = (Bob::new(), Person::new(1));
    bob.keep(&alice);
    let (from, sent) = from_device(&alice, 1, &bob, 0);
    bob.read(from, &sent);
    let mut mallory = Person::new(10);
    mallory.address = alice.address;
    for number in 2..=60 {
        let (from, sent) = from_device(&mallory, number, &bob, 0);
        bob.read(from, &sent);
    }
    assert_eq!((bob.texts.len(), bob.errors), (60, 0));
    assert_eq!(bob.stored(alice.address).len(), 16);
    for number in 2..=16 {
        let (from, sent) = from_device(&alice, number, &bob, 0);
        bob.read(from, &sent);
    }
    assert_eq!((bob.texts.len(), bob.errors), (60 + 15, 0));
    bob.restart();
    let (from, sent) = from_device(&mallory, 99, &bob, 0);
    bob.read(from, &sent);
    assert_eq!((bob.texts.len(), bob.errors), (60 + 15, 1), "no real device makes room for it");
}

#[test]
fn attack_11_an_unknown_account_leaves_little() {
    let (mut bob, mut mallory) = (Bob::new(), Person::new(10));
    for sessions in 1..=10 {
        let sent = start(&mut mallory, &bob, 300);
        bob.read(mallory.address, &sent);
        // The session in use, and the archived ones.
        let rows = bob.stored(mallory.address);
        assert_eq!(rows.len(), 1 + (sessions - 1).min(6));
        assert!(rows.iter().sum::<usize>() < 16 << 10, "{rows:?}");
    }
    assert_eq!((bob.texts.len(), bob.errors), (10, 0));
    // Of the messages that it skips, the newest 100 can arrive late.
    let late: Vec<_> = (0..101).map(|_| text(&mut mallory, "late")).collect();
    let next = text(&mut mallory, "next");
    bob.read(mallory.address, &next);
    bob.restart();
    for message in &late {
        bob.read(mallory.address, message);
    }
    assert_eq!((bob.texts.len(), bob.errors), (10 + 1 + 100, 1));
    // When the user knows the account, it has more room.
    bob.keep(&mallory);
    let late: Vec<_> = (0..101).map(|_| text(&mut mallory, "late")).collect();
    let next = text(&mut mallory, "next");
    bob.read(mallory.address, &next);
    for message in &late {
        bob.read(mallory.address, message);
    }
    assert_eq!((bob.texts.len(), bob.errors), (10 + 1 + 100 + 1 + 101, 1));
}

#[test]
fn attack_11_a_server_that_names_a_device_again_and_again_does_not_make_us_store_it_again() {
    let many = || vec![DeviceId::PRIMARY; 10_000];
    for response in
        [Response::Mismatched { missing: many(), extra: many() }, Response::Stale(many())]
    {
        let (mut bob, mut alice) = (Bob::new(), Person::new(1));
        let sent = start(&mut alice, &bob, 0);
        bob.read(alice.address, &sent);
        let to = alice.address.account;
        bob.client.handle(bob.now, ClientInput::Send(to, Content::Null), &mut bob.rng);
        bob.run();
        let send = bob.sent.unwrap();
        bob.client.handle(bob.now, ClientInput::Response(send, response), &mut bob.rng);
        bob.run();
        assert!(bob.written.len() < 5, "{} rows", bob.written.len());
    }
}
