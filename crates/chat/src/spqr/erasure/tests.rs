//! Known chunks, and messages that are restored from any of their chunks.

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::Value;

use super::*;

/// Chunks of the four messages that are sent in this way.
const NEEDED: [usize; 4] = [3, 5, 30, 36];

fn message(chunks: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| u8::try_from(at * at % 251).unwrap() ^ seed;
    (0..chunks * CHUNK).map(byte).collect()
}

fn chunk(message: &[u8], index: u16) -> SpqrChunk {
    Encoder::resume(message.to_vec(), index).next_chunk()
}

#[test]
fn chunks_have_the_known_values() {
    let text = include_str!("../../../../../vectors/chat/spqr_wire.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["erasure_kat"]["encode"].as_array().unwrap();
    let messages: [Vec<u8>; 2] = [
        (0..160_u32).map(|i| u8::try_from((i * i + 5 * i + 1) % 256).unwrap()).collect(),
        (0..1152_u32).map(|i| u8::try_from((7 * i + 3) % 256).unwrap()).collect(),
    ];
    assert_eq!(cases.len(), messages.len());
    for (case, message) in cases.iter().zip(&messages) {
        let chunks = case["chunks"].as_object().unwrap();
        assert!(!chunks.is_empty());
        for (index, data) in chunks {
            let expected = HEXLOWER.decode(data.as_str().unwrap().as_bytes()).unwrap();
            let chunk = chunk(message, index.parse().unwrap());
            assert_eq!(chunk.data, *expected, "{index}");
        }
    }
}

#[test]
fn the_first_chunk_follows_the_last() {
    let message = message(3, 0);
    let mut encoder = Encoder::resume(message.clone(), u16::MAX);
    assert_eq!(encoder.next_chunk().index, u16::MAX);
    assert_eq!(encoder.next_chunk(), chunk(&message, 0));
    assert_eq!(encoder.parts(), (message.as_slice(), 1));
}

#[test]
fn the_first_chunk_with_a_number_counts_and_later_ones_are_ignored() {
    let message = message(5, 1);
    let mut decoder = Decoder::new(message.len());
    for index in 0..4 {
        let first = chunk(&message, index);
        assert_eq!(decoder.add(&first), None);
        let other = SpqrChunk { data: [9; CHUNK], ..first };
        assert_eq!(decoder.add(&other), None);
        assert_eq!(decoder.add(&first), None);
    }
    assert_eq!(decoder.chunks().len(), 4);
    assert_eq!(decoder.add(&chunk(&message, 4)), Some(message));
}

#[test]
fn the_highest_chunks_restore_a_message() {
    for needed in NEEDED {
        let message = message(needed, 2);
        let mut decoder = Decoder::new(message.len());
        let mut restored = None;
        for index in (0..=u16::MAX).rev().take(needed) {
            assert_eq!(restored, None);
            restored = decoder.add(&chunk(&message, index));
        }
        assert_eq!(restored, Some(message));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any `k` of `2k` chunks, in any order, with duplicates in between.
    #[test]
    fn any_chunks_restore_a_message(
        (needed, indices) in prop::sample::select(&NEEDED[..]).prop_flat_map(|needed| {
            let all: Vec<_> = (0..=u16::MAX).take(2 * needed).collect();
            (Just(needed), subsequence(all, needed).prop_shuffle())
        }),
        seed: u8,
    ) {
        let message = message(needed, seed);
        let mut decoder = Decoder::new(message.len());
        let (last, others) = indices.split_last().unwrap();
        for index in others.iter().chain(others) {
            prop_assert_eq!(decoder.add(&chunk(&message, *index)), None);
        }
        prop_assert_eq!(decoder.add(&chunk(&message, *last)), Some(message));
    }
}
