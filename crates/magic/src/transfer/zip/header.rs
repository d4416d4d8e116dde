//! The fixed records of a zip: local headers, entries and end of the central directory.
//!
//! Only encoding and decoding; [`super::read`] checks the values.

use wormhole_kit::{Reader, TooShort, UnixTime, Utc};

use super::{
    CENTRAL, END, END_64, EXTRA_TIMESTAMP, EXTRA_ZIP64, FLAG_UTF8, LOCAL, LOCATOR_64, OMISSION,
    STORED, to_u64,
};

/// The header before the data of a file.
#[derive(Debug)]
pub(super) struct LocalHeader {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    pub(super) name: Vec<u8>,
    /// Exact modification time in seconds since 1970, if present.
    pub(super) modified: Option<i64>,
}

/// Size of a local header before its name in bytes.
pub(super) const LOCAL_FIXED: usize = 30;

/// Total size of name and extra field, from the first [`LOCAL_FIXED`] bytes.
pub(super) fn local_rest(header: &[u8]) -> Result<usize, TooShort> {
    let mut reader = Reader::new(header);
    reader.take(26)?;
    Ok(usize::from(reader.u16_le()?) + usize::from(reader.u16_le()?))
}

impl LocalHeader {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TooShort> {
        let mut reader = Reader::new(bytes);
        reader.take(6)?;
        let (flags, method) = (reader.u16_le()?, reader.u16_le()?);
        let _dos_time = reader.u32_le()?;
        let crc = reader.u32_le()?;
        let (mut compressed, mut size) = (u64::from(reader.u32_le()?), u64::from(reader.u32_le()?));
        let (name, extra) = (usize::from(reader.u16_le()?), usize::from(reader.u16_le()?));
        let name = reader.take(name)?.to_vec();
        let extra = Extra::parse(reader.take(extra)?, &mut [&mut size, &mut compressed]);
        Ok(Self { flags, method, crc, compressed, size, name, modified: extra.modified })
    }
}

/// An entry of the central directory.
#[derive(Debug)]
pub(super) struct CentralHeader {
    pub(super) crc: u32,
    pub(super) size: u64,
    pub(super) name: Vec<u8>,
    /// Type and permissions, if the entry was made on Unix.
    pub(super) mode: Option<u32>,
    /// Exact modification time in seconds since 1970, if present.
    pub(super) modified: Option<i64>,
}

/// Size of an entry before its name in bytes.
pub(super) const CENTRAL_FIXED: usize = 46;

/// Total size of name, extra field and comment, from the first [`CENTRAL_FIXED`] bytes.
pub(super) fn central_rest(header: &[u8]) -> Result<usize, TooShort> {
    let mut reader = Reader::new(header);
    reader.take(28)?;
    let (name, extra, comment) = (reader.u16_le()?, reader.u16_le()?, reader.u16_le()?);
    Ok(usize::from(name) + usize::from(extra) + usize::from(comment))
}

impl CentralHeader {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TooShort> {
        let mut reader = Reader::new(bytes);
        reader.take(5)?;
        let made_by = reader.u8()?;
        reader.take(10)?;
        let crc = reader.u32_le()?;
        let (mut compressed, mut size) = (u64::from(reader.u32_le()?), u64::from(reader.u32_le()?));
        let (name, extra) = (usize::from(reader.u16_le()?), usize::from(reader.u16_le()?));
        reader.take(6)?;
        let attributes = reader.u32_le()?;
        let mut offset = u64::from(reader.u32_le()?);
        let name = reader.take(name)?.to_vec();
        let fields = &mut [&mut size, &mut compressed, &mut offset];
        let modified = Extra::parse(reader.take(extra)?, fields).modified;
        let mode = (made_by == MADE_BY_UNIX).then_some(attributes >> 16);
        Ok(Self { crc, size, name, mode, modified })
    }
}

/// The number of entries in the end of the central directory.
pub(super) fn end_entries(end: &[u8]) -> Result<u64, TooShort> {
    let mut reader = Reader::new(end);
    reader.take(10)?;
    reader.u16_le().map(u64::from)
}

/// The number of entries in the ZIP64 end of the central directory.
pub(super) fn end_64_entries(end: &[u8]) -> Result<u64, TooShort> {
    let mut reader = Reader::new(end);
    reader.take(32)?;
    reader.u64_le()
}

/// Size of [`END_64`] after its first 12 bytes, which contain it.
pub(super) fn end_64_rest(end: &[u8]) -> Result<u64, TooShort> {
    let mut reader = Reader::new(end);
    reader.take(4)?;
    reader.u64_le()
}

/// Size of the comment after the end, from its first [`END_FIXED`] bytes.
pub(super) fn end_rest(end: &[u8]) -> Result<usize, TooShort> {
    let mut reader = Reader::new(end);
    reader.take(20)?;
    reader.u16_le().map(usize::from)
}

/// Size of the end before its comment in bytes.
pub(super) const END_FIXED: usize = 22;

/// Size of the ZIP64 end without extensions in bytes.
pub(super) const END_64_FIXED: usize = 56;

/// Size of the ZIP64 locator in bytes.
pub(super) const LOCATOR_LENGTH: usize = 20;

/// The supported extra fields.
#[derive(Default)]
struct Extra {
    modified: Option<i64>,
}

impl Extra {
    /// Parses extra fields; `saturated` are the fields that may be stored in the ZIP64 one, in its order. Invalid fields
    /// are skipped, because programs put anything here.
    fn parse(bytes: &[u8], saturated: &mut [&mut u64]) -> Self {
        let mut extra = Self::default();
        let mut reader = Reader::new(bytes);
        while let (Ok(id), Ok(length)) = (reader.u16_le(), reader.u16_le()) {
            let Ok(field) = reader.take(usize::from(length)) else { break };
            let mut field = Reader::new(field);
            if id == EXTRA_ZIP64 {
                for value in saturated.iter_mut().filter(|value| ***value == ZIP64_MARKER) {
                    if let Ok(wide) = field.u64_le() {
                        **value = wide;
                    }
                }
            } else if id == EXTRA_TIMESTAMP
                && let (Ok(flags), Ok(seconds)) = (field.u8(), field.u32_le())
                && flags & 1 == 1
            {
                extra.modified = Some(i64::from(seconds.cast_signed()));
            }
        }
        extra
    }
}

/// The common fields of both headers of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) name: &'a [u8],
    pub(super) flags: u16,
    pub(super) crc: u32,
    pub(super) size: u64,
    pub(super) modified: i64,
}

/// Writes the header before the data of an entry.
pub(super) fn write_local(fields: Fields<'_>, out: &mut Vec<u8>) {
    let wide = needs_zip64(fields.size);
    out.extend(LOCAL.to_le_bytes());
    write_common(fields, wide, out);
    out.extend(
        to_u16_or_marker(if wide { EXTRA_TIME + EXTRA_SIZES } else { EXTRA_TIME }).to_le_bytes(),
    );
    out.extend(fields.name);
    write_timestamp(fields.modified, out);
    if wide {
        write_wide(&[fields.size, fields.size], out);
    }
}

/// Writes an entry of the central directory.
pub(super) fn write_central(fields: Fields<'_>, mode: u32, offset: u64, out: &mut Vec<u8>) {
    write_directory_entry(CENTRAL, fields, mode, offset, out);
}

/// Writes the same fields as [`write_central`], with a signature that only this program knows.
pub(super) fn write_omission(fields: Fields<'_>, mode: u32, offset: u64, out: &mut Vec<u8>) {
    write_directory_entry(OMISSION, fields, mode, offset, out);
}

fn write_directory_entry(
    signature: u32,
    fields: Fields<'_>,
    mode: u32,
    offset: u64,
    out: &mut Vec<u8>,
) {
    let mut wide = Vec::new();
    if needs_zip64(fields.size) {
        wide.extend([fields.size, fields.size]);
    }
    if needs_zip64(offset) {
        wide.push(offset);
    }
    out.extend(signature.to_le_bytes());
    out.extend([version(!wide.is_empty()), MADE_BY_UNIX]);
    write_common(fields, !wide.is_empty(), out);
    let extra = EXTRA_TIME + if wide.is_empty() { 0 } else { 4 + 8 * wide.len() };
    out.extend(to_u16_or_marker(extra).to_le_bytes());
    // No comment, first disk, no internal attributes.
    out.extend([0; 6]);
    let is_folder = if fields.name.ends_with(b"/") { ATTRIBUTE_FOLDER } else { 0 };
    out.extend(((mode << 16) | is_folder).to_le_bytes());
    out.extend(to_u32_or_marker(offset).to_le_bytes());
    out.extend(fields.name);
    write_timestamp(fields.modified, out);
    if !wide.is_empty() {
        write_wide(&wide, out);
    }
}

/// Writes the end of the central directory, which has `size` bytes from `offset` on. With `is_64`, the ZIP64 end
/// precedes it.
pub(super) fn write_end(entries: u64, size: u64, offset: u64, is_64: bool, out: &mut Vec<u8>) {
    if is_64 {
        out.extend(END_64.to_le_bytes());
        out.extend(to_u64(END_64_FIXED - 12).to_le_bytes());
        out.extend([VERSION_64, MADE_BY_UNIX, VERSION_64, 0]);
        out.extend([0; 8]);
        for value in [entries, entries, size, offset] {
            out.extend(value.to_le_bytes());
        }
        out.extend(LOCATOR_64.to_le_bytes());
        out.extend([0; 4]);
        out.extend((offset + size).to_le_bytes());
        out.extend(1_u32.to_le_bytes());
    }
    let count = u16::try_from(entries).unwrap_or(u16::MAX).to_le_bytes();
    out.extend(END.to_le_bytes());
    out.extend([0; 4]);
    out.extend(count);
    out.extend(count);
    out.extend(to_u32_or_marker(size).to_le_bytes());
    out.extend(to_u32_or_marker(offset).to_le_bytes());
    out.extend([0; 2]);
}

/// Number of bytes that [`write_local`] writes.
pub(super) const fn local_length(name: usize, size: u64) -> usize {
    LOCAL_FIXED + name + EXTRA_TIME + if needs_zip64(size) { EXTRA_SIZES } else { 0 }
}

/// Number of bytes that [`write_central`] writes.
pub(super) const fn central_length(name: usize, size: u64, offset: u64) -> usize {
    let wide = if needs_zip64(size) { 16 } else { 0 } + if needs_zip64(offset) { 8 } else { 0 };
    CENTRAL_FIXED + name + EXTRA_TIME + if wide == 0 { 0 } else { 4 + wide }
}

/// Number of bytes that [`write_end`] writes.
pub(super) const fn end_length(entries: u64, size: u64, offset: u64) -> usize {
    let wide = needs_end_64(entries, size, offset);
    END_FIXED + if wide { END_64_FIXED + LOCATOR_LENGTH } else { 0 }
}

/// Whether a number does not fit into 32 bits (the maximum value refers to the ZIP64 field).
pub(super) const fn needs_zip64(value: u64) -> bool {
    value >= ZIP64_MARKER
}

/// Writes version, flags, method, time, CRC, sizes and the name's length.
fn write_common(fields: Fields<'_>, wide: bool, out: &mut Vec<u8>) {
    out.extend([version(wide), 0]);
    out.extend((fields.flags | FLAG_UTF8).to_le_bytes());
    out.extend(STORED.to_le_bytes());
    out.extend(dos_time(fields.modified).to_le_bytes());
    out.extend(fields.crc.to_le_bytes());
    out.extend(to_u32_or_marker(fields.size).to_le_bytes());
    out.extend(to_u32_or_marker(fields.size).to_le_bytes());
    out.extend(to_u16_or_marker(fields.name.len()).to_le_bytes());
}

fn write_timestamp(modified: i64, out: &mut Vec<u8>) {
    let seconds = i32::try_from(modified).unwrap_or(if modified < 0 { i32::MIN } else { i32::MAX });
    out.extend(EXTRA_TIMESTAMP.to_le_bytes());
    out.extend([5, 0, 1]);
    out.extend(seconds.to_le_bytes());
}

fn write_wide(values: &[u64], out: &mut Vec<u8>) {
    out.extend(EXTRA_ZIP64.to_le_bytes());
    out.extend(to_u16_or_marker(8 * values.len()).to_le_bytes());
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// Whether a number does not fit into the plain end.
pub(super) const fn needs_end_64(entries: u64, size: u64, offset: u64) -> bool {
    entries >= 0xffff || needs_zip64(size) || needs_zip64(offset)
}

const fn version(wide: bool) -> u8 {
    if wide { VERSION_64 } else { 20 }
}

fn to_u32_or_marker(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Names have at most [`super::path::MAX_PATH`] bytes, and extra fields are far shorter.
fn to_u16_or_marker(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// MS-DOS date and time, in UTC, from 1980 to 2107.
fn dos_time(seconds: i64) -> u32 {
    let Utc { year, month, day, hour, minute, second } = UnixTime::from_secs(seconds).utc();
    let Some(year) = u32::try_from(year).ok().and_then(|year| year.checked_sub(1980)) else {
        return (1 << 21) | (1 << 16);
    };
    if year > 127 {
        return u32::MAX;
    }
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(u32::from);
    let date = (year << 9) | (month << 5) | day;
    let time = (hour << 11) | (minute << 5) | (second / 2);
    (date << 16) | time
}

/// A 32-bit field with this value refers to the ZIP64 extra field.
const ZIP64_MARKER: u64 = 0xffff_ffff;

const MADE_BY_UNIX: u8 = 3;
const VERSION_64: u8 = 45;
const ATTRIBUTE_FOLDER: u32 = 0x10;

/// Size of the extra field with a time in bytes.
const EXTRA_TIME: usize = 9;

/// Size of the extra field with two sizes in bytes.
const EXTRA_SIZES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times_are_exact_to_two_seconds_and_clamped() {
        assert_eq!(dos_time(0), 0x0021_0000);
        assert_eq!(dos_time(315_532_800), 0x0021_0000);
        // 2026-11-22 08:46:11
        assert_eq!(dos_time(1_795_337_171), (46 << 9 | 11 << 5 | 22) << 16 | 8 << 11 | 46 << 5 | 5);
        // 2024-02-29 23:59:58
        assert_eq!(
            dos_time(1_709_251_198),
            (44 << 9 | 2 << 5 | 29) << 16 | 23 << 11 | 59 << 5 | 29
        );
        assert_eq!(dos_time(i64::MAX), u32::MAX);
        assert_eq!(dos_time(i64::MIN), 0x0021_0000);
    }
}
