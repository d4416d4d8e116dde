//! The words of a segment: which of its messages have a word.
//!
//! They are in pages, so that a search reads only those that can have its words. Each page is a sealed value of its own.
//!
//! | page | bytes | what |
//! |---|---|---|
//! | 0, the directory | 1 | `01` |
//! | | 4 | number of the other pages |
//! | | | for each of them: the nonce of its current version (24), its first word: length (1), bytes |
//! | others | 1 | `01` |
//! | | 4 | number of words |
//! | | | the words in order: length (1), bytes, length of the list (varint), list of messages |
//!
//! A list has the positions of the messages in the segment, in order, each as a varint: the difference from the one before. Then come
//! zeros up to a multiple of the length of a page, so that the length says little. Integers are big-endian.

use std::collections::BTreeMap;

use wormhole_kit::Reader;
use zeroize::{Zeroize as _, Zeroizing};

use super::postings::{Postings, put_varint, read_varint};
use crate::chat::store::StoreError;
use crate::chat::store::sealing::RowVersion;

/// The words of a segment while they are collected, with the encoded lists of their messages.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder(BTreeMap<Vec<u8>, List>);

/// The messages that have a word, from the first to the last.
#[derive(Debug, Default)]
struct List {
    encoded: Vec<u8>,
    /// One more than the last position.
    end: u32,
}

/// A page of words that is not sealed yet.
#[derive(Debug)]
pub(super) struct NewPage {
    pub(super) first_word: Vec<u8>,
    pub(super) value: Zeroizing<Vec<u8>>,
}

impl IndexBuilder {
    /// Adds a word of the message at a position. Positions must not decrease.
    pub(super) fn add(&mut self, word: &[u8], position: u32) {
        let word = word.get(..word.len().min(MAX_LENGTH)).unwrap_or_default();
        if !self.0.contains_key(word) {
            self.0.insert(word.to_vec(), List::default());
        }
        if let Some(list) = self.0.get_mut(word)
            && (list.encoded.is_empty() || position >= list.end)
        {
            put_varint(&mut list.encoded, position.saturating_sub(list.end));
            list.end = position.saturating_add(1);
        }
    }

    /// Encodes the pages without the directory.
    pub(super) fn pages(&self) -> Vec<NewPage> {
        let mut pages = Vec::new();
        let mut words = Vec::new();
        let mut length = HEAD;
        for (word, list) in &self.0 {
            let entry = word.len() + list.encoded.len() + ENTRY;
            if length + entry > PAGE && !words.is_empty() {
                pages.extend(page(&std::mem::take(&mut words), length));
                length = HEAD;
            }
            length += entry;
            words.push((word, list));
        }
        pages.extend(page(&words, length));
        pages
    }
}

/// Encodes a page, in one piece, because a vector that grows leaves copies behind. `None` without words.
fn page(words: &[(&Vec<u8>, &List)], length: usize) -> Option<NewPage> {
    let (first_word, _) = words.first()?;
    let length = length.next_multiple_of(PAGE);
    let mut value = Zeroizing::new(Vec::with_capacity(length));
    value.push(FORMAT);
    value.extend(number(words.len()));
    for (word, list) in words {
        put_word(&mut value, word);
        put_varint(&mut value, u32::try_from(list.encoded.len()).unwrap_or(u32::MAX));
        value.extend(&list.encoded);
    }
    value.resize(length, 0);
    Some(NewPage { first_word: (*first_word).clone(), value })
}

/// Encodes the directory: the version and the first word of each page.
pub(super) fn directory(pages: &[(RowVersion, Vec<u8>)]) -> Zeroizing<Vec<u8>> {
    let words: usize = pages.iter().map(|(version, word)| version.len() + 1 + word.len()).sum();
    let length = (HEAD + words).next_multiple_of(DIRECTORY);
    let mut value = Zeroizing::new(Vec::with_capacity(length));
    value.push(FORMAT);
    value.extend(number(pages.len()));
    for (version, word) in pages {
        value.extend(version);
        put_word(&mut value, word);
    }
    value.resize(length, 0);
    value
}

impl Drop for IndexBuilder {
    fn drop(&mut self) {
        while let Some((mut word, _)) = self.0.pop_last() {
            word.zeroize();
        }
    }
}

impl Drop for NewPage {
    fn drop(&mut self) {
        self.first_word.zeroize();
    }
}

/// The directory of a segment, encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory<'a> {
    count: u32,
    pages: &'a [u8],
}

impl<'a> Directory<'a> {
    pub(super) fn decode(value: &'a [u8]) -> Result<Self, StoreError> {
        let (count, pages) = head(value)?;
        Ok(Self { count, pages })
    }

    /// The numbers and versions of the pages that can have words that begin like this.
    pub(super) fn pages(self, beginning: &[u8]) -> Result<Vec<(u32, RowVersion)>, StoreError> {
        let mut reader = Reader::new(self.pages);
        let mut found: Vec<(u32, RowVersion)> = Vec::new();
        for page in 1..=self.count {
            let version = reader.array()?;
            let first = read_word(&mut reader)?;
            // Of the pages whose first word is not greater, only the last one can have it.
            if first <= beginning {
                found.clear();
            } else if !first.starts_with(beginning) {
                break;
            }
            found.push((page, version));
        }
        Ok(found)
    }
}

/// Adds the messages with words that begin like this, as a page says.
pub(super) fn find(page: &[u8], beginning: &[u8], found: &mut Postings) -> Result<(), StoreError> {
    let (count, words) = head(page)?;
    let mut reader = Reader::new(words);
    for _ in 0..count {
        let word = read_word(&mut reader)?;
        let length = usize::try_from(read_varint(&mut reader)?).map_err(|_| StoreError::Damaged)?;
        let list = reader.take(length)?;
        if word.starts_with(beginning) {
            found.add(list)?;
        } else if word > beginning {
            break;
        }
    }
    Ok(())
}

fn head(value: &[u8]) -> Result<(u32, &[u8]), StoreError> {
    let mut reader = Reader::new(value);
    if reader.u8()? != FORMAT {
        return Err(StoreError::UnknownFormat);
    }
    Ok((reader.u32_be()?, reader.rest()))
}

fn put_word(value: &mut Vec<u8>, word: &[u8]) {
    // Words have at most `MAX_LENGTH` bytes.
    value.push(u8::try_from(word.len()).unwrap_or(u8::MAX));
    value.extend(word);
}

fn read_word<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], StoreError> {
    let length = reader.u8()?.into();
    Ok(reader.take(length)?)
}

fn number(number: usize) -> [u8; 4] {
    // A segment has far less than 4 GiB.
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

/// Bytes before the words.
const HEAD: usize = 5;

/// Maximum number of bytes of an entry besides the word and the list.
const ENTRY: usize = 6;

/// Maximum length of a word in bytes.
const MAX_LENGTH: usize = 255;

/// Pages have a multiple of this length. Sealed, one fits into a page of SQLite.
const PAGE: usize = 3968;

/// Directories have a multiple of this length.
const DIRECTORY: usize = 1024;

/// First byte.
const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The positions of the messages with words that begin like this, and how many pages were read for them.
    fn lookup(builder: &IndexBuilder, beginning: &str) -> (Vec<u32>, usize) {
        let pages = builder.pages();
        let described = pages.iter().zip(0_u8..);
        let described: Vec<_> =
            described.map(|(page, number)| ([number; 24], page.first_word.clone())).collect();
        let directory = directory(&described);
        assert_eq!(directory.len() % DIRECTORY, 0);
        let wanted = Directory::decode(&directory).unwrap().pages(beginning.as_bytes()).unwrap();
        let mut found = Postings::new(10_000);
        for (number, version) in &wanted {
            let page = &pages[usize::try_from(*number).unwrap() - 1];
            assert_eq!(u32::from(version[0]) + 1, *number);
            find(&page.value, beginning.as_bytes(), &mut found).unwrap();
        }
        let mut positions: Vec<_> = found.below(u32::MAX).collect();
        positions.reverse();
        (positions, wanted.len())
    }

    #[test]
    fn each_word_and_each_beginning_is_found_in_its_messages() {
        for count in [0_u32, 1, 2, 500, 5000] {
            let mut builder = IndexBuilder::default();
            for number in 0..count {
                builder.add(b"all", number);
                builder.add(format!("word{number:04}").as_bytes(), number);
                builder.add(format!("word{number:04}").as_bytes(), number);
            }
            for number in (0..count).step_by(97) {
                let (found, pages) = lookup(&builder, &format!("word{number:04}"));
                assert_eq!((found, pages), (vec![number], 1), "{number} {count}");
            }
            let every: Vec<_> = (0..count).collect();
            for beginning in ["all", "a", "word", "w"] {
                assert_eq!(lookup(&builder, beginning).0, every, "{beginning} {count}");
            }
            assert_eq!(lookup(&builder, "word00").0, (0..count.min(100)).collect::<Vec<_>>());
            for missing in ["0", "allx", "b", "word5000", "z"] {
                assert_eq!(lookup(&builder, missing).0, Vec::<u32>::new(), "{missing}");
            }
        }
    }

    #[test]
    fn damaged_words_are_refused() {
        let mut builder = IndexBuilder::default();
        builder.add(b"word", 3);
        let page = builder.pages().remove(0).value.clone();
        let mut found = Postings::new(16);
        for length in 0..12 {
            assert_eq!(find(&page[..length], b"word", &mut found), Err(StoreError::Damaged));
        }
        assert_eq!(find(&[2, 0], b"word", &mut found), Err(StoreError::UnknownFormat));
        let directory = directory(&[([1; 24], b"word".to_vec())]);
        let cut = Directory::decode(&directory[..20]).unwrap();
        assert_eq!(cut.pages(b"word"), Err(StoreError::Damaged));
        // The segment has fewer messages than the list says.
        assert_eq!(find(&page, b"word", &mut Postings::new(3)), Err(StoreError::Damaged));
    }
}
