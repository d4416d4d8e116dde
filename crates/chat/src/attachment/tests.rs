//! Attachments in pieces, in one piece, and modified.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

fn key() -> AttachmentKey {
    AttachmentKey::random(&mut ChaCha20Rng::seed_from_u64(1))
}

/// Encrypts `plaintext` in pieces of these lengths, then the rest in one piece.
fn seal(plaintext: &[u8], pieces: &[usize]) -> (Vec<u8>, [u8; 32]) {
    let mut blob = Vec::new();
    let mut sealer = AttachmentSealer::new(&key(), &mut ChaCha20Rng::seed_from_u64(2), &mut blob);
    in_pieces(plaintext, pieces, |piece| sealer.update(piece, &mut blob));
    let digest = sealer.finish(&mut blob);
    (blob, digest)
}

fn open(
    blob: &[u8],
    pieces: &[usize],
    digest: Option<&[u8; 32]>,
) -> Result<Vec<u8>, AttachmentError> {
    let (mut opener, mut plaintext) = (AttachmentOpener::new(&key()), Vec::new());
    in_pieces(blob, pieces, |piece| opener.update(piece, &mut plaintext));
    opener.finish(digest, &mut plaintext).map(|()| plaintext)
}

fn in_pieces(mut bytes: &[u8], pieces: &[usize], mut take: impl FnMut(&[u8])) {
    for piece in pieces {
        let (head, rest) = bytes.split_at((*piece).min(bytes.len()));
        take(head);
        bytes = rest;
    }
    take(bytes);
}

proptest! {
    #[test]
    fn any_split_into_pieces_gives_the_same_blob_and_plaintext(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        sealing in prop::collection::vec(0_usize..40, 0..8),
        opening in prop::collection::vec(0_usize..40, 0..8),
    ) {
        let (blob, digest) = seal(&plaintext, &sealing);
        prop_assert_eq!(&(blob.clone(), digest), &seal(&plaintext, &[]));
        prop_assert_eq!(open(&blob, &opening, Some(&digest)), Ok(plaintext));
    }
}

#[test]
fn attack_12_a_damaged_or_shortened_blob_is_refused_with_and_without_a_digest() {
    let (blob, digest) = seal(b"a file", &[]);
    for at in 0..blob.len() {
        let mut bad = blob.clone();
        bad[at] ^= 1;
        assert_eq!(open(&bad, &[], Some(&digest)), Err(AttachmentError::NotAuthentic));
        assert_eq!(open(&bad, &[], None), Err(AttachmentError::NotAuthentic));
        assert_eq!(open(&blob[..at], &[7], None), Err(AttachmentError::NotAuthentic));
    }
}

#[test]
fn attack_12_another_blob_with_the_same_key_is_refused_by_its_digest() {
    let (_, digest) = seal(b"a file", &[]);
    let (other, _) = seal(b"b file", &[]);
    assert!(open(&other, &[], None).is_ok());
    assert_eq!(open(&other, &[], Some(&digest)), Err(AttachmentError::NotAuthentic));
}

#[test]
fn padding_hides_the_length_and_never_shortens() {
    for size in [0, 1, 541, 542, 600, 10_000, 1 << 20, 100 << 20] {
        let padded = attachment_padding(size);
        assert!(padded >= size.max(541), "{size} {padded}");
        assert!(size < 541 || padded <= size + size / 19, "{size} {padded}");
    }
}
