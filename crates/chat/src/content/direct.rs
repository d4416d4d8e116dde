//! Field 103 of the content: a file that goes from one person to the other without the service, while both are online
//! (docs/chat-protocol.md "Direct files").

use std::fmt;

use prost::Message;
use wormhole_kit::Secret;
use zeroize::Zeroize;

use super::ContentError;

/// Identifies an offer and its answer.
pub type OfferId = [u8; 16];

/// The offer of a direct file, or the answer. Neither is stored. `Debug` prints no secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DirectContent {
    /// I want to send you a file now.
    Offer(DirectOffer),
    /// Yes or no.
    Answer(DirectAnswer),
}

/// An offer to send an encrypted file now.
#[derive(Clone, Eq, PartialEq)]
pub struct DirectOffer {
    /// Identifies the offer.
    pub id: OfferId,
    /// Protects the connection. Use it only for this offer.
    pub secret: Secret<32>,
    /// The name of the file: the same if an interrupted transfer is continued.
    pub file: [u8; 16],
    /// Bytes of the encrypted file.
    pub length: u64,
    /// How the sender can be reached: the `transit` message of file transfers, as JSON.
    pub hints: String,
}

/// The answer to an offer.
#[derive(Clone, Eq, PartialEq)]
pub struct DirectAnswer {
    /// The offer.
    pub id: OfferId,
    /// How the receiver can be reached; `None` if it does not want the file now.
    pub hints: Option<String>,
    /// Bytes that the receiver has already.
    pub offset: u64,
}

impl fmt::Debug for DirectOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectOffer").field("length", &self.length).finish_non_exhaustive()
    }
}

impl fmt::Debug for DirectAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accepts = self.hints.is_some();
        f.debug_struct("DirectAnswer").field("accepts", &accepts).finish_non_exhaustive()
    }
}

impl DirectContent {
    pub(super) fn from_proto(mut proto: DirectProto) -> Result<Self, ContentError> {
        let id =
            proto.id.take().and_then(|id| id.try_into().ok()).ok_or(ContentError::Malformed)?;
        let hints = proto.hints.take();
        if hints.as_ref().is_some_and(|hints| hints.len() > MAX_HINTS) {
            return Err(ContentError::Malformed);
        }
        let Some(secret) = &proto.secret else {
            let offset = proto.offset.unwrap_or_default();
            return Ok(Self::Answer(DirectAnswer { id, hints, offset }));
        };
        let secret = secret.as_slice().try_into().map(Secret::new);
        let file = proto.file.take().and_then(|file| file.try_into().ok());
        let (length, hints) = (proto.length, hints);
        proto.wipe();
        Ok(Self::Offer(DirectOffer {
            id,
            secret: secret.map_err(|_| ContentError::Malformed)?,
            file: file.ok_or(ContentError::Malformed)?,
            length: length.ok_or(ContentError::Malformed)?,
            hints: hints.ok_or(ContentError::Malformed)?,
        }))
    }

    pub(super) fn to_proto(&self) -> DirectProto {
        match self {
            Self::Offer(DirectOffer { id, secret, file, length, hints }) => DirectProto {
                id: Some(id.to_vec()),
                secret: Some(secret.expose().to_vec()),
                file: Some(file.to_vec()),
                length: Some(*length),
                hints: Some(hints.clone()),
                offset: None,
            },
            Self::Answer(DirectAnswer { id, hints, offset }) => DirectProto {
                id: Some(id.to_vec()),
                hints: hints.clone(),
                offset: Some(*offset),
                ..DirectProto::default()
            },
        }
    }
}

#[derive(Clone, Message)]
pub(super) struct DirectProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    id: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    secret: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    file: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "4")]
    length: Option<u64>,
    #[prost(string, optional, tag = "5")]
    hints: Option<String>,
    #[prost(uint64, optional, tag = "6")]
    offset: Option<u64>,
}

impl DirectProto {
    /// Overwrites the secret.
    pub(super) fn wipe(&mut self) {
        self.secret.zeroize();
    }
}

/// Longest hints, in bytes. Programs with many addresses and relays send about 1 KiB.
const MAX_HINTS: usize = 8 << 10;
