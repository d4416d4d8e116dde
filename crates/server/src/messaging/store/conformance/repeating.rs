//! Submissions that clients repeat.

use wormhole_chat::EnvelopeKind;

use super::fixture::{Fixture, stored};
use super::samples::{BOB, message, new_device, some_keys};
use super::sending::{alice_and_bob, assert_waiting, missing};
use crate::messaging::store::{NewMessage, Sent, Submission};

pub(super) fn a_repeated_submission_is_stored_once(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let submission = alice.write(&bob, 1);
    let in_one_turn = fixture.send_all(vec![submission.clone(), submission.clone()]);
    assert_eq!(in_one_turn, [stored(&[bob.device()]), stored(&[])]);
    assert_eq!(fixture.send(submission.clone()), stored(&[]));
    // Names of the same account identify the same submission.
    let by_number = alice.write_to(BOB.parse().unwrap(), &[1], 1);
    assert_eq!(fixture.send(by_number), stored(&[]));
    fixture.reopen();
    assert_eq!(fixture.send(submission), stored(&[]));
    assert_waiting(fixture, &bob, 1);
}

pub(super) fn a_repeated_submission_succeeds_even_if_the_recipient_has_changed(
    fixture: &mut Fixture<'_>,
) {
    let [alice, mut bob] = alice_and_bob(fixture, 1);
    let submission = alice.write(&bob, 1);
    fixture.send(submission.clone());
    fixture.device(&mut bob, new_device(2));
    assert_eq!(fixture.send(submission), stored(&[]));
    assert_eq!(fixture.send(alice.write_to(bob.id(), &[1], 2)), missing(&[2]));
}

pub(super) fn another_timestamp_sender_or_destination_is_another_submission(
    fixture: &mut Fixture<'_>,
) {
    let [mut alice, bob] = alice_and_bob(fixture, 1);
    let carol = fixture.person(&bob.app, "+14155550103");
    fixture.device(&mut alice, new_device(2));
    fixture.send(alice.write(&bob, 1));
    let others = [
        alice.write(&bob, 2),
        alice.write(&bob, u64::MAX),
        alice.write(&carol, 1),
        carol.write(&bob, 1),
        Submission { sender: alice.sender(1), ..alice.write(&bob, 1) },
    ];
    for submission in others {
        let Sent::Stored { devices, .. } = fixture.send(submission) else { panic!("refused") };
        assert_eq!(devices.len(), 1);
    }
    assert_eq!(fixture.timestamps(bob.device()), [1, 2, u64::MAX, 1, 1]);
}

pub(super) fn another_content_is_another_submission(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let first = alice.write(&bob, 1);
    let with = |message| Submission { messages: vec![message], ..first.clone() };
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let others = [
        with(NewMessage { content: text("other"), ..message(1) }),
        with(NewMessage { body: text("for device 1"), content: None, ..message(1) }),
        with(NewMessage { kind: EnvelopeKind::PreKeyBundle, ..message(1) }),
    ];
    for submission in others.iter().chain([&first]) {
        assert_eq!(fixture.send(submission.clone()), stored(&[bob.device()]));
        assert_eq!(fixture.send(submission.clone()), stored(&[]));
    }
    assert_waiting(fixture, &bob, 4);
}

pub(super) fn a_recipient_that_was_registered_again_gets_the_message_again(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let submission = alice.write(&bob, 1);
    fixture.send(submission.clone());
    let (account, old) = (bob.account.key, bob.device());
    let new = fixture.rows(move |rows| {
        rows.delete_device(old)?;
        let new = rows.insert_device(account, &new_device(1))?;
        rows.put_keys(new, &some_keys()).map(|()| new)
    });
    assert_eq!(fixture.send(submission.clone()), stored(&[new]));
    assert_eq!(fixture.send(submission), stored(&[]));
}

pub(super) fn an_ephemeral_submission_is_not_remembered(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let ephemeral = Submission { is_ephemeral: true, ..alice.write(&bob, 1) };
    assert_eq!(fixture.send(ephemeral), stored(&[bob.device()]));
    // The sender has learned that the recipient is offline.
    assert_eq!(fixture.send(alice.write(&bob, 1)), stored(&[bob.device()]));
}

pub(super) fn a_refused_submission_may_be_repeated(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 2);
    assert_eq!(fixture.send(alice.write_to(bob.id(), &[1], 1)), missing(&[2]));
    let sent = fixture.send(alice.write(&bob, 1));
    assert_eq!(sent, stored(&[bob.devices[0].0, bob.devices[1].0]));
}
