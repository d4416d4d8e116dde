//! How much is kept, and for how long.

use std::time::Duration;

use wormhole_chat::Timestamp;

use super::fixture::{Fixture, Person, stored};
use super::samples::{ALICE, BOB, message, new_device};
use crate::messaging::store::{
    Askers, Expiry, MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, MessageName, NewMessage, PendingCode,
    Sent, Submission, VerificationCode,
};

/// Everything stays for an hour.
const HOUR: Expiry = {
    let hour = Duration::from_secs(3600);
    Expiry { messages: hour, sent: hour, codes: hour }
};

const HOUR_MILLISECONDS: u64 = 3_600_000;

/// Uses up what one sender may have in the queues of a person: half of them. The messages have the timestamps from 1.
fn fill(fixture: &mut Fixture<'_>, from: &Person, to: &Person) {
    let submissions = (1..=MAX_QUEUED_MESSAGES / 2).map(|timestamp| from.write(to, timestamp));
    let sent = fixture.send_all(submissions.collect());
    assert!(sent.iter().all(|sent| matches!(sent, Sent::Stored { .. })));
}

/// Other people fill the rest of the queue; each gets half of what is left. Returns what each has sent.
fn fill_rest(fixture: &mut Fixture<'_>, to: &Person) -> Vec<usize> {
    let mut counts = Vec::new();
    loop {
        let app = to.app.clone();
        let other = fixture.person(&app, &format!("+1415555{:04}", 200 + counts.len()));
        let submissions = (1..=MAX_QUEUED_MESSAGES).map(|timestamp| other.write(to, timestamp));
        let sent = fixture.send_all(submissions.collect());
        let stored = sent.iter().filter(|sent| matches!(sent, Sent::Stored { .. })).count();
        if stored == 0 {
            return counts;
        }
        counts.push(stored);
    }
}

pub(super) fn one_sender_gets_as_much_of_a_queue_as_it_leaves_to_others(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    fill(fixture, &alice, &bob);
    assert_eq!(fixture.send(alice.write(&bob, 0)), Sent::QueueFull);
    fixture.reopen();
    assert_eq!(fixture.send(alice.write(&bob, 0)), Sent::QueueFull);
    let counts = fill_rest(fixture, &bob);
    assert_eq!(counts, [2500, 1250, 625, 313, 156, 78, 39, 20, 10, 5, 2, 1, 1]);
    assert_eq!(fixture.store().count().unwrap().messages, MAX_QUEUED_MESSAGES);
}

pub(super) fn a_queue_has_room_for_a_number_of_messages(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    fill(fixture, &alice, &bob);
    assert_eq!(fixture.send(alice.write(&bob, 0)), Sent::QueueFull);
    // The limit also holds after a restart.
    fixture.reopen();
    assert_eq!(fixture.send(alice.write(&bob, 0)), Sent::QueueFull);
    // A repeated submission needs no room.
    assert_eq!(fixture.send(alice.write(&bob, 1)), stored(&[]));
    fixture.acknowledge(bob.device(), MessageName::Sent(ALICE.into(), Timestamp(1)));
    let two = fixture.send_all(vec![alice.write(&bob, 0), alice.write(&bob, u64::MAX)]);
    assert_eq!(two, [stored(&[bob.device()]), Sent::QueueFull]);
}

pub(super) fn a_queue_has_room_for_a_number_of_bytes(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let length = 1 << 18;
    let long = |timestamp| {
        let content = Some(vec![0; length]);
        let messages = vec![NewMessage { content, ..message(1) }];
        Submission { messages, ..alice.write(&bob, timestamp) }
    };
    // One sender gets half of it.
    let count = MAX_QUEUED_BYTES / 2 / u64::try_from(length).unwrap();
    for timestamp in 1..=count {
        assert_eq!(fixture.send(long(timestamp)), stored(&[bob.device()]));
    }
    assert_eq!(fixture.send(long(0)), Sent::QueueFull);
    fixture.reopen();
    assert_eq!(fixture.send(long(0)), Sent::QueueFull);
    // Others have room.
    let carol = fixture.person(&bob.app.clone(), "+14155550103");
    assert_eq!(fixture.send(carol.write(&bob, 0)), stored(&[bob.device()]));
    fixture.acknowledge(bob.device(), MessageName::Sent(ALICE.into(), Timestamp(1)));
    assert_eq!(fixture.send(long(0)), stored(&[bob.device()]));
}

pub(super) fn a_full_queue_of_the_primary_device_refuses_the_message_for_all(
    fixture: &mut Fixture<'_>,
) {
    let [alice, mut bob] = fixture.two_people();
    fill(fixture, &alice, &bob);
    let second = fixture.device(&mut bob, new_device(2));
    assert_eq!(fixture.send(alice.write(&bob, 0)), Sent::QueueFull);
    assert_eq!(fixture.queue(second), []);
    fixture.acknowledge(bob.device(), MessageName::Sent(ALICE.into(), Timestamp(1)));
    assert_eq!(fixture.send(alice.write(&bob, 0)), stored(&[bob.device(), second]));
}

pub(super) fn a_linked_device_with_a_full_queue_is_left_out(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = fixture.two_people();
    let second = fixture.device(&mut bob, new_device(2));
    fill(fixture, &alice, &bob);
    assert_eq!(fixture.send(alice.write(&bob, 0)), Sent::QueueFull);
    fixture.acknowledge(bob.device(), MessageName::Sent(ALICE.into(), Timestamp(1)));
    assert_eq!(fixture.send(alice.write(&bob, 0)), stored(&[bob.device()]));
    let half = usize::try_from(MAX_QUEUED_MESSAGES / 2).unwrap();
    assert_eq!(fixture.queue(second).len(), half);
}

pub(super) fn a_sender_with_a_full_queue_gets_no_receipt(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    fixture.send(alice.write(&bob, 5));
    fill(fixture, &bob, &alice);
    let sent = MessageName::Sent(ALICE.into(), Timestamp(5));
    assert_eq!(fixture.acknowledge(bob.device(), sent), []);
    assert_eq!(fixture.queue(bob.device()), []);
    let counts = fixture.store().count().unwrap();
    assert_eq!(counts.messages, MAX_QUEUED_MESSAGES / 2);
}

pub(super) fn expired_messages_are_removed(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    fixture.send(alice.write(&bob, 1));
    fixture.send(bob.write(&alice, 1));
    fixture.now.0 += HOUR_MILLISECONDS;
    fixture.send(alice.write(&bob, 2));
    fixture.prune(HOUR);
    assert_eq!(fixture.timestamps(bob.device()), [1, 2]);
    fixture.now.0 += 1;
    fixture.prune(HOUR);
    assert_eq!(fixture.timestamps(bob.device()), [2]);
    assert_eq!(fixture.queue(alice.device()), []);
    assert_eq!(fixture.store().count().unwrap().messages, 1);
}

pub(super) fn pruning_is_done_in_steps(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    fill(fixture, &alice, &bob);
    fixture.send(bob.write(&alice, 1));
    fixture.now.0 += HOUR_MILLISECONDS + 1;
    assert!(fixture.prune(HOUR) >= 5);
    assert_eq!(fixture.store().count().unwrap().messages, 0);
    // There is room again.
    assert_eq!(fixture.send(alice.write(&bob, 0)), stored(&[bob.device()]));
    assert_eq!(fixture.timestamps(bob.device()), [0]);
}

pub(super) fn a_forgotten_submission_is_stored_again(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let expiry = Expiry { messages: Duration::MAX, ..HOUR };
    fixture.send(alice.write(&bob, 1));
    fixture.now.0 += HOUR_MILLISECONDS;
    fixture.send(alice.write(&bob, 2));
    fixture.prune(expiry);
    assert_eq!(fixture.send(alice.write(&bob, 1)), stored(&[]));
    fixture.now.0 += 1;
    fixture.prune(expiry);
    assert_eq!(fixture.send(alice.write(&bob, 1)), stored(&[bob.device()]));
    assert_eq!(fixture.send(alice.write(&bob, 2)), stored(&[]));
    assert_eq!(fixture.timestamps(bob.device()), [1, 2, 1]);
}

pub(super) fn expired_codes_are_removed(fixture: &mut Fixture<'_>) {
    let put = |fixture: &mut Fixture<'_>, number: &'static str| {
        let code = PendingCode {
            code: VerificationCode(1),
            sent: fixture.now,
            attempts: 0,
            askers: Askers::none(),
        };
        fixture.rows(move |rows| rows.put_pending_code(&number.parse().unwrap(), Some(&code)));
    };
    let exists = |fixture: &mut Fixture<'_>, number: &'static str| {
        fixture.rows(move |rows| rows.pending_code(&number.parse().unwrap())).is_some()
    };
    put(fixture, ALICE);
    fixture.now.0 += HOUR_MILLISECONDS;
    put(fixture, BOB);
    fixture.prune(HOUR);
    assert!(exists(fixture, ALICE));
    fixture.now.0 += 1;
    fixture.prune(HOUR);
    assert!(!exists(fixture, ALICE));
    assert!(exists(fixture, BOB));
}
