//! The words of a segment: which of its blocks of messages have a word.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | `01` |
//! | 4 | number of words |
//! | 4 each | where every 64th word begins, counted from the end of this list |
//! | | the words in order: length (1), bytes, blocks (2) |
//!
//! Then zeros up to a multiple of 4,096 bytes, so that the length says little. Integers are big-endian.

use std::collections::BTreeMap;

use wormhole_kit::Reader;
use zeroize::{Zeroize as _, Zeroizing};

use crate::chat::store::StoreError;

/// The blocks of a segment, one bit for each.
pub(super) type Blocks = u16;

/// The words of a segment while they are collected.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder(BTreeMap<Vec<u8>, Blocks>);

impl IndexBuilder {
    /// A message of a block has this word.
    pub(super) fn add(&mut self, word: &[u8], block: u32) {
        let word = word.get(..word.len().min(MAX_LENGTH)).unwrap_or_default();
        let bit = 1u16.checked_shl(block).unwrap_or_default();
        if let Some(blocks) = self.0.get_mut(word) {
            *blocks |= bit;
        } else {
            self.0.insert(word.to_vec(), bit);
        }
    }

    /// Encodes the words.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let words: usize = self.0.keys().map(|word| word.len() + 3).sum();
        let length = HEAD + 4 * self.0.len().div_ceil(GROUP) + words;
        // In one piece, because a vector that grows leaves copies behind.
        let mut value = Zeroizing::new(Vec::with_capacity(length.next_multiple_of(PADDING)));
        value.push(FORMAT);
        value.extend(number(self.0.len()));
        let mut offset = 0;
        for (index, word) in self.0.keys().enumerate() {
            if index % GROUP == 0 {
                value.extend(number(offset));
            }
            offset += word.len() + 3;
        }
        for (word, blocks) in &self.0 {
            value.push(u8::try_from(word.len()).unwrap_or(u8::MAX));
            value.extend(word.iter());
            value.extend(blocks.to_be_bytes());
        }
        value.resize(length.next_multiple_of(PADDING), 0);
        value
    }
}

impl Drop for IndexBuilder {
    fn drop(&mut self) {
        while let Some((mut word, _)) = self.0.pop_last() {
            word.zeroize();
        }
    }
}

/// The words of a segment, encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index<'a> {
    count: usize,
    groups: &'a [u8],
    words: &'a [u8],
}

impl<'a> Index<'a> {
    pub(super) fn decode(value: &'a [u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(value);
        if reader.u8()? != FORMAT {
            return Err(StoreError::UnknownFormat);
        }
        let count = usize::try_from(reader.u32_be()?).map_err(|_| StoreError::Damaged)?;
        let groups = count.div_ceil(GROUP).checked_mul(4).ok_or(StoreError::Damaged)?;
        let groups = reader.take(groups)?;
        Ok(Self { count, groups, words: reader.rest() })
    }

    /// The blocks with words that begin like this.
    pub(super) fn beginning(self, with: &[u8]) -> Result<Blocks, StoreError> {
        let mut found = 0;
        let group = self.group_before(with)?;
        let mut words = self.group(group)?;
        for _ in group * GROUP..self.count {
            let (word, blocks) = next(&mut words)?;
            if word.starts_with(with) {
                found |= blocks;
            } else if word > with {
                break;
            }
        }
        Ok(found)
    }

    /// The last group whose first word is less than this one, or the first group.
    fn group_before(self, word: &[u8]) -> Result<usize, StoreError> {
        let (mut low, mut high) = (0, self.groups.len() / 4);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            let (first, _) = next(&mut self.group(middle)?)?;
            if first < word { low = middle } else { high = middle }
        }
        Ok(low)
    }

    fn group(self, group: usize) -> Result<Reader<'a>, StoreError> {
        let mut offsets = Reader::new(self.groups.get(group * 4..).unwrap_or_default());
        let offset = if self.count == 0 { 0 } else { offsets.u32_be()? };
        let offset = usize::try_from(offset).map_err(|_| StoreError::Damaged)?;
        Ok(Reader::new(self.words.get(offset..).ok_or(StoreError::Damaged)?))
    }
}

fn next<'a>(words: &mut Reader<'a>) -> Result<(&'a [u8], Blocks), StoreError> {
    let length = words.u8()?.into();
    Ok((words.take(length)?, Blocks::from_be_bytes(words.array()?)))
}

fn number(number: usize) -> [u8; 4] {
    // A segment has far less than 4 GiB.
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

/// Words between two of which it is known where they begin.
const GROUP: usize = 64;

/// Bytes before the list of beginnings.
const HEAD: usize = 5;

/// Maximum length of a word in bytes.
const MAX_LENGTH: usize = 255;

const PADDING: usize = 4096;

/// First byte.
const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_and_each_beginning_is_found_in_its_blocks() {
        for count in [0_u32, 1, 63, 64, 65, 1000] {
            let mut builder = IndexBuilder::default();
            let word = |number: u32| format!("word{number:04}");
            for number in 0..count {
                builder.add(word(number).as_bytes(), number % 16);
            }
            let encoded = builder.encode();
            assert_eq!(encoded.len() % PADDING, 0);
            let index = Index::decode(&encoded).unwrap();
            for number in 0..count {
                let found = index.beginning(word(number).as_bytes()).unwrap();
                assert_eq!(found, 1 << (number % 16), "{number} {count}");
            }
            let all = (0..count).fold(0, |all, number| all | 1 << (number % 16));
            assert_eq!(index.beginning(b"word").unwrap(), all);
            for missing in ["a", "word1000", "z"] {
                assert_eq!(index.beginning(missing.as_bytes()).unwrap(), 0);
            }
        }
    }

    #[test]
    fn damaged_words_are_refused() {
        let mut builder = IndexBuilder::default();
        builder.add(b"word", 3);
        let encoded = builder.encode();
        assert_eq!(Index::decode(&encoded[..4]).unwrap_err(), StoreError::Damaged);
        let cut = Index::decode(&encoded[..12]).unwrap();
        assert_eq!(cut.beginning(b"word"), Err(StoreError::Damaged));
        assert_eq!(Index::decode(&[2, 0]).unwrap_err(), StoreError::UnknownFormat);
    }
}
