//! Messages whose envelopes do not name the sender.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::service::{Destination, Mismatch};
use wormhole_chat::{
    AccountId, ContentHint, DeviceId, EnvelopeKind, KeyPair, MultiRecipientMessage, SealedContent,
    SealedDevice, SealedKind, SealedRecipient, SenderCertificate, ServerCertificate, Timestamp,
};
use zeroize::Zeroizing;

use super::fixture::{Fixture, Person};
use super::samples::{ALICE, BOB, device_id, message, new_account, new_device, some_keys};
use crate::messaging::store::{
    Access, AccessKey, Account, Avatar, DeliveryKeys, DeviceKey, IntraApp, MAX_QUEUED_MESSAGES,
    MessageName, NewMessage, Profile, SealedMessages, SealedProof, SealedSent, SealedSubmission,
    UnidentifiedCaller,
};

const fn key(byte: u8) -> AccessKey {
    AccessKey([byte; 16])
}

/// Sets the access key of a person.
fn give_key(fixture: &mut Fixture<'_>, person: &mut Person, byte: u8) {
    let access = Access { key: Some(key(byte)), is_unrestricted: false };
    person.account = Account { access, ..person.account.clone() };
    let account = person.account.clone();
    fixture.rows(move |rows| rows.update_account(&account));
}

/// Alice, and Bob and Carol with the access keys 2 and 3, Bob with two devices.
fn three_people(fixture: &mut Fixture<'_>) -> [Person; 3] {
    let [alice, mut bob] = fixture.two_people();
    let mut carol = fixture.person(&bob.app.clone(), "+14155550103");
    fixture.device(&mut bob, new_device(2));
    give_key(fixture, &mut bob, 2);
    give_key(fixture, &mut carol, 3);
    [alice, bob, carol]
}

const fn stranger(byte: u8) -> SealedProof {
    SealedProof::Unidentified(UnidentifiedCaller { key: key(byte), network: None })
}

/// A sealed message for one person.
fn to_one(person: &Person, proof: SealedProof, timestamp: u64) -> SealedSubmission {
    let devices = person.devices.iter().map(|(_, number)| NewMessage {
        kind: EnvelopeKind::UnidentifiedSender,
        ..message(number.number().into())
    });
    SealedSubmission {
        left_out: Vec::new(),
        proof,
        destinations: vec![person.id()],
        messages: SealedMessages::One(devices.collect()),
        timestamp: Timestamp(timestamp),
        is_ephemeral: false,
        is_urgent: true,
    }
}

/// A sealed message for devices with their registration ids.
pub(super) fn sealed_for(to: &[(AccountId, Vec<(DeviceId, u16)>)]) -> MultiRecipientMessage {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let us = KeyPair::random(&mut rng);
    let certificate = ServerCertificate::issue(1, *us.public(), &us, &mut rng);
    let sender = wormhole_chat::CertifiedSender {
        address: wormhole_chat::Address {
            account: AccountId::from_bytes([9; 16]),
            device: DeviceId::PRIMARY,
        },
        identity: *us.public(),
        number: None,
    };
    let certificate = SenderCertificate::issue(sender, Timestamp(1), certificate, &us, &mut rng);
    let content = SealedContent {
        kind: SealedKind::SenderKey,
        certificate,
        message: vec![1; 500],
        hint: ContentHint::Default,
        group: None,
    };
    let device = |(device, registration_id): &(DeviceId, u16)| SealedDevice {
        device: *device,
        registration_id: *registration_id,
    };
    let recipients: Vec<SealedRecipient> = to
        .iter()
        .map(|(account, devices)| SealedRecipient {
            account: *account,
            identity: *us.public(),
            devices: devices.iter().map(device).collect(),
        })
        .collect();
    MultiRecipientMessage::seal(&content, &us, &recipients, &mut rng).unwrap()
}

/// The devices of a person with their registration ids.
pub(super) fn devices_of(person: &Person) -> (AccountId, Vec<(DeviceId, u16)>) {
    let devices = person.devices.iter().map(|it| (it.1, u16::from(it.1.number()) * 10));
    (person.account.id, devices.collect())
}

pub(super) fn to_many(
    message: MultiRecipientMessage,
    proof: SealedProof,
    timestamp: u64,
) -> SealedSubmission {
    let destinations = message.recipients().map(|(account, _)| Destination::Account(account));
    SealedSubmission {
        left_out: Vec::new(),
        proof,
        destinations: destinations.collect(),
        messages: SealedMessages::Many(message),
        timestamp: Timestamp(timestamp),
        is_ephemeral: false,
        is_urgent: true,
    }
}

fn keys_of(people: &[&Person]) -> Vec<DeviceKey> {
    people.iter().flat_map(|person| person.devices.iter().map(|it| it.0)).collect()
}

fn stored(devices: Vec<DeviceKey>) -> SealedSent {
    SealedSent::Stored { unknown: Vec::new(), full: Vec::new(), devices }
}

pub(super) fn the_keys_that_certify_senders_are_written_once_and_survive_a_restart(
    fixture: &mut Fixture<'_>,
) {
    assert_eq!(fixture.rows(|rows| rows.delivery_keys()), None);
    let keys = DeliveryKeys {
        root: Zeroizing::new([1; 32]),
        server: Zeroizing::new([0xff; 32]),
        certificate: vec![0, 1, 2],
    };
    let new = keys.clone();
    fixture.rows(move |rows| rows.insert_delivery_keys(&new));
    fixture.reopen();
    assert_eq!(fixture.rows(|rows| rows.delivery_keys()), Some(keys));
}

pub(super) fn a_profile_is_replaced_and_removed(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let (alice, bob) = (alice.account.key, bob.account.key);
    assert_eq!(fixture.rows(move |rows| rows.profile(alice)), None);
    let full = Profile {
        version: Some("a".repeat(64)),
        name: Some(vec![0, 1]),
        about: Some(vec![2]),
        emoji: Some(vec![3]),
        old_name: Some(vec![0xff]),
        avatar: Some(Avatar([4; 16])),
    };
    for profile in [Profile::default(), full] {
        let new = profile.clone();
        fixture.rows(move |rows| rows.put_profile(alice, Some(&new)));
        fixture.reopen();
        assert_eq!(fixture.rows(move |rows| rows.profile(alice)), Some(profile));
    }
    assert_eq!(fixture.rows(move |rows| rows.profile(bob)), None);
    for (avatar, expected) in [(4, true), (5, false)] {
        assert_eq!(fixture.rows(move |rows| rows.has_avatar(Avatar([avatar; 16]))), expected);
    }
    fixture.rows(move |rows| rows.put_profile(alice, None));
    assert_eq!(fixture.rows(move |rows| rows.profile(alice)), None);
}

pub(super) fn a_deleted_account_takes_its_profile_along(fixture: &mut Fixture<'_>) {
    let [alice, _] = fixture.two_people();
    let key = alice.account.key;
    let profile = Profile { avatar: Some(Avatar([4; 16])), ..Profile::default() };
    fixture.rows(move |rows| rows.put_profile(key, Some(&profile)));
    fixture.rows(move |rows| rows.delete_account(key));
    assert!(!fixture.rows(|rows| rows.has_avatar(Avatar([4; 16]))));
}

pub(super) fn who_may_send_without_credentials_is_written_with_the_account(
    fixture: &mut Fixture<'_>,
) {
    let [mut alice, bob] = fixture.two_people();
    assert_eq!(alice.account.access, Access::default());
    give_key(fixture, &mut alice, 0xff);
    alice.account.access.is_unrestricted = true;
    let account = alice.account.clone();
    fixture.rows(move |rows| rows.update_account(&account));
    fixture.reopen();
    for person in [alice, bob] {
        let id = person.account.id;
        assert_eq!(fixture.rows(move |rows| rows.account(id)), Some(person.account));
    }
}

pub(super) fn a_sealed_message_names_no_sender_and_has_no_receipt(fixture: &mut Fixture<'_>) {
    let [alice, bob, _] = three_people(fixture);
    let sent = fixture.send_sealed(to_one(&bob, stranger(2), 5));
    assert_eq!(sent, stored(keys_of(&[&bob])));
    // The same request again stores nothing.
    assert_eq!(fixture.send_sealed(to_one(&bob, stranger(2), 5)), stored(Vec::new()));
    let [(position, envelope)] = &fixture.queue(bob.device())[..] else { panic!() };
    let source = (&envelope.source, envelope.source_account, envelope.source_device);
    assert_eq!(source, (&None, None, None));
    assert_eq!((envelope.kind, &envelope.source_app), (EnvelopeKind::UnidentifiedSender, &None));
    assert_eq!((envelope.destination, envelope.timestamp), (Some(bob.account.id), Timestamp(5)));
    assert_eq!(envelope.content.as_deref(), Some(&b"for device 1"[..]));
    assert_eq!(fixture.acknowledge(bob.device(), MessageName::Position(*position)), []);
    assert_eq!(fixture.queue(bob.device()), []);
    let guid = fixture.queue(bob.devices[1].0)[0].1.guid.clone().unwrap();
    let guid: AccountId = guid.parse().unwrap();
    let receipts = fixture.acknowledge(bob.devices[1].0, MessageName::Guid(*guid.as_bytes()));
    assert_eq!((receipts.len(), fixture.queue(alice.device()).len()), (0, 0));
}

pub(super) fn a_wrong_access_key_and_an_account_that_does_not_exist_are_unauthorized(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob, carol] = three_people(fixture);
    let mut unknown = bob.clone();
    unknown.account.id = AccountId::from_bytes([7; 16]);
    for (person, byte) in [(&bob, 3), (&alice, 0), (&unknown, 2)] {
        let sent = fixture.send_sealed(to_one(person, stranger(byte), 5));
        assert_eq!(sent, SealedSent::Unauthorized);
    }
    let many = sealed_for(&[devices_of(&bob), devices_of(&carol)]);
    for byte in [2, 3, 0] {
        let sent = fixture.send_sealed(to_many(many.clone(), stranger(byte), 5));
        assert_eq!(sent, SealedSent::Unauthorized);
    }
    let many = sealed_for(&[devices_of(&bob), devices_of(&unknown)]);
    assert_eq!(fixture.send_sealed(to_many(many, stranger(2), 5)), SealedSent::Unauthorized);
    assert_eq!(fixture.queue(bob.device()), []);
}

pub(super) fn a_message_to_many_is_stored_for_all_devices_of_all_members_or_for_none(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob, carol] = three_people(fixture);
    let one_device = (bob.account.id, vec![(device_id(1), 10)]);
    let stale = (carol.account.id, vec![(device_id(1), 11)]);
    let many = sealed_for(&[one_device, stale.clone()]);
    let missing = Mismatch::Devices { missing: vec![device_id(2)], extra: Vec::new() };
    let is_stale = Mismatch::Stale(vec![device_id(1)]);
    let mismatches = vec![(bob.account.id, missing), (carol.account.id, is_stale.clone())];
    let sent = fixture.send_sealed(to_many(many, stranger(2 ^ 3), 5));
    assert_eq!(sent, SealedSent::Mismatched(mismatches));
    let sent =
        fixture.send_sealed(to_many(sealed_for(&[devices_of(&bob), stale]), stranger(2 ^ 3), 5));
    assert_eq!(sent, SealedSent::Mismatched(vec![(carol.account.id, is_stale)]));
    assert_eq!((fixture.queue(bob.device()), fixture.queue(carol.device())), (vec![], vec![]));
    let many = sealed_for(&[devices_of(&bob), devices_of(&carol)]);
    let sent = fixture.send_sealed(to_many(many.clone(), stranger(2 ^ 3), 5));
    assert_eq!(sent, stored(keys_of(&[&bob, &carol])));
    for (person, device) in [(&bob, 0), (&bob, 1), (&carol, 0)] {
        let [(_, envelope)] = &fixture.queue(person.devices[device].0)[..] else { panic!() };
        assert_eq!(envelope.content, many.for_account(person.account.id));
        assert_eq!((envelope.source_account, envelope.kind.number()), (None, 6));
    }
    // With credentials, unknown members are reported.
    let nobody = AccountId::from_bytes([7; 16]);
    let many = sealed_for(&[devices_of(&carol), (nobody, vec![(device_id(1), 1)])]);
    let device = SealedProof::Device(Box::new(alice.sender(0)));
    let sent = fixture.send_sealed(to_many(many, device, 6));
    let expected = SealedSent::Stored {
        unknown: vec![nobody],
        full: Vec::new(),
        devices: vec![carol.device()],
    };
    assert_eq!(sent, expected);
}

pub(super) fn a_repeated_message_to_many_is_stored_once(fixture: &mut Fixture<'_>) {
    let [alice, bob, carol] = three_people(fixture);
    let many = sealed_for(&[devices_of(&bob), devices_of(&carol)]);
    let device = SealedProof::Device(Box::new(alice.sender(0)));
    let all = keys_of(&[&bob, &carol]);
    for (proof, timestamp, expected) in [
        (stranger(2 ^ 3), 5, all.clone()),
        (stranger(2 ^ 3), 5, Vec::new()),
        (device, 5, Vec::new()),
        (stranger(2 ^ 3), 6, all),
    ] {
        let sent = fixture.send_sealed(to_many(many.clone(), proof, timestamp));
        assert_eq!(sent, stored(expected));
    }
    assert_eq!(fixture.timestamps(bob.device()), [5, 6]);
}

/// Fills the queue of a device as far as one sender can.
fn fill(fixture: &mut Fixture<'_>, person: &Person) {
    for timestamp in 0.. {
        let sent = fixture.send_sealed(to_one(person, stranger(3), timestamp));
        if !matches!(sent, SealedSent::Stored { .. }) {
            return assert_eq!(sent, SealedSent::QueueFull);
        }
        assert!(timestamp < MAX_QUEUED_MESSAGES);
    }
}

pub(super) fn a_member_without_room_is_left_out_and_reported(fixture: &mut Fixture<'_>) {
    let [_, bob, carol] = three_people(fixture);
    fill(fixture, &carol);
    let many = sealed_for(&[devices_of(&carol), devices_of(&bob)]);
    for _ in 0..2 {
        // It is not remembered, so that a repetition reaches those who had no room.
        let sent = fixture.send_sealed(to_many(many.clone(), stranger(2 ^ 3), 5));
        let devices = keys_of(&[&bob]);
        let full = vec![carol.account.id];
        assert_eq!(sent, SealedSent::Stored { unknown: Vec::new(), full, devices });
    }
}

pub(super) fn all_senders_without_credentials_share_one_part_of_a_queue(fixture: &mut Fixture<'_>) {
    let [alice, _, carol] = three_people(fixture);
    fill(fixture, &carol);
    let waiting = fixture.queue(carol.device()).len();
    assert_eq!(u64::try_from(waiting).unwrap(), MAX_QUEUED_MESSAGES / 2);
    // There is room for the messages of others.
    let sent = fixture.send(alice.write(&carol, 1));
    assert_eq!(sent, super::fixture::stored(&[carol.device()]));
}

pub(super) fn a_removed_device_sends_nothing_to_many(fixture: &mut Fixture<'_>) {
    let [alice, bob, _] = three_people(fixture);
    let device = alice.device();
    fixture.rows(move |rows| rows.delete_device(device));
    let proof = SealedProof::Device(Box::new(alice.sender(0)));
    let many = sealed_for(&[devices_of(&bob)]);
    assert_eq!(fixture.send_sealed(to_many(many, proof, 5)), SealedSent::UnknownSender);
    assert_eq!(fixture.queue(bob.device()), []);
}

pub(super) fn a_sealed_message_follows_the_policy_of_the_senders_app(fixture: &mut Fixture<'_>) {
    let app = fixture.app("com.only.others", IntraApp::Refused);
    let (alice, bob) = (fixture.person(&app, ALICE), fixture.person(&app, BOB));
    let proof = SealedProof::Device(Box::new(alice.sender(0)));
    let many = sealed_for(&[devices_of(&bob)]);
    assert_eq!(fixture.send_sealed(to_many(many, proof, 5)), SealedSent::RefusedIntraApp);
}

pub(super) fn one_turn_stores_a_message_to_a_thousand_members(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let app = bob.app;
    // In one transaction, so that the case is fast.
    let members: Vec<Person> = fixture.rows(move |rows| {
        (0..1000)
            .map(|number| {
                let account = new_account(&app, &format!("+1415666{number:04}"));
                let account = rows.insert_account(&account)?;
                let device = rows.insert_device(account.key, &new_device(1))?;
                rows.put_keys(device, &some_keys())?;
                let devices = vec![(device, DeviceId::PRIMARY)];
                Ok(Person { account, app: app.clone(), devices })
            })
            .collect()
    });
    let to: Vec<_> = members.iter().map(devices_of).collect();
    let proof = SealedProof::Device(Box::new(alice.sender(0)));
    let sent = fixture.send_sealed(to_many(sealed_for(&to), proof, 5));
    let all: Vec<&Person> = members.iter().collect();
    assert_eq!(sent, stored(keys_of(&all)));
    for member in [&members[0], &members[999]] {
        assert_eq!(fixture.timestamps(member.device()), [5]);
    }
}
