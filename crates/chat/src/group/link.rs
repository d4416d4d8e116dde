//! The link with which people join a group.

use std::fmt;
use std::str::FromStr;

use wormhole_kit::Secret;

use super::{Announcement, EntryHash, GroupId, LinkPassword, ReadingKey, from_hex};

/// A link to a group. Anybody who has it can read the state of the group, and join while the link is enabled. `Debug` prints no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupLink {
    /// The group.
    pub group: GroupId,
    /// The key of the epoch in which the link was made. Removing somebody replaces it, so the link is not valid any more.
    pub key: ReadingKey,
    /// The password of the link.
    pub password: LinkPassword,
    /// The last entry that the author of the link knew. Reading begins with it, so nobody can show a forged group.
    pub revision: u64,
    /// The hash of that entry.
    pub head: EntryHash,
}

impl GroupLink {
    /// Where reading begins.
    pub const fn announcement(&self) -> Announcement {
        Announcement { by: None, revision: self.revision, head: self.head }
    }
}

/// Prints the link, which is secret.
impl fmt::Display for GroupLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{START}id={}&key=", self.group)?;
        put_hex(f, self.key.as_secret().expose())?;
        write!(f, "&at={}&head=", self.revision)?;
        put_hex(f, &self.head.0)?;
        f.write_str("&password=")?;
        put_hex(f, self.password.expose())
    }
}

fn put_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl FromStr for GroupLink {
    type Err = NotAGroupLink;

    /// Parses a link. Parameters that this program does not know are ignored.
    fn from_str(text: &str) -> Result<Self, NotAGroupLink> {
        let text = text.trim();
        let parameters = text.strip_prefix(START).ok_or(NotAGroupLink)?;
        if text.len() > MAX_LINK {
            return Err(NotAGroupLink);
        }
        let value = |name: &str| {
            let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        let group = value("id").and_then(from_hex).map(GroupId);
        let key = value("key").and_then(from_hex);
        let password = value("password").and_then(from_hex);
        let is_plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let revision = value("at").filter(is_plain).and_then(|text| text.parse().ok());
        let start = revision.zip(value("head").and_then(from_hex));
        let (Some(group), Some(key), Some(password)) = (group, key, password) else {
            return Err(NotAGroupLink);
        };
        let (revision, head) = start.ok_or(NotAGroupLink)?;
        Ok(Self {
            group,
            key: ReadingKey::from_secret(Secret::new(key)),
            password: LinkPassword::from_secret(Secret::new(password)),
            revision,
            head: EntryHash(head),
        })
    }
}

/// The text is not a link to a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a link to a group: it begins with {START}id= and ends with its password")]
pub struct NotAGroupLink;

/// The beginning of every link.
const START: &str = "wormhole://group?";

/// Longest link that is read, in bytes.
const MAX_LINK: usize = 2048;
