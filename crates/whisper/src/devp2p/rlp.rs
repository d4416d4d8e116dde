//! RLP, the encoding of everything that devp2p says: byte strings and lists of them, nothing else.
//!
//! Reading is as strict as go-ethereum's: every value has exactly one encoding, and another one is
//! an error. Nothing is copied and nothing recurses, so hostile nesting costs nothing. This is not
//! a derive-style serializer: each message reads and writes its own fields (rlp.md).

use wormhole_kit::{Reader, TooShort};

/// Walks over encoded items: those of one list, or a bare sequence of them.
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
    /// Reads a sequence of items from its start. What follows the last item read is ignored unless
    /// [`Rlp::end`] is asked.
    pub const fn new(items: &'a [u8]) -> Self {
        Self { reader: Reader::new(items) }
    }

    /// Reads the items of the one list that `encoded` is.
    ///
    /// # Errors
    /// `encoded` is not a list, or something follows it.
    pub fn only_list(encoded: &'a [u8]) -> Result<Self, RlpError> {
        let mut outer = Self::new(encoded);
        let inner = outer.list()?;
        outer.end()?;
        Ok(inner)
    }

    /// Whether every item has been read.
    pub const fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// What has not been read, still encoded.
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// Requires that every item has been read.
    ///
    /// # Errors
    /// There is another item.
    pub const fn end(&self) -> Result<(), RlpError> {
        if self.is_empty() { Ok(()) } else { Err(RlpError::TooManyItems) }
    }

    /// Reads a string of any length.
    ///
    /// # Errors
    /// The next item is missing, malformed, or a list. As for all readers: nothing has been read.
    pub fn string(&mut self) -> Result<&'a [u8], RlpError> {
        let (item, next) = self.split()?;
        let Item::String(content) = item else { return Err(RlpError::ExpectedString) };
        *self = next;
        Ok(content)
    }

    /// Reads a string of exactly `N` bytes.
    ///
    /// # Errors
    /// As for [`Rlp::string`], or the length is another.
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
    /// As for [`Rlp::u64`].
    pub fn u8(&mut self) -> Result<u8, RlpError> {
        self.uint().map(u8::from_be_bytes)
    }

    /// Reads an integer below 2^16.
    ///
    /// # Errors
    /// As for [`Rlp::u64`].
    pub fn u16(&mut self) -> Result<u16, RlpError> {
        self.uint().map(u16::from_be_bytes)
    }

    /// Reads an integer below 2^32.
    ///
    /// # Errors
    /// As for [`Rlp::u64`].
    pub fn u32(&mut self) -> Result<u32, RlpError> {
        self.uint().map(u32::from_be_bytes)
    }

    /// Reads an integer below 2^64: most significant byte first, no leading zero, zero is empty.
    ///
    /// # Errors
    /// As for [`Rlp::string`], or the integer is too large or has leading zeros.
    pub fn u64(&mut self) -> Result<u64, RlpError> {
        self.uint().map(u64::from_be_bytes)
    }

    /// Reads a flag: the integer 0 or 1.
    ///
    /// # Errors
    /// As for [`Rlp::u64`], or the integer is greater than 1.
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

    /// Enters a list; this reader goes on behind it.
    ///
    /// # Errors
    /// The next item is missing, malformed, or a string.
    pub fn list(&mut self) -> Result<Self, RlpError> {
        let (item, next) = self.split()?;
        let Item::List(content) = item else { return Err(RlpError::ExpectedList) };
        *self = next;
        Ok(Self::new(content))
    }

    /// Reads an item as it stands, header included. What is inside a list is not looked at.
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

    /// Takes the next item apart without moving on: the item and the reader behind it.
    fn split(&self) -> Result<(Item<'a>, Self), RlpError> {
        let mut reader = self.reader;
        let item = match reader.u8().map_err(|_| RlpError::TooFewItems)? {
            // Such a byte is its own encoding: read it again, as content.
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

/// Takes content whose length is itself written in `width` bytes (1 to 8).
fn take_long<'a>(reader: &mut Reader<'a>, width: u8) -> Result<&'a [u8], RlpError> {
    let digits = reader.take(usize::from(width))?;
    if digits.first() == Some(&0) {
        return Err(RlpError::NotCanonical);
    }
    let length = digits.iter().fold(0_u64, |length, digit| length << 8 | u64::from(*digit));
    // A length beyond the address space is beyond the input, too.
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

    /// Writes a list of what `write` writes.
    pub fn list(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut content = Self::default();
        write(&mut content);
        self.header(SHORT_LIST, content.encoded.len());
        self.raw(&content.encoded)
    }

    /// Writes an item that is already encoded.
    pub fn raw(&mut self, item: &[u8]) -> &mut Self {
        self.encoded.extend_from_slice(item);
        self
    }

    /// What has been written.
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

/// Encodes one list of what `write` writes.
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

/// How bytes fail to be the RLP that was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RlpError {
    /// A string stands where a list should.
    #[error("expected a list")]
    ExpectedList,
    /// A list stands where a string should.
    #[error("expected a string")]
    ExpectedString,
    /// The integer has more bytes than its type.
    #[error("integer too large")]
    IntegerTooLarge,
    /// The integer begins with a zero byte.
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
    /// An item follows where none should.
    #[error("too many items")]
    TooManyItems,
    /// An item reaches past the end of what contains it.
    #[error("item {0}")]
    Truncated(#[from] TooShort),
    /// A string of fixed length has another one.
    #[error("string of {actual} bytes, expected {wanted}")]
    WrongLength {
        /// Bytes it should have.
        wanted: usize,
        /// Bytes it has.
        actual: usize,
    },
}

/// Header of the empty string; shorter bytes are strings by themselves.
const SHORT_STRING: u8 = 0x80;

/// Longest content whose length is part of the header, in bytes.
const LONGEST_SHORT: u8 = 55;

/// Shortest content whose length is written out, in bytes.
const FIRST_LONG: usize = 56;

/// Header of the longest short string. Beyond it, the header counts the bytes of the length.
const LONG_STRING: u8 = SHORT_STRING + LONGEST_SHORT;

/// Header of the empty list.
const SHORT_LIST: u8 = 0xc0;

/// Header of the longest short list. Beyond it, the header counts the bytes of the length.
const LONG_LIST: u8 = SHORT_LIST + LONGEST_SHORT;

#[cfg(test)]
mod tests;
