//! Events of groups, and the reasons why a change is not possible.

use super::wanted::MAX_WANTED;
use crate::address::AccountId;
use crate::client::SendFailure;
use crate::group::{ChangeError, EntryError, GroupChange};
use crate::time::Timestamp;

/// The relation of our account to a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Membership {
    /// We were invited, or have a link, and have not read the log yet.
    Unread,
    /// We were invited.
    Invited,
    /// We are a member.
    Member,
    /// We have left, were removed, or have not joined.
    Outside,
}

/// Why messages to a group wait, although the server can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum GroupDelay {
    /// The server does not show a change that an administrator or another device of ours has made. Somebody may have been removed in it.
    ChangeMissing,
    /// The keys of the group were replaced, and this device has not got the new ones yet.
    NoKeys,
    /// Nobody whom we have invited has joined yet.
    NobodyHasJoined,
    /// The changes of the group were not read since the connection.
    Unread,
}

/// Events of groups.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// A message with this timestamp is in the outbox and will not be lost.
    Accepted(Timestamp),
    /// A change that we wanted is not possible any more.
    ChangeFailed(GroupChange, GroupFailure),
    /// A member says that there is a later change, but the server does not show it. It withholds the change, or the member is wrong.
    ChangeMissing {
        /// The member.
        by: AccountId,
        /// Whether our messages to the group wait for the change: an administrator or another device of ours says it.
        is_waiting: bool,
    },
    /// Somebody has changed the group. The committed changes include it.
    Changed(AccountId, GroupChange),
    /// Somebody has invited us. The user decides.
    Invited(AccountId),
    /// We have become a member. `Changed` with the same entry follows.
    Joined {
        /// The account that had invited us; `None`: we have joined with a link.
        invited_by: Option<AccountId>,
    },
    /// A message cannot be sent.
    NotSent(Timestamp, SendFailure),
    /// A message that others have got cannot be sent to these members.
    NotSentTo(Timestamp, Vec<AccountId>, SendFailure),
    /// The server has a message for some members. It will be sent to those who wait, and then there is `Sent`.
    PartlySent(PartlySent),
    /// We are not a member any more.
    Removed,
    /// The server has accepted a message for all members.
    Sent(Timestamp),
}

/// The members that get a message to a group, and those that do not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartlySent {
    /// Identifies the message.
    pub timestamp: Timestamp,
    /// Number of members, without us, for whom the server has it.
    pub sent: usize,
    /// Members for whom the server has no room now.
    pub waiting: Vec<AccountId>,
    /// Members to whom nothing can be sent: they have no device, or an identity key that the user has not accepted.
    pub unreachable: Vec<AccountId>,
}

/// Why a change of a group is not possible.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupFailure {
    /// The change could not be made, because of a defect of this program.
    #[error("the change of the group could not be made, because of a defect in this program")]
    Internal,
    /// The change is not permitted, or makes no sense any more.
    #[error(transparent)]
    NotPermitted(#[from] ChangeError),
    /// With the change, the state of the group would be longer than the server accepts.
    #[error("the group is too large for this change: remove members or invitations first")]
    TooLong,
    /// Too many changes wait for the server.
    #[error("{MAX_WANTED} changes of this group wait for the server already: try again later")]
    TooManyChanges,
    /// The server has refused the change.
    #[error("the server does not accept the change of the group")]
    Refused,
    /// The group does not exist, or we are not a member any more.
    #[error("the group does not exist, or this account has no access to it any more")]
    Unknown,
}

impl From<EntryError> for GroupFailure {
    /// Why an entry of ours could not be prepared.
    fn from(error: EntryError) -> Self {
        match error {
            EntryError::NotPermitted(why) => Self::NotPermitted(why),
            EntryError::TooLong => Self::TooLong,
            EntryError::BadSignature
            | EntryError::Forked
            | EntryError::Malformed
            | EntryError::NotAuthentic
            | EntryError::OtherPlace
            | EntryError::Replayed
            | EntryError::UnknownVersion(_)
            | EntryError::WrongState => Self::Internal,
        }
    }
}
