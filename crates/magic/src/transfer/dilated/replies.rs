//! Decodes the receiver's frames: whether the offer is accepted, the chunks that the receiver already has, and its progress.

use std::collections::HashMap;

use super::frame::{self, FrameKind, FramePart, FrameReader};
use super::incoming::exactly;
use super::{FileKey, Hash, Violation};

/// Reads the receiver's frames.
///
/// | state | frame | next |
/// |---|---|---|
/// | `ExpectAccept` | Accept | `ExpectReady` |
/// | `ExpectReady` | Have, within limits | same |
/// | `ExpectReady` | Ready | `Sending` |
/// | `Sending` | Received | same |
/// | `Sending` | Stored, if everything was sent | `Ended` |
/// | any except `Ended` | Refused | `Ended` |
/// | any | any other | error |
#[derive(Debug, Default)]
pub struct Replies {
    frames: FrameReader,
    state: State,
    claims: Claims,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    ExpectAccept,
    ExpectReady,
    Sending,
    Ended,
}

/// A reply of the receiver.
#[derive(Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a sender must handle all of them")]
pub enum Reply {
    /// The offer is accepted; the receiver now says what it has.
    Accepted,
    /// The receiver waits for data: send what it does not have.
    Ready(Claims),
    /// The receiver has this many bytes, including those that it had before.
    Received(u64),
    /// Everything is stored under its final name.
    Stored,
    /// The receiver does not accept the offer or cannot go on, for this reason. Nothing follows.
    Refused(String),
}

/// The chunks that the receiver claims to have from an earlier attempt.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Claims {
    files: HashMap<FileKey, Vec<Hash>>,
    /// Memory that the files and hashes need, in bytes.
    memory: usize,
    /// How many bytes the receiver claims to have.
    pub bytes: u64,
}

impl Claims {
    /// The hashes of the chunks that the receiver has of a file, from its beginning.
    pub fn take(&mut self, key: &FileKey) -> Vec<Hash> {
        self.files.remove(key).unwrap_or_default()
    }

    /// Adds hashes of a file. Returns false if that exceeds the limit.
    pub fn add(&mut self, key: FileKey, hashes: &[Hash]) -> bool {
        self.memory = self.memory.saturating_add(size_of_val(hashes));
        if !self.files.contains_key(&key) {
            self.memory = self.memory.saturating_add(FILE_MEMORY);
        }
        let fits = self.memory <= MAX_CLAIMS;
        if fits {
            self.files.entry(key).or_default().extend_from_slice(hashes);
        }
        fits
    }
}

impl Replies {
    /// Expects that the offer is accepted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next part from the front of `input`; `None` if more input is needed.
    ///
    /// # Errors
    /// The receiver violates the protocol: end the transfer.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Violation> {
        loop {
            let (kind, contents) = match self.frames.next(input)? {
                None => return Ok(None),
                Some(FramePart::Frame(kind, contents)) => (kind, contents),
                Some(FramePart::Data(_)) => return Err(Violation::OutOfOrder),
            };
            if let Some(reply) = self.on_frame(kind, &contents)? {
                return Ok(Some(reply));
            }
        }
    }

    fn on_frame(&mut self, kind: FrameKind, contents: &[u8]) -> Result<Option<Reply>, Violation> {
        match (self.state, kind) {
            (State::ExpectAccept, FrameKind::Accept) => {
                let [] = exactly(contents)?;
                self.state = State::ExpectReady;
                Ok(Some(Reply::Accepted))
            }
            (State::ExpectReady, FrameKind::Have) => {
                let (key, hashes) =
                    contents.split_first_chunk::<16>().ok_or(Violation::Malformed)?;
                let (hashes, []) = hashes.as_chunks::<32>() else {
                    return Err(Violation::Malformed);
                };
                let fits = self.claims.add(*key, hashes);
                if fits { Ok(None) } else { Err(Violation::WrongClaim) }
            }
            (State::ExpectReady, FrameKind::Ready) => {
                self.claims.bytes = u64::from_be_bytes(exactly(contents)?);
                self.state = State::Sending;
                Ok(Some(Reply::Ready(std::mem::take(&mut self.claims))))
            }
            (State::Sending, FrameKind::Received) => {
                Ok(Some(Reply::Received(u64::from_be_bytes(exactly(contents)?))))
            }
            (State::Sending, FrameKind::Stored) => {
                let [] = exactly(contents)?;
                self.state = State::Ended;
                Ok(Some(Reply::Stored))
            }
            (State::ExpectAccept | State::ExpectReady | State::Sending, FrameKind::Refused) => {
                let reason = frame::reason(contents)?;
                self.state = State::Ended;
                Ok(Some(Reply::Refused(reason)))
            }
            _ => Err(Violation::OutOfOrder),
        }
    }
}

/// Maximum memory for claims in bytes. A receiver that has more claims only the first files.
const MAX_CLAIMS: usize = 8 << 20;

/// Memory for a file in addition to its hashes, in bytes.
const FILE_MEMORY: usize = 96;
