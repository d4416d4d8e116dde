//! RLP, the encoding of devp2p: byte strings and nested lists (rlp.md).
//!
//! Decoding is as strict as go-ethereum's: every value has exactly one valid encoding. It does not copy or
//! recurse, so deeply nested input costs nothing. This is not a derive-style serializer: each message reads and
//! writes its own fields.

use wormhole_kit::{Reader, TooShort};

/// Reads encoded items: of a list, or of a sequence without a header.
///
/// ```
/// use wormhole_whisper::devp2p::rlp::{self, Rlp};
///
/// let encoded = rlp::list(|list| {
///     list.uint(6).string(b"shh");
/// });
/// let mut fields = Rlp::only_list(&encoded)?;
/// assert_eq!(fields.u32()?, 6);
/// assert_eq!(fields.string()?, b"shh");
/// fields.end()?;
/// # Ok::<(), rlp::RlpError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rlp<'a> {
    reader: Reader<'a>,
}

impl<'a> Rlp<'a> {
    /// Reads a sequence of items from its start. Items after the last one that was read are ignored unless
    /// [`Rlp::end`] is called.
    pub const fn new(items: &'a [u8]) -> Self {
        Self { reader: Reader::new(items) }
    }

    /// Reads the items of a list.
    ///
    /// # Errors
    /// `encoded` is not exactly one list.
    pub fn only_list(encoded: &'a [u8]) -> Result<Self, RlpError> {
        let mut outer = Self::new(encoded);
        let inner = outer.list()?;
        outer.end()?;
        Ok(inner)
    }

    /// Whether all items have been read.
    pub const fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// The encoded items that have not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// Requires that all items have been read.
    ///
    /// # Errors
    /// There is another item.
    pub const fn end(&self) -> Result<(), RlpError> {
        if self.is_empty() { Ok(()) } else { Err(RlpError::TooManyItems) }
    }

    /// Reads a string of any length.
    ///
    /// # Errors
    /// The next item is missing, malformed, or a list. On errors, no reader advances.
    pub fn string(&mut self) -> Result<&'a [u8], RlpError> {
        let (item, next) = self.split()?;
        let Item::String(content) = item else { return Err(RlpError::ExpectedString) };
        *self = next;
        Ok(content)
    }

    /// Reads a string of exactly `N` bytes.
    ///
    /// # Errors
    /// See [`Rlp::string`]; also if the length differs.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RlpError> {
        let mut next = *self;
        let content = next.string()?;
        let wrong = RlpError::WrongLength { wanted: N, actual: content.len() };
        let array = content.try_into().map_err(|_| wrong)?;
        *self = next;
        Ok(array)
    }

    /// Reads an integer below 2^8.
    ///
    /// # Errors
    /// See [`Rlp::u64`].
    pub fn u8(&mut self) -> Result<u8, RlpError> {
        self.uint().map(u8::from_be_bytes)
    }

    /// Reads an integer below 2^16.
    ///
    /// # Errors
    /// See [`Rlp::u64`].
    pub fn u16(&mut self) -> Result<u16, RlpError> {
        self.uint().map(u16::from_be_bytes)
    }

    /// Reads an integer below 2^32.
    ///
    /// # Errors
    /// See [`Rlp::u64`].
    pub fn u32(&mut self) -> Result<u32, RlpError> {
        self.uint().map(u32::from_be_bytes)
    }

    /// Reads an integer below 2^64: big-endian without leading zeros; zero is empty.
    ///
    /// # Errors
    /// See [`Rlp::string`]; also if the integer is too large or has leading zeros.
    pub fn u64(&mut self) -> Result<u64, RlpError> {
        self.uint().map(u64::from_be_bytes)
    }

    /// Reads a flag: the integer 0 or 1.
    ///
    /// # Errors
    /// See [`Rlp::u64`]; also if the integer is greater than 1.
    pub fn bool(&mut self) -> Result<bool, RlpError> {
        let mut next = *self;
        let flag = match next.u8()? {
            0 => false,
            1 => true,
            _ => return Err(RlpError::NotABool),
        };
        *self = next;
        Ok(flag)
    }

    /// Reads a list. The returned reader is for its items, and this one continues after it.
    ///
    /// # Errors
    /// The next item is missing, malformed, or a string.
    pub fn list(&mut self) -> Result<Self, RlpError> {
        let (item, next) = self.split()?;
        let Item::List(content) = item else { return Err(RlpError::ExpectedList) };
        *self = next;
        Ok(Self::new(content))
    }

    /// Reads an encoded item including its header. The content of a list is not checked.
    ///
    /// # Errors
    /// The next item is missing or malformed.
    pub fn raw(&mut self) -> Result<&'a [u8], RlpError> {
        let all = self.rest();
        let (_, next) = self.split()?;
        *self = next;
        let length = all.len().saturating_sub(next.rest().len());
        Ok(all.get(..length).unwrap_or_default())
    }

    /// Whether the next item is a list. False at the end.
    pub fn next_is_list(&self) -> bool {
        self.rest().first().is_some_and(|head| *head >= SHORT_LIST)
    }

    /// Reads an integer of at most `N` bytes.
    fn uint<const N: usize>(&mut self) -> Result<[u8; N], RlpError> {
        let mut next = *self;
        let content = next.string()?;
        if content.first() == Some(&0) {
            return Err(RlpError::LeadingZero);
        }
        let mut bytes = [0; N];
        let start = N.checked_sub(content.len()).ok_or(RlpError::IntegerTooLarge)?;
        for (to, from) in bytes.iter_mut().skip(start).zip(content) {
            *to = *from;
        }
        *self = next;
        Ok(bytes)
    }

    /// Splits off the next item without advancing: the item and a reader for the rest.
    fn split(&self) -> Result<(Item<'a>, Self), RlpError> {
        let mut reader = self.reader;
        let item = match reader.u8().map_err(|_| RlpError::TooFewItems)? {
            // Such a byte is its own encoding: read it again as content.
            0..SHORT_STRING => Item::String({ self.reader }.take(1)?),
            head @ SHORT_STRING..=LONG_STRING => {
                let content = reader.take(usize::from(head - SHORT_STRING))?;
                if matches!(content, [0..SHORT_STRING]) {
                    return Err(RlpError::NotCanonical);
                }
                Item::String(content)
            }
            head @ ..SHORT_LIST => Item::String(take_long(&mut reader, head - LONG_STRING)?),
            head @ ..=LONG_LIST => Item::List(reader.take(usize::from(head - SHORT_LIST))?),
            head => Item::List(take_long(&mut reader, head - LONG_LIST)?),
        };
        Ok((item, Self { reader }))
    }
}

/// Reads content whose length is encoded in `width` bytes (1 to 8).
fn take_long<'a>(reader: &mut Reader<'a>, width: u8) -> Result<&'a [u8], RlpError> {
    let digits = reader.take(usize::from(width))?;
    if digits.first() == Some(&0) {
        return Err(RlpError::NotCanonical);
    }
    let length = digits.iter().fold(0_u64, |length, digit| length << 8 | u64::from(*digit));
    // A length beyond the address space also exceeds the input.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length < FIRST_LONG {
        return Err(RlpError::NotCanonical);
    }
    Ok(reader.take(length)?)
}

/// One item, without its header.
enum Item<'a> {
    String(&'a [u8]),
    List(&'a [u8]),
}

/// Writes items one after another.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    encoded: Vec<u8>,
}

impl Encoder {
    /// Writes a byte string.
    pub fn string(&mut self, content: &[u8]) -> &mut Self {
        if !matches!(content, [0..SHORT_STRING]) {
            self.header(SHORT_STRING, content.len());
        }
        self.raw(content)
    }

    /// Writes an integer in as few bytes as it needs.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.string(without_leading_zeros(&value.to_be_bytes()))
    }

    /// Writes a list with the items that `write` writes.
    pub fn list(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut content = Self::default();
        write(&mut content);
        self.header(SHORT_LIST, content.encoded.len());
        self.raw(&content.encoded)
    }

    /// Writes an encoded item.
    pub fn raw(&mut self, item: &[u8]) -> &mut Self {
        self.encoded.extend_from_slice(item);
        self
    }

    /// The encoded items.
    pub fn into_bytes(self) -> Vec<u8> {
        self.encoded
    }

    fn header(&mut self, short: u8, length: usize) {
        if length < FIRST_LONG {
            self.encoded.push(short + low_byte(length));
        } else {
            let length = length.to_be_bytes();
            let digits = without_leading_zeros(&length);
            self.encoded.push(short + LONGEST_SHORT + low_byte(digits.len()));
            self.raw(digits);
        }
    }
}

/// Encodes a list with the items that `write` writes.
pub fn list(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.list(write);
    encoder.into_bytes()
}

/// Encodes one byte string.
pub fn string(content: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.string(content);
    encoder.into_bytes()
}

/// Encodes one integer.
pub fn uint(value: u64) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.uint(value);
    encoder.into_bytes()
}

fn without_leading_zeros(mut digits: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = digits {
        digits = rest;
    }
    digits
}

const fn low_byte(number: usize) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low
}

/// Why decoding failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RlpError {
    /// Found a string instead of a list.
    #[error("expected a list")]
    ExpectedList,
    /// Found a list instead of a string.
    #[error("expected a string")]
    ExpectedString,
    /// The integer is too large for its type.
    #[error("integer too large")]
    IntegerTooLarge,
    /// The integer has leading zeros.
    #[error("integer with leading zero bytes")]
    LeadingZero,
    /// A flag is neither 0 nor 1.
    #[error("not a boolean")]
    NotABool,
    /// The same value has a shorter encoding.
    #[error("not the canonical encoding")]
    NotCanonical,
    /// An item is missing.
    #[error("too few items")]
    TooFewItems,
    /// There is an unexpected additional item.
    #[error("too many items")]
    TooManyItems,
    /// An item is longer than its container.
    #[error("item {0}")]
    Truncated(#[from] TooShort),
    /// A string has the wrong length.
    #[error("string of {actual} bytes, expected {wanted}")]
    WrongLength {
        /// Expected bytes.
        wanted: usize,
        /// Actual bytes.
        actual: usize,
    },
}

/// Header of the empty string; lower bytes are their own encoding.
const SHORT_STRING: u8 = 0x80;

/// Maximum length of content whose length is in the header byte.
const LONGEST_SHORT: u8 = 55;

/// Minimum length of content whose length is encoded after the header byte.
const FIRST_LONG: usize = 56;

/// Header of the longest short string. Higher headers contain the size of the length.
const LONG_STRING: u8 = SHORT_STRING + LONGEST_SHORT;

/// Header of the empty list.
const SHORT_LIST: u8 = 0xc0;

/// Header of the longest short list. Higher headers contain the size of the length.
const LONG_LIST: u8 = SHORT_LIST + LONGEST_SHORT;

#[cfg(test)]
mod tests;
