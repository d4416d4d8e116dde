//! The fuzz targets of messaging.
//!
//! If a decoder normally receives decrypted data, the target encrypts the fuzzer's bytes first, so that
//! decryption succeeds.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::service::{AppName, Destination, PhoneNumber};
use wormhole_chat::{
    AccountId, Address, AttachmentKey, AttachmentOpener, AttachmentSealer, Content,
    DecryptionErrorMessage, DeviceId, DeviceList, Envelope, Identity, IntroductionMessage,
    KemPreKey, KeyPair, LinkMessage, OneTimePreKey, PreKeyBundle, PreKeySignalMessage,
    ProfileField, ProfileKey, ProvisionMessage, ReferencedPreKeys, Route, SessionRecord,
    SignalMessage, SignalingKey, SignedPreKey, SpqrMessage, SyncMessage, TextPart, Timestamp,
    Trust, WebSocketMessage, open_device_name, pad, seal_device_name, text_parts, unpad,
};
use wormhole_kit::Secret;

use crate::Body;
pub use client::client;

mod client;
pub mod group_log;
pub mod groups;

/// Every body with the name of its target and of its corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("chat_attachment", attachment),
    ("chat_certificate", groups::certificate),
    ("chat_client", client),
    ("chat_content", content),
    ("chat_decryption_error", decryption_error),
    ("chat_destination", destination),
    ("chat_device_list", device_list),
    ("chat_envelope", envelope),
    ("chat_group_entry", group_log::entry),
    ("chat_group_link", group_log::link),
    ("chat_group_state", group_log::state),
    ("chat_introduction", introduction),
    ("chat_link", link),
    ("chat_multi_recipient_message", groups::multi_recipient_message),
    ("chat_pre_key_signal_message", pre_key_signal_message),
    ("chat_profile", profile),
    ("chat_provisioning", provisioning),
    ("chat_push_payload", push_payload),
    ("chat_sealed_sender", groups::sealed_sender),
    ("chat_sender_key_distribution", groups::sender_key_distribution),
    ("chat_sender_key_message", groups::sender_key_message),
    ("chat_sender_key_record", groups::sender_key_record),
    ("chat_session_record", session_record),
    ("chat_signal_message", signal_message),
    ("chat_spqr", spqr),
    ("chat_websocket", websocket),
];

/// The list of an account's devices: as it is, and signed correctly.
pub fn device_list(bytes: &[u8]) {
    let (account, pair) = (AccountId::from_bytes([7; 16]), KeyPair::random(&mut rng()));
    assert!(DeviceList::open(bytes, account, pair.public()).is_err(), "nobody knows the key");
    let Ok(list) = DeviceList::decode(bytes) else { return };
    assert_eq!(DeviceList::decode(&list.encode()).as_ref(), Ok(&list));
    let signed = list.sign(&pair, &mut rng());
    let is_short = signed.len() <= DeviceList::MAX_BYTES;
    assert_eq!(DeviceList::open(&signed, list.account, pair.public()).is_ok(), is_short);
    let next = DeviceList::next(Some(&list), account, &[], &[], Timestamp(0));
    assert!(next.is_none_or(|next| next.revision > list.revision && next.devices.is_empty()));
}

/// The blob of an attachment: as it is, and encrypted correctly. The first byte says where the blob is split.
pub fn attachment(bytes: &[u8]) {
    let Some((split, bytes)) = bytes.split_first() else { return };
    let key = AttachmentKey::from_slice(&[7; 64]).expect("64 bytes");
    let open = |pieces: &[&[u8]]| {
        let (mut opener, mut plaintext) = (AttachmentOpener::new(&key), Vec::new());
        pieces.iter().for_each(|piece| opener.update(piece, &mut plaintext));
        opener.finish(None, &mut plaintext).map(|()| plaintext)
    };
    assert!(open(&[bytes]).is_err(), "nobody knows the key");
    let mut blob = Vec::new();
    let mut sealer = AttachmentSealer::new(&key, &mut rng(), &mut blob);
    sealer.update(bytes, &mut blob);
    sealer.finish(&mut blob);
    let (first, rest) = blob.split_at(usize::from(*split).min(blob.len()));
    let [whole, split] = [open(&[&blob]), open(&[first, &[], rest])];
    assert_eq!(whole, split);
    assert!(whole.expect("our own blob").starts_with(bytes));
}

/// The possible destinations of a message.
pub fn destination(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(destination) = text.parse::<Destination>() {
        assert_eq!(destination.to_string().parse().as_ref(), Ok(&destination));
    }
    if let Ok(name) = text.parse::<AppName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(number) = text.parse::<PhoneNumber>() {
        assert_eq!(number.as_str().parse::<PhoneNumber>().as_ref(), Ok(&number));
    }
    if let Ok(account) = text.parse::<AccountId>() {
        assert_eq!(account.to_string().parse(), Ok(account));
    }
}

/// Content, bare data messages, and padding.
pub fn content(bytes: &[u8]) {
    if let Ok(sync) = SyncMessage::decode(bytes) {
        assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync));
    }
    for content in [Content::decode(bytes), Content::decode_body(bytes)].into_iter().flatten() {
        let written = content.encode();
        assert_eq!(Content::decode_stored(&written).as_ref(), Ok(&content));
        assert_eq!(unpad(&pad(&written)), Some(written.as_slice()));
        let message = if let Content::Data(data) = &content {
            data
        } else if let Content::Edit(edit) = &content {
            &edit.message
        } else {
            continue;
        };
        let text = message.body.as_deref().unwrap_or_default();
        let parts = text_parts(text, &message.ranges).into_iter();
        let parts = parts.map(|part| match part {
            TextPart::Text(text) | TextPart::Mention { text, .. } => text,
        });
        assert_eq!(parts.collect::<String>(), text);
    }
    if let Some(plaintext) = unpad(bytes) {
        assert!(plaintext.len() < bytes.len());
    }
}

/// An envelope, as a server sends it to a device.
pub fn envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::decode(bytes) {
        assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }
}

/// A message that may start a session: decoded, and decrypted with every key that it may name.
pub fn pre_key_signal_message(bytes: &[u8]) {
    let Ok(message) = PreKeySignalMessage::decode(bytes) else { return };
    let (reader, mut rng) = (&*READER, rng());
    let keys = ReferencedPreKeys {
        signed: Some(&reader.signed),
        one_time: Some(&reader.one_time),
        kem: Some(&reader.kem),
    };
    let (mut record, us) = (reader.record.clone(), &reader.identity);
    if record.decrypt_first(us, ROUTE, &message, keys, Trust::Any, &mut rng).is_err() {
        assert_eq!(record, reader.record);
    }
}

/// A request to send a message again: as unencrypted content, and as the bytes of the report.
pub fn decryption_error(bytes: &[u8]) {
    let read =
        [DecryptionErrorMessage::from_plaintext(bytes), DecryptionErrorMessage::decode(bytes)];
    for error in read.into_iter().flatten() {
        let again = error.to_plaintext();
        assert_eq!(DecryptionErrorMessage::from_plaintext(&again), Some(error));
    }
}

/// A field of a profile: as it is, and encrypted correctly.
pub fn profile(bytes: &[u8]) {
    let key = ProfileKey::from_secret(Secret::new([7; 32]));
    assert!(key.open(bytes).is_err(), "nobody knows the key");
    assert!(key.open_picture(bytes).is_err(), "nobody knows the key");
    if let Ok(sealed) = key.seal(ProfileField::Name, bytes, &mut rng()) {
        let opened = key.open(&sealed).expect("our own field");
        assert!(bytes.starts_with(&opened), "without the zeros at the end");
    }
}

/// A provisioning envelope, and the message in an authentic one.
pub fn provisioning(bytes: &[u8]) {
    let device = &READER.identity.pair;
    let opened = ProvisionMessage::open(device, bytes).ok();
    for message in [opened, ProvisionMessage::decode(bytes)].into_iter().flatten() {
        let envelope = message.seal(device.public(), &mut rng()).expect("the key is good");
        assert_eq!(ProvisionMessage::open(device, &envelope), Ok(message));
    }
}

/// A message of an introduction with a code.
pub fn introduction(bytes: &[u8]) {
    if let Ok(message) = IntroductionMessage::decode(bytes) {
        assert_eq!(IntroductionMessage::decode(&message.encode()), Ok(message));
    }
}

/// A message between two devices that are linked with a code, and the name of a device.
pub fn link(bytes: &[u8]) {
    if let Ok(message) = LinkMessage::decode(bytes) {
        assert_eq!(LinkMessage::decode(&message.encode()), Ok(message));
    }
    let identity = &READER.identity.pair;
    if let Some(name) = open_device_name(identity, bytes) {
        let sealed = seal_device_name(&name, identity.public(), &mut rng()).expect("a good key");
        assert_eq!(open_device_name(identity, &sealed), Some(name));
    }
}

/// A push payload: as it is, and encrypted correctly.
pub fn push_payload(bytes: &[u8]) {
    let Some(key) = SignalingKey::from_slice(&[7; 52]) else { return };
    if let Ok(opened) = key.open(bytes) {
        envelope(&opened);
    }
    let sealed = key.seal(bytes, &mut rng());
    assert_eq!(key.open(&sealed).as_deref().map(Vec::as_slice), Ok(bytes));
}

/// A stored session record.
pub fn session_record(bytes: &[u8]) {
    if let Ok(record) = SessionRecord::decode(bytes) {
        assert_eq!(SessionRecord::decode(&record.encode()), Ok(record));
    }
}

/// A message of an existing session: decoded and decrypted.
pub fn signal_message(bytes: &[u8]) {
    let Ok(message) = SignalMessage::decode(bytes) else { return };
    let mut record = READER.record.clone();
    if record.decrypt(ROUTE, &message, &mut rng()).is_err() {
        assert_eq!(record, READER.record);
    }
}

/// The field of the post-quantum ratchet.
pub fn spqr(bytes: &[u8]) {
    if let Ok(Some(message)) = SpqrMessage::decode(bytes) {
        let encoded = message.encode();
        assert!(encoded.len() <= bytes.len());
        assert_eq!(SpqrMessage::decode(&encoded), Ok(Some(message)));
    }
}

/// A WebSocket frame.
pub fn websocket(bytes: &[u8]) {
    if let Ok(message) = WebSocketMessage::decode(bytes) {
        assert_eq!(WebSocketMessage::decode(&message.encode()), Ok(message));
    }
}

/// Sender and recipient.
const ROUTE: Route = Route {
    from: Address { account: AccountId::from_bytes([1; 16]), device: DeviceId::PRIMARY },
    to: Address { account: AccountId::from_bytes([2; 16]), device: DeviceId::PRIMARY },
};

/// A device with prekeys and a session.
struct Reader {
    identity: Identity,
    signed: SignedPreKey,
    one_time: OneTimePreKey,
    kem: KemPreKey,
    record: SessionRecord,
}

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let mut rng = rng();
    let identity = Identity { pair: KeyPair::random(&mut rng), registration_id: 2 };
    let mut reader = Reader {
        signed: SignedPreKey::random(1, &identity.pair, Timestamp(0), &mut rng),
        one_time: OneTimePreKey { id: 1, pair: KeyPair::random(&mut rng) },
        kem: KemPreKey::random(1, true, &identity.pair, Timestamp(0), &mut rng),
        record: SessionRecord::default(),
        identity,
    };
    let bundle = PreKeyBundle {
        device: DeviceId::PRIMARY,
        registration_id: 2,
        identity: *reader.identity.pair.public(),
        signed: (1, *reader.signed.pair.public(), reader.signed.signature),
        one_time: None,
        kem: None,
    };
    let bundle = bundle.verify().expect("signed above");
    let begun = reader.record.initiate(&reader.identity, &bundle, Timestamp(0), &mut rng);
    begun.expect("the keys are good");
    reader
});

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}
