//! The link with which people join a group.

use std::fmt;
use std::str::FromStr;

use wormhole_kit::Secret;

use super::{GroupId, GroupSecret, LinkPassword, from_hex};

/// A link to a group. Whoever has it can read the state of the group, and join while the link is enabled. `Debug` prints no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupLink {
    /// The group.
    pub group: GroupId,
    /// The secret of the epoch in which the link was made. Removing somebody replaces it, so the link is not valid any more.
    pub secret: GroupSecret,
    /// The password of the link.
    pub password: LinkPassword,
}

/// Prints the link, which is secret.
impl fmt::Display for GroupLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{START}id={}&secret=", self.group)?;
        self.secret.as_secret().expose().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("&password=")?;
        self.password.expose().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
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
        let secret = value("secret").and_then(from_hex);
        let password = value("password").and_then(from_hex);
        let (Some(group), Some(secret), Some(password)) = (group, secret, password) else {
            return Err(NotAGroupLink);
        };
        Ok(Self {
            group,
            secret: GroupSecret::from_secret(Secret::new(secret)),
            password: LinkPassword::from_secret(Secret::new(password)),
        })
    }
}

/// The text is not a link to a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a link to a group: it begins with {START}id= and ends with its password")]
pub struct NotAGroupLink;

/// What every link begins with.
const START: &str = "wormhole://group?";

/// Longest link that is read, in bytes.
const MAX_LINK: usize = 2048;
