//! Groups, as their members see them (docs/chat-protocol.md "Groups").
//!
//! A group is a log of entries that the server keeps in order but cannot read. Each entry says what a member has changed, and the
//! whole state after that; it is encrypted with the secret of the group, signed by its author, and names the entry before it.
//! Everybody checks each entry, so neither the server nor a member can change what only an administrator may change.
//!
//! This module has the rules. It sends nothing: [`Client`](crate::Client) does that.

mod change;
mod entry;
mod link;
mod proto;
mod secret;
mod state;
mod view;

use std::fmt;
use std::str::FromStr;

use rand_core::CryptoRngCore;

pub use change::{Author, Basis, ChangeError, GroupChange, Rebased};
pub use entry::{EntryError, EntryHash, GroupEntry, MAX_ENTRY};
pub use link::{GroupLink, NotAGroupLink};
pub use secret::{AccessHashes, AdminKey, EpochKeys, GroupAccess, GroupSecret, ReadingKey};
pub use state::{GroupState, Invitation, LinkPassword, MAX_MEMBERS, Member, Role};
pub use view::{Announcement, Applied, Draft, GroupView};

/// Identifies a group: 16 random bytes. The server sees it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId([u8; 16]);

impl GroupId {
    /// Chooses the id of a new group.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Creates an id from its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupId({self})")
    }
}

impl FromStr for GroupId {
    type Err = NotAGroupId;

    /// Parses 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, NotAGroupId> {
        from_hex(text).map(Self).ok_or(NotAGroupId)
    }
}

/// The text is not the id of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the id of a group: expected 32 hexadecimal digits")]
pub struct NotAGroupId;

/// Reads exactly `N` bytes in hexadecimal digits.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
