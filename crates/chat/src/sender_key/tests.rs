//! A sender and a member of the group.

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use super::*;
use crate::message::MessageError;
use crate::record::StoredRecordError;

const GROUP: DistributionId = DistributionId::from_bytes([7; 16]);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// A sender key, and a member who has it.
fn pair(rng: &mut ChaCha20Rng) -> (SenderKey, SenderKeyRecord) {
    let key = SenderKey::random(GROUP, rng);
    let mut record = SenderKeyRecord::new(GROUP);
    record.accept(&key.distribution_message()).unwrap();
    (key, record)
}

fn write(key: &mut SenderKey, text: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    key.encrypt(text, rng).unwrap()
}

fn read(record: &mut SenderKeyRecord, bytes: &[u8]) -> Result<Vec<u8>, SenderKeyError> {
    let message = SenderKeyMessage::decode(bytes).map_err(|_| SenderKeyError::Malformed)?;
    record.decrypt(&message).map(|text| text.to_vec())
}

/// A message that must be refused, and does not change anything.
fn refuse(record: &mut SenderKeyRecord, bytes: &[u8]) -> SenderKeyError {
    let before = record.encode();
    let error = read(record, bytes).unwrap_err();
    assert_eq!(record.encode(), before);
    error
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn the_recorded_messages_of_libsignal_are_read() {
    let text = include_str!("../../../../vectors/chat/groups.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let case = &file["sender_key"];
    let distribution: DistributionId = case["distribution"].as_str().unwrap().parse().unwrap();
    assert_eq!(distribution.to_string(), case["distribution"].as_str().unwrap());
    let key = SenderKeyDistributionMessage::decode(&hex(&case["key"])).unwrap();
    assert_eq!(*key.encode(), hex(&case["key"]));
    assert_eq!(key.distribution(), distribution);
    let messages = case["messages"].as_array().unwrap();
    for reversed in [false, true] {
        let mut record = SenderKeyRecord::new(distribution);
        record.accept(&key).unwrap();
        let mut order: Vec<_> = messages.iter().collect();
        if reversed {
            order.reverse();
        }
        for message in order {
            let text = read(&mut record, &hex(&message["hex"])).unwrap();
            assert_eq!(text, message["text"].as_str().unwrap().as_bytes());
        }
    }
    // A member who gets the key later reads only later messages.
    let later = SenderKeyDistributionMessage::decode(&hex(&case["later_key"])).unwrap();
    let mut record = SenderKeyRecord::new(distribution);
    record.accept(&later).unwrap();
    assert_eq!(refuse(&mut record, &hex(&messages[2]["hex"])), SenderKeyError::DeletedKey);
    assert!(read(&mut record, &hex(&messages[3]["hex"])).is_ok());
}

#[test]
fn attack_1_a_changed_or_shortened_message_leaves_the_record_unchanged() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    let sent = write(&mut key, b"text", &mut rng);
    for at in 0..sent.len() {
        let mut changed = sent.clone();
        changed[at] ^= 1;
        refuse(&mut record, &changed);
        refuse(&mut record, &sent[..at]);
    }
    assert_eq!(read(&mut record, &sent).unwrap(), b"text");
}

#[test]
fn attack_2_a_replay_is_a_duplicate_also_after_a_restart() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    let sent: Vec<_> = (0..10_u8).map(|text| write(&mut key, &[text], &mut rng)).collect();
    for text in [4_u8, 9, 0, 5] {
        assert_eq!(read(&mut record, &sent[usize::from(text)]).unwrap(), [text]);
    }
    record = SenderKeyRecord::decode(&record.encode()).unwrap();
    for text in [4, 9, 0, 5] {
        assert_eq!(refuse(&mut record, &sent[text]), SenderKeyError::Duplicate);
    }
}

#[test]
fn attack_4_a_jump_of_25_000_is_accepted_and_a_longer_one_is_refused() {
    let mut rng = rng();
    let (mut key, record) = pair(&mut rng);
    key.chain = skipped(&key.chain, 25_000);
    let furthest = write(&mut key, b"text", &mut rng);
    let too_far = write(&mut key, b"text", &mut rng);
    assert_eq!(refuse(&mut record.clone(), &too_far), SenderKeyError::TooFarAhead(25_001));
    let mut accepting = record;
    assert_eq!(read(&mut accepting, &furthest).unwrap(), b"text");
    assert_eq!(accepting.skipped_len(), 2000);
}

fn skipped(chain: &ChainKey, count: u32) -> ChainKey {
    (0..count).fold(chain.clone(), |chain, _| chain.skip().unwrap())
}

#[test]
fn attack_4_the_latest_2000_skipped_messages_of_all_keys_can_be_read() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    let sent: Vec<_> = (0..2105_u32).map(|_| write(&mut key, b"", &mut rng)).collect();
    read(&mut record, &sent[2104]).unwrap();
    assert_eq!(refuse(&mut record, &sent[103]), SenderKeyError::DeletedKey);
    read(&mut record, &sent[104]).unwrap();
    // A second key shares the limit, and its messages are kept first.
    let mut second = SenderKey::random(GROUP, &mut rng);
    record.accept(&second.distribution_message()).unwrap();
    second.chain = skipped(&second.chain, 100);
    let newer = write(&mut second, b"", &mut rng);
    read(&mut record, &newer).unwrap();
    assert_eq!(record.skipped_len(), 2000);
    assert_eq!(refuse(&mut record, &sent[105]), SenderKeyError::DeletedKey);
    read(&mut record, &sent[2103]).unwrap();
}

#[test]
fn attack_18_a_member_cannot_write_as_another() {
    let mut rng = rng();
    let (mut alice, mut record) = pair(&mut rng);
    // Mallory is a member, so he has the chain of Alice's key; but he signs with his own.
    let mut forged = alice.clone();
    forged.signing = KeyPair::random(&mut rng);
    let sent = forged.encrypt(b"text", &mut rng).unwrap();
    assert_eq!(refuse(&mut record, &sent), SenderKeyError::BadSignature);
    // Alice's signature does not hold for another place of the chain or another text.
    let mut sent = write(&mut alice, b"text", &mut rng);
    let other = write(&mut alice, b"other", &mut rng);
    let at = sent.len() - 64;
    sent[at..].copy_from_slice(&other[at..]);
    assert_eq!(refuse(&mut record, &sent), SenderKeyError::BadSignature);
}

#[test]
fn attack_18_a_key_of_one_member_does_not_replace_that_of_another() {
    let mut rng = rng();
    let (mut alice, mut of_alice) = pair(&mut rng);
    // Mallory distributes Alice's key with another chain and his own signature, under its ids.
    let mut forged = alice.distribution_message();
    forged.signing_key = *KeyPair::random(&mut rng).public();
    let mut of_mallory = SenderKeyRecord::new(GROUP);
    of_mallory.accept(&forged).unwrap();
    let sent = write(&mut alice, b"text", &mut rng);
    assert_eq!(refuse(&mut of_mallory, &sent), SenderKeyError::BadSignature);
    assert_eq!(read(&mut of_alice, &sent).unwrap(), b"text");
}

#[test]
fn attack_18_a_removed_member_reads_nothing_that_is_encrypted_with_the_next_key() {
    let mut rng = rng();
    let (mut key, mut removed) = pair(&mut rng);
    let sent = write(&mut key, b"before", &mut rng);
    assert!(read(&mut removed, &sent).is_ok());
    let mut next = SenderKey::random(GROUP, &mut rng);
    let sent = write(&mut next, b"after", &mut rng);
    assert_eq!(refuse(&mut removed, &sent), SenderKeyError::NoKey);
    // Not even if the number of the old key were used again.
    next.chain_id = key.chain_id;
    let sent = write(&mut next, b"after", &mut rng);
    assert_eq!(refuse(&mut removed, &sent), SenderKeyError::BadSignature);
}

#[test]
fn attack_18_a_key_that_is_sent_again_does_not_open_old_messages_again() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    let first = key.distribution_message();
    let sent = write(&mut key, b"text", &mut rng);
    read(&mut record, &sent).unwrap();
    let before = record.encode();
    for again in [&first, &key.distribution_message()] {
        record.accept(again).unwrap();
        assert_eq!(record.encode(), before);
        assert_eq!(refuse(&mut record, &sent), SenderKeyError::Duplicate);
    }
}

#[test]
fn a_key_that_is_far_ahead_replaces_the_state_that_is_too_old() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    let early = write(&mut key, b"early", &mut rng);
    key.chain = skipped(&key.chain, 24_999);
    let sent = write(&mut key, b"text", &mut rng);
    let ahead = key.distribution_message();
    assert_eq!(read(&mut record.clone(), &sent).unwrap(), b"text", "25,000 are not too many");
    record.accept(&ahead).unwrap();
    assert_eq!(refuse(&mut record, &early), SenderKeyError::DeletedKey);
    assert_eq!(refuse(&mut record, &sent), SenderKeyError::DeletedKey);
    let next = write(&mut key, b"next", &mut rng);
    assert_eq!(read(&mut record, &next).unwrap(), b"next");
}

#[test]
fn five_keys_are_kept_and_a_number_that_is_used_again_replaces_the_old_key() {
    let mut rng = rng();
    let mut record = SenderKeyRecord::new(GROUP);
    let mut keys: Vec<_> = (0..6).map(|_| SenderKey::random(GROUP, &mut rng)).collect();
    for key in &keys {
        record.accept(&key.distribution_message()).unwrap();
    }
    let sent: Vec<_> = keys.iter_mut().map(|key| write(key, b"text", &mut rng)).collect();
    assert_eq!(refuse(&mut record, &sent[0]), SenderKeyError::NoKey);
    for sent in &sent[1..] {
        read(&mut record, sent).unwrap();
    }
    let mut reset = SenderKey::random(GROUP, &mut rng);
    reset.chain_id = keys[3].chain_id;
    record.accept(&reset.distribution_message()).unwrap();
    let old = write(&mut keys[3], b"old", &mut rng);
    assert_eq!(refuse(&mut record, &old), SenderKeyError::BadSignature);
    let new = write(&mut reset, b"new", &mut rng);
    assert_eq!(read(&mut record, &new).unwrap(), b"new");
    assert_eq!(record.keys.len(), 5);
}

#[test]
fn another_distribution_id_is_refused() {
    let mut rng = rng();
    let mut key = SenderKey::random(DistributionId::random(&mut rng), &mut rng);
    let (_, mut record) = pair(&mut rng);
    let refused = Err(SenderKeyError::OtherDistribution);
    assert_eq!(record.accept(&key.distribution_message()), refused);
    let sent = write(&mut key, b"text", &mut rng);
    assert_eq!(refuse(&mut record, &sent), SenderKeyError::OtherDistribution);
}

#[test]
fn a_key_ends_before_its_counter_would_repeat() {
    let mut rng = rng();
    let (mut key, _) = pair(&mut rng);
    key.chain.index = u32::MAX - 1;
    write(&mut key, b"last", &mut rng);
    let before = key.encode();
    assert_eq!(key.encrypt(b"text", &mut rng), Err(EncryptError::NoSession));
    let long = vec![0; MAX_PLAINTEXT + 1];
    assert_eq!(key.encrypt(&long, &mut rng), Err(EncryptError::TooLong(long.len())));
    assert_eq!(key.encode(), before);
}

#[test]
fn other_versions_and_missing_fields_are_refused() {
    let mut rng = rng();
    let (mut key, _) = pair(&mut rng);
    let distributed = key.distribution_message().encode().to_vec();
    let sent = write(&mut key, b"text", &mut rng);
    for (version, number) in [(0x23, 2), (0x44, 4), (0x03, 0)] {
        let refused = MessageError::UnsupportedVersion(number);
        let mut bytes = sent.clone();
        bytes[0] = version;
        assert_eq!(SenderKeyMessage::decode(&bytes), Err(refused));
        let mut bytes = distributed.clone();
        bytes[0] = version;
        assert_eq!(SenderKeyDistributionMessage::decode(&bytes), Err(refused));
    }
    for end in 0..distributed.len() {
        assert!(SenderKeyDistributionMessage::decode(&distributed[..end]).is_err(), "{end}");
    }
    let long = vec![0x33; 300_000];
    let too_long = MessageError::TooLong(300_000);
    assert_eq!(SenderKeyMessage::decode(&long), Err(too_long));
    assert_eq!(SenderKeyDistributionMessage::decode(&long), Err(too_long));
}

#[test]
fn what_is_stored_reads_as_it_was_written() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    let sent: Vec<_> = (0..5).map(|_| write(&mut key, b"text", &mut rng)).collect();
    read(&mut record, &sent[4]).unwrap();
    record.accept(&SenderKey::random(GROUP, &mut rng).distribution_message()).unwrap();
    let (key_bytes, record_bytes) = (key.encode(), record.encode());
    assert_eq!(SenderKey::decode(&key_bytes), Ok(key));
    assert_eq!(SenderKeyRecord::decode(&record_bytes), Ok(record));
    let damaged = StoredRecordError::Damaged;
    for end in 0..key_bytes.len() {
        assert_eq!(SenderKey::decode(&key_bytes[..end]), Err(damaged));
    }
    for end in 0..record_bytes.len() {
        assert_eq!(SenderKeyRecord::decode(&record_bytes[..end]), Err(damaged));
    }
    assert_eq!(SenderKey::decode(&[2]), Err(StoredRecordError::UnknownFormat(2)));
    let longer = [&record_bytes[..], &[0]].concat();
    assert_eq!(SenderKeyRecord::decode(&longer), Err(damaged));
}

#[test]
fn attack_24_no_secret_is_printed() {
    let mut rng = rng();
    let (mut key, mut record) = pair(&mut rng);
    key.chain.key = Secret::new([0x41; 32]);
    record.keys[0].chain.chain.key = Secret::new([0x41; 32]);
    let printed = format!("{key:?} {record:?} {:?}", key.distribution_message());
    assert!(!printed.contains("65, 65, 65"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_message_is_read_once_in_any_order(seed: u64, count in 1_u32..60) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut key, mut record) = pair(&mut rng);
        let mut sent: Vec<_> = (0..count)
            .map(|text| (text.to_be_bytes(), key.encrypt(&text.to_be_bytes(), &mut rng).unwrap()))
            .collect();
        for index in (1..sent.len()).rev() {
            let other = usize::try_from(rng.next_u32()).unwrap() % (index + 1);
            sent.swap(index, other);
        }
        for (text, bytes) in &sent {
            prop_assert_eq!(read(&mut record, bytes).unwrap(), text);
            record = SenderKeyRecord::decode(&record.encode()).unwrap();
            prop_assert_eq!(refuse(&mut record, bytes), SenderKeyError::Duplicate);
        }
        prop_assert_eq!(record.skipped_len(), 0);
    }
}
