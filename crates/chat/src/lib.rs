//! End-to-end encrypted messaging without I/O, compatible with libsignal's session versions 3
//! (X3DH) and 4 (PQXDH), the latter with or without the post-quantum ratchet; and with its sender keys and sealed sender.
//!
//! This crate uses no socket, file, clock or randomness source of its own. State that must survive
//! a restart is returned as plain data, and the caller stores it. The protocols are the ones that Signal
//! published; none of Signal's code was read.
//!
//! ```
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! use wormhole_chat::{
//!     Address, DeviceId, Identity, KeyPair, ReferencedPreKeys, PreKeyBundle, PreKeySignalMessage, Route,
//!     SessionRecord, SignedPreKey, Timestamp, Trust,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = ChaCha20Rng::seed_from_u64(1);
//! let now = Timestamp(1_600_000_000_000);
//! let [alice, bob] = ["9d0652a3-dcc3-4d11-975f-74d61598733f", "796abedb-ca4e-4f18-8803-1fde5b921f9f"]
//!     .map(|id| Address { account: id.parse().unwrap(), device: DeviceId::PRIMARY });
//! let ours = Identity { pair: KeyPair::random(&mut rng), registration_id: 111 };
//! let theirs = Identity { pair: KeyPair::random(&mut rng), registration_id: 222 };
//!
//! // Bob publishes keys.
//! let signed = SignedPreKey::random(22, &theirs.pair, now, &mut rng);
//! let bundle = PreKeyBundle {
//!     device: bob.device,
//!     registration_id: 222,
//!     identity: *theirs.pair.public(),
//!     signed: (22, *signed.pair.public(), signed.signature),
//!     one_time: None,
//!     kem: None,
//! };
//!
//! // Alice writes to him while he is away.
//! let route = Route { from: alice, to: bob };
//! let mut sessions = SessionRecord::default();
//! sessions.initiate(&ours, &bundle.verify()?, now, &mut rng)?;
//! let sent = sessions.encrypt(&ours, route, b"hello", now)?;
//!
//! // Bob reads it.
//! let message = PreKeySignalMessage::decode(&sent.bytes)?;
//! let keys = ReferencedPreKeys { signed: Some(&signed), one_time: None, kem: None };
//! let mut sessions = SessionRecord::default();
//! let read = sessions.decrypt_first(&theirs, route, &message, keys, Trust::Any, &mut rng)?;
//! assert_eq!(*read.plaintext, b"hello");
//! # Ok(())
//! # }
//! ```

mod address;
mod attachment;
mod certificate;
mod cipher;
mod client;
mod content;
mod device_list;
mod envelope;
mod fingerprint;
pub mod group;
mod kdf;
mod kem;
mod key;
mod message;
mod padding;
mod prekey;
mod profile;
mod provisioning;
mod push;
mod ratchet;
mod record;
mod retry;
mod sealed_sender;
mod sender_key;
pub mod service;
mod session;
mod spqr;
mod time;
mod websocket;
mod x3dh;

pub use address::{AccountId, Address, DeviceId, NotAnAccountId, Route};
pub use attachment::{
    AttachmentError, AttachmentKey, AttachmentOpener, AttachmentSealer, attachment_padding,
};
pub use certificate::{CertificateError, CertifiedSender, SenderCertificate, ServerCertificate};
pub use client::{
    AccountDevices, ChangeId, Changes, Client, ClientEvent, ClientInput, ClientOutput, CommitId,
    CopyFailure, Delivery, DeviceCiphertext, DeviceListUpdate, Failed, GroupDelay, GroupEvent,
    GroupFailure, KnownIdentity, LeftOut, Membership, NewDeviceList, OutboxChange, OwnDeviceList,
    PartlySent, Publication, ReadError, Received, Request, RequestId, Response, RestoreError,
    Sealer, SendFailure, StoreKey, Unreadable,
};
pub use content::{
    AttachmentPlace, AttachmentPointer, BodyRange, ConfigurationSync, Content, ContentError,
    DataMessage, DirectAnswer, DirectContent, DirectOffer, Edit, Emoji, Group, GroupChange,
    GroupContent, GroupTranscript, IdentityChoice, IdentitySync, LinkPreview, MAX_NAME, MessageRef,
    NameSync, NotAnEmoji, OfferId, PersonDecision, Quote, QuotedFile, RangeKind, Reaction, Receipt,
    ReceiptKind, RequestDecision, RequestSync, SentTranscript, SyncMessage, TextPart, TimerScope,
    TimerSync, Typing, rules, text_parts,
};
pub use device_list::{DeviceList, DeviceListError, FormerDevice, ListedDevice, OwnDevice};
pub use envelope::{Envelope, EnvelopeError, EnvelopeKind, MAX_ENVELOPE};
pub use fingerprint::{Fingerprint, directory_token, safety_number};
pub use kem::{KemCiphertext, KemError, KemKeyPair, KemPublicKey};
pub use key::{ENCODED_KEY, KeyError, KeyPair, PrivateKey, PublicKey, Signature};
pub use message::{
    Ciphertext, CiphertextKind, MAX_MESSAGE, MessageError, PreKeySignalMessage, SignalMessage,
};
pub use padding::{pad, unpad};
pub use prekey::{
    BundleError, KemPreKey, OneTimePreKey, PreKeyBundle, SignedPreKey, VerifiedBundle,
};
pub use profile::{AccessKey, ProfileError, ProfileField, ProfileKey};
pub use provisioning::{
    CopyOffer, CopyReady, Introduction, IntroductionDecodeError, IntroductionMessage,
    LinkDecodeError, LinkMessage, LinkOffer, LinkRefusal, ProvisionMessage, ProvisioningError,
    open_device_name, provisioning_address, seal_device_name,
};
pub use push::{PushError, SignalingKey};
pub use record::{
    FirstMessage, Identity, InitiateError, ReferencedPreKeys, SessionPeer, SessionRecord,
    StoredRecordError, Trust, UsedPreKeys,
};
pub use retry::DecryptionErrorMessage;
pub use sealed_sender::{
    ContentHint, MalformedMultiRecipient, MultiRecipientMessage, SealedContent, SealedDevice,
    SealedKind, SealedRecipient, UnsealError, UnsealRules, Unsealed, UnsealedMessage,
};
pub use sender_key::{
    DistributionId, SenderKey, SenderKeyDistributionMessage, SenderKeyError, SenderKeyMessage,
    SenderKeyRecord,
};
pub use session::{DecryptError, EncryptError};
pub use spqr::{SpqrChunk, SpqrDecodeError, SpqrMessage, SpqrPayload};
pub use time::Timestamp;
pub use websocket::{
    CLOSE_MALFORMED, MAX_FRAME, WebSocketError, WebSocketMessage, WebSocketRequest,
    WebSocketResponse,
};
pub use x3dh::Version;
