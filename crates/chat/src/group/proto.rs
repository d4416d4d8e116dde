//! The protobuf messages of groups (docs/chat-protocol.md "Groups").

use std::collections::BTreeMap;

use prost::Message;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::{GroupChange, GroupState, Invitation, LinkPassword, MAX_MEMBERS, Member, Role};
use crate::address::AccountId;
use crate::key::PublicKey;
use crate::service::AppName;

/// A field is missing or invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

#[derive(Message)]
pub(super) struct SignedProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) content: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) signature: Option<Vec<u8>>,
}

#[derive(Message)]
pub(super) struct EntryProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) group: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) revision: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) previous: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) author: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) identity: Option<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    pub(super) change: Option<ChangeProto>,
    #[prost(message, optional, tag = "7")]
    pub(super) state: Option<StateProto>,
}

#[derive(Message)]
pub(super) struct StateProto {
    #[prost(string, optional, tag = "1")]
    title: Option<String>,
    #[prost(string, optional, tag = "2")]
    description: Option<String>,
    #[prost(message, repeated, tag = "3")]
    members: Vec<PersonProto>,
    #[prost(message, repeated, tag = "4")]
    invited: Vec<PersonProto>,
    #[prost(bytes = "vec", optional, tag = "5")]
    link: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    expire_timer: Option<u32>,
    #[prost(uint64, optional, tag = "7")]
    revision: Option<u64>,
    #[prost(uint32, optional, tag = "8")]
    epoch: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "9")]
    admin_access: Option<Vec<u8>>,
}

/// A member, an invited person, or one whom a change names.
#[derive(Message)]
pub(super) struct PersonProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    account: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    identity: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    admin: Option<bool>,
    #[prost(string, optional, tag = "4")]
    app: Option<String>,
    #[prost(bytes = "vec", optional, tag = "6")]
    by: Option<Vec<u8>>,
}

/// A change: `kind` says which of the other fields it has.
#[derive(Message)]
pub(super) struct ChangeProto {
    #[prost(uint32, optional, tag = "1")]
    kind: Option<u32>,
    #[prost(message, repeated, tag = "2")]
    people: Vec<PersonProto>,
    #[prost(string, optional, tag = "3")]
    title: Option<String>,
    #[prost(string, optional, tag = "4")]
    description: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    password: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    expire_timer: Option<u32>,
}

impl From<&GroupState> for StateProto {
    fn from(state: &GroupState) -> Self {
        let members = state.members.iter().map(|(account, member)| PersonProto {
            account: Some(account.as_bytes().to_vec()),
            identity: Some(member.identity.encode().to_vec()),
            admin: (member.role == Role::Admin).then_some(true),
            ..guest(member.app.as_ref())
        });
        let invited = state.invited.iter().map(|(account, invitation)| PersonProto {
            account: Some(account.as_bytes().to_vec()),
            identity: invitation.identity.map(|key| key.encode().to_vec()),
            by: Some(invitation.by.as_bytes().to_vec()),
            ..PersonProto::default()
        });
        Self {
            title: Some(state.title.clone()),
            description: state.description.clone(),
            members: members.collect(),
            invited: invited.collect(),
            link: state.link.as_ref().map(|password| password.expose().to_vec()),
            expire_timer: Some(state.expire_timer).filter(|timer| *timer != 0),
            revision: Some(state.revision),
            epoch: Some(state.epoch),
            admin_access: Some(state.admin_access.to_vec()),
        }
    }
}

impl TryFrom<StateProto> for GroupState {
    type Error = Malformed;

    fn try_from(proto: StateProto) -> Result<Self, Malformed> {
        if proto.members.len() + proto.invited.len() > MAX_MEMBERS {
            return Err(Malformed);
        }
        let (listed, asked) = (proto.members.len(), proto.invited.len());
        let members = proto.members.into_iter().map(PersonProto::member);
        let members = members.collect::<Result<BTreeMap<_, _>, _>>()?;
        let invited = proto.invited.into_iter().map(PersonProto::invitation);
        let invited = invited.collect::<Result<BTreeMap<_, _>, _>>()?;
        let admin_access = proto.admin_access.ok_or(Malformed)?;
        let state = Self {
            title: proto.title.ok_or(Malformed)?,
            description: proto.description.filter(|text| !text.is_empty()),
            members,
            invited,
            link: proto.link.map(password).transpose()?,
            expire_timer: proto.expire_timer.unwrap_or_default(),
            revision: proto.revision.ok_or(Malformed)?,
            epoch: proto.epoch.ok_or(Malformed)?,
            admin_access: admin_access.try_into().map_err(|_| Malformed)?,
        };
        // An account must not be listed twice.
        let is_unique = state.members.len() == listed && state.invited.len() == asked;
        if is_unique && state.check().is_ok() { Ok(state) } else { Err(Malformed) }
    }
}

impl PersonProto {
    fn member(self) -> Result<(AccountId, Member), Malformed> {
        let identity = key(self.identity)?.ok_or(Malformed)?;
        let role = if self.admin == Some(true) { Role::Admin } else { Role::Member };
        let member = Member { identity, role, app: app(self.app)? };
        Ok((account(self.account)?, member))
    }

    fn invitation(self) -> Result<(AccountId, Invitation), Malformed> {
        let invitation = Invitation { by: account(self.by)?, identity: key(self.identity)? };
        Ok((account(self.account)?, invitation))
    }
}

/// The fields of somebody who becomes a member.
fn guest(app: Option<&AppName>) -> PersonProto {
    PersonProto { app: app.map(|app| app.as_str().to_owned()), ..PersonProto::default() }
}

fn named(account: AccountId) -> PersonProto {
    PersonProto { account: Some(account.as_bytes().to_vec()), ..PersonProto::default() }
}

fn of_kind(kind: u32) -> ChangeProto {
    ChangeProto { kind: Some(kind), ..ChangeProto::default() }
}

fn bytes(password: &LinkPassword) -> Vec<u8> {
    password.expose().to_vec()
}

impl From<&GroupChange> for ChangeProto {
    fn from(change: &GroupChange) -> Self {
        match change {
            GroupChange::Create { title, app } => {
                Self { title: Some(title.clone()), people: vec![guest(app.as_ref())], ..of_kind(0) }
            }
            GroupChange::Invite(people) => {
                let people = people.iter().map(|(account, identity)| PersonProto {
                    identity: identity.map(|key| key.encode().to_vec()),
                    ..named(*account)
                });
                Self { people: people.collect(), ..of_kind(1) }
            }
            GroupChange::Accept { app } => Self { people: vec![guest(app.as_ref())], ..of_kind(2) },
            GroupChange::Decline => of_kind(3),
            GroupChange::Join { password, app } => Self {
                password: Some(bytes(password)),
                people: vec![guest(app.as_ref())],
                ..of_kind(4)
            },
            GroupChange::Leave { successor } => {
                Self { people: successor.iter().copied().map(named).collect(), ..of_kind(5) }
            }
            GroupChange::Remove { account, password } => Self {
                people: vec![named(*account)],
                password: password.as_ref().map(bytes),
                ..of_kind(6)
            },
            GroupChange::Describe { title, description } => {
                Self { title: Some(title.clone()), description: description.clone(), ..of_kind(7) }
            }
            GroupChange::SetRole { account, role } => {
                let admin = Some(*role == Role::Admin);
                Self { people: vec![PersonProto { admin, ..named(*account) }], ..of_kind(8) }
            }
            GroupChange::SetLink(password) => {
                Self { password: password.as_ref().map(bytes), ..of_kind(9) }
            }
            GroupChange::SetTimer(seconds) => Self { expire_timer: Some(*seconds), ..of_kind(10) },
            GroupChange::ReplaceIdentity { account, identity } => {
                let identity = Some(identity.encode().to_vec());
                Self { people: vec![PersonProto { identity, ..named(*account) }], ..of_kind(12) }
            }
            GroupChange::NewEpoch { password } => {
                Self { password: password.as_ref().map(bytes), ..of_kind(13) }
            }
        }
    }
}

impl TryFrom<ChangeProto> for GroupChange {
    type Error = Malformed;

    fn try_from(proto: ChangeProto) -> Result<Self, Malformed> {
        let link = proto.password.map(password).transpose()?;
        let title = proto.title.ok_or(Malformed);
        if proto.people.len() > MAX_MEMBERS {
            return Err(Malformed);
        }
        let mut people = proto.people.into_iter();
        let kind = proto.kind.ok_or(Malformed)?;
        if kind == 1 {
            let people = people.map(|person| Ok((account(person.account)?, key(person.identity)?)));
            return Ok(Self::Invite(people.collect::<Result<_, _>>()?));
        }
        let first = people.next();
        if people.next().is_some() {
            return Err(Malformed);
        }
        let successor = first.as_ref().and_then(|person| person.account.clone());
        let person = first.unwrap_or_default();
        let guest_app = app(person.app);
        let named = account(person.account);
        Ok(match kind {
            0 => Self::Create { title: title?, app: guest_app? },
            2 => Self::Accept { app: guest_app? },
            3 => Self::Decline,
            4 => {
                let password = link.ok_or(Malformed)?;
                Self::Join { password, app: guest_app? }
            }
            5 => Self::Leave { successor: successor.map(|_| named).transpose()? },
            6 => Self::Remove { account: named?, password: link },
            7 => {
                let description = proto.description.filter(|text| !text.is_empty());
                Self::Describe { title: title?, description }
            }
            8 => {
                let role = match person.admin.ok_or(Malformed)? {
                    true => Role::Admin,
                    false => Role::Member,
                };
                Self::SetRole { account: named?, role }
            }
            9 => Self::SetLink(link),
            10 => Self::SetTimer(proto.expire_timer.unwrap_or_default()),
            12 => {
                let identity = key(person.identity)?.ok_or(Malformed)?;
                Self::ReplaceIdentity { account: named?, identity }
            }
            13 => Self::NewEpoch { password: link },
            _ => return Err(Malformed),
        })
    }
}

/// Reads an account id.
pub(super) fn account(bytes: Option<Vec<u8>>) -> Result<AccountId, Malformed> {
    let bytes = bytes.ok_or(Malformed)?;
    bytes.as_slice().try_into().map(AccountId::from_bytes).map_err(|_| Malformed)
}

/// Reads an identity key.
pub(super) fn key(bytes: Option<Vec<u8>>) -> Result<Option<PublicKey>, Malformed> {
    bytes.map(|bytes| PublicKey::decode(&bytes)).transpose().map_err(|_| Malformed)
}

fn app(name: Option<String>) -> Result<Option<AppName>, Malformed> {
    name.map(|name| name.parse()).transpose().map_err(|_| Malformed)
}

fn password(bytes: Vec<u8>) -> Result<LinkPassword, Malformed> {
    secret(bytes).map(LinkPassword::from_secret)
}

fn secret<const N: usize>(bytes: Vec<u8>) -> Result<Secret<N>, Malformed> {
    let bytes = Zeroizing::new(bytes);
    let array: Result<[u8; N], _> = bytes.as_slice().try_into();
    array.map(Secret::new).map_err(|_| Malformed)
}
