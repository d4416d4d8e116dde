//! Reads fixed fields from a slice without reading past its end.
//!
//! Formats with their own structure (JSON, RLP) have their own parsers.

/// The bytes ended before the field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("ended after {available} of {wanted} bytes")]
pub struct TooShort {
    /// Size of the field in bytes.
    pub wanted: usize,
    /// Available bytes.
    pub available: usize,
}

/// Reads a slice from its start.
///
/// ```
/// # use wormhole_kit::Reader;
/// let mut reader = Reader::new(&[0, 0, 1, 2, 9]);
/// assert_eq!(reader.u32_be(), Ok(258));
/// assert_eq!(reader.rest(), [9]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads `count` bytes.
    ///
    /// # Errors
    /// Fewer bytes are left; nothing has been read.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], TooShort> {
        let short = TooShort { wanted: count, available: self.rest.len() };
        let (head, rest) = self.rest.split_at_checked(count).ok_or(short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Reads `N` bytes as an array.
    ///
    /// # Errors
    /// Fewer bytes are left; nothing has been read.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], TooShort> {
        let short = TooShort { wanted: N, available: self.rest.len() };
        let (head, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn u8(&mut self) -> Result<u8, TooShort> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads a 16-bit integer, least significant byte first.
    ///
    /// # Errors
    /// Fewer than 2 bytes are left; nothing has been read.
    pub fn u16_le(&mut self) -> Result<u16, TooShort> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads a 32-bit integer, least significant byte first.
    ///
    /// # Errors
    /// Fewer than 4 bytes are left; nothing has been read.
    pub fn u32_le(&mut self) -> Result<u32, TooShort> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads a 64-bit integer, least significant byte first.
    ///
    /// # Errors
    /// Fewer than 8 bytes are left; nothing has been read.
    pub fn u64_le(&mut self) -> Result<u64, TooShort> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a 32-bit integer, most significant byte first.
    ///
    /// # Errors
    /// Fewer than 4 bytes are left; nothing has been read.
    pub fn u32_be(&mut self) -> Result<u32, TooShort> {
        self.array().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_past_the_end_is_refused_and_nothing_is_read() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32_be(), Err(TooShort { wanted: 4, available: 3 }));
        assert_eq!(reader.take(4), Err(TooShort { wanted: 4, available: 3 }));
        assert_eq!(reader.rest(), [1, 2, 3]);
    }

    #[test]
    fn fields_are_read_in_order() {
        let mut reader = Reader::new(&[1, 2, 0, 3, 0, 0, 0, 4, 5]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16_le(), Ok(2));
        assert_eq!(reader.u32_le(), Ok(3));
        assert_eq!(reader.take(1), Ok(&[4][..]));
        assert!(!reader.is_empty());
        assert_eq!(reader.rest(), [5]);
    }
}
