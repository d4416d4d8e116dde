//! Bloom filters over topics: an approximate set of the topics that a node wants (docs/whisper-protocol.md "Packets").
//!
//! go-ethereum has a bug: it loses an earlier bit of a topic when two of its three bits share a byte. So this
//! crate sets all three bits ([`Bloom::insert`]) but tests only the bits that go-ethereum sets
//! ([`Bloom::matches`]). Those are a subset, so correct peers are never rejected, and peers with the same
//! bug receive everything that they asked for.

use std::fmt;

use super::topic::Topic;

/// A filter of 512 bits, three for each topic.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Bloom([u8; Self::BYTES]);

impl Bloom {
    /// Size of a filter in bytes.
    pub const BYTES: usize = 64;

    /// Matches every topic: the filter of a full node.
    pub const FULL: Self = Self([0xff; Self::BYTES]);

    /// Matches no topic.
    pub const EMPTY: Self = Self([0; Self::BYTES]);

    /// Decodes a filter.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The encoded filter.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// A filter for these topics.
    pub fn of(topics: impl IntoIterator<Item = Topic>) -> Self {
        let mut bloom = Self::EMPTY;
        topics.into_iter().for_each(|topic| bloom.insert(topic));
        bloom
    }

    /// Adds a topic, with all three bits.
    pub fn insert(&mut self, topic: Topic) {
        for bit in bits(topic) {
            if let Some(byte) = self.0.get_mut(bit.byte) {
                *byte |= bit.mask;
            }
        }
    }

    /// The filter of one topic as go-ethereum computes it: an earlier bit is lost when a later one is in the same
    /// byte.
    pub fn weak(topic: Topic) -> Self {
        let mut bloom = Self::EMPTY;
        for bit in bits(topic) {
            if let Some(byte) = bloom.0.get_mut(bit.byte) {
                *byte = bit.mask;
            }
        }
        bloom
    }

    /// Whether the filter matches this topic, tested with go-ethereum's bits.
    pub fn matches(&self, topic: Topic) -> bool {
        let [first, second, third] = bits(topic);
        let has = |bit: Bit| self.0.get(bit.byte).is_some_and(|byte| byte & bit.mask != 0);
        has(third)
            && (second.byte == third.byte || has(second))
            && ([second.byte, third.byte].contains(&first.byte) || has(first))
    }

    /// Whether the filter matches this topic, tested with all three bits: for peers that compute filters
    /// correctly.
    pub fn matches_strictly(&self, topic: Topic) -> bool {
        self.contains(&Self::of([topic]))
    }

    /// Whether every bit of `other` is set.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(ours, theirs)| ours & theirs == theirs)
    }

    /// The union of both filters.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(ours, theirs)| *ours |= theirs);
        self
    }

    /// The share of set bits, 0 to 1. About the cube of this share of random topics matches.
    pub fn density(&self) -> f64 {
        f64::from(self.0.iter().map(|byte| byte.count_ones()).sum::<u32>()) / 512.0
    }
}

/// Prints only the number of set bits, because the bits reveal what a node reads.
impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bloom({} of 512 bits)", 512.0 * self.density())
    }
}

/// A bit of a filter.
#[derive(Clone, Copy)]
struct Bit {
    byte: usize,
    mask: u8,
}

/// The three bits of a topic: each of its first three bytes selects one, and the last byte says
/// which of them are in the upper half.
fn bits(topic: Topic) -> [Bit; 3] {
    let Topic([a, b, c, upper]) = topic;
    let bit = |number: u8, half: u8| Bit {
        byte: usize::from(number / 8) + if upper & half == 0 { 0 } else { Bloom::BYTES / 2 },
        mask: 1 << (number % 8),
    };
    [bit(a, 1), bit(b, 2), bit(c, 4)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_filter_wants_everything_and_an_empty_one_nothing() {
        assert!(Bloom::FULL.matches(Topic([1, 2, 3, 4])));
        assert!(!Bloom::EMPTY.matches(Topic([1, 2, 3, 4])));
    }

    #[test]
    fn a_filter_does_not_print_its_bits() {
        assert_eq!(format!("{:?}", Bloom::of([Topic([1, 2, 3, 4])])), "Bloom(3 of 512 bits)");
    }

    proptest! {
        #[test]
        fn inserted_topics_match_with_all_bits_and_with_go_ethereum_s(topics: Vec<[u8; 4]>) {
            let bloom = Bloom::of(topics.iter().copied().map(Topic));
            for topic in topics.into_iter().map(Topic) {
                prop_assert!(bloom.matches(topic) && bloom.matches_strictly(topic));
            }
        }

        #[test]
        fn asking_by_the_weak_bits_is_asking_for_the_weak_filter(bytes: [[u8; 32]; 2], topic: [u8; 4]) {
            let bytes = bytes.concat().try_into().unwrap();
            let (bloom, topic) = (Bloom::from_bytes(bytes), Topic(topic));
            prop_assert_eq!(bloom.matches(topic), bloom.contains(&Bloom::weak(topic)));
        }

        #[test]
        fn the_weak_filter_never_has_more_bits(topic: [u8; 4]) {
            prop_assert!(Bloom::of([Topic(topic)]).contains(&Bloom::weak(Topic(topic))));
        }
    }
}
