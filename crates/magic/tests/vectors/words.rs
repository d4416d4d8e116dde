//! Tests the word list: which word represents which byte, at odd and even positions.

use std::num::NonZeroU8;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wormhole_magic::code::Password;
use wormhole_magic::code::completion::complete_words;

use crate::{Fixed, text, vectors};

/// The words that stand for `bytes`.
fn words(bytes: &[u8]) -> String {
    let count = NonZeroU8::new(bytes.len().try_into().unwrap()).unwrap();
    Password::random(count, &mut Fixed(bytes.to_vec())).expose().to_owned()
}

fn list(part: &Value, field: &str) -> Vec<String> {
    let words = part[field].as_array().unwrap();
    words.iter().map(|word| word.as_str().unwrap().to_lowercase()).collect()
}

#[test]
fn every_byte_has_the_word_of_the_reference_in_either_place() {
    let part = vectors("wordlist");
    let (odd, even) = (list(&part, "odd_by_byte"), list(&part, "even_by_byte"));
    for byte in 0..=u8::MAX {
        let (odd, even) = (&odd[usize::from(byte)], &even[usize::from(byte)]);
        assert_eq!(words(&[byte; 3]), format!("{odd}-{even}-{odd}"));
    }
}

#[test]
fn the_first_and_the_last_byte_have_their_words() {
    let part = vectors("wordlist");
    for (byte, field) in [(0, "byte00_even_odd"), (0xff, "byteFF_even_odd")] {
        let mut pair = list(&part, field);
        pair.reverse();
        assert_eq!(words(&[byte; 2]), pair.join("-"));
    }
}

#[test]
fn the_lists_have_the_size_and_the_hash_of_the_reference_s() {
    let part = vectors("wordlist");
    for (typed, length, hash) in
        [("x-", "n_even", "sha256_even_sorted_newline"), ("", "n_odd", "sha256_odd_sorted_newline")]
    {
        // With nothing else typed, every word of the place is a completion; they come sorted.
        let count = NonZeroU8::MIN.saturating_add(u8::from(!typed.is_empty()));
        let completed = complete_words(typed, count);
        let words: Vec<_> = completed.iter().map(|word| &word[typed.len()..]).collect();
        assert_eq!(part[length], words.len());
        assert_eq!(part["n"], words.len());
        let digest = Sha256::digest(words.join("\n"));
        assert_eq!(HEXLOWER.encode(&digest), text(&part, hash));
    }
}
