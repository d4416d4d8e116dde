//! A request with its result, and the lane in which it was sent.

use wormhole_chat::group::GroupId;
use wormhole_chat::{AccountId, RequestId, Response, Timestamp};

use crate::chat::error::RequestError;

/// Requests of one lane are sent one after the other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Lane {
    Account(AccountId),
    GroupLog(GroupId),
    /// Messages to all groups: each is one upload.
    GroupMessages,
    OwnKeys,
}

/// A request with its result.
pub(in crate::chat::driver) struct Finished {
    pub(super) lane: Lane,
    pub(super) id: RequestId,
    pub(super) result: Result<Response, RequestError>,
    /// Whether the server was not asked, because its answer was known.
    pub(super) is_cached: bool,
    /// The message that was sent.
    pub(super) message: Option<Timestamp>,
    /// Whether the server may have the message, although it has not confirmed that.
    pub(super) may_have_arrived: bool,
}

impl Finished {
    /// The answer of the server to a request that sends nothing.
    pub(super) const fn new(
        lane: Lane,
        id: RequestId,
        result: Result<Response, RequestError>,
    ) -> Self {
        Self { lane, id, result, is_cached: false, message: None, may_have_arrived: false }
    }

    /// The account that the request was about.
    pub(in crate::chat::driver) const fn account(&self) -> Option<AccountId> {
        match self.lane {
            Lane::Account(account) => Some(account),
            Lane::GroupLog(_) | Lane::GroupMessages | Lane::OwnKeys => None,
        }
    }

    /// The group whose log the request was about.
    pub(in crate::chat::driver) const fn group(&self) -> Option<GroupId> {
        match self.lane {
            Lane::GroupLog(group) => Some(group),
            Lane::Account(_) | Lane::GroupMessages | Lane::OwnKeys => None,
        }
    }

    /// Whether the request was the publication of our keys.
    pub(in crate::chat::driver) const fn is_publication(&self) -> bool {
        matches!(self.lane, Lane::OwnKeys)
    }

    /// Whether the server was not asked, because its answer was known.
    pub(in crate::chat::driver) const fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// The message that was sent.
    pub(in crate::chat::driver) const fn message(&self) -> Option<Timestamp> {
        self.message
    }

    /// Whether the server may have the message, although it has not confirmed that.
    pub(in crate::chat::driver) const fn may_have_arrived(&self) -> bool {
        self.may_have_arrived
    }
}
