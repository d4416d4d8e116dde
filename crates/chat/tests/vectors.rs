//! The test vectors of `vectors/chat`.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use rand_core::{CryptoRng, RngCore};
use serde_json::Value;
use wormhole_chat::{
    AccountId, Address, AttachmentKey, AttachmentOpener, AttachmentSealer, DeviceId, Envelope,
    EnvelopeKind, Fingerprint, Identity, KeyPair, OneTimePreKey, PreKeyBundle, PreKeySignalMessage,
    PrivateKey, ProfileField, ProfileKey, ProvisionMessage, PublicKey, ReferencedPreKeys, Route,
    SessionRecord, SignalingKey, Signature, SignedPreKey, Timestamp, Trust, attachment_padding,
    directory_token, safety_number,
};
use wormhole_kit::Secret;

/// A random number generator that returns fixed bytes, then zeros.
#[derive(Default)]
struct Script(VecDeque<u8>);

impl Script {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().collect())
    }
}

impl RngCore for Script {
    fn next_u32(&mut self) -> u32 {
        unimplemented!("only bytes are drawn")
    }

    fn next_u64(&mut self) -> u64 {
        unimplemented!("only bytes are drawn")
    }

    fn fill_bytes(&mut self, room: &mut [u8]) {
        room.fill_with(|| self.0.pop_front().unwrap_or_default());
    }

    fn try_fill_bytes(&mut self, room: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(room);
        Ok(())
    }
}

impl CryptoRng for Script {}

fn file(name: &str) -> Value {
    let path = format!("{}/../../vectors/chat/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn base64(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

/// The pair whose private key repeats one byte 32 times.
fn pair(byte: u8) -> KeyPair {
    PrivateKey::from_secret(&Secret::new([byte; 32])).into()
}

fn route() -> Route {
    let [from, to] = [1, 2].map(|byte| AccountId::from_bytes([byte; 16]));
    let [from, to] = [from, to].map(|account| Address { account, device: DeviceId::PRIMARY });
    Route { from, to }
}

/// The first message of `vectors/chat/x3dh.json` with or without a one-time prekey.
fn case(one_time: bool) -> Value {
    let file = file("x3dh");
    let cases = file["cases"].as_array().unwrap();
    cases.iter().find(|case| case["one_time"] == one_time).unwrap().clone()
}

fn signed() -> SignedPreKey {
    let (id, pair, created) = (22, pair(0x44), Timestamp(0));
    SignedPreKey { id, pair, signature: Signature([0; 64]), created }
}

#[test]
fn a_first_message_of_version_3_is_read() {
    for with_one_time in [false, true] {
        let message = hex(&case(with_one_time)["pre_key_signal_message"]);
        let message = PreKeySignalMessage::decode(&message).unwrap();
        assert_eq!(message.registration_id(), 111);
        assert_eq!(message.identity(), pair(0x11).public());
        let us = Identity { pair: pair(0x33), registration_id: 222 };
        let (signed, one_time) = (signed(), OneTimePreKey { id: 31337, pair: pair(0x55) });
        let keys =
            ReferencedPreKeys { signed: Some(&signed), one_time: Some(&one_time), kem: None };
        let mut record = SessionRecord::default();
        let mut rng = Script::of(&[7; 32]);
        let read =
            record.decrypt_first(&us, route(), &message, keys, Trust::Any, &mut rng).unwrap();
        assert_eq!(*read.plaintext, b"hello wormhole");
        let used = read.used.unwrap();
        assert_eq!(used.one_time, with_one_time.then_some(31337));
        assert_eq!(used.base_key, *pair(0x22).public());
    }
}

#[test]
fn a_first_message_of_version_3_is_written_byte_by_byte_apart_from_its_addresses() {
    for with_one_time in [false, true] {
        let us = Identity { pair: pair(0x11), registration_id: 111 };
        let identity = pair(0x33);
        let signature = identity.sign(&pair(0x44).public().encode(), &mut Script::default());
        let bundle = PreKeyBundle {
            device: DeviceId::PRIMARY,
            registration_id: 222,
            identity: *identity.public(),
            signed: (22, *pair(0x44).public(), signature),
            one_time: with_one_time.then(|| (31337, *pair(0x55).public())),
            kem: None,
        };
        let bundle = bundle.verify().unwrap();
        let mut rng = Script::of(&[[0x22; 32], [0x66; 32]].concat());
        let mut record = SessionRecord::default();
        record.initiate(&us, &bundle, Timestamp(0), &mut rng).unwrap();
        let sent = record.encrypt(&us, route(), b"hello wormhole", Timestamp(0)).unwrap();

        let case = case(with_one_time);
        let inner = hex(&case["signal_message"]);
        let whole = hex(&case["pre_key_signal_message"]);
        // The vector has no addresses; apart from them everything up to the MAC is the same.
        let ours =
            sent.bytes.windows(inner.len() - 8).any(|part| part == &inner[..inner.len() - 8]);
        assert!(ours, "the signal message without its MAC");
        let fields = |bytes: &[u8]| {
            let message = PreKeySignalMessage::decode(bytes).unwrap();
            let ids =
                (message.registration_id(), message.pre_key_id(), message.signed_pre_key_id());
            (ids, *message.identity())
        };
        assert_eq!(fields(&sent.bytes), fields(&whole));
    }
}

#[test]
fn x25519_gives_the_known_secret() {
    let private = "c806439dc9d2c476ffed8f2580c0888d58ab406bf7ae3698879021b96bb4bf59";
    let public = "653614993d2b15ee9e5fd3d86ce719ef4ec1daae1886a87b3f5fa9565a27a22f";
    let secret = "325f239328941ced6e673b86ba41017448e99b649a9c3806c1dd7ca4c477e629";
    let [private, public, secret] =
        [private, public, secret].map(|text| array(&HEXLOWER.decode(text.as_bytes()).unwrap()));
    let agreed = PrivateKey::from_secret(&Secret::new(private))
        .agree(&PublicKey::from_u(public).unwrap())
        .unwrap();
    assert_eq!(agreed, Secret::new(secret));
}

#[test]
fn a_push_payload_is_sealed_and_opened() {
    let push = &file("misc")["push"];
    let key = SignalingKey::from_slice(&base64(&push["signaling_key_base64"])).unwrap();
    let (envelope, payload) = (hex(&push["envelope"]), push["payload_base64"].as_str().unwrap());
    let payload = BASE64_NOPAD.decode(payload.as_bytes()).unwrap();
    assert_eq!(key.seal(&envelope, &mut Script::of(&hex(&push["iv"]))), payload);
    assert_eq!(*key.open(&payload).unwrap(), envelope);

    let envelope = Envelope::decode(&envelope).unwrap();
    assert_eq!(envelope.kind, EnvelopeKind::Ciphertext);
    assert_eq!(envelope.source.as_deref(), Some("+14152222222"));
    assert_eq!(envelope.source_device, Some(DeviceId::PRIMARY));
    assert_eq!(envelope.timestamp, Timestamp(1_600_000_000_000));
    assert_eq!(envelope.body.as_deref(), Some(&b"ciphertext"[..]));
    assert_eq!(envelope.content, None);
}

#[test]
fn attack_13_every_flipped_bit_closes_a_push_payload() {
    let push = &file("misc")["push"];
    let key = SignalingKey::from_slice(&base64(&push["signaling_key_base64"])).unwrap();
    let payload = key.seal(b"envelope", &mut Script::default());
    for bit in 0..payload.len() * 8 {
        let mut bad = payload.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(key.open(&bad).is_err());
        assert!(key.open(&payload[..bit / 8]).is_err());
    }
}

#[test]
fn a_provisioning_message_is_sealed_and_opened() {
    let case = &file("misc")["provisioning"];
    let private = PrivateKey::from_secret(&Secret::new(array(&hex(&case["device_private"]))));
    let (device, envelope) = (KeyPair::from(private), hex(&case["envelope"]));
    let message = ProvisionMessage::open(&device, &envelope).unwrap();
    assert_eq!(message.identity, pair(0x11));
    assert_eq!(message.number.as_deref(), Some("+14152222222"));
    assert_eq!(message.code, "123456");
    assert_eq!(message.account, None);
    // The sender's ephemeral key and the IV of the vector.
    let random = [&[0x88; 32][..], &envelope[39..55]].concat();
    assert_eq!(message.seal(device.public(), &mut Script::of(&random)).unwrap(), envelope);
}

#[test]
fn attack_13_every_flipped_bit_closes_a_provisioning_envelope() {
    let case = &file("misc")["provisioning"];
    let private = PrivateKey::from_secret(&Secret::new(array(&hex(&case["device_private"]))));
    let (device, envelope) = (KeyPair::from(private), hex(&case["envelope"]));
    for bit in 0..envelope.len() * 8 {
        let mut bad = envelope.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(ProvisionMessage::open(&device, &bad).is_err(), "bit {bit}");
        assert!(ProvisionMessage::open(&device, &envelope[..bit / 8]).is_err());
    }
    assert!(ProvisionMessage::open(&pair(0x66), &envelope).is_err());
}

#[test]
fn an_attachment_is_sealed_and_opened() {
    let attachment = &file("misc")["attachment"];
    let key = AttachmentKey::from_slice(&hex(&attachment["key"])).unwrap();
    let plaintext = hex(&attachment["plaintext"]);
    let seal = |padded: usize| {
        let (mut blob, mut rng) = (Vec::new(), Script::of(&hex(&attachment["iv"])));
        let mut sealer = AttachmentSealer::new(&key, &mut rng, &mut blob);
        sealer.update(&plaintext, &mut blob);
        sealer.update(&vec![0; padded - plaintext.len()], &mut blob);
        let digest = sealer.finish(&mut blob);
        (blob, digest)
    };
    assert_eq!(seal(plaintext.len()).0, hex(&attachment["unpadded_blob"]));

    let padded = usize::try_from(attachment_padding(16)).unwrap();
    assert_eq!(padded, 541);
    let (blob, digest) = seal(padded);
    assert_eq!(blob.len(), 592);
    assert_eq!(digest, array(&hex(&attachment["digest"])));
    let (mut opened, mut opener) = (Vec::new(), AttachmentOpener::new(&key));
    opener.update(&blob, &mut opened);
    opener.finish(Some(&digest), &mut opened).unwrap();
    assert_eq!(opened[..16], plaintext);
    assert_eq!(opened.len(), 541);
}

#[test]
fn a_profile_gives_its_access_key_and_name() {
    let profile = &file("misc")["profile"];
    let key = ProfileKey::from_secret(Secret::new(array(&hex(&profile["key"]))));
    assert_eq!(key.access_key().expose()[..], hex(&profile["access_key"]));
    let checksum = base64(&profile["access_checksum_base64"]);
    assert_eq!(key.access_key().checksum()[..], checksum);
    let (name, sealed) = (profile["name"].as_str().unwrap(), base64(&profile["name_base64"]));
    assert_eq!(*key.open(&sealed).unwrap(), name.as_bytes());
    let nonce: Vec<u8> = (0..12).collect();
    let ours = key.seal(ProfileField::Name, name.as_bytes(), &mut Script::of(&nonce));
    assert_eq!(ours.unwrap(), sealed);
}

#[test]
fn both_sides_compute_the_known_safety_number() {
    let case = &file("misc")["safety_number"];
    let [ours, theirs] = ["ours", "theirs"].map(|side| {
        let key = PublicKey::decode(&hex(&case[side]["key"])).unwrap();
        Fingerprint::new(case[side]["id"].as_str().unwrap().as_bytes(), &key)
    });
    assert_eq!(safety_number(&ours, &theirs), case["number"].as_str().unwrap());
    assert_eq!(safety_number(&theirs, &ours), case["number"].as_str().unwrap());
    assert!(ours.matches(ours.as_bytes()));
    assert!(!ours.matches(theirs.as_bytes()));
}

#[test]
fn a_number_gives_the_known_directory_token() {
    let case = &file("misc")["directory_token"];
    let token = directory_token(case["number"].as_str().unwrap());
    assert_eq!(BASE64_NOPAD.encode(&token), case["token_base64"].as_str().unwrap());
}
