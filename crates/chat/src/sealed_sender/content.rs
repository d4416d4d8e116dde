//! The contents of a sealed message: the sender's certificate and an encrypted message.

use prost::Message;

use super::UnsealError;
use crate::certificate::SenderCertificate;
use crate::message::{PreKeySignalMessage, SignalMessage};
use crate::retry;
use crate::sender_key::SenderKeyMessage;

/// The content to seal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedContent {
    /// The sender's certificate.
    pub certificate: SenderCertificate,
    /// The kind of message in `message`.
    pub kind: SealedKind,
    /// An encrypted message. Sealed sender hides only who has sent it.
    pub message: Vec<u8>,
    /// What the recipient should do if it cannot decrypt the message.
    pub hint: ContentHint,
    /// The group to which the message belongs, so that the recipient can ask for it again there.
    pub group: Option<Vec<u8>>,
}

/// The kind of a message inside a sealed one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SealedKind {
    /// A [`PreKeySignalMessage`].
    PreKey,
    /// A [`SignalMessage`].
    Signal,
    /// A [`SenderKeyMessage`].
    SenderKey,
    /// Plaintext: only ever a decryption error.
    Plaintext,
}

/// What a recipient should do if it cannot decrypt a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContentHint {
    /// Tell the user at once.
    Default,
    /// Wait: the sender can send it again.
    Resendable,
    /// Nothing: it has no content for the user.
    Implicit,
    /// A number that this program does not know.
    Unknown(u32),
}

/// The message inside a sealed one. It agrees with the kind that the sender has named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UnsealedMessage {
    /// It may start a session. Its identity key is the sender's.
    First(Box<PreKeySignalMessage>),
    /// A message of a session.
    Signal(Box<SignalMessage>),
    /// A message to a group.
    SenderKey(Box<SenderKeyMessage>),
    /// The sender could not decrypt a message of ours, which these bytes identify. Not encrypted for a session.
    DecryptionError(Vec<u8>),
}

impl SealedContent {
    /// Encodes the content, which is not sealed yet.
    pub fn encode(&self) -> Vec<u8> {
        let fields = ContentFields {
            kind: Some(self.kind.number()),
            certificate: Some(self.certificate.encode()),
            message: Some(self.message.clone()),
            hint: self.hint.number(),
            group: self.group.clone().filter(|group| !group.is_empty()),
        };
        fields.encode_to_vec()
    }

    /// Decodes a content. Neither the certificate nor the message is verified.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnsealError> {
        let fields = ContentFields::decode(bytes).map_err(|_| UnsealError::Malformed)?;
        let kind = fields.kind.and_then(SealedKind::from_number);
        let (Some(kind), Some(certificate), Some(message)) =
            (kind, fields.certificate, fields.message)
        else {
            return Err(UnsealError::Malformed);
        };
        Ok(Self {
            certificate: SenderCertificate::decode(&certificate)?,
            kind,
            message,
            hint: ContentHint::from_number(fields.hint),
            group: fields.group.filter(|group| !group.is_empty()),
        })
    }

    /// Decodes the message according to its kind.
    ///
    /// # Errors
    /// It is not of this kind.
    pub fn message(&self) -> Result<UnsealedMessage, UnsealError> {
        let bytes = &self.message;
        let message = match self.kind {
            SealedKind::PreKey => PreKeySignalMessage::decode(bytes)
                .map(|message| UnsealedMessage::First(Box::new(message))),
            SealedKind::Signal => SignalMessage::decode(bytes)
                .map(|message| UnsealedMessage::Signal(Box::new(message))),
            SealedKind::SenderKey => SenderKeyMessage::decode(bytes)
                .map(|message| UnsealedMessage::SenderKey(Box::new(message))),
            SealedKind::Plaintext => return plaintext(bytes),
        };
        message.map_err(|_| UnsealError::Malformed)
    }
}

/// The only plaintext that is accepted: a decryption error. Everything else must be encrypted for a session, which shows that
/// the sender has its keys.
fn plaintext(bytes: &[u8]) -> Result<UnsealedMessage, UnsealError> {
    let error = retry::plaintext(bytes).ok_or(UnsealError::Malformed)?;
    Ok(UnsealedMessage::DecryptionError(error))
}

impl SealedKind {
    const fn number(self) -> u32 {
        match self {
            Self::PreKey => 1,
            Self::Signal => 2,
            Self::SenderKey => 7,
            Self::Plaintext => 8,
        }
    }

    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::PreKey,
            2 => Self::Signal,
            7 => Self::SenderKey,
            8 => Self::Plaintext,
            _ => return None,
        })
    }
}

impl ContentHint {
    /// Its number on the wire; `None` for the default.
    const fn number(self) -> Option<u32> {
        match self {
            Self::Default => None,
            Self::Resendable => Some(1),
            Self::Implicit => Some(2),
            Self::Unknown(number) => Some(number),
        }
    }

    fn from_number(number: Option<u32>) -> Self {
        match number {
            None | Some(0) => Self::Default,
            Some(1) => Self::Resendable,
            Some(2) => Self::Implicit,
            Some(number) => Self::Unknown(number),
        }
    }
}

#[derive(Message)]
struct ContentFields {
    #[prost(uint32, optional, tag = "1")]
    kind: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    certificate: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    message: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "4")]
    hint: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "5")]
    group: Option<Vec<u8>>,
}
