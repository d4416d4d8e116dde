//! The data of one file: finding its end, unpacking it, checking its sum.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use wormhole_kit::Reader;

use super::super::header::LocalHeader;
use super::super::{DEFLATED, DESCRIPTOR, FLAG_DESCRIPTOR, wide};
use super::{ZipError, ZipPath};

/// Bytes taken off the input that are not used up yet: the start of a header of which more has to
/// come, or data about to be handed out.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Bytes at the front that were handed out, and are dropped at the next call.
    lent: usize,
}

impl Held {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Drops what was handed out.
    pub(super) fn release(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.consume(lent);
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }

    /// The first `count` bytes, moved here from the input as far as needed; `None` until enough
    /// have come.
    pub(super) fn gather(&mut self, count: usize, input: &mut &[u8]) -> Option<&[u8]> {
        let missing = count.saturating_sub(self.bytes.len()).min(input.len());
        let (taken, rest) = input.split_at_checked(missing)?;
        self.bytes.extend_from_slice(taken);
        *input = rest;
        self.bytes.get(..count)
    }

    /// The signature that comes next.
    pub(super) fn signature(&mut self, input: &mut &[u8]) -> Option<u32> {
        self.gather(4, input).and_then(|bytes| Reader::new(bytes).u32_le().ok())
    }
}

/// Where the bytes that were just produced are.
pub(super) enum Range<'a> {
    /// In the input itself.
    Input(&'a [u8]),
    /// At the front of what is held.
    Held(usize),
    /// In the buffer that is unpacked into.
    Unpacked(usize),
}

impl Range<'_> {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Input(bytes) => bytes.len(),
            Self::Held(length) | Self::Unpacked(length) => *length,
        }
    }
}

/// The data of one file, on its way.
pub(super) struct Body {
    path: ZipPath,
    form: Form,
    crc: crc32fast::Hasher,
    size: u64,
    /// Bytes as they stand in the zip.
    packed: u64,
    /// CRC and sizes from the header, if they are not in a descriptor.
    stated: Option<(u32, u64, u64)>,
    complete: bool,
}

enum Form {
    /// So many more bytes.
    Stored { left: u64 },
    /// Nobody knows how many: up to a descriptor that fits.
    Scanned,
    /// Compressed; it knows its end.
    Deflated { state: Box<InflateState>, output: Vec<u8>, ended: bool },
}

impl Body {
    pub(super) fn new(header: &LocalHeader, path: ZipPath) -> Self {
        let has_descriptor = header.flags & FLAG_DESCRIPTOR != 0;
        let form = if header.method == DEFLATED {
            let state = InflateState::new_boxed(DataFormat::Raw);
            Form::Deflated { state, output: vec![0; UNPACK], ended: false }
        } else if has_descriptor && header.size == 0 {
            Form::Scanned
        } else {
            Form::Stored { left: header.size }
        };
        let stated = (!has_descriptor).then_some((header.crc, header.size, header.compressed));
        let crc = crc32fast::Hasher::new();
        Self { path, form, crc, size: 0, packed: 0, stated, complete: false }
    }

    /// Whether all of it has come and was right.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Path, CRC and size.
    pub(super) fn result(&self) -> (&ZipPath, u32, u64) {
        (&self.path, self.crc.clone().finalize(), self.size)
    }

    /// The bytes of a range.
    pub(super) fn slice<'a>(&'a self, range: &Range<'a>, held: &'a Held) -> &'a [u8] {
        match (range, &self.form) {
            (Range::Input(bytes), _) => bytes,
            (Range::Held(length), _) => held.bytes.get(..*length).unwrap_or_default(),
            (Range::Unpacked(length), Form::Deflated { output, .. }) => {
                output.get(..*length).unwrap_or_default()
            }
            (Range::Unpacked(_), Form::Stored { .. } | Form::Scanned) => &[],
        }
    }

    /// Produces the next bytes; `None` when more input is needed, or when it is complete.
    pub(super) fn next<'a>(
        &mut self,
        held: &mut Held,
        input: &mut &'a [u8],
    ) -> Result<Option<Range<'a>>, ZipError> {
        let range = match &mut self.form {
            Form::Stored { left } => next_stored(left, held, input),
            Form::Scanned => return self.next_scanned(held, input),
            Form::Deflated { state, output, ended: false } => {
                let step = unpack(state, output, held, input)?;
                self.packed += step.packed;
                if let Form::Deflated { ended, .. } = &mut self.form {
                    *ended = step.ended;
                }
                match step.unpacked {
                    0 if !step.ended => return Ok(None),
                    0 => None,
                    count => Some(Range::Unpacked(count)),
                }
            }
            Form::Deflated { .. } => None,
        };
        let Some(range) = range else {
            if self.has_ended() {
                self.check(held, input)?;
            }
            return Ok(None);
        };
        if !matches!(range, Range::Unpacked(_)) {
            self.packed += wide(range.len());
        }
        self.note(&range, held);
        Ok(Some(range))
    }

    const fn has_ended(&self) -> bool {
        match self.form {
            Form::Stored { left } => left == 0,
            Form::Deflated { ended, .. } => ended,
            Form::Scanned => false,
        }
    }

    /// Counts bytes that are about to be handed out. What is held of them is lent.
    fn note(&mut self, range: &Range<'_>, held: &mut Held) {
        let bytes = match range {
            Range::Input(bytes) => bytes,
            Range::Held(length) => {
                held.lent = *length;
                held.bytes.get(..*length).unwrap_or_default()
            }
            Range::Unpacked(length) => match &self.form {
                Form::Deflated { output, .. } => output.get(..*length).unwrap_or_default(),
                Form::Stored { .. } | Form::Scanned => &[],
            },
        };
        self.crc.update(bytes);
        self.size += wide(bytes.len());
    }

    /// Compares with the header, or with the descriptor once that is there.
    fn check(&mut self, held: &mut Held, input: &mut &[u8]) -> Result<(), ZipError> {
        let crc = self.crc.clone().finalize();
        let right = if let Some(stated) = self.stated {
            stated == (crc, self.size, self.packed)
        } else {
            let Some(bytes) = held.gather(DESCRIPTOR_MAX, input) else { return Ok(()) };
            let length = descriptor_length(bytes, crc, self.packed, self.size);
            held.consume(length.unwrap_or_default());
            length.is_some()
        };
        if !right {
            return Err(ZipError::WrongChecksum(self.path.clone()));
        }
        self.complete = true;
        Ok(())
    }

    /// Hands out what cannot be the start of the descriptor, or finds the descriptor.
    ///
    /// A file may contain what looks like a descriptor; one that has the right CRC and length of
    /// all bytes before it does not come about by chance.
    fn next_scanned<'a>(
        &mut self,
        held: &mut Held,
        input: &mut &'a [u8],
    ) -> Result<Option<Range<'a>>, ZipError> {
        if held.is_empty() {
            let free = candidate(input);
            if free > 0 {
                let (range, rest) = input.split_at_checked(free).unwrap_or_default();
                *input = rest;
                let range = Range::Input(range);
                self.packed += wide(range.len());
                self.note(&range, held);
                return Ok(Some(range));
            }
        }
        let Some(bytes) = held.gather(DESCRIPTOR_MAX, input) else { return Ok(None) };
        let crc = self.crc.clone().finalize();
        if let Some(length) = signed_descriptor(bytes, crc, self.size, self.size) {
            held.consume(length);
            self.complete = true;
            return Ok(None);
        }
        let free = bytes.get(1..).map_or(1, |rest| 1 + candidate(rest));
        let range = Range::Held(free);
        self.packed += wide(range.len());
        self.note(&range, held);
        Ok(Some(range))
    }
}

fn next_stored<'a>(left: &mut u64, held: &Held, input: &mut &'a [u8]) -> Option<Range<'a>> {
    let limit = usize::try_from(*left).unwrap_or(usize::MAX);
    let range = if held.is_empty() {
        let (taken, rest) = input.split_at_checked(limit.min(input.len()))?;
        *input = rest;
        Range::Input(taken)
    } else {
        Range::Held(limit.min(held.bytes.len()))
    };
    *left -= wide(range.len());
    (range.len() > 0).then_some(range)
}

/// How far one step of unpacking got.
struct Step {
    packed: u64,
    unpacked: usize,
    ended: bool,
}

fn unpack(
    state: &mut InflateState,
    output: &mut [u8],
    held: &mut Held,
    input: &mut &[u8],
) -> Result<Step, ZipError> {
    let from_held = !held.is_empty();
    let source: &[u8] = if from_held { &held.bytes } else { input };
    let result = inflate(state, source, output, MZFlush::None);
    let ended = match result.status {
        Ok(MZStatus::StreamEnd) => true,
        // Nothing to read, or no room: there is more to come.
        Ok(MZStatus::Ok) | Err(MZError::Buf) => false,
        Ok(MZStatus::NeedDict) | Err(_) => return Err(ZipError::Damaged),
    };
    if from_held {
        held.consume(result.bytes_consumed);
    } else {
        *input = input.get(result.bytes_consumed..).unwrap_or_default();
    }
    Ok(Step { packed: wide(result.bytes_consumed), unpacked: result.bytes_written, ended })
}

/// Where a descriptor could start in `bytes`; their length if nowhere.
fn candidate(bytes: &[u8]) -> usize {
    let signature = DESCRIPTOR.to_le_bytes();
    let starts = |at: &usize| {
        let rest = bytes.get(*at..).unwrap_or_default();
        rest.iter().zip(signature).all(|(byte, wanted)| *byte == wanted)
    };
    let mut from = 0;
    while let Some(found) = bytes.get(from..).and_then(|rest| rest.iter().position(|b| *b == b'P'))
    {
        if starts(&(from + found)) {
            return from + found;
        }
        from += found + 1;
    }
    bytes.len()
}

/// Bytes of the descriptor at the start of `bytes` if it states these values, in any of the forms
/// that are in use: with or without a signature, sizes of 32 or 64 bits.
fn descriptor_length(bytes: &[u8], crc: u32, packed: u64, size: u64) -> Option<usize> {
    signed_descriptor(bytes, crc, packed, size)
        .or_else(|| plain_descriptor(bytes, crc, packed, size))
}

fn signed_descriptor(bytes: &[u8], crc: u32, packed: u64, size: u64) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let signed = reader.u32_le() == Ok(DESCRIPTOR);
    signed.then(|| plain_descriptor(reader.rest(), crc, packed, size).map(|length| length + 4))?
}

fn plain_descriptor(bytes: &[u8], crc: u32, packed: u64, size: u64) -> Option<usize> {
    let mut wide = Reader::new(bytes);
    if wide.u32_le() != Ok(crc) {
        return None;
    }
    let mut narrow = wide;
    // The wide form first: of an empty file both forms begin with the same zeros, but after the narrow
    // form follows the signature of the next record.
    if wide.u64_le() == Ok(packed) && wide.u64_le() == Ok(size) {
        return Some(20);
    }
    let mut matches = |value| narrow.u32_le().map(u64::from) == Ok(value);
    (matches(packed) && matches(size)).then_some(12)
}

/// Bytes of the longest descriptor. The table of contents behind it is longer, so as many always
/// follow the data.
const DESCRIPTOR_MAX: usize = 24;

/// Bytes unpacked at once.
const UNPACK: usize = 32 << 10;
