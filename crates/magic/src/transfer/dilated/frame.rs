//! Frames: a kind, a length, and the contents.
//!
//! The functions of this module append frames to a buffer. A frame of data can also be made in place: append
//! [`HEADER`] bytes and the data, then call [`set_header`].

use super::message::{
    FileEntry, FolderEntry, encode_file, encode_folder, encode_link, encode_offer,
};
use super::{FileKey, Hash, LinkEntry, Violation};
use crate::transfer::Offer;

/// The kinds of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "both sides need all of them")]
#[repr(u8)]
pub enum FrameKind {
    /// The offer.
    Offer = 1,
    /// A file begins.
    File = 2,
    /// A folder that is complete.
    Folder = 3,
    /// Contents of the current file.
    Data = 4,
    /// The next data replaces this chunk of the current file.
    Chunk = 5,
    /// The current file is complete.
    FileEnd = 6,
    /// The current file cannot be read completely: remove it.
    Omit = 7,
    /// Everything was sent.
    End = 8,
    /// The sender cannot go on.
    Failed = 9,
    /// The sender of this offers nothing more. It is the only frame of its stream.
    Finished = 10,
    /// A symbolic link.
    Link = 11,
    /// Contents of the current file, compressed.
    Compressed = 12,
    /// The receiver accepts the offer.
    Accept = 16,
    /// The hashes of the chunks of a file that the receiver has.
    Have = 17,
    /// The receiver waits for data.
    Ready = 18,
    /// How much the receiver has received.
    Received = 19,
    /// Everything is stored under its final name.
    Stored = 20,
    /// The receiver does not accept the offer, or cannot go on.
    Refused = 21,
}

impl FrameKind {
    const fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Offer,
            2 => Self::File,
            3 => Self::Folder,
            4 => Self::Data,
            5 => Self::Chunk,
            6 => Self::FileEnd,
            7 => Self::Omit,
            8 => Self::End,
            9 => Self::Failed,
            10 => Self::Finished,
            11 => Self::Link,
            12 => Self::Compressed,
            16 => Self::Accept,
            17 => Self::Have,
            18 => Self::Ready,
            19 => Self::Received,
            20 => Self::Stored,
            21 => Self::Refused,
            _ => return None,
        })
    }

    #[expect(clippy::as_conversions, reason = "the discriminants are the bytes")]
    const fn byte(self) -> u8 {
        self as u8
    }
}

/// The header of a frame.
pub fn header(kind: FrameKind, length: u32) -> [u8; HEADER] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind.byte(), a, b, c, d]
}

/// Fills in the header of a frame of data that begins at `start` and ends with the buffer.
pub fn set_header(buffer: &mut [u8], start: usize) {
    let Some(frame) = buffer.get_mut(start..) else { return };
    let length = u32::try_from(frame.len().saturating_sub(HEADER)).unwrap_or(u32::MAX);
    frame.iter_mut().zip(header(FrameKind::Data, length)).for_each(|(to, byte)| *to = byte);
}

/// Appends the offer.
pub fn offer(buffer: &mut Vec<u8>, offer: &Offer) {
    frame(buffer, FrameKind::Offer, &encode_offer(offer));
}

/// Appends the beginning of a file.
pub fn file(buffer: &mut Vec<u8>, entry: &FileEntry) {
    frame(buffer, FrameKind::File, &encode_file(entry));
}

/// Appends a folder.
pub fn folder(buffer: &mut Vec<u8>, entry: &FolderEntry) {
    frame(buffer, FrameKind::Folder, &encode_folder(entry));
}

/// Appends a symbolic link.
pub fn link(buffer: &mut Vec<u8>, entry: &LinkEntry) {
    frame(buffer, FrameKind::Link, &encode_link(entry));
}

/// Appends compressed contents of a file, which have `plain` bytes when they are decompressed.
pub fn compressed(buffer: &mut Vec<u8>, plain: u32, bytes: &[u8]) {
    frame(buffer, FrameKind::Compressed, &[&plain.to_be_bytes(), bytes].concat());
}

/// Appends the number of a chunk that the next data replaces.
pub fn chunk(buffer: &mut Vec<u8>, index: u64) {
    frame(buffer, FrameKind::Chunk, &index.to_be_bytes());
}

/// Appends the end of a file, with its hash.
pub fn file_end(buffer: &mut Vec<u8>, hash: &Hash) {
    frame(buffer, FrameKind::FileEnd, hash);
}

/// Appends that the receiver should remove the current file.
pub fn omit(buffer: &mut Vec<u8>) {
    frame(buffer, FrameKind::Omit, &[]);
}

/// Appends the end of everything.
pub fn end(buffer: &mut Vec<u8>) {
    frame(buffer, FrameKind::End, &[]);
}

/// Appends that the offer is accepted.
pub fn accept(buffer: &mut Vec<u8>) {
    frame(buffer, FrameKind::Accept, &[]);
}

/// Appends the hashes of the chunks of a file that the receiver has.
pub fn have(buffer: &mut Vec<u8>, key: &FileKey, hashes: &[Hash]) {
    for hashes in hashes.chunks(MAX_HASHES) {
        frame(buffer, FrameKind::Have, &[key.as_slice(), hashes.as_flattened()].concat());
    }
}

/// Appends that the receiver waits for data, and how many bytes it claims to have.
pub fn ready(buffer: &mut Vec<u8>, claimed: u64) {
    frame(buffer, FrameKind::Ready, &claimed.to_be_bytes());
}

/// Appends how many bytes have arrived.
pub fn received(buffer: &mut Vec<u8>, bytes: u64) {
    frame(buffer, FrameKind::Received, &bytes.to_be_bytes());
}

/// Appends that everything is stored.
pub fn stored(buffer: &mut Vec<u8>) {
    frame(buffer, FrameKind::Stored, &[]);
}

/// Appends that the sender cannot go on, for this reason.
pub fn failed(buffer: &mut Vec<u8>, reason: &str) {
    frame(buffer, FrameKind::Failed, short(reason).as_bytes());
}

/// Appends that nothing more is offered.
pub fn finished(buffer: &mut Vec<u8>) {
    frame(buffer, FrameKind::Finished, &[]);
}

/// Appends that the receiver does not accept the offer or cannot go on, for this reason.
pub fn refused(buffer: &mut Vec<u8>, reason: &str) {
    frame(buffer, FrameKind::Refused, short(reason).as_bytes());
}

/// The beginning of a reason, if it is too long.
fn short(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    reason.get(..end).unwrap_or_default()
}

/// Reads a reason. Whoever shows it escapes it.
pub(super) fn reason(contents: &[u8]) -> Result<String, Violation> {
    let reason = std::str::from_utf8(contents).map_err(|_| Violation::Malformed)?;
    if reason.len() <= MAX_REASON { Ok(reason.to_owned()) } else { Err(Violation::Malformed) }
}

/// Appends a frame. The contents must be shorter than 4 GiB.
fn frame(buffer: &mut Vec<u8>, kind: FrameKind, contents: &[u8]) {
    let length = u32::try_from(contents.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&header(kind, length));
    buffer.extend_from_slice(contents);
}

/// Reads frames from a stream that arrives in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    header: Vec<u8>,
    contents: Vec<u8>,
    /// The frame whose contents are being read, and how many bytes of it are missing.
    current: Option<(FrameKind, usize)>,
}

/// A frame, or a part of the data.
#[derive(Debug)]
pub(super) enum FramePart<'a> {
    /// A part of the contents of a frame of data.
    Data(&'a [u8]),
    /// Another frame.
    Frame(FrameKind, Vec<u8>),
}

impl FrameReader {
    /// Whether nothing of a further frame has arrived.
    pub(super) fn is_between_frames(&self) -> bool {
        self.header.is_empty() && self.current.is_none()
    }

    /// Takes the next part from the front of `input`; `None` if more input is needed.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<FramePart<'a>>, Violation> {
        loop {
            let Some((kind, left)) = self.current else {
                if !self.read_header(input)? {
                    return Ok(None);
                }
                continue;
            };
            if left > 0 && input.is_empty() {
                return Ok(None);
            }
            let part = take(input, left);
            let left = left.saturating_sub(part.len());
            self.current = (left > 0).then_some((kind, left));
            if kind == FrameKind::Data {
                if part.is_empty() {
                    continue;
                }
                return Ok(Some(FramePart::Data(part)));
            }
            self.contents.extend_from_slice(part);
            if left == 0 {
                return Ok(Some(FramePart::Frame(kind, std::mem::take(&mut self.contents))));
            }
        }
    }

    /// Returns whether the header is complete.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        let missing = HEADER.saturating_sub(self.header.len());
        self.header.extend_from_slice(take(input, missing));
        let Some([kind, length @ ..]) = self.header.first_chunk::<HEADER>().copied() else {
            return Ok(false);
        };
        self.header.clear();
        let kind = FrameKind::parse(kind).ok_or(Violation::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(length));
        let length = length.map_err(|_| Violation::Malformed)?;
        let most = if kind == FrameKind::Compressed { MAX_BLOCK } else { MAX_CONTENTS };
        if kind != FrameKind::Data && length > most {
            return Err(Violation::Malformed);
        }
        self.current = Some((kind, length));
        Ok(true)
    }
}

/// Takes at most this many bytes from the front.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (now, later) = input.split_at(most.min(input.len()));
    *input = later;
    now
}

/// Size of the header of a frame in bytes.
pub const HEADER: usize = 5;

/// Maximum size of the contents of all frames except for data, in bytes: a path has at most 4096.
pub(super) const MAX_CONTENTS: usize = 8 << 10;

/// Maximum size of a compressed block in bytes, before and after it is decompressed.
pub const MAX_BLOCK: usize = 128 << 10;

/// Maximum length of a reason in bytes.
const MAX_REASON: usize = 1000;

/// Maximum number of hashes in one frame.
const MAX_HASHES: usize = 200;
