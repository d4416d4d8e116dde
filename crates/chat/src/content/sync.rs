//! Messages between the devices of one account (docs/chat-protocol.md "Between our own devices").

use std::fmt;

use prost::Message;
use zeroize::Zeroizing;

use super::data::DataMessage;
use super::proto::DataProto;
use super::{ContentError, MAX_LIST};
use crate::address::AccountId;
use crate::time::Timestamp;

/// A message from another device of our own account: the bytes of [`Content::Sync`](super::Content::Sync).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SyncMessage {
    /// Something that this program does not use.
    Other,
    /// The account has sent a message from another device.
    Sent(Box<SentTranscript>),
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
    /// The message.
    pub message: DataMessage,
}

impl fmt::Debug for SentTranscript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, timestamp, message, number: _, app: _ } = self;
        let mut shown = f.debug_struct("SentTranscript");
        shown.field("to", to).field("timestamp", timestamp).field("message", message);
        shown.finish_non_exhaustive()
    }
}

impl SyncMessage {
    /// Decodes the bytes of a [`Content::Sync`](super::Content::Sync).
    ///
    /// # Errors
    /// They are malformed. Skip the message.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let proto = SyncProto::decode(bytes).map_err(|_| ContentError::Malformed)?;
        // Messages to groups, edits and stories have no recipient or no message here.
        let Some(sent) = proto.sent else { return Ok(Self::Other) };
        let (Some(to), Some(message)) = (sent.destination, sent.message) else {
            return Ok(Self::Other);
        };
        let Ok(to) = to.parse() else { return Ok(Self::Other) };
        let is_short = |text: &String| text.len() <= MAX_LIST;
        Ok(Self::Sent(Box::new(SentTranscript {
            to,
            number: sent.number.filter(is_short),
            app: sent.app.filter(is_short),
            timestamp: Timestamp(sent.timestamp.ok_or(ContentError::Malformed)?),
            message: DataMessage::from_proto(message)?,
        })))
    }

    /// Encodes the bytes for a [`Content::Sync`](super::Content::Sync).
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let Self::Sent(sent) = self else { return Zeroizing::default() };
        let mut proto = SyncProto {
            sent: Some(SentProto {
                number: sent.number.clone(),
                timestamp: Some(sent.timestamp.0),
                message: Some(sent.message.to_proto()),
                destination: Some(sent.to.to_string()),
                app: sent.app.clone(),
            }),
        };
        let bytes = Zeroizing::new(proto.encode_to_vec());
        proto.sent.iter_mut().filter_map(|sent| sent.message.as_mut()).for_each(DataProto::wipe);
        bytes
    }

    /// Whether it has a text or files for a person.
    pub const fn is_visible(&self) -> bool {
        match self {
            Self::Other => false,
            Self::Sent(sent) => sent.message.body.is_some() || !sent.message.attachments.is_empty(),
        }
    }
}

#[derive(Message)]
struct SyncProto {
    #[prost(message, optional, tag = "1")]
    sent: Option<SentProto>,
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
    #[prost(string, optional, tag = "101")]
    app: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read_as_it_was_written_and_not_printed() {
        let message = DataMessage { body: Some("secret".to_owned()), ..DataMessage::default() };
        let sent = SyncMessage::Sent(Box::new(SentTranscript {
            to: AccountId::from_bytes([7; 16]),
            number: Some("+14155550101".to_owned()),
            app: Some("com.one".to_owned()),
            timestamp: Timestamp(1234),
            message,
        }));
        assert_eq!(SyncMessage::decode(&sent.encode()), Ok(sent.clone()));
        assert!(sent.is_visible());
        let printed = format!("{sent:?}");
        assert!(!printed.contains("secret") && !printed.contains("+1415"), "{printed}");
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
