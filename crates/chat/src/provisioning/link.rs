//! The messages of two devices in a wormhole, with which one of them becomes a device of the other's account
//! (docs/chat-protocol.md "Linking by a code").
//!
//! The wormhole encrypts the messages with a key that only those who know the code have. The keys of the account are
//! encrypted once more, in the `ProvisionEnvelope` that a QR code leads to as well.

use std::fmt;

use prost::Message;
use zeroize::{Zeroize, Zeroizing};

use crate::address::DeviceId;
use crate::key::PublicKey;

/// A message between the two devices. `Debug` does not print the token of the app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkMessage {
    /// The new device asks to be linked.
    Request {
        /// The key for which the envelope is encrypted.
        key: PublicKey,
        /// How its user calls it.
        name: Option<String>,
        /// Whether it can take over contacts and the history.
        can_copy: bool,
    },
    /// The primary device answers with everything that the new one needs.
    Offer(LinkOffer),
    /// The server has accepted the new device under this number.
    Linked {
        /// Its number.
        device: DeviceId,
        /// Its registration id. `None`: its program is older.
        registration_id: Option<u32>,
    },
    /// A device of the account offers its contacts and its history.
    Copy(CopyOffer),
    /// The other device is ready to take them over.
    Ready(CopyReady),
    /// One side gives up.
    Refused(LinkRefusal),
}

/// Everything that a new device needs.
#[derive(Clone, Eq, PartialEq)]
pub struct LinkOffer {
    /// A `ProvisionEnvelope`: [`ProvisionMessage::seal`](crate::ProvisionMessage::seal).
    pub envelope: Vec<u8>,
    /// The address of the server.
    pub server: String,
    /// The name of the app and its token. `None`: the default app of the server.
    pub app: Option<(String, Zeroizing<String>)>,
    /// Whether a [`CopyOffer`] follows when the device is linked.
    pub will_copy: bool,
}

/// Contacts and a history, for another device of the same account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyOffer {
    /// Random; makes the key of the connection unique.
    pub salt: [u8; 32],
    /// Shows that the device has the identity key of the account.
    pub proof: [u8; 32],
    /// How the device can be reached, in the form of the transit protocol.
    pub hints: String,
    /// Number of messages in the history, approximately.
    pub messages: u64,
}

/// The answer to a [`CopyOffer`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyReady {
    /// How the device can be reached, in the form of the transit protocol.
    pub hints: String,
    /// Whether it keeps a history.
    pub keeps_history: bool,
}

impl fmt::Debug for LinkOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, app, envelope: _, will_copy: _ } = self;
        let app = app.as_ref().map(|(name, _)| name);
        let mut shown = f.debug_struct("LinkOffer");
        shown.field("server", server).field("app", &app).finish_non_exhaustive()
    }
}

/// Why one side gives up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkRefusal {
    /// Its user has stopped it.
    #[error("the other device has cancelled")]
    Cancelled,
    /// A reason that this program does not know.
    #[error("the other device could not do it")]
    Other,
    /// The new device is to be linked at another server only.
    #[error("the other device wants another server")]
    OtherServer,
    /// The server does not accept the new device.
    #[error("the server does not accept the other device")]
    Rejected,
    /// The account has as many devices as it may have.
    #[error("the account has as many devices as it may have")]
    TooManyDevices,
    /// The server cannot be reached from there.
    #[error("the other device cannot reach the messaging server")]
    Unreachable,
}

/// A message of a link cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LinkDecodeError {
    /// It is malformed.
    #[error("the other device sends something else than a request to link devices")]
    Malformed,
    /// It has this version, which this program does not know.
    #[error("the other device uses version {0} of linking, which this program does not know")]
    Version(u32),
}

impl LinkMessage {
    /// Encodes the message.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut proto = LinkProto { version: Some(VERSION), ..LinkProto::default() };
        match self {
            Self::Request { key, name, can_copy } => {
                let key = Some(key.encode().to_vec());
                let can_copy = can_copy.then_some(true);
                proto.request = Some(RequestProto { key, name: name.clone(), can_copy });
            }
            Self::Offer(LinkOffer { envelope, server, app, will_copy }) => {
                proto.offer = Some(OfferProto {
                    envelope: Some(envelope.clone()),
                    server: Some(server.clone()),
                    app: app.as_ref().map(|(name, _)| name.clone()),
                    token: app.as_ref().map(|(_, token)| token.to_string()),
                    will_copy: will_copy.then_some(true),
                });
            }
            Self::Linked { device, registration_id } => {
                proto.linked = Some(device.number().into());
                proto.registration_id = *registration_id;
            }
            Self::Copy(CopyOffer { salt, proof, hints, messages }) => {
                proto.copy = Some(CopyProto {
                    salt: Some(salt.to_vec()),
                    proof: Some(proof.to_vec()),
                    hints: Some(hints.clone()),
                    messages: Some(*messages),
                });
            }
            Self::Ready(CopyReady { hints, keeps_history }) => {
                let keeps_history = Some(*keeps_history);
                proto.ready = Some(ReadyProto { hints: Some(hints.clone()), keeps_history });
            }
            Self::Refused(refusal) => proto.refused = Some(refusal.number()),
        }
        let bytes = Zeroizing::new(proto.encode_to_vec());
        proto.wipe();
        bytes
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// It is malformed, or has another version. Give up.
    pub fn decode(bytes: &[u8]) -> Result<Self, LinkDecodeError> {
        let malformed = LinkDecodeError::Malformed;
        let mut proto = LinkProto::decode(bytes).map_err(|_| malformed)?;
        let version = proto.version.ok_or(malformed)?;
        let decoded = if version == VERSION { Some(proto.message()) } else { None };
        proto.wipe();
        decoded.ok_or(LinkDecodeError::Version(version))?.ok_or(malformed)
    }
}

impl LinkRefusal {
    const fn number(self) -> u32 {
        match self {
            Self::Other => 0,
            Self::Cancelled => 1,
            Self::OtherServer => 2,
            Self::Rejected => 3,
            Self::TooManyDevices => 4,
            Self::Unreachable => 5,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Cancelled,
            2 => Self::OtherServer,
            3 => Self::Rejected,
            4 => Self::TooManyDevices,
            5 => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

impl LinkProto {
    /// Takes the message out. `None` if there is not exactly one, or if it is malformed.
    fn message(&mut self) -> Option<LinkMessage> {
        match (self.copy.take(), self.ready.take()) {
            (None, None) => {}
            (Some(copy), None) if self.is_nothing_else() => return copy.message(),
            (None, Some(ready)) if self.is_nothing_else() => return ready.message(),
            _ => return None,
        }
        Some(match (self.request.take(), self.offer.as_mut(), self.linked, self.refused) {
            (Some(RequestProto { key, name, can_copy }), None, None, None) => {
                LinkMessage::Request {
                    key: PublicKey::decode(&key?).ok()?,
                    name: name.filter(|name| is_short(name)),
                    can_copy: can_copy.unwrap_or_default(),
                }
            }
            (None, Some(offer), None, None) => LinkMessage::Offer(offer.message()?),
            (None, None, Some(device), None) => LinkMessage::Linked {
                device: DeviceId::new(device)?,
                registration_id: self.registration_id,
            },
            (None, None, None, Some(refusal)) => {
                LinkMessage::Refused(LinkRefusal::from_number(refusal))
            }
            _ => return None,
        })
    }

    /// Whether there is no message of the first versions.
    const fn is_nothing_else(&self) -> bool {
        let Self { version: _, request, offer, linked, refused, .. } = self;
        request.is_none() && offer.is_none() && linked.is_none() && refused.is_none()
    }

    fn wipe(&mut self) {
        self.offer.iter_mut().for_each(|offer| offer.token.zeroize());
    }
}

impl OfferProto {
    fn message(&mut self) -> Option<LinkOffer> {
        let app = match (self.app.take(), self.token.take()) {
            (Some(name), Some(token)) => Some((name, Zeroizing::new(token))),
            (None, None) => None,
            _ => return None,
        };
        let will_copy = self.will_copy.unwrap_or_default();
        let (envelope, server) = (self.envelope.take()?, self.server.take()?);
        Some(LinkOffer { envelope, server, app, will_copy })
    }
}

impl CopyProto {
    fn message(self) -> Option<LinkMessage> {
        Some(LinkMessage::Copy(CopyOffer {
            salt: self.salt?.try_into().ok()?,
            proof: self.proof?.try_into().ok()?,
            hints: self.hints.filter(|hints| hints.len() <= MAX_HINTS)?,
            messages: self.messages.unwrap_or_default(),
        }))
    }
}

impl ReadyProto {
    fn message(self) -> Option<LinkMessage> {
        Some(LinkMessage::Ready(CopyReady {
            hints: self.hints.filter(|hints| hints.len() <= MAX_HINTS)?,
            keeps_history: self.keeps_history.unwrap_or_default(),
        }))
    }
}

fn is_short(name: &str) -> bool {
    name.len() <= MAX_NAME
}

#[derive(Message)]
struct LinkProto {
    #[prost(uint32, optional, tag = "1")]
    version: Option<u32>,
    #[prost(message, optional, tag = "2")]
    request: Option<RequestProto>,
    #[prost(message, optional, tag = "3")]
    offer: Option<OfferProto>,
    #[prost(uint32, optional, tag = "4")]
    linked: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    refused: Option<u32>,
    #[prost(message, optional, tag = "6")]
    copy: Option<CopyProto>,
    #[prost(message, optional, tag = "7")]
    ready: Option<ReadyProto>,
    /// The registration id of the device that is linked.
    #[prost(uint32, optional, tag = "8")]
    registration_id: Option<u32>,
}

#[derive(Message)]
struct CopyProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    salt: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    proof: Option<Vec<u8>>,
    #[prost(string, optional, tag = "3")]
    hints: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    messages: Option<u64>,
}

#[derive(Message)]
struct ReadyProto {
    #[prost(string, optional, tag = "1")]
    hints: Option<String>,
    #[prost(bool, optional, tag = "2")]
    keeps_history: Option<bool>,
}

#[derive(Message)]
struct RequestProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    key: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(bool, optional, tag = "3")]
    can_copy: Option<bool>,
}

#[derive(Message)]
struct OfferProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    envelope: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    server: Option<String>,
    #[prost(string, optional, tag = "3")]
    app: Option<String>,
    #[prost(string, optional, tag = "4")]
    token: Option<String>,
    #[prost(bool, optional, tag = "5")]
    will_copy: Option<bool>,
}

/// The only version.
const VERSION: u32 = 1;

/// Longest hints of a device, in bytes.
const MAX_HINTS: usize = 16 << 10;

/// Longest name of a device, in bytes. A longer one counts as none.
const MAX_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::key::KeyPair;

    fn messages() -> Vec<LinkMessage> {
        let key = *KeyPair::random(&mut ChaCha8Rng::seed_from_u64(1)).public();
        let token = Zeroizing::new("a secret token".to_owned());
        let server = "https://a.b".to_owned();
        let offer = |app: Option<(String, Zeroizing<String>)>| LinkOffer {
            envelope: vec![1, 2],
            server: server.clone(),
            will_copy: app.is_none(),
            app,
        };
        let hints = "{}".to_owned();
        vec![
            LinkMessage::Request { key, name: None, can_copy: false },
            LinkMessage::Request { key, name: Some("laptop".to_owned()), can_copy: true },
            LinkMessage::Ready(CopyReady { hints: hints.clone(), keeps_history: true }),
            LinkMessage::Copy(CopyOffer { salt: [1; 32], proof: [2; 32], hints, messages: 7 }),
            LinkMessage::Offer(offer(None)),
            LinkMessage::Offer(offer(Some(("com.one".to_owned(), token)))),
            LinkMessage::Linked { device: DeviceId::new(2).unwrap(), registration_id: Some(7) },
            LinkMessage::Linked { device: DeviceId::new(2).unwrap(), registration_id: None },
            LinkMessage::Refused(LinkRefusal::Cancelled),
            LinkMessage::Refused(LinkRefusal::Other),
        ]
    }

    #[test]
    fn each_message_is_read_as_it_was_written() {
        for message in messages() {
            assert_eq!(LinkMessage::decode(&message.encode()), Ok(message));
        }
        for number in 0..=6 {
            let refusal = LinkRefusal::from_number(number);
            assert_eq!(LinkRefusal::from_number(refusal.number()), refusal);
        }
    }

    #[test]
    fn other_versions_and_several_messages_at_once_are_refused() {
        let encoded = messages().iter().map(LinkMessage::encode).collect::<Vec<_>>();
        let mut later = encoded[0].to_vec();
        later[1] = 2;
        assert_eq!(LinkMessage::decode(&later), Err(LinkDecodeError::Version(2)));
        let malformed = Err(LinkDecodeError::Malformed);
        for bytes in [&b""[..], &[8, 1], &[0xff], &encoded[0][2..], &encoded[1][..20]] {
            assert_eq!(LinkMessage::decode(bytes), malformed, "{bytes:?}");
        }
        for other in &encoded[2..7] {
            let both = [&encoded[0][..], other].concat();
            assert_eq!(LinkMessage::decode(&both), malformed);
        }
        // A number that no device has, and an app without its token.
        assert_eq!(LinkMessage::decode(&[8, 1, 32, 0]), malformed);
        assert_eq!(LinkMessage::decode(&[8, 1, 26, 6, 10, 0, 18, 0, 26, 0]), malformed);
    }

    #[test]
    fn the_token_of_the_app_is_not_printed() {
        let printed = format!("{:?}", messages());
        assert!(printed.contains("com.one") && !printed.contains("secret"), "{printed}");
    }
}
