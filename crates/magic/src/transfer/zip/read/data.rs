//! Reads the data of one file: finds its end, decompresses it, and checks its CRC.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use wormhole_kit::Reader;

use super::super::header::LocalHeader;
use super::super::{DEFLATED, DESCRIPTOR, FLAG_DESCRIPTOR, to_u64};
use super::{ZipError, ZipPath};

/// Buffered input: the start of an incomplete header, or data that will be returned next.
#[derive(Default)]
pub(super) struct InputBuffer {
    bytes: Vec<u8>,
    /// Number of bytes at the front that were returned to the caller; the next call drops them.
    returned: usize,
}

impl InputBuffer {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Drops the bytes that were returned.
    pub(super) fn release(&mut self) {
        let returned = std::mem::take(&mut self.returned);
        self.consume(returned);
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }

    /// The first `count` bytes; takes the missing ones from the input. `None` if the input has too few.
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

/// The location of the bytes that the reader returns next.
pub(super) enum DataLocation<'a> {
    /// In the input itself.
    Input(&'a [u8]),
    /// At the front of the input buffer.
    Buffered(usize),
    /// In the buffer that is unpacked into.
    Unpacked(usize),
}

impl DataLocation<'_> {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Input(bytes) => bytes.len(),
            Self::Buffered(length) | Self::Unpacked(length) => *length,
        }
    }
}

/// The data of the file that is being read.
pub(super) struct FileData {
    path: ZipPath,
    form: DataKind,
    crc: crc32fast::Hasher,
    size: u64,
    /// Number of compressed bytes read so far.
    packed: u64,
    /// CRC and sizes from the header, if they are not in a descriptor.
    expected: Option<(u32, u64, u64)>,
    complete: bool,
}

enum DataKind {
    /// Stored, with this number of bytes left.
    Stored { left: u64 },
    /// Stored, with an unknown length: ends at a matching data descriptor.
    Scanned,
    /// Compressed; the compressed stream marks its own end.
    Deflated { state: Box<InflateState>, output: Vec<u8>, ended: bool },
}

impl FileData {
    pub(super) fn new(header: &LocalHeader, path: ZipPath) -> Self {
        let has_descriptor = header.flags & FLAG_DESCRIPTOR != 0;
        let form = if header.method == DEFLATED {
            let state = InflateState::new_boxed(DataFormat::Raw);
            DataKind::Deflated { state, output: vec![0; UNPACK], ended: false }
        } else if has_descriptor && header.size == 0 {
            DataKind::Scanned
        } else {
            DataKind::Stored { left: header.size }
        };
        let expected = (!has_descriptor).then_some((header.crc, header.size, header.compressed));
        let crc = crc32fast::Hasher::new();
        Self { path, form, crc, size: 0, packed: 0, expected, complete: false }
    }

    /// Whether the file is complete and its CRC is correct.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Path, CRC and size.
    pub(super) fn result(&self) -> (&ZipPath, u32, u64) {
        (&self.path, self.crc.clone().finalize(), self.size)
    }

    /// The bytes of a range.
    pub(super) fn slice<'a>(&'a self, range: &DataLocation<'a>, held: &'a InputBuffer) -> &'a [u8] {
        match (range, &self.form) {
            (DataLocation::Input(bytes), _) => bytes,
            (DataLocation::Buffered(length), _) => held.bytes.get(..*length).unwrap_or_default(),
            (DataLocation::Unpacked(length), DataKind::Deflated { output, .. }) => {
                output.get(..*length).unwrap_or_default()
            }
            (DataLocation::Unpacked(_), DataKind::Stored { .. } | DataKind::Scanned) => &[],
        }
    }

    /// Produces the next bytes; `None` when more input is needed, or when it is complete.
    pub(super) fn next<'a>(
        &mut self,
        held: &mut InputBuffer,
        input: &mut &'a [u8],
    ) -> Result<Option<DataLocation<'a>>, ZipError> {
        let range = match &mut self.form {
            DataKind::Stored { left } => next_stored(left, held, input),
            DataKind::Scanned => return self.next_scanned(held, input),
            DataKind::Deflated { state, output, ended: false } => {
                let step = unpack(state, output, held, input)?;
                self.packed += step.packed;
                if let DataKind::Deflated { ended, .. } = &mut self.form {
                    *ended = step.ended;
                }
                match step.unpacked {
                    0 if !step.ended => return Ok(None),
                    0 => None,
                    count => Some(DataLocation::Unpacked(count)),
                }
            }
            DataKind::Deflated { .. } => None,
        };
        let Some(range) = range else {
            if self.has_ended() {
                self.check(held, input)?;
            }
            return Ok(None);
        };
        if !matches!(range, DataLocation::Unpacked(_)) {
            self.packed += to_u64(range.len());
        }
        self.count_bytes(&range, held);
        Ok(Some(range))
    }

    const fn has_ended(&self) -> bool {
        match self.form {
            DataKind::Stored { left } => left == 0,
            DataKind::Deflated { ended, .. } => ended,
            DataKind::Scanned => false,
        }
    }

    /// Adds bytes that will be returned to the CRC and to the size. Bytes in the buffer are marked as
    /// returned.
    fn count_bytes(&mut self, range: &DataLocation<'_>, held: &mut InputBuffer) {
        let bytes = match range {
            DataLocation::Input(bytes) => bytes,
            DataLocation::Buffered(length) => {
                held.returned = *length;
                held.bytes.get(..*length).unwrap_or_default()
            }
            DataLocation::Unpacked(length) => match &self.form {
                DataKind::Deflated { output, .. } => output.get(..*length).unwrap_or_default(),
                DataKind::Stored { .. } | DataKind::Scanned => &[],
            },
        };
        self.crc.update(bytes);
        self.size += to_u64(bytes.len());
    }

    /// Compares CRC and sizes with the header, or with the descriptor once it has arrived.
    fn check(&mut self, held: &mut InputBuffer, input: &mut &[u8]) -> Result<(), ZipError> {
        let crc = self.crc.clone().finalize();
        let right = if let Some(expected) = self.expected {
            expected == (crc, self.size, self.packed)
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

    /// Returns the bytes that cannot be the start of a descriptor, or finds the descriptor.
    ///
    /// A file may contain bytes that look like a descriptor. But it is practically impossible that such bytes
    /// also have the correct CRC and length of all bytes before them by chance.
    fn next_scanned<'a>(
        &mut self,
        held: &mut InputBuffer,
        input: &mut &'a [u8],
    ) -> Result<Option<DataLocation<'a>>, ZipError> {
        if held.is_empty() {
            let free = candidate(input);
            if free > 0 {
                let (range, rest) = input.split_at_checked(free).unwrap_or_default();
                *input = rest;
                let range = DataLocation::Input(range);
                self.packed += to_u64(range.len());
                self.count_bytes(&range, held);
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
        let range = DataLocation::Buffered(free);
        self.packed += to_u64(range.len());
        self.count_bytes(&range, held);
        Ok(Some(range))
    }
}

fn next_stored<'a>(
    left: &mut u64,
    held: &InputBuffer,
    input: &mut &'a [u8],
) -> Option<DataLocation<'a>> {
    let limit = usize::try_from(*left).unwrap_or(usize::MAX);
    let range = if held.is_empty() {
        let (taken, rest) = input.split_at_checked(limit.min(input.len()))?;
        *input = rest;
        DataLocation::Input(taken)
    } else {
        DataLocation::Buffered(limit.min(held.bytes.len()))
    };
    *left -= to_u64(range.len());
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
    held: &mut InputBuffer,
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
    Ok(Step { packed: to_u64(result.bytes_consumed), unpacked: result.bytes_written, ended })
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

/// Length of the descriptor at the start of `bytes`, if it has these values, in any of the four known forms:
/// with or without a signature, with sizes of 32 or 64 bits.
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
