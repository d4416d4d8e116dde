//! File transfer over a dilated connection, without I/O (docs/dilated-transfer.md).
//!
//! Files are sent one after another without a zip, each with a hash. A receiver that has parts of an earlier attempt says so
//! after it has accepted, and then only the rest is sent. The sender writes frames with [`frame`], and reads the receiver's
//! with [`Replies`]; the receiver reads the sender's with [`Incoming`]. [`Journal`] is what a receiver keeps about an
//! incomplete file or folder. Hashes are computed by the caller.

pub mod frame;
mod incoming;
mod journal;
mod link;
mod message;
mod replies;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_json::{Value, json};

pub use incoming::{Incoming, Received};
pub use journal::{Journal, JournalFile, JournalHeader, MAX_JOURNAL};
pub use link::{LinkEntry, LinkTarget};
pub use message::{FileEntry, FolderEntry};
pub use replies::{Claims, Replies, Reply};

use super::PeerName;
use super::zip::ZipPath;
use super::zip::path::UnsafePath;

/// The subprotocol of the stream that carries an offer and its files.
pub const SUBPROTOCOL: &str = "wormhole-dilated-transfer";

/// The hash of a chunk, or of all hashes of the chunks of a file.
pub type Hash = [u8; 32];

/// Identifies a file of an offer: the beginning of a hash of its path, size and time.
pub type FileKey = [u8; 16];

/// The role of a side in a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "both sides know all of them")]
pub enum Mode {
    /// It sends.
    Send,
    /// It receives.
    Receive,
    /// It offers and receives, any number of times.
    Share,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Share => "share",
        }
    }

    /// The mode that the other side must have.
    const fn opposite(self) -> Self {
        match self {
            Self::Send => Self::Receive,
            Self::Receive => Self::Send,
            Self::Share => Self::Share,
        }
    }

    /// Adds to the application versions that this side can transfer files over a dilated connection.
    pub fn announce(self, app_versions: &mut Value) {
        if let Some(versions) = app_versions.as_object_mut() {
            let announcement = json!({ "mode": self.name(), "features": Features::OURS.names() });
            versions.insert(SUBPROTOCOL.to_owned(), announcement);
        }
    }

    /// Whether the peer has announced the mode that belongs to ours, with the features that we need.
    pub fn fits(self, app_versions: &Value) -> bool {
        let mode = app_versions.get(SUBPROTOCOL).and_then(|it| it.get("mode"));
        mode.and_then(Value::as_str) == Some(self.opposite().name())
            && has_feature(app_versions, FEATURE)
    }
}

/// What a side supports in addition to what both sides need.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "each feature has to be handled")]
pub struct Features {
    /// As a receiver, it creates symbolic links.
    pub links: bool,
    /// As a receiver, it decompresses data.
    pub zstd: bool,
}

impl Features {
    /// Our own. On Windows, creating links needs a special permission.
    pub const OURS: Self = Self { links: cfg!(unix), zstd: true };

    /// Those of the peer.
    pub fn of_peer(app_versions: &Value) -> Self {
        Self { links: has_feature(app_versions, LINKS), zstd: has_feature(app_versions, ZSTD) }
    }

    fn names(self) -> Vec<&'static str> {
        let names = [(true, FEATURE), (self.links, LINKS), (self.zstd, ZSTD)];
        names.iter().filter_map(|(is_announced, name)| is_announced.then_some(*name)).collect()
    }
}

/// Whether the peer has announced a feature.
fn has_feature(app_versions: &Value, name: &str) -> bool {
    let features = app_versions.get(SUBPROTOCOL).and_then(|it| it.get("features"));
    features.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == name))
}

/// The size of the chunks of a file in bytes: at least 4 MiB, and so many that a file has at most [`MAX_CHUNKS`]. A file of
/// unknown length has chunks of 64 MiB.
pub fn chunk_size(file: Option<u64>) -> u64 {
    let Some(size) = file else { return STREAM_CHUNK };
    let needed = size.div_ceil(MAX_CHUNKS).checked_next_power_of_two();
    needed.unwrap_or(1 << 63).max(MIN_CHUNK)
}

/// The length of the first chunks of a file of this size, in bytes.
pub fn length_of_chunks(file: u64, chunks: u64) -> u64 {
    chunks.saturating_mul(chunk_size(Some(file))).min(file)
}

/// Where a chunk of a file of this size is, in bytes.
pub fn chunk_range(file: u64, index: u64) -> Range<u64> {
    length_of_chunks(file, index)..length_of_chunks(file, index.saturating_add(1))
}

/// The number of chunks of a file of this size.
pub fn chunk_count(size: u64) -> u64 {
    size.div_ceil(chunk_size(Some(size)))
}

/// How the peer has violated the protocol. The transfer cannot continue.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame is too long, or has the wrong form.
    #[error("it sent a malformed message")]
    Malformed,
    /// A frame is not allowed now.
    #[error("it sent a message at the wrong time")]
    OutOfOrder,
    /// There is more or less than was offered.
    #[error("it sent more or less than it offered")]
    NotAsOffered,
    /// A path is not allowed.
    #[error(transparent)]
    UnsafePath(#[from] UnsafePath),
    /// The target of a symbolic link is not allowed.
    #[error("the symbolic link '{}' may not lead to '{}'", .path, .target)]
    UnsafeLink {
        /// The link.
        path: ZipPath,
        /// Where it would lead.
        target: PeerName,
    },
    /// The receiver claims to have more than we remember, or the sender keeps more than the receiver has.
    #[error("it is wrong about what an earlier attempt has left")]
    WrongClaim,
    /// The contents of a file do not have the hash that was sent.
    #[error("the contents of a file differ from their hash")]
    WrongHash,
}

/// The feature that both sides need.
const FEATURE: &str = "core-1";

/// The feature of receivers that create symbolic links.
const LINKS: &str = "links-1";

/// The feature of receivers that decompress data.
const ZSTD: &str = "zstd-1";

/// Minimum size of a chunk of a file with a known length, in bytes.
pub const MIN_CHUNK: u64 = 4 << 20;

/// Maximum number of chunks of a file with a known length.
pub const MAX_CHUNKS: u64 = 1 << 14;

/// Size of a chunk of a file without a known length, in bytes. It is not resumed.
const STREAM_CHUNK: u64 = 64 << 20;
