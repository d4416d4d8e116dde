//! Decisions about people who write to the account, which all its devices share.

use prost::Message;

use super::SyncProto;
use crate::address::AccountId;
use crate::content::proto::account;
use crate::content::{ContentError, MAX_LIST, bounded};
use crate::time::Timestamp;

/// The user's decisions about people who write to the account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestSync {
    /// Accounts that are blocked. Others may be blocked as well.
    pub blocked: Vec<AccountId>,
    /// Decisions, the latest last.
    pub decisions: Vec<PersonDecision>,
}

/// The user's decision about a person.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PersonDecision {
    /// The account.
    pub account: AccountId,
    /// The decision.
    pub decision: RequestDecision,
    /// When it was made. A later one counts more; at the same time, a greater [`RequestDecision`]. 0: it is not known, and counts
    /// only if the device has no decision about this account.
    pub decided: Timestamp,
}

/// A decision about somebody who writes to the account.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RequestDecision {
    /// The messages are wanted. If the account was blocked, it is not any more.
    Accept,
    /// The messages are deleted. If the account was blocked, it is not any more.
    Delete,
    /// The messages are not wanted, now and later.
    Block,
}

impl RequestDecision {
    /// The number on the wire. There are others, for groups and spam.
    pub const fn number(self) -> i32 {
        match self {
            Self::Accept => 1,
            Self::Delete => 2,
            Self::Block => 3,
        }
    }

    /// The decision with this number.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Accept),
            2 => Some(Self::Delete),
            // Others also delete the conversation, or report it.
            3 | 4 | 6 => Some(Self::Block),
            _ => None,
        }
    }
}

impl PersonDecision {
    fn from_proto(proto: DecisionProto) -> Option<Self> {
        let account = account(proto.account_bytes.as_deref(), proto.account.as_deref())?;
        let decision = RequestDecision::from_number(proto.kind.unwrap_or_default())?;
        let decided = Timestamp(proto.decided.unwrap_or_default());
        Some(Self { account, decision, decided })
    }

    /// Deployed programs know only the longer form of an account.
    fn to_proto(self, is_alone: bool) -> DecisionProto {
        let Self { account, decision, decided } = self;
        DecisionProto {
            account: is_alone.then(|| account.to_string()),
            kind: Some(decision.number()),
            account_bytes: (!is_alone).then(|| account.as_bytes().to_vec()),
            decided: (decided > Timestamp(0)).then_some(decided.0),
        }
    }
}

impl RequestSync {
    pub(super) fn from_proto(
        blocked: Option<BlockedProto>,
        decision: Option<DecisionProto>,
        decisions: Vec<DecisionProto>,
    ) -> Result<Self, ContentError> {
        let blocked = blocked.into_iter().flat_map(|blocked| blocked.accounts);
        let blocked = blocked.filter_map(|account| account.parse().ok()).take(MAX_BLOCKED);
        let decisions = bounded(decisions)?.into_iter().chain(decision);
        let decisions = decisions.filter_map(PersonDecision::from_proto).take(MAX_LIST).collect();
        Ok(Self { blocked: blocked.collect(), decisions })
    }

    pub(super) fn to_proto(&self) -> SyncProto {
        let accounts = self.blocked.iter().take(MAX_BLOCKED).map(ToString::to_string);
        let blocked = Some(BlockedProto { accounts: accounts.collect() });
        let (decision, decisions) = match self.decisions.as_slice() {
            [alone] => (Some(alone.to_proto(true)), Vec::new()),
            many => (None, many.iter().map(|decision| decision.to_proto(false)).collect()),
        };
        SyncProto { blocked, decision, decisions, ..SyncProto::default() }
    }
}

#[derive(Message)]
pub(super) struct BlockedProto {
    #[prost(string, repeated, tag = "3")]
    accounts: Vec<String>,
}

#[derive(Message)]
pub(super) struct DecisionProto {
    #[prost(string, optional, tag = "2")]
    account: Option<String>,
    #[prost(int32, optional, tag = "4")]
    kind: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "5")]
    account_bytes: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "100")]
    decided: Option<u64>,
}

/// Maximum number of accounts in a list of blocked ones. A service keeps as many.
pub(super) const MAX_BLOCKED: usize = 2000;
