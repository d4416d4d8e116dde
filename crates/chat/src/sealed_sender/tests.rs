//! Alice seals messages for Bob.

use data_encoding::HEXLOWER;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;
use wormhole_kit::Secret;

use super::*;
use crate::address::{AccountId, DeviceId};
use crate::certificate::{SenderCertificate, ServerCertificate};
use crate::content::Content;
use crate::key::PrivateKey;
use crate::sender_key::{DistributionId, SenderKey};

const NOW: Timestamp = Timestamp(1_600_000_000_000);

fn pair(byte: u8) -> KeyPair {
    PrivateKey::from_secret(&Secret::new([byte; 32])).into()
}

fn account(byte: u8) -> AccountId {
    AccountId::from_bytes([byte; 16])
}

fn address(byte: u8) -> Address {
    Address { account: account(byte), device: DeviceId::PRIMARY }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

const ROOT: u8 = 11;
const SERVER: u8 = 12;
const ALICE: u8 = 1;
const BOB: u8 = 2;
const MALLORY: u8 = 3;

/// The certificate of a person.
fn certificate(person: u8) -> SenderCertificate {
    let server = ServerCertificate::issue(1, *pair(SERVER).public(), &pair(ROOT), &mut rng());
    let sender = CertifiedSender {
        address: address(person),
        identity: *pair(person).public(),
        number: None,
    };
    SenderCertificate::issue(sender, NOW, server, &pair(SERVER), &mut rng())
}

/// A message to a group, with the certificate of a person.
fn content(person: u8) -> SealedContent {
    let mut key = SenderKey::random(DistributionId::from_bytes([5; 16]), &mut rng());
    SealedContent {
        certificate: certificate(person),
        kind: SealedKind::SenderKey,
        message: key.encrypt(b"text", &mut rng()).unwrap(),
        hint: ContentHint::Resendable,
        group: Some(b"group".to_vec()),
    }
}

fn plaintext(content: &Content) -> SealedContent {
    let message = [&[0xc0], content.encode().as_slice(), &[0x80, 0, 0]].concat();
    SealedContent { kind: SealedKind::Plaintext, message, ..self::content(ALICE) }
}

/// Seals a content for Bob in both versions.
fn sealed(content: &SealedContent, by: &KeyPair) -> [Vec<u8>; 2] {
    let bob = SealedRecipient {
        account: account(BOB),
        identity: *pair(BOB).public(),
        devices: vec![SealedDevice { device: DeviceId::PRIMARY, registration_id: 5 }],
    };
    let many = MultiRecipientMessage::seal(content, by, &[bob], &mut rng()).unwrap();
    let one = content.seal(by, pair(BOB).public(), &mut rng()).unwrap();
    [one, many.for_account(account(BOB)).unwrap()]
}

fn rules(roots: &[PublicKey]) -> UnsealRules<'_> {
    UnsealRules { us: address(BOB), roots, now: NOW }
}

/// Bob opens a message.
fn open(bytes: &[u8]) -> Result<Unsealed, UnsealError> {
    Unsealed::open(bytes, &pair(BOB), rules(&[*pair(ROOT).public()]))
}

#[test]
fn both_versions_say_who_has_sent_the_message() {
    for bytes in sealed(&content(ALICE), &pair(ALICE)) {
        let opened = open(&bytes).unwrap();
        assert_eq!(opened.sender.address, address(ALICE));
        assert_eq!(opened.sender.identity, *pair(ALICE).public());
        assert!(matches!(opened.message, UnsealedMessage::SenderKey(_)));
        assert_eq!(opened.hint, ContentHint::Resendable);
        assert_eq!(opened.group.as_deref(), Some(&b"group"[..]));
    }
}

fn file() -> Value {
    serde_json::from_str(include_str!("../../../../vectors/chat/groups.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn the_recorded_messages_of_libsignal_are_opened() {
    let file = file();
    let us = Address {
        account: file["bob"].as_str().unwrap().parse().unwrap(),
        device: DeviceId::PRIMARY,
    };
    let roots = [*pair(17).public()];
    let rules = UnsealRules { us, roots: &roots, now: Timestamp(31_337) };
    let multi = MultiRecipientMessage::decode(&hex(&file["multi"]["hex"])).unwrap();
    let from_multi = multi.for_account(us.account).unwrap();
    for bytes in [hex(&file["sealed_1"]), hex(&file["sealed_2"]), from_multi] {
        let opened = Unsealed::open(&bytes, &pair(68), rules).unwrap();
        assert_eq!(opened.sender.address.account.to_string(), file["alice"].as_str().unwrap());
        assert_eq!(opened.hint, ContentHint::Resendable);
        assert_eq!(opened.group.as_deref(), Some(&b"groupid"[..]));
        let late = UnsealRules { now: Timestamp(31_338), ..rules };
        let expired = UnsealError::Certificate(CertificateError::Expired);
        assert_eq!(Unsealed::open(&bytes, &pair(68), late), Err(expired));
    }
}

#[test]
fn the_recorded_contents_of_libsignal_are_decoded_and_encoded_to_the_same_bytes() {
    let hints = [ContentHint::Resendable, ContentHint::Default, ContentHint::Implicit];
    for (case, hint) in file()["contents"].as_array().unwrap().iter().zip(hints) {
        let content = SealedContent::decode(&hex(&case["hex"])).unwrap();
        assert_eq!(content.hint, hint);
        assert_eq!(
            content.group.as_ref().map(|group| HEXLOWER.encode(group)).as_deref(),
            case["group"].as_str()
        );
        let is_plaintext =
            matches!(content.message().unwrap(), UnsealedMessage::DecryptionError(_));
        assert_eq!(is_plaintext, case["kind"] == 8);
        assert_eq!(HEXLOWER.encode(&content.encode()), case["hex"].as_str().unwrap());
    }
}

#[test]
fn the_recorded_message_for_many_recipients_is_decoded_and_encoded_to_the_same_bytes() {
    let file = file();
    for name in ["multi", "multi_excluding_alice"] {
        let bytes = hex(&file[name]["hex"]);
        let multi = MultiRecipientMessage::decode(&bytes).unwrap();
        assert_eq!(multi.encode(), bytes);
        let recipients: Vec<_> = multi.recipients().collect();
        let [(account, devices)] = &recipients[..] else { panic!("one recipient") };
        assert_eq!(account.to_string(), file["bob"].as_str().unwrap());
        let devices: Vec<_> =
            devices.iter().map(|it| (it.device.number(), it.registration_id)).collect();
        let expected = file[name]["devices"].as_array().unwrap().iter();
        let number = |value: &Value| value.as_u64().unwrap();
        let expected: Vec<_> = expected
            .map(|it| {
                (u8::try_from(number(&it[0])).unwrap(), u16::try_from(number(&it[1])).unwrap())
            })
            .collect();
        assert_eq!(devices, expected);
        let alice = file["alice"].as_str().unwrap().parse().unwrap();
        assert_eq!(multi.for_account(alice), None);
    }
}

#[test]
fn attack_1_every_changed_bit_and_every_cut_is_noticed() {
    for bytes in sealed(&content(ALICE), &pair(ALICE)) {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // The low half of the version has no meaning.
            assert!(at == 0 || open(&changed).is_err(), "{at}");
            assert!(open(&bytes[..at]).is_err(), "{at}");
        }
    }
}

#[test]
fn attack_8_a_message_is_opened_only_with_the_recipients_key() {
    for bytes in sealed(&content(ALICE), &pair(ALICE)) {
        let roots = [*pair(ROOT).public()];
        let rules = UnsealRules { us: address(MALLORY), ..rules(&roots) };
        assert_eq!(Unsealed::open(&bytes, &pair(MALLORY), rules), Err(UnsealError::NotAuthentic));
    }
}

#[test]
fn attack_10_nobody_can_seal_with_the_certificate_of_another() {
    // Mallory has got a message of Alice, and so her certificate.
    for bytes in sealed(&content(ALICE), &pair(MALLORY)) {
        assert_eq!(open(&bytes), Err(UnsealError::WrongSender));
    }
}

#[test]
fn attack_10_the_recipient_of_one_message_cannot_hand_it_on_as_its_sender() {
    // Bob knows everything that is in the message of version 2 except for Alice's private key.
    let [_, bytes] = sealed(&content(ALICE), &pair(ALICE));
    let mallory = SealedRecipient {
        account: account(MALLORY),
        identity: *pair(MALLORY).public(),
        devices: vec![SealedDevice { device: DeviceId::PRIMARY, registration_id: 5 }],
    };
    let multi =
        MultiRecipientMessage::seal(&content(ALICE), &pair(BOB), &[mallory], &mut rng()).unwrap();
    let handed_on = multi.for_account(account(MALLORY)).unwrap();
    // The same random bytes and content, so the same ciphertext.
    assert_eq!(handed_on[49..], bytes[49..]);
    let roots = [*pair(ROOT).public()];
    let rules = UnsealRules { us: address(MALLORY), ..rules(&roots) };
    assert_eq!(Unsealed::open(&handed_on, &pair(MALLORY), rules), Err(UnsealError::WrongSender));
}

#[test]
fn attack_10_kind_certificate_and_message_must_agree() {
    let good = content(ALICE);
    for kind in [SealedKind::PreKey, SealedKind::Signal, SealedKind::Plaintext] {
        for bytes in sealed(&SealedContent { kind, ..good.clone() }, &pair(ALICE)) {
            assert_eq!(open(&bytes), Err(UnsealError::Malformed));
        }
    }
    // A first message with another identity key than the certificate's.
    let text = include_str!("../../../../vectors/chat/x3dh.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let first = SealedContent {
        kind: SealedKind::PreKey,
        message: hex(&file["cases"][0]["pre_key_signal_message"]),
        ..good
    };
    for bytes in sealed(&first, &pair(ALICE)) {
        assert_eq!(open(&bytes), Err(UnsealError::WrongSender));
    }
}

#[test]
fn attack_10_plaintext_is_accepted_only_as_a_decryption_error() {
    let error = Content::DecryptionError(vec![1, 2, 3]);
    for bytes in sealed(&plaintext(&error), &pair(ALICE)) {
        let expected = UnsealedMessage::DecryptionError(vec![1, 2, 3]);
        assert_eq!(open(&bytes).unwrap().message, expected);
    }
    let mut data = crate::content::DataMessage::default();
    data.body = Some("injected".to_owned());
    let mut both = plaintext(&error);
    let text = Content::Data(Box::new(data.clone())).encode();
    both.message.splice(1..1, text.iter().copied());
    let mut unmarked = plaintext(&error);
    unmarked.message[0] = 0xc1;
    for bad in
        [plaintext(&Content::Data(Box::new(data))), plaintext(&Content::Null), both, unmarked]
    {
        for bytes in sealed(&bad, &pair(ALICE)) {
            assert_eq!(open(&bytes), Err(UnsealError::Malformed));
        }
    }
}

#[test]
fn attack_22_a_message_with_an_expired_or_untrusted_certificate_is_refused() {
    for bytes in sealed(&content(ALICE), &pair(ALICE)) {
        let roots = [*pair(ROOT).public()];
        let late = UnsealRules { now: Timestamp(NOW.0 + 1), ..rules(&roots) };
        let expired = UnsealError::Certificate(CertificateError::Expired);
        assert_eq!(Unsealed::open(&bytes, &pair(BOB), late), Err(expired));
        let untrusted = UnsealError::Certificate(CertificateError::UntrustedServer);
        assert_eq!(
            Unsealed::open(&bytes, &pair(BOB), rules(&[*pair(MALLORY).public()])),
            Err(untrusted)
        );
    }
}

#[test]
fn a_message_of_our_own_device_is_refused() {
    for bytes in sealed(&content(BOB), &pair(BOB)) {
        assert_eq!(open(&bytes), Err(UnsealError::OwnMessage));
    }
}

#[test]
fn other_versions_and_bytes_without_structure_are_refused() {
    let mut bytes = sealed(&content(ALICE), &pair(ALICE))[0].clone();
    for version in [0x01, 0x33, 0xff] {
        bytes[0] = version;
        assert_eq!(open(&bytes), Err(UnsealError::UnsupportedVersion(version)));
    }
    for bytes in [&[][..], &[0x11], &[0x22], &[0x22; 81], &vec![0x11; MAX_SEALED + 1]] {
        assert!(open(bytes).is_err());
    }
}

/// A message for two people, one of whom has two devices, and without a third person.
fn multi() -> MultiRecipientMessage {
    let device = |number, registration_id| SealedDevice {
        device: DeviceId::new(number).unwrap(),
        registration_id,
    };
    let to = [(BOB, vec![device(1, 16_383), device(127, 0)]), (MALLORY, vec![device(5, 7)])];
    let to = to.map(|(person, devices)| SealedRecipient {
        account: account(person),
        identity: *pair(person).public(),
        devices,
    });
    let mut multi =
        MultiRecipientMessage::seal(&content(ALICE), &pair(ALICE), &to, &mut rng()).unwrap();
    multi.exclude(account(9));
    multi
}

#[test]
fn a_message_for_many_recipients_reads_as_it_was_written() {
    let bytes = multi().encode();
    assert_eq!(MultiRecipientMessage::decode(&bytes), Ok(multi()));
    let bob = multi().for_account(account(BOB)).unwrap();
    assert_eq!(open(&bob).unwrap().sender.address, address(ALICE));
    assert_eq!(multi().for_account(account(9)), None);
    assert_eq!(multi().for_account(account(10)), None);
    assert_eq!(multi().recipients().count(), 2);
}

#[test]
fn a_damaged_message_for_many_recipients_is_refused() {
    let bytes = multi().encode();
    // Everything before the ciphertext has a fixed length.
    let head = 2 + (17 + 6 + 48) + (17 + 3 + 48) + 18;
    for end in 0..head + 48 {
        assert_eq!(MultiRecipientMessage::decode(&bytes[..end]), Err(MalformedMultiRecipient));
    }
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        MultiRecipientMessage::decode(&bytes)
    };
    // Version, number of recipients, kind of an id, a device 0 or 128, a reserved bit, the same device twice.
    for (at, value) in [(0, 0x22), (1, 4), (2, 1), (19, 0), (22, 0), (22, 128), (20, 0xff), (22, 1)]
    {
        assert_eq!(with(at, value), Err(MalformedMultiRecipient), "{at} {value}");
    }
    // The same account twice.
    let mut twice = bytes.clone();
    let second = 2 + 71;
    twice.copy_within(2..19, second);
    assert_eq!(MultiRecipientMessage::decode(&twice), Err(MalformedMultiRecipient));
    let many = [&[0x23, 0x89, 0x27][..], &[0; 100]].concat();
    assert_eq!(MultiRecipientMessage::decode(&many), Err(MalformedMultiRecipient));
}

#[test]
fn attack_2_a_sealed_message_that_is_delivered_twice_contains_a_duplicate() {
    let mut rng = rng();
    let distribution = DistributionId::from_bytes([5; 16]);
    let mut key = SenderKey::random(distribution, &mut rng);
    let mut record = crate::sender_key::SenderKeyRecord::new(distribution);
    record.accept(&key.distribution_message()).unwrap();
    let message = key.encrypt(b"text", &mut rng).unwrap();
    for (count, bytes) in
        sealed(&SealedContent { message, ..content(ALICE) }, &pair(ALICE)).iter().enumerate()
    {
        for again in [count > 0, true] {
            let UnsealedMessage::SenderKey(message) = open(bytes).unwrap().message else {
                panic!("a message to a group")
            };
            let duplicate = Err(crate::sender_key::SenderKeyError::Duplicate);
            let read = record.decrypt(&message).map(|text| text.to_vec());
            assert_eq!(read, if again { duplicate } else { Ok(b"text".to_vec()) });
        }
    }
}
