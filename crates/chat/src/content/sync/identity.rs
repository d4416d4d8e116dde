//! Decisions about identity keys, which all devices of an account share.

use prost::Message;

use crate::address::AccountId;
use crate::key::PublicKey;
use crate::time::Timestamp;

/// The user's decision about an identity key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdentitySync {
    /// The account.
    pub account: AccountId,
    /// The key.
    pub key: PublicKey,
    /// The decision.
    pub decision: IdentityChoice,
    /// When it was made. A later one counts more. It is greater than that of all decisions about this account that the device knew.
    pub decided: Timestamp,
}

/// A decision about an identity key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdentityChoice {
    /// It is used from now on.
    Accepted,
    /// It is not used, and messages with it are not read.
    Refused {
        /// The key that is used instead.
        kept: PublicKey,
    },
    /// It is used, and the user has compared the safety number.
    Verified,
}

impl IdentitySync {
    /// The key that is used after this decision.
    pub(crate) const fn accepted(&self) -> PublicKey {
        match self.decision {
            IdentityChoice::Accepted | IdentityChoice::Verified => self.key,
            IdentityChoice::Refused { kept } => kept,
        }
    }

    /// Converts the message of a program that does not write [`IdentityProto`]: it has no time. `None` if it is malformed, or says
    /// something else.
    pub(super) fn from_verified(proto: VerifiedProto) -> Option<Self> {
        let VerifiedProto { account, key, state } = proto;
        let decided = None;
        // 2: a key that was verified before was replaced. That is no decision.
        let state = Some(state.unwrap_or_default()).filter(|state| *state != REFUSED);
        Self::from_proto(IdentityProto { account, key, state, decided, kept: None })
    }

    /// `None`: it is malformed, or says something else.
    pub(super) fn from_proto(proto: IdentityProto) -> Option<Self> {
        let IdentityProto { account, key, state, decided, kept } = proto;
        let key = PublicKey::decode(&key?).ok()?;
        let decision = match state? {
            ACCEPTED => IdentityChoice::Accepted,
            VERIFIED => IdentityChoice::Verified,
            REFUSED => {
                let kept = PublicKey::decode(&kept?).ok().filter(|kept| *kept != key)?;
                IdentityChoice::Refused { kept }
            }
            _ => return None,
        };
        let decided = Timestamp(decided.unwrap_or_default());
        Some(Self { account: account?.parse().ok()?, key, decision, decided })
    }

    pub(super) fn to_proto(self) -> IdentityProto {
        let (state, kept) = match self.decision {
            IdentityChoice::Accepted => (ACCEPTED, None),
            IdentityChoice::Verified => (VERIFIED, None),
            IdentityChoice::Refused { kept } => (REFUSED, Some(kept.encode().to_vec())),
        };
        IdentityProto {
            account: Some(self.account.to_string()),
            key: Some(self.key.encode().to_vec()),
            state: Some(state),
            decided: Some(self.decided.0),
            kept,
        }
    }
}

/// The numbers of decisions. The first two are also those of a [`VerifiedProto`].
const ACCEPTED: i32 = 0;
const VERIFIED: i32 = 1;
const REFUSED: i32 = 2;

#[derive(Message)]
pub(super) struct VerifiedProto {
    #[prost(bytes = "vec", optional, tag = "2")]
    key: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "3")]
    state: Option<i32>,
    #[prost(string, optional, tag = "5")]
    account: Option<String>,
}

#[derive(Clone, Message)]
pub(super) struct IdentityProto {
    #[prost(string, optional, tag = "1")]
    account: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    key: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "3")]
    state: Option<i32>,
    #[prost(uint64, optional, tag = "4")]
    decided: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "5")]
    kept: Option<Vec<u8>>,
}
