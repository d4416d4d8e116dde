//! The state of a group after an entry.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::proto::StateProto;
use super::{ChangeError, EntryError};
use crate::address::AccountId;
use crate::key::PublicKey;
use crate::service::AppName;

/// The state of a group. `Debug` prints neither its title nor its members.
#[derive(Clone, Eq, PartialEq)]
pub struct GroupState {
    /// The title, 1 to 128 bytes.
    pub title: String,
    /// A description of at most 1024 bytes.
    pub description: Option<String>,
    /// The members.
    pub members: BTreeMap<AccountId, Member>,
    /// The people who were invited and have not answered yet.
    pub invited: BTreeMap<AccountId, Invitation>,
    /// The password of the link with which anybody can join; `None` if the link is disabled.
    pub link: Option<LinkPassword>,
    /// Seconds after reading until a message must be deleted; 0 means never.
    pub expire_timer: u32,
    /// The place of the last valid entry in the log, from 0.
    pub revision: u64,
    /// Number of secrets before this one.
    pub epoch: u32,
    /// SHA-256 of the key with which administrators replace keys at the server. Each epoch has another one.
    pub admin_access: [u8; 32],
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// The identity key of the account.
    pub identity: PublicKey,
    /// The role of the member.
    pub role: Role,
    /// The app of the account; `None` if it is the default app of the service.
    pub app: Option<AppName>,
}

/// An invitation that was not answered yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invitation {
    /// The inviting account.
    pub by: AccountId,
    /// The identity key that the person must have, if the inviter knows it.
    pub identity: Option<PublicKey>,
}

/// The role of a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Write messages, leave, and change what belongs to the member itself.
    Member,
}

/// The password of a link to a group: 16 random bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkPassword(Secret<16>);

impl LinkPassword {
    /// Draws a password.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 16]);
        rng.fill_bytes(&mut *bytes);
        Self(Secret::new(*bytes))
    }

    /// Creates a password from its 16 bytes.
    pub const fn from_secret(secret: Secret<16>) -> Self {
        Self(secret)
    }

    /// The 16 bytes.
    pub const fn expose(&self) -> &[u8; 16] {
        self.0.expose()
    }
}

impl GroupState {
    /// The state of a new group without members.
    pub(super) const fn empty(title: String, admin_access: [u8; 32]) -> Self {
        Self {
            title,
            description: None,
            members: BTreeMap::new(),
            invited: BTreeMap::new(),
            link: None,
            expire_timer: 0,
            revision: 0,
            epoch: 0,
            admin_access,
        }
    }

    /// Whether an account is a member and may change the group.
    pub fn is_admin(&self, account: AccountId) -> bool {
        self.members.get(&account).is_some_and(|member| member.role == Role::Admin)
    }

    /// The accounts that may change the group.
    pub fn admins(&self) -> impl Iterator<Item = AccountId> {
        let admins = self.members.iter().filter(|(_, member)| member.role == Role::Admin);
        admins.map(|(account, _)| *account)
    }

    /// Encodes the state. The bytes are secret.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(StateProto::from(self).encode_to_vec())
    }

    /// Decodes a state.
    ///
    /// # Errors
    /// It is malformed, or breaks a rule for every state.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let proto = StateProto::decode(bytes).map_err(|_| EntryError::Malformed)?;
        Ok(proto.try_into()?)
    }

    /// Checks what holds for every state.
    ///
    /// # Errors
    /// A text is too long, there are too many members, or no administrator.
    pub(super) fn check(&self) -> Result<(), ChangeError> {
        check_title(&self.title)?;
        if self.description.as_ref().is_some_and(|text| text.len() > MAX_DESCRIPTION) {
            return Err(ChangeError::BadDescription);
        }
        if self.members.len() + self.invited.len() > MAX_MEMBERS {
            return Err(ChangeError::Full);
        }
        if self.invited.keys().any(|account| self.members.contains_key(account)) {
            return Err(ChangeError::AlreadyMember);
        }
        if !self.members.is_empty() && self.admins().next().is_none() {
            return Err(ChangeError::LastAdmin);
        }
        Ok(())
    }
}

impl fmt::Debug for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupState")
            .field("revision", &self.revision)
            .field("epoch", &self.epoch)
            .field("members", &self.members.len())
            .field("invited", &self.invited.len())
            .finish_non_exhaustive()
    }
}

fn check_title(title: &str) -> Result<(), ChangeError> {
    let is_short = (1..=MAX_TITLE).contains(&title.len());
    if is_short && !title.trim().is_empty() && !title.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(ChangeError::BadTitle)
    }
}

/// Maximum number of members and invited people together.
pub const MAX_MEMBERS: usize = 1000;

/// Maximum length of a title in bytes.
const MAX_TITLE: usize = 128;

/// Maximum length of a description in bytes.
const MAX_DESCRIPTION: usize = 1024;
