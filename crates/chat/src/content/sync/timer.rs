//! The timers of conversations, for a new device of the account.

use prost::Message;

use crate::address::AccountId;
use crate::content::rules::Timer;
use crate::group::GroupId;

/// The timer of one conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimerSync {
    /// The conversation.
    pub of: TimerScope,
    /// Its timer.
    pub timer: Timer,
}

/// The conversation that a timer belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimerScope {
    /// With an account.
    Account(AccountId),
    /// In a group.
    Group(GroupId),
}

impl TimerSync {
    /// `None` if it names no conversation.
    pub(super) fn from_proto(proto: TimerProto) -> Option<Self> {
        let TimerProto { account, group, seconds, version } = proto;
        let of = match (account, group) {
            (Some(id), None) => TimerScope::Account(AccountId::from_bytes(id.try_into().ok()?)),
            (None, Some(id)) => TimerScope::Group(GroupId::from_bytes(id.try_into().ok()?)),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let (seconds, version) = (seconds.unwrap_or_default(), version.unwrap_or_default());
        Some(Self { of, timer: Timer { seconds, version } })
    }

    pub(super) fn to_proto(self) -> TimerProto {
        let Self { of, timer: Timer { seconds, version } } = self;
        let (account, group) = match of {
            TimerScope::Account(account) => (Some(account.as_bytes().to_vec()), None),
            TimerScope::Group(group) => (None, Some(group.as_bytes().to_vec())),
        };
        TimerProto { account, group, seconds: Some(seconds), version: Some(version) }
    }
}

#[derive(Clone, Message)]
pub(super) struct TimerProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    account: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    group: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "3")]
    seconds: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    version: Option<u32>,
}
