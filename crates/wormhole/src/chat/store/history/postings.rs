//! Lists of the messages of a segment that have a word, and their intersection.

use wormhole_kit::Reader;

use crate::chat::store::StoreError;

/// Messages of a segment, by their position in it.
#[derive(Clone, Debug)]
pub(super) struct Postings {
    /// One bit for each message.
    bits: Vec<u64>,
    /// Number of messages of the segment.
    count: u32,
}

impl Postings {
    /// None of so many messages.
    pub(super) fn new(count: u32) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or_default();
        Self { bits: vec![0; words], count }
    }

    /// Adds an encoded list.
    pub(super) fn add(&mut self, list: &[u8]) -> Result<(), StoreError> {
        let mut reader = Reader::new(list);
        let mut next = 0_u32;
        while !reader.is_empty() {
            let position =
                next.checked_add(read_varint(&mut reader)?).ok_or(StoreError::Damaged)?;
            if position >= self.count {
                return Err(StoreError::Damaged);
            }
            let word = usize::try_from(position / 64).map_err(|_| StoreError::Damaged)?;
            let bits = self.bits.get_mut(word).ok_or(StoreError::Damaged)?;
            *bits |= 1 << (position % 64);
            next = position.saturating_add(1);
        }
        Ok(())
    }

    /// Keeps only the messages that others have, too.
    pub(super) fn intersect(&mut self, other: &Self) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(bits, other)| *bits &= other);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits.iter().all(|bits| *bits == 0)
    }

    /// The positions below one, the last one first.
    pub(super) fn below(&self, end: u32) -> impl Iterator<Item = u32> {
        let is_set = |position: &u32| {
            let word = usize::try_from(position / 64).ok().and_then(|word| self.bits.get(word));
            word.is_some_and(|bits| bits & (1 << (position % 64)) != 0)
        };
        (0..end.min(self.count)).rev().filter(is_set)
    }
}

/// Writes a number, seven bits in each byte, the lowest first.
pub(super) fn put_varint(value: &mut Vec<u8>, mut number: u32) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            return value.push(low);
        }
        value.push(low | 0x80);
    }
}

/// Reads a number of at most five bytes.
pub(super) fn read_varint(reader: &mut Reader<'_>) -> Result<u32, StoreError> {
    let mut number = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = reader.u8()?;
        let part = u32::from(byte & 0x7f);
        if shift == 28 && part > 0xf {
            return Err(StoreError::Damaged);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(StoreError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written_and_longer_ones_refused() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX] {
            let mut value = Vec::new();
            put_varint(&mut value, number);
            assert_eq!(read_varint(&mut Reader::new(&value)), Ok(number));
            let cut = &value[..value.len() - 1];
            assert!(read_varint(&mut Reader::new(cut)).is_err());
        }
        for long in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80; 6]] {
            assert_eq!(read_varint(&mut Reader::new(long)), Err(StoreError::Damaged));
        }
    }

    #[test]
    fn only_messages_in_all_lists_stay() {
        let list = |positions: &[u32]| {
            let (mut value, mut next) = (Vec::new(), 0);
            for position in positions {
                put_varint(&mut value, position - next);
                next = position + 1;
            }
            value
        };
        let mut found = Postings::new(200);
        found.add(&list(&[0, 1, 63, 64, 199])).unwrap();
        let mut other = Postings::new(200);
        other.add(&list(&[1, 64, 65])).unwrap();
        other.add(&list(&[199])).unwrap();
        found.intersect(&other);
        assert_eq!(found.below(u32::MAX).collect::<Vec<_>>(), [199, 64, 1]);
        assert_eq!(found.below(64).collect::<Vec<_>>(), [1]);
        assert!(!found.is_empty() && Postings::new(0).is_empty());
        assert_eq!(found.add(&list(&[200])), Err(StoreError::Damaged));
    }
}
