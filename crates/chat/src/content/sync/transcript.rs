//! Copies of messages that another device of our account has sent.

use std::fmt;

use prost::Message;

use crate::address::AccountId;
use crate::content::data::DataMessage;
use crate::content::proto::{DataProto, EditProto, account};
use crate::content::{ContentError, MAX_LIST};
use crate::group::GroupId;
use crate::time::Timestamp;

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
    /// The message that it edits, if it is an [`Edit`](crate::Edit).
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

#[derive(Message)]
pub(super) struct SentProto {
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
    pub(super) group: Option<Vec<u8>>,
}

impl SentProto {
    /// `None` if it has no recipient, as messages to groups, or no message, as stories.
    pub(super) fn decode(self) -> Result<Option<SentTranscript>, ContentError> {
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

    pub(super) fn encode(sent: &SentTranscript) -> Self {
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
    pub(super) fn decode_for_group(self) -> Result<Option<GroupTranscript>, ContentError> {
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

    pub(super) fn encode_for_group(sent: &GroupTranscript) -> Self {
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
    pub(super) fn wipe(&mut self) {
        let edited = self.edit.as_mut().and_then(|edit| edit.message.as_mut());
        self.message.iter_mut().chain(edited).for_each(DataProto::wipe);
    }
}
