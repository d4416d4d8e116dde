//! Accepting messages.

use wormhole_chat::service::{Destination, Mismatch};
use wormhole_chat::{Envelope, EnvelopeKind, Timestamp};

use super::fixture::{Fixture, Person, stored};
use super::samples::{ALICE, BOB, curve_key, device_id, message, new_device, some_keys};
use crate::messaging::store::{
    Account, DeviceColumns, DeviceKey, IntraApp, KeySet, NewMessage, PushId, SILENCE, Sent,
    Submission,
};

/// Alice with one device, and Bob with these.
pub(super) fn alice_and_bob(fixture: &mut Fixture<'_>, devices: u32) -> [Person; 2] {
    let [alice, mut bob] = fixture.two_people();
    for number in 2..=devices {
        fixture.device(&mut bob, new_device(number));
    }
    [alice, bob]
}

/// Expects that this many messages wait for each device of a person.
pub(super) fn assert_waiting(fixture: &mut Fixture<'_>, person: &Person, expected: usize) {
    for (device, number) in &person.devices {
        assert_eq!(fixture.queue(*device).len(), expected, "{number:?}");
    }
}

pub(super) fn missing(devices: &[u32]) -> Sent {
    devices_differ(devices, &[])
}

/// The answer to a message that is also for these devices, which do not exist.
pub(super) fn extra(devices: &[u32]) -> Sent {
    devices_differ(&[], devices)
}

fn devices_differ(missing: &[u32], extra: &[u32]) -> Sent {
    let ids = |devices: &[u32]| devices.iter().copied().map(device_id).collect();
    Sent::Mismatched(Mismatch::Devices { missing: ids(missing), extra: ids(extra) })
}

pub(super) fn a_message_arrives_with_all_that_the_service_knows_about_it(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let mut submission = Submission { is_urgent: false, ..alice.write(&bob, 5) };
    submission.messages = vec![NewMessage {
        kind: EnvelopeKind::PreKeyBundle,
        body: Some(b"body".into()),
        content: Some(b"content".into()),
        ..message(1)
    }];
    assert_eq!(fixture.send(submission), stored(&[bob.device()]));
    let [(_, envelope)] = &fixture.queue(bob.device())[..] else { panic!("not one message") };
    let expected = Envelope {
        source: Some(ALICE.into()),
        source_account: Some(alice.account.id),
        source_device: Some(device_id(1)),
        source_app: Some("com.a".into()),
        body: Some(b"body".into()),
        content: Some(b"content".into()),
        guid: envelope.guid.clone(),
        server_timestamp: Some(fixture.now),
        destination: Some(bob.account.id),
        destination_app: Some("com.b".into()),
        urgent: Some(false),
        ..Envelope::new(EnvelopeKind::PreKeyBundle, Timestamp(5))
    };
    assert_eq!(*envelope, expected);
    let guid: uuid::Uuid = envelope.guid.as_ref().unwrap().parse().unwrap();
    assert_eq!(guid.get_version_num(), 4);
}

pub(super) fn a_destination_is_an_account_or_a_number_or_a_number_in_an_app(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = fixture.two_people();
    let app = fixture.app("com.c", IntraApp::Delivered);
    // Bob's newest account is the default of his number.
    let default = fixture.person(&app, BOB);
    let device = |person: &Person| Some(person.device());
    let cases = [
        (bob.account.id.to_string(), device(&bob)),
        (BOB.into(), device(&default)),
        (format!("{BOB}@com.b"), device(&bob)),
        (format!("{BOB}@com.c"), device(&default)),
        (format!("{BOB}@com.a"), None),
        (format!("{BOB}@com.d"), None),
        ("+14155550109".into(), None),
        ("9d0652a3-dcc3-4d11-975f-74d61598733f".into(), None),
    ];
    for (timestamp, (destination, device)) in (1..).zip(cases) {
        let to: Destination = destination.parse().unwrap();
        let expected = device.map_or(Sent::NotFound, |device| stored(&[device]));
        assert_eq!(fixture.send(alice.write_to(to, &[1], timestamp)), expected, "{destination}");
    }
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
    assert_eq!(fixture.timestamps(default.device()), [2, 4]);
}

pub(super) fn a_change_of_an_account_counts_for_the_next_message(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let app = fixture.app("com.c", IntraApp::Delivered);
    let other = fixture.person(&app, BOB);
    let send = |fixture: &mut Fixture<'_>, timestamp| {
        fixture.send(alice.write_to(BOB.parse().unwrap(), &[1], timestamp))
    };
    assert_eq!(send(fixture, 1), stored(&[other.device()]));
    let default = Account { is_default: true, ..bob.account.clone() };
    fixture.rows(move |rows| rows.update_account(&default));
    assert_eq!(send(fixture, 2), stored(&[bob.device()]));
    let (account, old) = (bob.account.key, bob.device());
    let new = fixture.rows(move |rows| {
        rows.delete_device(old)?;
        let new = rows.insert_device(account, &new_device(1))?;
        rows.put_keys(new, &some_keys())?;
        Ok(new)
    });
    assert_eq!(send(fixture, 3), stored(&[new]));
    fixture.rows(move |rows| rows.delete_account(account));
    assert_eq!(send(fixture, 4), Sent::NotFound);
    assert_eq!(fixture.send(alice.write(&bob, 4)), Sent::NotFound);
    let default = Account { is_default: true, ..other.account.clone() };
    fixture.rows(move |rows| rows.update_account(&default));
    assert_eq!(send(fixture, 5), stored(&[other.device()]));
}

pub(super) fn a_message_goes_to_all_devices_or_to_none(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 3);
    let send = |fixture: &mut Fixture<'_>, devices: &[u32], timestamp| {
        fixture.send(alice.write_to(bob.id(), devices, timestamp))
    };
    assert_eq!(send(fixture, &[1, 2], 1), missing(&[3]));
    assert_eq!(send(fixture, &[], 2), missing(&[1, 2, 3]));
    assert_eq!(send(fixture, &[1, 2, 3, 4], 3), devices_differ(&[], &[4]));
    assert_eq!(send(fixture, &[1, 2, 3, 2], 4), devices_differ(&[], &[2]));
    assert_eq!(send(fixture, &[1, 4], 5), devices_differ(&[2, 3], &[4]));
    assert_waiting(fixture, &bob, 0);
    let all: Vec<DeviceKey> = [3, 1, 2].map(|number: usize| bob.devices[number - 1].0).into();
    assert_eq!(send(fixture, &[3, 1, 2], 6), stored(&all));
    assert_waiting(fixture, &bob, 1);
    for (device, number) in &bob.devices {
        let content = fixture.queue(*device).remove(0).1.content.unwrap();
        assert_eq!(content, format!("for device {}", number.number()).into_bytes());
    }
}

pub(super) fn a_partial_message_goes_only_to_the_devices_that_it_names(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 3);
    let report = |devices: &[u32], timestamp| {
        let mut submission = alice.write_to(bob.id(), devices, timestamp);
        let plaintext = |message| NewMessage { kind: EnvelopeKind::PlaintextContent, ..message };
        submission.messages = submission.messages.into_iter().map(plaintext).collect();
        Submission { is_partial: true, ..submission }
    };
    assert_eq!(fixture.send(report(&[2], 1)), stored(&[bob.devices[1].0]));
    assert_eq!(fixture.send(report(&[2], 1)), stored(&[]));
    let [(_, envelope)] = &fixture.queue(bob.devices[1].0)[..] else { panic!("not one message") };
    assert_eq!(envelope.kind, EnvelopeKind::PlaintextContent);
    assert_eq!(envelope.content.as_deref(), Some(&b"for device 2"[..]));
    assert!(fixture.queue(bob.device()).is_empty());
    assert_eq!(fixture.send(report(&[3, 4], 2)), devices_differ(&[], &[4]));
    assert_eq!(fixture.send(report(&[2, 2], 3)), devices_differ(&[], &[2]));
    let mut stale = report(&[3], 4);
    stale.messages[0].registration_id = Some(11);
    let expected = Sent::Mismatched(Mismatch::Stale(vec![device_id(3)]));
    assert_eq!(fixture.send(stale), expected);
    assert!(fixture.queue(bob.devices[2].0).is_empty());
}

pub(super) fn a_wrong_list_of_devices_is_reported_before_a_stale_device(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 2);
    let stale = |devices: &[u32], timestamp| {
        let mut submission = alice.write_to(bob.id(), devices, timestamp);
        submission.messages[0].registration_id = Some(11);
        submission
    };
    assert_eq!(fixture.send(stale(&[1], 1)), missing(&[2]));
    let expected = Sent::Mismatched(Mismatch::Stale(vec![device_id(1)]));
    assert_eq!(fixture.send(stale(&[1, 2], 2)), expected);
    assert_waiting(fixture, &bob, 0);
    // A sender without a session does not know the registration id.
    let mut submission = alice.write(&bob, 3);
    submission.messages[0].registration_id = None;
    fixture.send(submission);
    assert_waiting(fixture, &bob, 1);
}

pub(super) fn a_device_that_is_registered_again_makes_its_sessions_stale(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let key = bob.device();
    let again = DeviceColumns { registration_id: 99, ..new_device(1) };
    fixture.rows(move |rows| rows.update_device(key, &again));
    let stale = Sent::Mismatched(Mismatch::Stale(vec![device_id(1)]));
    assert_eq!(fixture.send(alice.write(&bob, 1)), stale);
    let mut submission = alice.write(&bob, 1);
    submission.messages[0].registration_id = Some(99);
    assert_eq!(fixture.send(submission), stored(&[key]));
    assert_eq!(fixture.bundle(&bob.id(), None).unwrap().devices[0].registration_id, 99);
}

pub(super) fn a_message_for_a_replaced_primary_device_is_not_for_its_successor(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = alice_and_bob(fixture, 2);
    let both = stored(&[bob.devices[0].0, bob.devices[1].0]);
    assert_eq!(fixture.send(alice.write(&bob, 1)), both);
    // Bob registers his number again: all devices are replaced by a new first one.
    let (account, old) = (bob.account.key, bob.devices.clone());
    let new = fixture.rows(move |rows| {
        old.iter().try_for_each(|(device, _)| rows.delete_device(*device))?;
        rows.insert_device(account, &DeviceColumns { registration_id: 99, ..new_device(1) })
    });
    // Without keys, it gets nothing.
    assert_eq!(fixture.send(alice.write_to(bob.id(), &[1], 2)), Sent::NotFound);
    fixture.put_keys(new, some_keys());
    assert_eq!(fixture.send(alice.write(&bob, 3)), devices_differ(&[], &[2]));
    let stale = Sent::Mismatched(Mismatch::Stale(vec![device_id(1)]));
    // Also what was accepted for the old device.
    for timestamp in [1, 4] {
        assert_eq!(fixture.send(alice.write_to(bob.id(), &[1], timestamp)), stale);
    }
    assert!(fixture.queue(new).is_empty());
    let mut submission = alice.write_to(bob.id(), &[1], 4);
    submission.messages[0].registration_id = Some(99);
    assert_eq!(fixture.send(submission), stored(&[new]));
}

pub(super) fn a_message_for_a_removed_linked_device_is_not_for_its_successor(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = alice_and_bob(fixture, 2);
    let (first, second) = (bob.devices[0].0, bob.devices[1].0);
    assert_eq!(fixture.send(alice.write(&bob, 1)), stored(&[first, second]));
    let (account, again) =
        (bob.account.key, DeviceColumns { registration_id: 77, ..new_device(2) });
    let new = fixture.rows(move |rows| {
        rows.delete_device(second)?;
        let new = rows.insert_device(account, &again)?;
        rows.put_keys(new, &some_keys())?;
        Ok(new)
    });
    let stale = Sent::Mismatched(Mismatch::Stale(vec![device_id(2)]));
    for timestamp in [1, 2] {
        assert_eq!(fixture.send(alice.write(&bob, timestamp)), stale);
    }
    // Neither of the devices has got a part of it.
    assert_eq!((fixture.timestamps(first), fixture.timestamps(new)), (vec![1], Vec::new()));
    let mut submission = alice.write(&bob, 2);
    submission.messages[1].registration_id = Some(77);
    assert_eq!(fixture.send(submission), stored(&[first, new]));
    assert_eq!(fixture.bundle(&bob.id(), Some(2)).unwrap().devices[0].registration_id, 77);
}

pub(super) fn devices_that_cannot_receive_need_no_message(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = alice_and_bob(fixture, 1);
    let silent = |number| DeviceColumns { fetches_messages: false, ..new_device(number) };
    fixture.device(&mut bob, silent(2));
    fixture.device_without_keys(&mut bob, new_device(3));
    let push = Some(PushId::Apn { id: "apn".into(), voip: None });
    fixture.device(&mut bob, DeviceColumns { push, ..silent(4) });
    let send = |fixture: &mut Fixture<'_>, devices: &[u32], timestamp| {
        fixture.send(alice.write_to(bob.id(), devices, timestamp))
    };
    assert_eq!(send(fixture, &[1, 2, 3, 4], 1), devices_differ(&[], &[2, 3]));
    assert_eq!(send(fixture, &[1, 4], 2), stored(&[bob.devices[0].0, bob.devices[3].0]));
    // A one-time key alone starts no session.
    let one_time = KeySet { curve: Some(vec![curve_key(1)]), ..KeySet::default() };
    fixture.put_keys(bob.devices[2].0, one_time);
    assert!(matches!(send(fixture, &[1, 4], 3), Sent::Stored { .. }));
    fixture.put_keys(bob.devices[2].0, some_keys());
    assert_eq!(send(fixture, &[1, 4], 4), missing(&[3]));
}

pub(super) fn a_linked_device_that_was_not_seen_for_a_month_needs_no_message(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = alice_and_bob(fixture, 2);
    let both = stored(&[bob.devices[0].0, bob.devices[1].0]);
    fixture.now.0 += u64::try_from(SILENCE.as_millis()).unwrap();
    assert_eq!(fixture.send(alice.write(&bob, 1)), both);
    fixture.now.0 += 1;
    assert_eq!(fixture.send(alice.write(&bob, 2)), devices_differ(&[], &[2]));
    assert_eq!(fixture.bundle(&bob.id(), None).unwrap().devices.len(), 1);
    assert_eq!(fixture.send(alice.write_to(bob.id(), &[1], 2)), stored(&[bob.device()]));
    // It comes back.
    let (second, now) = (bob.devices[1].0, fixture.now);
    fixture.rows(move |rows| rows.record_last_seen(second, now));
    assert_eq!(fixture.send(alice.write(&bob, 3)), both);
}

pub(super) fn an_account_without_devices_that_can_receive_is_not_found(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let key = bob.device();
    fixture.rows(move |rows| rows.delete_device(key));
    assert_eq!(fixture.send(alice.write(&bob, 1)), Sent::NotFound);
    assert_eq!(fixture.send(alice.write_to(bob.id(), &[], 1)), Sent::NotFound);
}

pub(super) fn an_account_sends_to_its_own_other_devices(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = alice_and_bob(fixture, 3);
    let send = |fixture: &mut Fixture<'_>, bob: &Person, devices: &[u32], timestamp| {
        fixture.send(bob.write_to(bob.id(), devices, timestamp))
    };
    let others = vec![bob.devices[1].0, bob.devices[2].0];
    let expected = Sent::Stored { needs_sync: true, devices: others };
    assert_eq!(send(fixture, &bob, &[2, 3], 1), expected);
    assert_eq!(send(fixture, &bob, &[1, 2, 3], 2), devices_differ(&[], &[1]));
    // An app that refuses messages between its users does not refuse these.
    bob.app.intra = IntraApp::Refused;
    assert!(matches!(send(fixture, &bob, &[2, 3], 3), Sent::Stored { .. }));
    assert_eq!(fixture.queue(bob.device()), []);
    // With one device there is nobody to send to.
    assert_eq!(send(fixture, &alice, &[], 4), stored(&[]));
    assert_eq!(send(fixture, &alice, &[1], 5), devices_differ(&[], &[1]));
}

pub(super) fn a_removed_device_sends_nothing(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 1);
    let (account, old) = (alice.account.key, alice.device());
    // As a second registration does it: the account stays.
    fixture.rows(move |rows| {
        rows.delete_device(old)?;
        rows.insert_device(account, &new_device(1))
    });
    assert_eq!(fixture.send(alice.write(&bob, 1)), Sent::UnknownSender);
    assert_eq!(
        fixture.send(alice.write_to("+14155550109".parse().unwrap(), &[1], 2)),
        Sent::UnknownSender
    );
    assert_waiting(fixture, &bob, 0);
}

pub(super) fn messages_inside_an_app_follow_its_policy(fixture: &mut Fixture<'_>) {
    let carried = fixture.app("com.carried", IntraApp::Delivered);
    let refused = fixture.app("com.refused", IntraApp::Refused);
    let numbers = [ALICE, BOB];
    let carried = numbers.map(|number| fixture.person(&carried, number));
    let refused = numbers.map(|number| fixture.person(&refused, number));
    let sent = fixture.send(carried[0].write(&carried[1], 1));
    assert_eq!(sent, stored(&[carried[1].device()]));
    assert_eq!(fixture.send(refused[0].write(&refused[1], 1)), Sent::RefusedIntraApp);
    assert_eq!(fixture.queue(refused[1].device()), []);
    // Other apps are reached from both.
    for (from, to) in [(&refused[0], &carried[1]), (&carried[0], &refused[1])] {
        assert_eq!(fixture.send(from.write(to, 2)), stored(&[to.device()]));
    }
}

pub(super) fn the_sender_learns_whether_it_has_other_devices(fixture: &mut Fixture<'_>) {
    let [mut alice, bob] = alice_and_bob(fixture, 2);
    let needs_sync = |fixture: &mut Fixture<'_>, alice: &Person, timestamp| {
        let sent = fixture.send(alice.write(&bob, timestamp));
        let Sent::Stored { needs_sync, .. } = sent else { panic!("{sent:?}") };
        needs_sync
    };
    assert!(!needs_sync(fixture, &alice, 1));
    // A device that cannot receive does not count.
    let second = fixture.device_without_keys(&mut alice, new_device(2));
    assert!(!needs_sync(fixture, &alice, 2));
    fixture.put_keys(second, some_keys());
    assert!(needs_sync(fixture, &alice, 3));
    // The answer to a repeated submission says so, too.
    assert!(needs_sync(fixture, &alice, 3));
}
