//! Reading and acknowledging messages.

use std::time::Duration;

use wormhole_chat::{Envelope, EnvelopeKind, Timestamp};

use super::fixture::{Fixture, Person, everything, job};
use super::samples::{ALICE, BOB, device_id, new_device};
use crate::messaging::store::{
    Acknowledgement, DeviceColumns, DeviceKey, EPHEMERAL_LIFE, Expiry, MessageName, PageRequest,
    Submission, Turn,
};

/// Alice has sent Bob messages with these timestamps.
fn with_messages(fixture: &mut Fixture<'_>, timestamps: &[u64]) -> [Person; 2] {
    let [alice, bob] = fixture.two_people();
    for timestamp in timestamps {
        fixture.send(alice.write(&bob, *timestamp));
    }
    [alice, bob]
}

pub(super) fn a_page_ends_at_its_limits_and_says_whether_more_is_waiting(
    fixture: &mut Fixture<'_>,
) {
    let [_, bob] = with_messages(fixture, &[5, 4, 3, 2, 1]);
    let all = fixture.page(everything(bob.device()));
    assert!(!all.has_more);
    assert!(all.messages.is_sorted_by_key(|(position, _)| *position));
    assert_eq!(fixture.timestamps(bob.device()), [5, 4, 3, 2, 1]);
    let page = |fixture: &mut Fixture<'_>, after, max_messages, max_bytes| {
        let request = PageRequest { device: bob.device(), after, max_messages, max_bytes };
        let page = fixture.page(request);
        let expected = all.messages.iter().filter(|(position, _)| *position > after);
        assert!(page.messages.iter().eq(expected.take(page.messages.len())));
        (page.messages.len(), page.has_more)
    };
    let third = all.messages[2].0;
    assert_eq!(page(fixture, 0, 2, usize::MAX), (2, true));
    assert_eq!(page(fixture, 0, 5, usize::MAX), (5, false));
    assert_eq!(page(fixture, third, 2, usize::MAX), (2, false));
    assert_eq!(page(fixture, third, 1, usize::MAX), (1, true));
    assert_eq!(page(fixture, all.messages[4].0, 1, usize::MAX), (0, false));
    let bytes: usize = all.messages[..2].iter().map(|(_, envelope)| envelope.len()).sum();
    assert_eq!(page(fixture, 0, 9, bytes), (2, true));
    assert_eq!(page(fixture, 0, 9, bytes - 1), (1, true));
    assert_eq!(page(fixture, i64::MAX, 9, 9), (0, false));
}

pub(super) fn a_long_message_is_a_page_of_its_own(fixture: &mut Fixture<'_>) {
    let [_, bob] = with_messages(fixture, &[1, 2]);
    let request = PageRequest { max_bytes: 1, ..everything(bob.device()) };
    let page = fixture.page(request);
    assert_eq!((page.messages.len(), page.has_more), (1, true));
    let page = fixture.page(PageRequest { after: page.messages[0].0, ..request });
    assert_eq!((page.messages.len(), page.has_more), (1, false));
}

pub(super) fn a_delivery_has_the_signaling_key_of_now(fixture: &mut Fixture<'_>) {
    let [_, bob] = with_messages(fixture, &[1]);
    let key = bob.device();
    let read = |fixture: &mut Fixture<'_>| {
        fixture.deliver(everything(key)).map(|delivery| delivery.signaling_key)
    };
    assert_eq!(read(fixture), Some(None));
    let signaling_key = Some(vec![3; 52]);
    let device = DeviceColumns { signaling_key: signaling_key.clone(), ..new_device(1) };
    fixture.rows(move |rows| rows.update_device(key, &device));
    assert_eq!(read(fixture), Some(signaling_key));
    fixture.rows(move |rows| rows.delete_device(key));
    assert_eq!(read(fixture), None);
}

pub(super) fn a_message_is_acknowledged_by_its_position(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1, 2, 3]);
    let second = fixture.queue(bob.device())[1].0;
    let receipts = fixture.acknowledge(bob.device(), MessageName::Position(second));
    assert_eq!(receipts, [alice.device()]);
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
    assert_eq!(fixture.timestamps(alice.device()), [2]);
}

pub(super) fn a_message_is_acknowledged_by_its_guid(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1, 2, 3]);
    let guid = fixture.queue(bob.device())[1].1.guid.clone().unwrap();
    let guid: uuid::Uuid = guid.parse().unwrap();
    assert_eq!(fixture.acknowledge(bob.device(), MessageName::Guid([0; 16])), []);
    let receipts = fixture.acknowledge(bob.device(), MessageName::Guid(guid.into_bytes()));
    assert_eq!(receipts, [alice.device()]);
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
}

pub(super) fn a_message_is_acknowledged_by_its_sender_and_timestamp(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1, 2, u64::MAX]);
    let id = alice.account.id.to_string();
    let which = |source: &str, timestamp| MessageName::Sent(source.into(), Timestamp(timestamp));
    for other in
        [which(BOB, 2), which(ALICE, 4), which("", 2), which(&bob.account.id.to_string(), 2)]
    {
        assert_eq!(fixture.acknowledge(bob.device(), other), []);
    }
    fixture.acknowledge(bob.device(), which(ALICE, 2));
    assert_eq!(fixture.timestamps(bob.device()), [1, u64::MAX]);
    fixture.acknowledge(bob.device(), which(&id.to_uppercase(), u64::MAX));
    assert_eq!(fixture.timestamps(bob.device()), [1]);
    assert_eq!(fixture.timestamps(alice.device()), [2, u64::MAX]);
}

pub(super) fn a_message_is_acknowledged_once(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1]);
    let (position, envelope) = fixture.queue(bob.device()).remove(0);
    let guid: uuid::Uuid = envelope.guid.unwrap().parse().unwrap();
    let mut turn = Turn::default();
    let ways = [
        MessageName::Position(position),
        MessageName::Guid(guid.into_bytes()),
        MessageName::Sent(ALICE.into(), Timestamp(1)),
        MessageName::Position(position),
    ];
    let device = bob.device();
    let jobs = ways.map(|message| job(Acknowledgement { device, message }));
    turn.acknowledgements.extend(jobs);
    fixture.apply(&mut turn).unwrap();
    let receipts: Vec<DeviceKey> =
        turn.acknowledgements.into_iter().flat_map(|job| job.answer.unwrap().receipts).collect();
    assert_eq!(receipts, [alice.device()]);
    assert_eq!(fixture.acknowledge(device, MessageName::Position(position)), []);
    assert_eq!(fixture.timestamps(alice.device()), [1]);
}

pub(super) fn nobody_acknowledges_the_messages_of_others(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1]);
    let (position, envelope) = fixture.queue(bob.device()).remove(0);
    let guid: uuid::Uuid = envelope.guid.unwrap().parse().unwrap();
    let ways = [
        MessageName::Position(position),
        MessageName::Guid(guid.into_bytes()),
        MessageName::Sent(ALICE.into(), Timestamp(1)),
    ];
    for which in ways {
        assert_eq!(fixture.acknowledge(alice.device(), which), []);
    }
    assert_eq!(fixture.timestamps(bob.device()), [1]);
}

pub(super) fn all_devices_of_the_sender_get_a_receipt(fixture: &mut Fixture<'_>) {
    let [mut alice, mut bob] = fixture.two_people();
    fixture.device(&mut alice, new_device(2));
    let second = fixture.device(&mut bob, new_device(2));
    fixture.send(alice.write(&bob, 7));
    let position = fixture.queue(second)[0].0;
    let devices: Vec<DeviceKey> = alice.devices.iter().map(|(device, _)| *device).collect();
    assert_eq!(fixture.acknowledge(second, MessageName::Position(position)), devices);
    for device in devices {
        let [(_, receipt)] = &fixture.queue(device)[..] else { panic!("not one receipt") };
        let expected = Envelope {
            // Alice has written to the id, and does not learn the number.
            source: Some(bob.account.id.to_string()),
            source_account: Some(bob.account.id),
            source_device: Some(device_id(2)),
            source_app: Some("com.b".into()),
            guid: receipt.guid.clone(),
            server_timestamp: Some(fixture.now),
            destination: Some(alice.account.id),
            destination_app: Some("com.a".into()),
            urgent: Some(false),
            ..Envelope::new(EnvelopeKind::Receipt, Timestamp(7))
        };
        assert_eq!(*receipt, expected);
        assert!(receipt.guid.is_some());
    }
    // The other device has not received it yet.
    assert_eq!(fixture.timestamps(bob.device()), [7]);
}

pub(super) fn a_receipt_has_the_number_if_the_sender_knows_it(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let id = bob.account.id.to_string();
    for (timestamp, to, expected) in [(1, BOB, BOB), (2, &id, &id), (3, "+14155550102@com.b", BOB)]
    {
        fixture.send(alice.write_to(to.parse().unwrap(), &[1], timestamp));
        let position = fixture.queue(bob.device())[0].0;
        fixture.acknowledge(bob.device(), MessageName::Position(position));
        let (position, receipt) = fixture.queue(alice.device()).remove(0);
        assert_eq!(receipt.source.as_deref(), Some(expected));
        fixture.acknowledge(alice.device(), MessageName::Position(position));
    }
}

pub(super) fn receipts_and_own_messages_have_no_receipt(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = with_messages(fixture, &[1]);
    let position = fixture.queue(bob.device())[0].0;
    fixture.acknowledge(bob.device(), MessageName::Position(position));
    let receipt = fixture.queue(alice.device())[0].0;
    assert_eq!(fixture.acknowledge(alice.device(), MessageName::Position(receipt)), []);
    assert_eq!(fixture.queue(alice.device()), []);
    assert_eq!(fixture.queue(bob.device()), []);
    let second = fixture.device(&mut bob, new_device(2));
    fixture.send(bob.write_to(bob.id(), &[2], 2));
    let position = fixture.queue(second)[0].0;
    assert_eq!(fixture.acknowledge(second, MessageName::Position(position)), []);
    assert_eq!(fixture.queue(second), []);
    assert_eq!(fixture.queue(bob.device()), []);
}

pub(super) fn a_sender_that_was_deleted_gets_no_receipt(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1]);
    let key = alice.account.key;
    fixture.rows(move |rows| rows.delete_account(key));
    let position = fixture.queue(bob.device())[0].0;
    assert_eq!(fixture.acknowledge(bob.device(), MessageName::Position(position)), []);
    assert_eq!(fixture.queue(bob.device()), []);
    assert_eq!(fixture.store().count().unwrap().messages, 0);
}

pub(super) fn a_turn_acknowledges_before_it_stores_and_reads_last(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1]);
    let position = fixture.queue(bob.device())[0].0;
    let mut turn = Turn::default();
    let acknowledgement =
        Acknowledgement { device: bob.device(), message: MessageName::Position(position) };
    turn.pages.extend([bob.device(), alice.device()].map(|device| job(everything(device))));
    turn.submissions.push(job(alice.write(&bob, 2)));
    turn.submissions.push(job(bob.write(&alice, 3)));
    turn.acknowledgements.push(job(acknowledgement));
    fixture.apply(&mut turn).unwrap();
    let pages = turn.pages.into_iter().map(|job| job.answer.unwrap().unwrap().page.messages);
    let timestamps: Vec<Vec<u64>> = pages
        .map(|page| page.iter().map(|it| Envelope::decode(&it.1).unwrap().timestamp.0).collect())
        .collect();
    assert_eq!(timestamps, [vec![2], vec![1, 3]]);
}

pub(super) fn an_ephemeral_message_does_not_wait_for_long(fixture: &mut Fixture<'_>) {
    let [alice, bob] = with_messages(fixture, &[1]);
    let ephemeral = Submission { is_ephemeral: true, ..alice.write(&bob, 2) };
    fixture.send(ephemeral);
    fixture.send(alice.write(&bob, 3));
    let queue = fixture.queue(bob.device());
    let flags: Vec<_> = queue.iter().map(|(_, envelope)| envelope.ephemeral).collect();
    assert_eq!(flags, [None, Some(true), None]);
    wait(fixture, EPHEMERAL_LIFE);
    assert_eq!(fixture.timestamps(bob.device()), [1, 2, 3]);
    wait(fixture, Duration::from_millis(1));
    let request = PageRequest { max_messages: 2, ..everything(bob.device()) };
    let page = fixture.page(request);
    assert_eq!((page.messages.len(), page.has_more), (2, false));
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
    let day = Duration::from_secs(24 * 3600);
    fixture.prune(Expiry { messages: day, sent: day, codes: day });
    assert_eq!(fixture.store().count().unwrap().messages, 2);
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
}

fn wait(fixture: &mut Fixture<'_>, duration: Duration) {
    fixture.now.0 += u64::try_from(duration.as_millis()).unwrap();
}
