//! A removal from a group that we cannot read, because the server accepts none of our keys since then.
//!
//! | somebody says that we were removed | we believe it |
//! |---|---|
//! | an administrator | at once, until the log can be read |
//! | a member, who may have become administrator since we last read the log | if the server refuses all our keys half a minute later: at first, the message with the next keys may be on its way |
//! | anybody else | never |

use std::time::Duration;

use wormhole_kit::Reader;

use super::super::store::{RestoreError, read_time};
use super::Group;
use super::waiting::later;
use crate::address::AccountId;
use crate::time::Timestamp;

/// What we know about our removal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Removal {
    /// Nothing.
    Unknown,
    /// A member has said so, at this time.
    ClaimedByMember(Timestamp),
    /// An administrator has said so.
    ClaimedByAdmin,
    /// The user has been notified.
    Believed,
}

impl Removal {
    pub(super) fn encode(self, value: &mut Vec<u8>) {
        match self {
            Self::Unknown => value.push(0),
            Self::ClaimedByMember(time) => {
                value.push(1);
                value.extend(time.0.to_be_bytes());
            }
            Self::ClaimedByAdmin => value.push(2),
            Self::Believed => value.push(3),
        }
    }

    pub(super) fn decode(value: &mut Reader<'_>) -> Result<Self, RestoreError> {
        Ok(match value.u8()? {
            0 => Self::Unknown,
            1 => Self::ClaimedByMember(read_time(value)?),
            2 => Self::ClaimedByAdmin,
            3 => Self::Believed,
            _ => return Err(RestoreError::Damaged),
        })
    }
}

impl Group {
    /// Whether we were removed, as far as we know.
    pub(super) const fn is_removed(&self) -> bool {
        match self.removal {
            Removal::ClaimedByAdmin | Removal::Believed => true,
            Removal::ClaimedByMember(_) | Removal::Unknown => false,
        }
    }

    /// Somebody says that we were removed. Whether this is news.
    pub(super) fn add_removal_claim(&mut self, now: Option<Timestamp>, from: AccountId) -> bool {
        let Some(state) = self.state() else { return false };
        let claimed = match (state.is_admin(from), now) {
            (true, _) => Removal::ClaimedByAdmin,
            (false, Some(now)) if state.members.contains_key(&from) => {
                Removal::ClaimedByMember(now)
            }
            (false, _) => return false,
        };
        let is_news = match (self.removal, claimed) {
            (Removal::Unknown, _) | (Removal::ClaimedByMember(_), Removal::ClaimedByAdmin) => true,
            (Removal::ClaimedByMember(_) | Removal::ClaimedByAdmin | Removal::Believed, _) => false,
        };
        if is_news {
            self.removal = claimed;
        }
        is_news
    }

    /// The server accepts none of our keys. Whether the user must be notified of our removal.
    pub(super) fn believe_removal(&mut self, now: Timestamp) -> bool {
        let is_believed = match self.removal {
            Removal::Unknown => self.view().is_none(),
            Removal::ClaimedByMember(since) => {
                // A clock that was wrong does not make it longer.
                self.view().is_none() || now < since || now >= later(since, PATIENCE)
            }
            Removal::ClaimedByAdmin => true,
            Removal::Believed => false,
        };
        if is_believed {
            self.removal = Removal::Believed;
        }
        is_believed
    }
}

/// How long the message with the next keys may take.
const PATIENCE: Duration = Duration::from_secs(30);
