//! Messages between the devices of one account (docs/chat-protocol.md "Between our own devices").

mod identity;
mod name;
mod people;
mod timer;
mod transcript;

use prost::Message;
use zeroize::Zeroizing;

use super::proto::account;
use super::reaction::MessageRef;
use super::{ContentError, bounded};
use crate::device_list::DeviceList;
use crate::time::Timestamp;

pub use identity::{IdentityChoice, IdentitySync};
use identity::{IdentityProto, VerifiedProto};
use name::NameProto;
pub use name::{MAX_NAME, NameSync};
use people::{BlockedProto, DecisionProto};
pub use people::{PersonDecision, RequestDecision, RequestSync};
use timer::TimerProto;
pub use timer::{TimerScope, TimerSync};
use transcript::SentProto;
pub use transcript::{GroupTranscript, SentTranscript};

/// A message from another device of our own account: the bytes of [`Content::Sync`](super::Content::Sync).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SyncMessage {
    /// Settings of the account.
    Configuration(ConfigurationSync),
    /// The newest list of the account's devices that the sender knows. The server may show others another one.
    DeviceList(Box<DeviceList>),
    /// A new device wants to know the groups of the account, and what the user has decided.
    GroupsWanted,
    /// The user's decisions about identity keys of others.
    Identities(Vec<IdentitySync>),
    /// The names that the user has given to people.
    Names(Vec<NameSync>),
    /// Something that this program does not use.
    Other,
    /// The user has read these messages on another device.
    Read(Vec<MessageRef>),
    /// The user's decisions about people who write to the account.
    Requests(RequestSync),
    /// The account has sent a message from another device.
    Sent(Box<SentTranscript>),
    /// The account has sent a message to a group from another device.
    SentToGroup(Box<GroupTranscript>),
    /// The timers of conversations.
    Timers(Vec<TimerSync>),
}

/// The settings of the account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConfigurationSync {
    /// Whether authors learn that their messages were read.
    pub read_receipts: bool,
    /// When it was set. A later setting counts more.
    pub decided: Timestamp,
}

impl SyncMessage {
    /// Decodes the bytes of a [`Content::Sync`](super::Content::Sync).
    ///
    /// # Errors
    /// They are malformed. Skip the message.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let proto = SyncProto::decode(bytes).map_err(|_| ContentError::Malformed)?;
        if let Some(sent) = proto.sent {
            if sent.group.is_some() {
                let sent = sent.decode_for_group()?;
                return Ok(sent.map_or(Self::Other, |sent| Self::SentToGroup(Box::new(sent))));
            }
            return Ok(sent.decode()?.map_or(Self::Other, |sent| Self::Sent(Box::new(sent))));
        }
        if proto.blocked.is_some() || proto.decision.is_some() || !proto.decisions.is_empty() {
            let SyncProto { blocked, decision, decisions, .. } = proto;
            return Ok(Self::Requests(RequestSync::from_proto(blocked, decision, decisions)?));
        }
        if let Some(ConfigurationProto { read_receipts: Some(read_receipts), decided }) =
            proto.configuration
        {
            let decided = Timestamp(decided.unwrap_or_default());
            return Ok(Self::Configuration(ConfigurationSync { read_receipts, decided }));
        }
        if let Some(list) = proto.device_list {
            let list = DeviceList::decode(&list).map_err(|_| ContentError::Malformed)?;
            return Ok(Self::DeviceList(Box::new(list)));
        }
        if proto.request.and_then(|request| request.kind) == Some(GROUPS) {
            return Ok(Self::GroupsWanted);
        }
        if proto.verified.is_some() || !proto.identities.is_empty() {
            let decisions = bounded(proto.identities)?;
            let mut decisions: Vec<_> =
                decisions.into_iter().filter_map(IdentitySync::from_proto).collect();
            if decisions.is_empty() {
                decisions.extend(proto.verified.and_then(IdentitySync::from_verified));
            }
            let is_empty = decisions.is_empty();
            return Ok(if is_empty { Self::Other } else { Self::Identities(decisions) });
        }
        if !proto.timers.is_empty() {
            let timers = bounded(proto.timers)?.into_iter().filter_map(TimerSync::from_proto);
            let timers: Vec<_> = timers.collect();
            return Ok(if timers.is_empty() { Self::Other } else { Self::Timers(timers) });
        }
        if !proto.names.is_empty() {
            let names = bounded(proto.names)?.into_iter().filter_map(NameSync::from_proto);
            let names: Vec<_> = names.collect();
            return Ok(if names.is_empty() { Self::Other } else { Self::Names(names) });
        }
        let read: Vec<_> = bounded(proto.read)?.iter().filter_map(ReadProto::decode).collect();
        Ok(if read.is_empty() { Self::Other } else { Self::Read(read) })
    }

    /// Encodes the bytes for a [`Content::Sync`](super::Content::Sync).
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut proto = match self {
            Self::Configuration(ConfigurationSync { read_receipts, decided }) => {
                let (read_receipts, decided) = (Some(*read_receipts), Some(decided.0));
                let configuration = Some(ConfigurationProto { read_receipts, decided });
                SyncProto { configuration, ..SyncProto::default() }
            }
            Self::DeviceList(list) => {
                SyncProto { device_list: Some(list.encode()), ..SyncProto::default() }
            }
            Self::GroupsWanted => {
                let request = Some(RequestProto { kind: Some(GROUPS) });
                SyncProto { request, ..SyncProto::default() }
            }
            Self::Identities(decisions) => {
                let identities = decisions.iter().map(|decision| decision.to_proto()).collect();
                SyncProto { identities, ..SyncProto::default() }
            }
            Self::Names(names) => {
                let names = names.iter().map(NameSync::to_proto).collect();
                SyncProto { names, ..SyncProto::default() }
            }
            Self::Other => SyncProto::default(),
            Self::Read(read) => SyncProto {
                read: read.iter().map(ReadProto::encode).collect(),
                ..SyncProto::default()
            },
            Self::Requests(requests) => requests.to_proto(),
            Self::Sent(sent) => {
                SyncProto { sent: Some(SentProto::encode(sent)), ..SyncProto::default() }
            }
            Self::SentToGroup(sent) => {
                SyncProto { sent: Some(SentProto::encode_for_group(sent)), ..SyncProto::default() }
            }
            Self::Timers(timers) => {
                let timers = timers.iter().map(|timer| timer.to_proto()).collect();
                SyncProto { timers, ..SyncProto::default() }
            }
        };
        let bytes = Zeroizing::new(proto.encode_to_vec());
        proto.sent.iter_mut().for_each(SentProto::wipe);
        bytes
    }

    /// Whether it has a text or files for a person.
    pub const fn is_visible(&self) -> bool {
        match self {
            Self::Configuration(_)
            | Self::DeviceList(_)
            | Self::GroupsWanted
            | Self::Identities(_)
            | Self::Names(_)
            | Self::Other
            | Self::Read(_)
            | Self::Requests(_)
            | Self::Timers(_) => false,
            Self::Sent(sent) => sent.edits.is_none() && sent.message.is_visible(),
            Self::SentToGroup(sent) => sent.edits.is_none() && sent.message.is_visible(),
        }
    }
}

#[derive(Message)]
struct SyncProto {
    #[prost(message, optional, tag = "1")]
    sent: Option<SentProto>,
    #[prost(message, optional, tag = "4")]
    request: Option<RequestProto>,
    #[prost(message, repeated, tag = "5")]
    read: Vec<ReadProto>,
    #[prost(message, optional, tag = "6")]
    blocked: Option<BlockedProto>,
    #[prost(message, optional, tag = "7")]
    verified: Option<VerifiedProto>,
    #[prost(message, optional, tag = "9")]
    configuration: Option<ConfigurationProto>,
    #[prost(message, optional, tag = "14")]
    decision: Option<DecisionProto>,
    #[prost(message, repeated, tag = "100")]
    identities: Vec<IdentityProto>,
    #[prost(message, repeated, tag = "101")]
    decisions: Vec<DecisionProto>,
    #[prost(bytes = "vec", optional, tag = "102")]
    device_list: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "103")]
    timers: Vec<TimerProto>,
    #[prost(message, repeated, tag = "104")]
    names: Vec<NameProto>,
}

#[derive(Clone, Copy, Message)]
struct ConfigurationProto {
    #[prost(bool, optional, tag = "1")]
    read_receipts: Option<bool>,
    #[prost(uint64, optional, tag = "100")]
    decided: Option<u64>,
}

/// A request of a device to the other devices of the account.
#[derive(Clone, Copy, Message)]
struct RequestProto {
    #[prost(int32, optional, tag = "1")]
    kind: Option<i32>,
}

/// The kind of a request for groups.
const GROUPS: i32 = 2;

#[derive(Clone, Message)]
struct ReadProto {
    #[prost(uint64, optional, tag = "2")]
    timestamp: Option<u64>,
    #[prost(string, optional, tag = "3")]
    author: Option<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    author_bytes: Option<Vec<u8>>,
}

impl ReadProto {
    /// `None` if it names the sender only by a phone number.
    fn decode(&self) -> Option<MessageRef> {
        let author = account(self.author_bytes.as_deref(), self.author.as_deref())?;
        Some(MessageRef { author, timestamp: Timestamp(self.timestamp?) })
    }

    fn encode(read: &MessageRef) -> Self {
        let timestamp = Some(read.timestamp.0);
        Self { timestamp, author: Some(read.author.to_string()), author_bytes: None }
    }
}

#[cfg(test)]
mod tests;
