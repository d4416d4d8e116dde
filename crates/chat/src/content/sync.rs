//! Messages between the devices of one account (docs/chat-protocol.md "Between our own devices").

use std::fmt;

use prost::Message;
use zeroize::Zeroizing;

use super::data::DataMessage;
use super::proto::{DataProto, EditProto, account};
use super::reaction::MessageRef;
use super::{ContentError, MAX_LIST, bounded};
use crate::address::AccountId;
use crate::group::GroupId;
use crate::key::PublicKey;
use crate::time::Timestamp;

/// A message from another device of our own account: the bytes of [`Content::Sync`](super::Content::Sync).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SyncMessage {
    /// Settings of the account.
    Configuration(ConfigurationSync),
    /// A new device wants to know the groups of the account, and what the user has decided.
    GroupsWanted,
    /// The user's decisions about identity keys of others.
    Identities(Vec<IdentitySync>),
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
}

/// A message to a group that another device of our account has sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupTranscript {
    /// The group.
    pub group: GroupId,
    /// When the message was sent. Identifies it.
    pub timestamp: Timestamp,
    /// The message.
    pub message: DataMessage,
    /// The message replaces this one of ours.
    pub edits: Option<Timestamp>,
}

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
    fn from_verified(proto: VerifiedProto) -> Option<Self> {
        let VerifiedProto { account, key, state } = proto;
        let decided = None;
        // 2: a key that was verified before was replaced. That is no decision.
        let state = Some(state.unwrap_or_default()).filter(|state| *state != REFUSED);
        Self::from_proto(IdentityProto { account, key, state, decided, kept: None })
    }

    /// `None`: it is malformed, or says something else.
    fn from_proto(proto: IdentityProto) -> Option<Self> {
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

    fn to_proto(self) -> IdentityProto {
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

/// The settings of the account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConfigurationSync {
    /// Whether authors learn that their messages were read.
    pub read_receipts: bool,
    /// When it was set. A later setting counts more.
    pub decided: Timestamp,
}

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
    fn from_proto(
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

    fn to_proto(&self) -> SyncProto {
        let accounts = self.blocked.iter().take(MAX_BLOCKED).map(ToString::to_string);
        let blocked = Some(BlockedProto { accounts: accounts.collect() });
        let (decision, decisions) = match self.decisions.as_slice() {
            [alone] => (Some(alone.to_proto(true)), Vec::new()),
            many => (None, many.iter().map(|decision| decision.to_proto(false)).collect()),
        };
        SyncProto { blocked, decision, decisions, ..SyncProto::default() }
    }
}

/// A message that another device of our account has sent. `Debug` prints neither the text nor the number.
#[derive(Clone, Eq, PartialEq)]
pub struct SentTranscript {
    /// The recipient.
    pub to: AccountId,
    /// The recipient's number, if the device knows it.
    pub number: Option<String>,
    /// The recipient's app, if the device knows it. Only clients of this project write it.
    pub app: Option<String>,
    /// When the message was sent. Identifies it.
    pub timestamp: Timestamp,
    /// The message, or the new text of an earlier one.
    pub message: DataMessage,
    /// The message that it edits, if it is an [`Edit`](super::Edit).
    pub edits: Option<Timestamp>,
}

impl fmt::Debug for SentTranscript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, timestamp, message, edits, number: _, app: _ } = self;
        let mut shown = f.debug_struct("SentTranscript");
        shown.field("to", to).field("timestamp", timestamp).field("message", message);
        shown.field("edits", edits).finish_non_exhaustive()
    }
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
            Self::GroupsWanted => {
                let request = Some(RequestProto { kind: Some(GROUPS) });
                SyncProto { request, ..SyncProto::default() }
            }
            Self::Identities(decisions) => {
                let identities = decisions.iter().map(|decision| decision.to_proto()).collect();
                SyncProto { identities, ..SyncProto::default() }
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
        };
        let bytes = Zeroizing::new(proto.encode_to_vec());
        proto.sent.iter_mut().for_each(SentProto::wipe);
        bytes
    }

    /// Whether it has a text or files for a person.
    pub const fn is_visible(&self) -> bool {
        match self {
            Self::Configuration(_)
            | Self::GroupsWanted
            | Self::Identities(_)
            | Self::Other
            | Self::Read(_)
            | Self::Requests(_) => false,
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
}

#[derive(Clone, Copy, Message)]
struct ConfigurationProto {
    #[prost(bool, optional, tag = "1")]
    read_receipts: Option<bool>,
    #[prost(uint64, optional, tag = "100")]
    decided: Option<u64>,
}

#[derive(Message)]
struct VerifiedProto {
    #[prost(bytes = "vec", optional, tag = "2")]
    key: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "3")]
    state: Option<i32>,
    #[prost(string, optional, tag = "5")]
    account: Option<String>,
}

#[derive(Clone, Message)]
struct IdentityProto {
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

/// A request of a device to the other devices of the account.
#[derive(Clone, Copy, Message)]
struct RequestProto {
    #[prost(int32, optional, tag = "1")]
    kind: Option<i32>,
}

/// The kind of a request for groups.
const GROUPS: i32 = 2;

#[derive(Message)]
struct BlockedProto {
    #[prost(string, repeated, tag = "3")]
    accounts: Vec<String>,
}

#[derive(Message)]
struct DecisionProto {
    #[prost(string, optional, tag = "2")]
    account: Option<String>,
    #[prost(int32, optional, tag = "4")]
    kind: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "5")]
    account_bytes: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "100")]
    decided: Option<u64>,
}

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

#[derive(Message)]
struct SentProto {
    #[prost(string, optional, tag = "1")]
    number: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    timestamp: Option<u64>,
    #[prost(message, optional, tag = "3")]
    message: Option<DataProto>,
    #[prost(string, optional, tag = "7")]
    destination: Option<String>,
    #[prost(message, optional, tag = "10")]
    edit: Option<EditProto>,
    #[prost(bytes = "vec", optional, tag = "12")]
    destination_bytes: Option<Vec<u8>>,
    #[prost(string, optional, tag = "101")]
    app: Option<String>,
    #[prost(bytes = "vec", optional, tag = "102")]
    group: Option<Vec<u8>>,
}

impl SentProto {
    /// `None` if it has no recipient, as messages to groups, or no message, as stories.
    fn decode(self) -> Result<Option<SentTranscript>, ContentError> {
        let (message, edits) = match (self.message, self.edit) {
            (Some(message), _) => (Some(message), None),
            (None, Some(edit)) => {
                (edit.message, Some(Timestamp(edit.target.ok_or(ContentError::Malformed)?)))
            }
            (None, None) => (None, None),
        };
        let to = account(self.destination_bytes.as_deref(), self.destination.as_deref());
        let Some((to, message)) = to.zip(message) else { return Ok(None) };
        let is_short = |text: &String| text.len() <= MAX_LIST;
        Ok(Some(SentTranscript {
            to,
            number: self.number.filter(is_short),
            app: self.app.filter(is_short),
            timestamp: Timestamp(self.timestamp.ok_or(ContentError::Malformed)?),
            message: DataMessage::from_proto(message)?,
            edits,
        }))
    }

    fn encode(sent: &SentTranscript) -> Self {
        let message = Some(sent.message.to_proto());
        let (message, edit) = match sent.edits {
            None => (message, None),
            Some(target) => (None, Some(EditProto { target: Some(target.0), message })),
        };
        Self {
            number: sent.number.clone(),
            timestamp: Some(sent.timestamp.0),
            message,
            destination: Some(sent.to.to_string()),
            edit,
            destination_bytes: None,
            app: sent.app.clone(),
            group: None,
        }
    }

    /// `None` if it has no message.
    fn decode_for_group(self) -> Result<Option<GroupTranscript>, ContentError> {
        let (message, edits) = match (self.message, self.edit) {
            (Some(message), _) => (Some(message), None),
            (None, Some(edit)) => {
                (edit.message, Some(Timestamp(edit.target.ok_or(ContentError::Malformed)?)))
            }
            (None, None) => (None, None),
        };
        let Some(message) = message else { return Ok(None) };
        let group = self.group.and_then(|id| id.try_into().ok());
        Ok(Some(GroupTranscript {
            group: GroupId::from_bytes(group.ok_or(ContentError::Malformed)?),
            timestamp: Timestamp(self.timestamp.ok_or(ContentError::Malformed)?),
            message: DataMessage::from_proto(message)?,
            edits,
        }))
    }

    fn encode_for_group(sent: &GroupTranscript) -> Self {
        let message = Some(sent.message.to_proto());
        let (message, edit) = match sent.edits {
            None => (message, None),
            Some(target) => (None, Some(EditProto { target: Some(target.0), message })),
        };
        Self {
            timestamp: Some(sent.timestamp.0),
            message,
            edit,
            group: Some(sent.group.as_bytes().to_vec()),
            ..Self::default()
        }
    }

    /// Overwrites the text and the keys.
    fn wipe(&mut self) {
        let edited = self.edit.as_mut().and_then(|edit| edit.message.as_mut());
        self.message.iter_mut().chain(edited).for_each(DataProto::wipe);
    }
}

/// Maximum number of accounts in a list of blocked ones. A service keeps as many.
const MAX_BLOCKED: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_read_as_they_were_written() {
        let [alice, bob] = [1, 2].map(|byte| AccountId::from_bytes([byte; 16]));
        let decided = |account, decision, decided| PersonDecision {
            account,
            decision,
            decided: Timestamp(decided),
        };
        for decisions in [
            vec![],
            vec![decided(bob, RequestDecision::Accept, 0)],
            vec![decided(bob, RequestDecision::Block, 7)],
            vec![
                decided(bob, RequestDecision::Delete, 8),
                decided(alice, RequestDecision::Accept, 0),
            ],
        ] {
            for blocked in [vec![], vec![alice], vec![alice, bob]] {
                let decisions = decisions.clone();
                let sync = SyncMessage::Requests(RequestSync { blocked, decisions });
                assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
                assert!(!sync.is_visible());
            }
        }
    }

    #[test]
    fn settings_of_the_account_are_read_as_they_were_written() {
        for read_receipts in [false, true] {
            let sync = ConfigurationSync { read_receipts, decided: Timestamp(9) };
            let sync = SyncMessage::Configuration(sync);
            assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
            assert!(!sync.is_visible());
        }
        // Deployed clients write no time, and other settings: only typing indicators (3).
        let off = ConfigurationSync { read_receipts: false, decided: Timestamp(0) };
        assert_eq!(SyncMessage::decode(&[74, 2, 8, 0]), Ok(SyncMessage::Configuration(off)));
        assert_eq!(SyncMessage::decode(&[74, 2, 24, 1]), Ok(SyncMessage::Other));
    }

    #[test]
    fn decisions_about_identity_keys_are_read_as_they_were_written() {
        let account = AccountId::from_bytes([3; 16]);
        let private = crate::key::PrivateKey::from_secret(&wormhole_kit::Secret::new([9; 32]));
        let key = *crate::key::KeyPair::from(private).public();
        let private = crate::key::PrivateKey::from_secret(&wormhole_kit::Secret::new([8; 32]));
        let kept = *crate::key::KeyPair::from(private).public();
        for decision in
            [IdentityChoice::Accepted, IdentityChoice::Refused { kept }, IdentityChoice::Verified]
        {
            let decision = IdentitySync { account, key, decision, decided: Timestamp(77) };
            let sync = SyncMessage::Identities(vec![decision]);
            assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
            assert!(!sync.is_visible());
        }
        // A replaced key of deployed clients (state 2), and one without a key.
        assert_eq!(SyncMessage::decode(&[58, 2, 24, 2]), Ok(SyncMessage::Other));
        assert_eq!(SyncMessage::decode(&[58, 0]), Ok(SyncMessage::Other));
    }

    #[test]
    fn a_list_of_blocked_accounts_of_deployed_clients_is_read() {
        let account = "9d0652a3-dcc3-4d11-975f-74d61598733f";
        // A number (1), an id of a group (2), an account (3), and one that is malformed.
        let list = [&[10, 2, b'+', b'1', 18, 1, 7, 26, 36][..], account.as_bytes(), &[26, 1, b'x']]
            .concat();
        let sync = [&[50, u8::try_from(list.len()).unwrap()][..], &list].concat();
        let blocked = vec![account.parse().unwrap()];
        let expected = SyncMessage::Requests(RequestSync { blocked, decisions: Vec::new() });
        assert_eq!(SyncMessage::decode(&sync), Ok(expected));
        let many = RequestSync {
            blocked: vec![AccountId::from_bytes([7; 16]); 3000],
            decisions: Vec::new(),
        };
        let Ok(SyncMessage::Requests(read)) =
            SyncMessage::decode(&SyncMessage::Requests(many).encode())
        else {
            panic!("not a list")
        };
        assert_eq!(read.blocked.len(), MAX_BLOCKED);
    }

    #[test]
    fn a_transcript_is_read_as_it_was_written_and_not_printed() {
        let message = DataMessage { body: Some("secret".to_owned()), ..DataMessage::default() };
        let sent = SentTranscript {
            to: AccountId::from_bytes([7; 16]),
            number: Some("+14155550101".to_owned()),
            app: Some("com.one".to_owned()),
            timestamp: Timestamp(1234),
            message,
            edits: None,
        };
        let edit = SentTranscript { edits: Some(Timestamp(1200)), ..sent.clone() };
        for (sent, is_visible) in [(sent, true), (edit, false)] {
            let sent = SyncMessage::Sent(Box::new(sent));
            assert_eq!(SyncMessage::decode(&sent.encode()), Ok(sent.clone()));
            assert_eq!(sent.is_visible(), is_visible);
            let printed = format!("{sent:?}");
            assert!(!printed.contains("secret") && !printed.contains("+1415"), "{printed}");
        }
    }

    #[test]
    fn what_was_read_is_read_as_it_was_written() {
        let read = |number: u8| MessageRef {
            author: AccountId::from_bytes([number; 16]),
            timestamp: Timestamp(number.into()),
        };
        let marks = SyncMessage::Read(vec![read(1), read(2)]);
        assert_eq!(SyncMessage::decode(&marks.encode()), Ok(marks));
        // As newer clients write it, together with one that names the sender by a number.
        let bytes = [&[42, 20, 16, 1, 34, 16][..], &[1; 16], &[42, 5, 16, 1, 10, 1, b'+']].concat();
        assert_eq!(SyncMessage::decode(&bytes), Ok(SyncMessage::Read(vec![read(1)])));
    }

    #[test]
    fn what_other_programs_synchronise_is_ignored_and_malformed_bytes_are_refused() {
        // Nothing, a list of contacts (2), and a message to a group: without a recipient (7).
        for other in [&b""[..], &[18, 2, 8, 1], &[10, 6, 16, 1, 26, 2, 10, 0]] {
            assert_eq!(SyncMessage::decode(other), Ok(SyncMessage::Other), "{other:?}");
            assert!(!SyncMessage::Other.is_visible());
        }
        assert_eq!(SyncMessage::decode(&[10, 9]), Err(ContentError::Malformed));
    }
}
