//! Attacks, numbered as in docs/chat-protocol.md "Attacks". Unit tests cover parts of numbers 4 and
//! 21.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may panic, and measures time"
)]

#[path = "support/person.rs"]
mod person;

use std::time::{Duration, Instant};

use person::{NO_ONE_TIME, PQXDH, Person, X3DH, address, talking};
use proptest::test_runner::{Config, TestRunner};
use wormhole_chat::{
    BundleError, Ciphertext, CiphertextKind, DecryptError, Fingerprint, InitiateError, KeyError,
    KeyPair, MessageError, PreKeySignalMessage, SessionRecord, Signature, Timestamp, safety_number,
};

/// Tries to read a message that must be rejected, and checks that nothing changed.
fn refused(reader: &mut Person, from: wormhole_chat::Address, sent: &Ciphertext) -> DecryptError {
    let before =
        (reader.stored(from), reader.one_time.len(), reader.sessions_without_one_time_prekey.len());
    let error = reader.read(from, sent).expect_err("it must be refused");
    assert_eq!(
        (reader.stored(from), reader.one_time.len(), reader.sessions_without_one_time_prekey.len()),
        before
    );
    error
}

#[test]
fn attack_1_no_flipped_bit_changes_the_state() {
    for with in [X3DH, PQXDH] {
        let (mut alice, mut bob) = talking(with);
        let sent = alice.write(bob.address, b"a message");
        for bit in 0..sent.bytes.len() * 8 {
            let mut bad = sent.clone();
            bad.bytes[bit / 8] ^= 1 << (bit % 8);
            // The low half of the first byte only states the sender's maximum version. The MAC
            // covers it all the same.
            refused(&mut bob, alice.address, &bad);
        }
        assert_eq!(bob.read(alice.address, &sent).unwrap(), b"a message");
    }
}

#[test]
fn attack_1_no_flipped_byte_of_a_first_message_changes_the_state() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, PQXDH);
    let sent = alice.write(bob.address, b"a message");
    for at in 0..sent.bytes.len() {
        let mut bad = sent.clone();
        bad.bytes[at] ^= 0x41;
        // The outer fields have no MAC: those that only the server could verify may be changed.
        if let Ok(text) = bob.clone().read(alice.address, &bad) {
            assert_eq!(text, b"a message", "byte {at}");
        } else {
            refused(&mut bob, alice.address, &bad);
        }
    }
    assert_eq!(bob.read(alice.address, &sent).unwrap(), b"a message");
}

#[test]
fn attack_1_a_cut_message_changes_nothing() {
    for with in [X3DH, PQXDH] {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        alice.meet(&mut bob, with);
        let sent = alice.write(bob.address, b"a message");
        for end in 0..sent.bytes.len() {
            let bad = Ciphertext { kind: sent.kind, bytes: sent.bytes[..end].to_vec() };
            refused(&mut bob, alice.address, &bad);
        }
    }
}

#[test]
fn attack_2_a_replay_is_a_duplicate_also_after_a_restart() {
    for with in [X3DH, PQXDH, NO_ONE_TIME] {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        alice.meet(&mut bob, with);
        let first = alice.write(bob.address, b"first");
        let second = alice.write(bob.address, b"second");
        bob.read(alice.address, &first).unwrap();
        bob.read(alice.address, &second).unwrap();
        let answer = bob.write(alice.address, b"answer");
        alice.read(bob.address, &answer).unwrap();
        let third = alice.write(bob.address, b"third");
        assert_eq!(third.kind, CiphertextKind::Signal);
        bob.read(alice.address, &third).unwrap();
        for restart in [false, true] {
            if restart {
                bob.restart();
            }
            for sent in [&first, &second, &third] {
                assert_eq!(refused(&mut bob, alice.address, sent), DecryptError::Duplicate);
            }
        }
    }
}

#[test]
fn attack_3_a_first_message_is_refused_after_its_session_is_gone() {
    for (with, expected) in
        [(X3DH, DecryptError::MissingPreKey), (NO_ONE_TIME, DecryptError::Duplicate)]
    {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        alice.meet(&mut bob, with);
        let first = alice.write(bob.address, b"first");
        bob.read(alice.address, &first).unwrap();
        // Bob loses the session, but not his prekeys.
        bob.sessions.clear();
        assert_eq!(refused(&mut bob, alice.address, &first), expected);
    }
}

#[test]
fn attack_3_a_last_resort_key_serves_each_base_key_once() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, person::With { one_time: false, kem: true });
    let first = alice.write(bob.address, b"first");
    bob.read(alice.address, &first).unwrap();
    bob.sessions.clear();
    assert_eq!(refused(&mut bob, alice.address, &first), DecryptError::Duplicate);
    // Another session with the same keys is accepted.
    alice.meet(&mut bob, person::With { one_time: false, kem: true });
    let other = alice.write(bob.address, b"other");
    bob.read(alice.address, &other).unwrap();
}

#[test]
fn attack_4_a_forged_counter_costs_no_more_than_a_bounded_time() {
    let (mut alice, mut bob) = talking(X3DH);
    // Bob has the maximum number of archived sessions, and all of them must be tried.
    for _ in 0..40 {
        bob.meet(&mut alice, NO_ONE_TIME);
    }
    let first = alice.write(bob.address, b"a");
    let mut sent = first.clone();
    for _ in 0..25_000 {
        sent = alice.write(bob.address, b"a");
    }
    bob.read(alice.address, &first).unwrap();
    // This reorders Bob's sessions: the known one is archived again.
    bob.meet(&mut alice, NO_ONE_TIME);
    // In the chain that Bob knows, this skips 24 999 messages; the next two skip 25 000 and 25 001.
    assert_eq!(bob.clone().read(alice.address, &sent).unwrap(), b"a");
    let sent = alice.write(bob.address, b"a");
    assert_eq!(bob.clone().read(alice.address, &sent).unwrap(), b"a");
    let sent = alice.write(bob.address, b"a");
    let start = Instant::now();
    assert!(matches!(refused(&mut bob, alice.address, &sent), DecryptError::TooFarAhead(_)));
    assert!(start.elapsed() < Duration::from_millis(20));

    // The same with an unknown ratchet key: it is tried with the current session and the archived
    // ones, together at most 27 000 steps.
    let mut forged = sent.bytes.clone();
    let key = KeyPair::random(&mut bob.rng).public().encode();
    forged[3..36].copy_from_slice(&key);
    // Counter 25 000 encoded in three bytes.
    forged[37..40].copy_from_slice(&[0xa8, 0xc3, 0x01]);
    let forged = Ciphertext { kind: CiphertextKind::Signal, bytes: forged };
    let start = Instant::now();
    refused(&mut bob, alice.address, &forged);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn attack_4_a_message_with_our_own_identity_from_another_account_is_refused_at_once() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, X3DH);
    let mut forged = alice.write(bob.address, b"a message");
    let theirs = alice.identity.pair.public().encode();
    let at = forged.bytes.windows(theirs.len()).position(|bytes| bytes == theirs).unwrap();
    let ours = *bob.identity.pair.public();
    forged.bytes.splice(at..at + theirs.len(), ours.encode());
    let error = refused(&mut bob, alice.address, &forged);
    assert_eq!(error, DecryptError::UntrustedIdentity(ours));
}

#[test]
fn attack_4_the_message_that_starts_a_session_skips_few_others() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, X3DH);
    let sent: Vec<_> = (0..2_002).map(|_| alice.write(bob.address, b"a")).collect();
    let error = refused(&mut bob, alice.address, &sent[2_001]);
    assert_eq!(error, DecryptError::TooFarAhead(2_001));
    assert_eq!(bob.read(alice.address, &sent[2_000]).unwrap(), b"a");
    assert_eq!(bob.read(alice.address, &sent[2_001]).unwrap(), b"a");
}

#[test]
fn attack_4_skipped_messages_do_not_make_a_record_grow_without_limit() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    for _ in 0..5 {
        alice.meet(&mut bob, NO_ONE_TIME);
        let mut sent = Vec::new();
        for _ in 0..1_001 {
            sent.push(alice.write(bob.address, b"a"));
        }
        bob.read(alice.address, &sent[1_000]).unwrap();
        // The latest skipped messages can be read.
        bob.read(alice.address, &sent[999]).unwrap();
    }
    // 2000 seeds of 36 bytes, and a few hundred bytes for each session.
    assert!(bob.stored(alice.address).len() < 76_000);
}

#[test]
fn attack_6_a_bundle_signed_by_another_identity_is_refused() {
    let (bob, mallory) = (Person::new(2), Person::new(3));
    let good = bob.bundle(PQXDH);
    assert!(good.clone().verify().is_ok());

    let mut swapped_identity = good.clone();
    swapped_identity.identity = *mallory.identity.pair.public();
    assert_eq!(swapped_identity.verify(), Err(BundleError::BadSignedPreKey));

    let mut swapped_key = good.clone();
    swapped_key.signed = mallory.bundle(PQXDH).signed;
    assert_eq!(swapped_key.verify(), Err(BundleError::BadSignedPreKey));

    let mut unsigned = good.clone();
    unsigned.kem.as_mut().unwrap().2 = Signature([0; 64]);
    assert_eq!(unsigned.verify(), Err(BundleError::BadKemPreKey));

    // A signature of one kind of key is not valid for the other kind.
    let mut confused = good;
    confused.kem.as_mut().unwrap().2 = confused.signed.2;
    assert_eq!(confused.verify(), Err(BundleError::BadKemPreKey));
}

#[test]
fn attack_6_another_identity_is_not_trusted_until_it_is_accepted() {
    let (mut alice, mut bob) = talking(X3DH);
    let known = *alice.identity.pair.public();
    let mut mallory = Person::new(3);
    mallory.address = alice.address;
    mallory.meet(&mut bob, X3DH);
    let sent = mallory.write(bob.address, b"I am Alice");
    let theirs = *mallory.identity.pair.public();
    let before = bob.stored(alice.address);
    let error = bob.read_trusting(alice.address, &sent, Some(&known)).unwrap_err();
    assert_eq!(error, DecryptError::UntrustedIdentity(theirs));
    assert_eq!(bob.stored(alice.address), before);
    // The conversation with the real Alice continues.
    let sent_by_alice = alice.write(bob.address, b"still here");
    assert_eq!(bob.read(alice.address, &sent_by_alice).unwrap(), b"still here");
    // Once accepted, it is an ordinary session.
    assert!(bob.read_trusting(alice.address, &sent, Some(&theirs)).is_ok());
    assert_eq!(bob.sessions[&alice.address].their_identity(), Some(&theirs));
}

#[test]
fn attack_7_a_device_that_had_post_quantum_keys_is_not_downgraded() {
    for receives_only in [false, true] {
        let (mut alice, mut bob) = talking(PQXDH);
        if receives_only {
            (alice, bob) = (bob, alice);
        }
        let stripped = bob.bundle(X3DH).verify().unwrap();
        let before = alice.stored(bob.address);
        let record = alice.sessions.get_mut(&bob.address).unwrap();
        // This also holds after all sessions were archived and the record was stored and loaded.
        record.archive();
        let mut record = SessionRecord::decode(&record.encode()).unwrap();
        let result = record.initiate(&alice.identity, &stripped, alice.now, &mut alice.rng);
        assert_eq!(result, Err(InitiateError::Downgrade));
        assert_ne!(before, record.encode().to_vec());
    }
}

#[test]
fn attack_7_a_delayed_message_of_a_weaker_session_does_not_bring_it_back() {
    let (mut alice, mut bob) = talking(X3DH);
    let held_back = alice.write(bob.address, b"held back");
    alice.meet(&mut bob, PQXDH);
    let sent = alice.write(bob.address, b"post-quantum");
    bob.read(alice.address, &sent).unwrap();
    assert_eq!(bob.read(alice.address, &held_back).unwrap(), b"held back");
    assert_eq!(bob.write(alice.address, b"answer").bytes[0], 0x44);
    // Later ones can still be read, and are recognised.
    let stored = bob.stored(alice.address);
    assert_eq!(refused(&mut bob, alice.address, &held_back), DecryptError::Duplicate);
    assert_eq!(bob.stored(alice.address), stored);
}

#[test]
fn attack_7_a_message_with_a_changed_version_is_rejected() {
    let (mut alice, mut bob) = talking(PQXDH);
    let mut sent = alice.write(bob.address, b"a message");
    assert_eq!(sent.bytes[0], 0x44);
    for version in [0x34, 0x33, 0x43] {
        sent.bytes[0] = version;
        assert_eq!(refused(&mut bob, alice.address, &sent), DecryptError::BadMac);
    }
    for version in [0x24, 0x54, 0x04, 0xf4] {
        sent.bytes[0] = version;
        let error = MessageError::UnsupportedVersion(version >> 4);
        assert_eq!(refused(&mut bob, alice.address, &sent), error.into());
    }
}

#[test]
fn attack_8_a_message_for_one_account_is_refused_by_another_with_the_same_keys() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, PQXDH);
    let sent = alice.write(bob.address, b"for the first account");
    let mut elsewhere = bob.clone();
    elsewhere.address = address(9);
    assert_eq!(refused(&mut elsewhere, alice.address, &sent), DecryptError::WrongParties);
    // The server cannot name a different sender either.
    assert_eq!(refused(&mut bob, address(8), &sent), DecryptError::WrongParties);
    assert_eq!(bob.read(alice.address, &sent).unwrap(), b"for the first account");
}

#[test]
fn attack_8_the_same_key_under_two_names_has_two_safety_numbers() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let ours = Fingerprint::new(b"alice@app.one", alice.identity.pair.public());
    let key = bob.identity.pair.public();
    let [one, two] = [&b"bob@app.one"[..], b"bob@app.two"].map(|name| Fingerprint::new(name, key));
    assert_ne!(safety_number(&ours, &one), safety_number(&ours, &two));
}

#[test]
fn attack_21_unusable_keys_in_messages_are_refused() {
    let (mut alice, mut bob) = talking(X3DH);
    let sent = alice.write(bob.address, b"a message");
    let key_error = |error: KeyError| DecryptError::from(MessageError::from(error));
    let mut with_key = |key: [u8; 33]| {
        let mut bad = sent.clone();
        bad.bytes[3..36].copy_from_slice(&key);
        refused(&mut bob, alice.address, &bad)
    };
    let mut zero = [0; 33];
    assert_eq!(with_key(zero), key_error(KeyError::UnknownType(0)));
    zero[0] = 5;
    assert_eq!(with_key(zero), key_error(KeyError::LowOrder));
    let mut not_canonical = [0xff; 33];
    not_canonical[0] = 5;
    assert_eq!(with_key(not_canonical), key_error(KeyError::NotCanonical));
}

#[test]
fn attack_21_a_message_is_what_it_is_under_its_mac_however_its_fields_are_written() {
    let (mut alice, mut bob) = talking(X3DH);
    let sent = alice.write(bob.address, b"a message");
    // Another field before the MAC, and a repeated field: no MAC covers them.
    for field in [&b"\x7a\x01x"[..], b"\x10\x07"] {
        let mut bad = sent.clone();
        let end = bad.bytes.len() - 8;
        bad.bytes.splice(end..end, field.iter().copied());
        refused(&mut bob, alice.address, &bad);
    }
    assert!(PreKeySignalMessage::decode(&[0x33; 300_000]).is_err());
    assert_eq!(bob.read(alice.address, &sent).unwrap(), b"a message");
}

#[test]
fn attack_23_simultaneous_initiation_converges_within_two_messages() {
    for with in [X3DH, PQXDH, NO_ONE_TIME] {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        alice.meet(&mut bob, with);
        bob.meet(&mut alice, with);
        let (from_alice, from_bob) =
            (alice.write(bob.address, b"a1"), bob.write(alice.address, b"b1"));
        assert_eq!(bob.read(alice.address, &from_alice).unwrap(), b"a1");
        assert_eq!(alice.read(bob.address, &from_bob).unwrap(), b"b1");
        for round in 0..2 {
            let sent = alice.write(bob.address, b"a2");
            assert_eq!(bob.read(alice.address, &sent).unwrap(), b"a2");
            let sent = bob.write(alice.address, b"b2");
            assert_eq!(alice.read(bob.address, &sent).unwrap(), b"b2");
            let kinds = [alice.write(bob.address, b"").kind, bob.write(alice.address, b"").kind];
            assert!(round == 0 || kinds == [CiphertextKind::Signal; 2]);
        }
    }
}

#[test]
fn attack_23_a_restored_backup_is_noticed_and_a_new_session_heals_it() {
    let (mut alice, mut bob) = talking(X3DH);
    let backup = bob.sessions.clone();
    let lost = bob.write(alice.address, b"lost");
    alice.read(bob.address, &lost).unwrap();
    let sent = alice.write(bob.address, b"before");
    bob.read(alice.address, &sent).unwrap();
    let answer = bob.write(alice.address, b"answer");
    alice.read(bob.address, &answer).unwrap();
    // Bob restores a backup, so he uses a chain key twice.
    bob.sessions = backup;
    let sent = alice.write(bob.address, b"after");
    assert_eq!(refused(&mut bob, alice.address, &sent), DecryptError::BadMac);
    let stale = bob.write(alice.address, b"stale");
    assert_eq!(alice.read(bob.address, &stale), Err(DecryptError::Duplicate));
    // He starts a new session; Alice follows, and can still read late messages.
    bob.meet(&mut alice, X3DH);
    let fresh = bob.write(alice.address, b"fresh");
    assert_eq!(alice.read(bob.address, &fresh).unwrap(), b"fresh");
    let sent = alice.write(bob.address, b"healed");
    assert_eq!(bob.read(alice.address, &sent).unwrap(), b"healed");
}

#[test]
fn attack_23_forty_archived_sessions_are_kept() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    let mut sent = Vec::new();
    for _ in 0..42 {
        alice.meet(&mut bob, NO_ONE_TIME);
        sent.push((alice.write(bob.address, b"first"), alice.write(bob.address, b"second")));
    }
    for (first, _) in &sent {
        bob.read(alice.address, first).unwrap();
    }
    // The first session was dropped and cannot be started again.
    assert_eq!(refused(&mut bob, alice.address, &sent[0].1), DecryptError::Duplicate);
    // Each of these becomes the current session, so none is dropped.
    for (_, second) in &sent[1..] {
        assert_eq!(bob.read(alice.address, second).unwrap(), b"second");
    }
}

#[test]
fn an_unanswered_session_is_used_for_thirty_days() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, X3DH);
    let day = 24 * 60 * 60 * 1000;
    alice.now = Timestamp(alice.now.0 + 30 * day);
    assert!(alice.try_write(bob.address, b"in time").is_ok());
    alice.now = Timestamp(alice.now.0 + 1);
    assert!(alice.try_write(bob.address, b"too late").is_err());
}

#[test]
fn attack_1_random_bytes_are_no_message() {
    let (alice, mut bob) = talking(X3DH);
    let mut runner = TestRunner::new(Config::with_cases(500));
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..200);
    let kinds = proptest::sample::select(vec![CiphertextKind::Signal, CiphertextKind::PreKey]);
    let versions = proptest::sample::select(vec![None, Some(0x33), Some(0x44)]);
    let result = runner.run(&(bytes, kinds, versions), |(mut bytes, kind, version)| {
        if let (Some(first), Some(version)) = (bytes.first_mut(), version) {
            *first = version;
        }
        refused(&mut bob.clone(), alice.address, &Ciphertext { kind, bytes });
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    bob.restart();
}
