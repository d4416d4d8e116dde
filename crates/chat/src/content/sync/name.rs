//! The names that the user gives to people, which all devices of the account share.

use prost::Message;

use crate::address::AccountId;
use crate::time::Timestamp;

/// The name that the user has given to a person.
#[derive(Clone, Eq, PartialEq)]
pub struct NameSync {
    /// The person.
    pub account: AccountId,
    /// The name, of at most [`MAX_NAME`] bytes. `None`: it was removed.
    pub name: Option<String>,
    /// When it was given. A later name counts more; 0: it is not known.
    pub decided: Timestamp,
}

/// Does not show the name.
impl std::fmt::Debug for NameSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameSync")
            .field("account", &self.account)
            .field("decided", &self.decided)
            .finish_non_exhaustive()
    }
}

impl NameSync {
    /// `None` if it names no account, or the name is too long.
    pub(super) fn from_proto(proto: NameProto) -> Option<Self> {
        let NameProto { account, name, decided } = proto;
        let account = AccountId::from_bytes(account?.try_into().ok()?);
        let name = name.filter(|name| !name.is_empty());
        let is_short = name.as_ref().is_none_or(|name| name.len() <= MAX_NAME);
        is_short.then(|| Self { account, name, decided: Timestamp(decided.unwrap_or_default()) })
    }

    pub(super) fn to_proto(&self) -> NameProto {
        NameProto {
            account: Some(self.account.as_bytes().to_vec()),
            name: self.name.clone(),
            decided: Some(self.decided.0),
        }
    }
}

#[derive(Clone, Message)]
pub(super) struct NameProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    account: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "3")]
    decided: Option<u64>,
}

/// Maximum length of a name, in bytes.
pub const MAX_NAME: usize = 256;
