//! Stored records.

mod failed_exchange;
mod post_quantum;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_kit::Secret;

use super::archive::MAX_ARCHIVED;
use super::*;
use crate::kem::KemKeyPair;
use crate::key::PrivateKey;
use crate::ratchet::{ChainKey, RootKey};
use crate::spqr::Spqr;

/// A record with every possible part.
fn full() -> SessionRecord {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut record = SessionRecord::default();
    let root = RootKey(Secret::new([1; 32]));
    for version in [Version::X3dh, Version::Pqxdh] {
        let prekey = KeyPair::random(&mut rng);
        let mut alice = Ratchet::initiator(&root, prekey.public(), &mut rng).unwrap();
        alice.sender.index = 3;
        let chain = ChainKey { key: Secret::new([2; 32]), index: 0 };
        let mut ratchet = Ratchet::responder(root.clone(), prekey, chain);
        let (step, _) = ratchet.find(alice.ours.public(), 5, 10).unwrap();
        ratchet.commit(step, &mut rng).unwrap();
        let (ciphertext, _) = KemKeyPair::random(&mut rng).public().encapsulate(&mut rng);
        let pending = Pending {
            pre_key_id: (version == Version::X3dh).then_some(7),
            signed_pre_key_id: 8,
            kem: (version == Version::Pqxdh).then_some((9, ciphertext)),
            since: Timestamp(10),
        };
        let session = Session {
            version,
            our_identity: *KeyPair::random(&mut rng).public(),
            their_identity: *KeyPair::random(&mut rng).public(),
            their_registration_id: 11,
            base_key: *KeyPair::random(&mut rng).public(),
            ratchet,
            spqr: (version == Version::Pqxdh)
                .then(|| Spqr::initiator(Secret::new([3; 32]), true, &mut rng)),
            pending: Some(pending),
        };
        record.put_in_use(session, None);
    }
    record
}

#[test]
fn a_record_reads_as_it_was_stored() {
    for record in [SessionRecord::default(), full()] {
        let stored = record.encode();
        assert_eq!(SessionRecord::decode(&stored).as_ref(), Ok(&record));
    }
    let mut archived = full();
    archived.limit_skipped(3, None);
    assert_eq!(SessionRecord::decode(&archived.encode()).as_ref(), Ok(&archived));
    archived.archive();
    assert_eq!(SessionRecord::decode(&archived.encode()), Ok(archived));
}

#[test]
fn a_shortened_record_is_damaged_and_a_newer_one_unknown() {
    let stored = full().encode();
    for end in 0..stored.len() {
        let result = SessionRecord::decode(&stored[..end]);
        assert_eq!(result, Err(StoredRecordError::Damaged), "{end}");
    }
    let longer = [&stored[..], &[0]].concat();
    assert_eq!(SessionRecord::decode(&longer), Err(StoredRecordError::Damaged));
    assert_eq!(SessionRecord::decode(&[2, 0, 0]), Err(StoredRecordError::UnknownFormat(2)));
}

#[test]
fn a_record_prints_no_secret() {
    let secret = Secret::new([0x41; 32]);
    let mut record = full();
    let session = record.current.as_mut().unwrap();
    session.ratchet.root = RootKey(secret.clone());
    session.ratchet.ours = PrivateKey::from_secret(&secret).into();
    session.ratchet.sender.key = secret;
    let printed = format!("{record:?}");
    assert!(!printed.contains("65, 65, 65"), "{printed}");
    assert!(printed.contains("Secret(32 bytes)"));
}

#[test]
fn attack_7_what_a_refused_key_has_pinned_does_not_stay() {
    let accepted = *KeyPair::random(&mut ChaCha20Rng::seed_from_u64(2)).public();
    for had_post_quantum in [false, true] {
        let mut record = full();
        let forged = *record.their_identity().unwrap();
        record.had_post_quantum = true;
        record.refuse_identities(&[forged], &accepted, had_post_quantum);
        assert_eq!(record.had_post_quantum, had_post_quantum);
        assert_ne!(record.their_identity(), Some(&forged));
    }
    // The pin of the ratchet by the accepted key stays, also after its sessions were deleted.
    let mut record = full();
    let forged = *record.their_identity().unwrap();
    record.delete_sessions();
    assert!(record.had_spqr.is_some());
    record.refuse_identities(&[forged], &accepted, true);
    assert!(record.had_spqr.is_some());
    // A session with a third key, which was not accepted, pins nothing when it is used again.
    let mut record = full();
    let refused = record.archived.pop_front().unwrap();
    let forged = refused.their_identity;
    record.put_in_use(refused, None);
    record.had_spqr = None;
    record.refuse_identities(&[forged], &accepted, true);
    assert!(record.has_post_quantum_ratchet() && record.had_spqr.is_none());
}

#[test]
fn attack_6_sessions_with_refused_keys_stay_within_the_limits_and_are_never_in_use() {
    let accepted = *KeyPair::random(&mut ChaCha20Rng::seed_from_u64(2)).public();
    let mut record = full();
    let forged = [*record.their_identity().unwrap(), record.archived[0].their_identity];
    for _ in 0..MAX_ARCHIVED {
        let session = record.archived[0].clone();
        record.archived.push_front(session);
    }
    record.refuse_identities(&forged, &accepted, true);
    assert_eq!((record.their_identity(), record.archived.len()), (None, MAX_ARCHIVED));
    assert_eq!(SessionRecord::decode(&record.encode()).as_ref(), Ok(&record));
    let hidden = record.take_refused(&forged);
    assert_eq!((hidden.len(), record.has_sessions()), (MAX_ARCHIVED, false));
    // One of the keys is accepted after all.
    record.put_back(hidden, Some(&forged[0]));
    assert_eq!(record.take_refused(&forged[1..]).len(), MAX_ARCHIVED - 1);
    assert!(record.has_identity(&forged[0]));
}
