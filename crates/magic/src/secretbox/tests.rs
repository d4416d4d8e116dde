#[cfg(feature = "libsodium")]
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;

#[test]
fn a_sealed_message_opens() {
    let (key, mut rng) = (Secret::new([7; 32]), ChaCha20Rng::seed_from_u64(1));
    let sealed = seal(&key, b"hello", &mut rng);
    assert_eq!(sealed.len(), 5 + OVERHEAD);
    assert_eq!(open(&key, &sealed).as_deref(), Ok(b"hello".as_slice()));
}

#[test]
fn a_message_cut_anywhere_does_not_open() {
    let (key, mut rng) = (Secret::new([7; 32]), ChaCha20Rng::seed_from_u64(1));
    let sealed = seal(&key, b"hello", &mut rng);
    for end in 0..sealed.len() {
        assert_eq!(open(&key, &sealed[..end]), Err(OpenError));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let (key, mut rng) = (Secret::new([7; 32]), ChaCha20Rng::seed_from_u64(1));
    let sealed = seal(&key, b"hello", &mut rng);
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&key, &changed), Err(OpenError));
    }
}

#[test]
fn a_refused_buffer_is_left_as_it_was() {
    let key = Secret::new([7; 32]);
    let mut buffer = *b"ciphertext";
    assert_eq!(open_in_place(&key, &[0; NONCE], &[0; MAC], &mut buffer), Err(OpenError));
    assert_eq!(&buffer, b"ciphertext");
}

#[test]
fn the_nonce_is_fresh_for_every_message() {
    let (key, mut rng) = (Secret::new([7; 32]), ChaCha20Rng::seed_from_u64(1));
    let [first, second] = [(); 2].map(|()| seal(&key, b"hello", &mut rng));
    assert_ne!(first[..NONCE], second[..NONCE]);
}

// Without the feature there is only the portable code to compare.
#[cfg(feature = "libsodium")]
proptest! {
    #[test]
    fn every_backend_gives_the_same_bytes(
        key: [u8; 32], nonce: [u8; 24], plaintext: Vec<u8>, long in 0..200_000_usize,
    ) {
        let key = Secret::new(key);
        for text in [plaintext, vec![0x5a; long]] {
            let (mut here, mut there) = (text.clone(), text.clone());
            let mac = seal_in_place(&key, &nonce, &mut here);
            prop_assert_eq!(mac, portable::seal(key.expose(), &nonce, &mut there));
            prop_assert!(here == there);
            prop_assert!(portable::open(key.expose(), &nonce, &mac, &mut here));
            open_in_place(&key, &nonce, &mac, &mut there).unwrap();
            prop_assert!(here == text && there == text);
        }
    }
}
