//! Bloom filters over topics: what a node wants to hear, blurred (docs/whisper-protocol.md "Packets").
//!
//! go-ethereum forgets a topic's earlier bit when two of its three bits share a byte. So we say
//! what we want with all bits ([`Bloom::insert`]), and ask with go-ethereum's bits whether a topic
//! is wanted ([`Bloom::wants`]): they are a subset, so no good peer is ever refused, and a peer
//! that computes them the same way gets all it asked for.

use std::fmt;

use super::topic::Topic;

/// 512 bits, three for each topic.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Bloom([u8; Self::BYTES]);

impl Bloom {
    /// Bytes of a filter.
    pub const BYTES: usize = 64;

    /// Wants everything: a full node.
    pub const FULL: Self = Self([0xff; Self::BYTES]);

    /// Wants nothing.
    pub const EMPTY: Self = Self([0; Self::BYTES]);

    /// From its bytes on the wire.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The filter of these topics.
    pub fn of(topics: impl IntoIterator<Item = Topic>) -> Self {
        let mut bloom = Self::EMPTY;
        topics.into_iter().for_each(|topic| bloom.insert(topic));
        bloom
    }

    /// Wants this topic from now on, by every reading of the specification.
    pub fn insert(&mut self, topic: Topic) {
        for bit in bits(topic) {
            if let Some(byte) = self.0.get_mut(bit.byte) {
                *byte |= bit.mask;
            }
        }
    }

    /// The filter of one topic as go-ethereum computes it: without an earlier bit that shares its
    /// byte with a later one.
    pub fn weak(topic: Topic) -> Self {
        let mut bloom = Self::EMPTY;
        for bit in bits(topic) {
            if let Some(byte) = bloom.0.get_mut(bit.byte) {
                *byte = bit.mask;
            }
        }
        bloom
    }

    /// Whether this topic may be among those wanted, judged by the weak bits.
    pub fn wants(&self, topic: Topic) -> bool {
        let [first, second, third] = bits(topic);
        let has = |bit: Bit| self.0.get(bit.byte).is_some_and(|byte| byte & bit.mask != 0);
        has(third)
            && (second.byte == third.byte || has(second))
            && ([second.byte, third.byte].contains(&first.byte) || has(first))
    }

    /// Whether this topic may be among those wanted, judged by all bits: for peers that are known
    /// to compute them right.
    pub fn wants_strictly(&self, topic: Topic) -> bool {
        self.contains(&Self::of([topic]))
    }

    /// Whether everything that `other` wants is wanted.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(ours, theirs)| ours & theirs == theirs)
    }

    /// Wants what either wants.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(ours, theirs)| *ours |= theirs);
        self
    }

    /// Share of the bits that are set, 0 to 1. Its cube is about the share of all traffic that
    /// passes.
    pub fn density(&self) -> f64 {
        f64::from(self.0.iter().map(|byte| byte.count_ones()).sum::<u32>()) / 512.0
    }
}

/// Prints how many bits are set: the bits themselves say what somebody reads.
impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bloom({} of 512 bits)", 512.0 * self.density())
    }
}

/// One bit of a filter.
#[derive(Clone, Copy)]
struct Bit {
    byte: usize,
    mask: u8,
}

/// The three bits of a topic: each of its first three bytes names one, and the last byte says
/// which of them lie in the upper half.
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
        assert!(Bloom::FULL.wants(Topic([1, 2, 3, 4])));
        assert!(!Bloom::EMPTY.wants(Topic([1, 2, 3, 4])));
    }

    #[test]
    fn a_filter_does_not_print_its_bits() {
        assert_eq!(format!("{:?}", Bloom::of([Topic([1, 2, 3, 4])])), "Bloom(3 of 512 bits)");
    }

    proptest! {
        #[test]
        fn whatever_is_inserted_is_wanted_by_either_reading(topics: Vec<[u8; 4]>) {
            let bloom = Bloom::of(topics.iter().copied().map(Topic));
            for topic in topics.into_iter().map(Topic) {
                prop_assert!(bloom.wants(topic) && bloom.wants_strictly(topic));
            }
        }

        #[test]
        fn asking_by_the_weak_bits_is_asking_for_the_weak_filter(bytes: [[u8; 32]; 2], topic: [u8; 4]) {
            let bytes = bytes.concat().try_into().unwrap();
            let (bloom, topic) = (Bloom::from_bytes(bytes), Topic(topic));
            prop_assert_eq!(bloom.wants(topic), bloom.contains(&Bloom::weak(topic)));
        }

        #[test]
        fn the_weak_filter_never_has_more_bits(topic: [u8; 4]) {
            prop_assert!(Bloom::of([Topic(topic)]).contains(&Bloom::weak(Topic(topic))));
        }
    }
}
