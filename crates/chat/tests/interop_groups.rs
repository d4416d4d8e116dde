//! Sender keys and sealed sender with npm's `@signalapp/libsignal-client` 0.103.0, which runs in its own process.
//! `scripts/peers` installs it; without `WORMHOLE_PEERS` these tests are skipped, except under `CI`.

#![cfg(not(target_family = "wasm"))] // starts programs
#![expect(
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic, and says why it did nothing"
)]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/person.rs"]
mod person;

use data_encoding::BASE64;
use peer::{Peer, RATCHET, THEM, bytes, key, met};
use person::{PQXDH, Person, address};
use rand_core::RngCore;
use serde_json::{Value, json};
use wormhole_chat::{
    Address, CertificateError, CertifiedSender, Ciphertext, CiphertextKind, ContentHint,
    DecryptError, DistributionId, KeyPair, MultiRecipientMessage, PublicKey, SealedContent,
    SealedDevice, SealedKind, SealedRecipient, SenderCertificate, SenderKey,
    SenderKeyDistributionMessage, SenderKeyError, SenderKeyMessage, SenderKeyRecord,
    ServerCertificate, Timestamp, UnsealError, UnsealRules, Unsealed, UnsealedMessage,
};

const GROUP: DistributionId = DistributionId::from_bytes([0xd1; 16]);

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn shuffle<T>(list: &mut [T], rng: &mut impl RngCore) {
    for index in (1..list.len()).rev() {
        let other = rng.next_u64() % (u64::try_from(index).unwrap() + 1);
        list.swap(index, other.try_into().unwrap());
    }
}

/// Flips a bit near the end: of the signature or of the MAC.
fn tampered(sent: &[u8]) -> Vec<u8> {
    let mut bad = sent.to_vec();
    let at = bad.len() - 5;
    bad[at] ^= 1;
    bad
}

/// Gives our sender key to the peer.
fn distribute(us: &Person, peer: &mut Peer, key: &SenderKey) {
    let distributed = BASE64.encode(&key.distribution_message().encode());
    let account = us.address.account.to_string();
    peer.ask(&json!({"operation": "acceptKey", "peer": account, "key": distributed})).unwrap();
}

/// The peer's sender key.
fn their_key(peer: &mut Peer) -> SenderKeyDistributionMessage {
    let request = json!({"operation": "distribute", "distribution": GROUP.to_string()});
    SenderKeyDistributionMessage::decode(&bytes(&peer.ask(&request).unwrap()["key"])).unwrap()
}

fn read_from_group(us: &Person, peer: &mut Peer, sent: &[u8]) -> Result<Vec<u8>, String> {
    let (account, message) = (us.address.account.to_string(), BASE64.encode(sent));
    let request = json!({"operation": "decryptFromGroup", "peer": account, "message": message});
    peer.ask(&request).map(|answer| bytes(&answer["plaintext"]))
}

fn write_to_group(peer: &mut Peer, text: &[u8]) -> Vec<u8> {
    let (distribution, plaintext) = (GROUP.to_string(), BASE64.encode(text));
    let request = json!({
        "operation": "encryptToGroup", "distribution": distribution, "plaintext": plaintext
    });
    bytes(&peer.ask(&request).unwrap()["message"])
}

#[test]
fn the_peer_reads_our_messages_to_a_group_in_any_order_once_each() {
    let Some(mut peer) = Peer::start(RATCHET) else { return };
    let mut us = Person::new(1);
    let mut key = SenderKey::random(GROUP, &mut us.rng);
    distribute(&us, &mut peer, &key);
    let mut sent: Vec<_> = (0..100_u32)
        .map(|text| (text.to_be_bytes(), key.encrypt(&text.to_be_bytes(), &mut us.rng).unwrap()))
        .collect();
    shuffle(&mut sent, &mut us.rng);
    for (text, message) in &sent {
        read_from_group(&us, &mut peer, &tampered(message)).unwrap_err();
        assert_eq!(read_from_group(&us, &mut peer, message).unwrap(), text);
        read_from_group(&us, &mut peer, message).unwrap_err();
    }
    // A new key, and a late message with the old one.
    let late = key.encrypt(b"late", &mut us.rng).unwrap();
    let mut next = SenderKey::random(GROUP, &mut us.rng);
    let message = next.encrypt(b"next", &mut us.rng).unwrap();
    read_from_group(&us, &mut peer, &message).unwrap_err();
    distribute(&us, &mut peer, &next);
    // Who gets the key now reads only what comes now.
    read_from_group(&us, &mut peer, &message).unwrap_err();
    let message = next.encrypt(b"next", &mut us.rng).unwrap();
    assert_eq!(read_from_group(&us, &mut peer, &message).unwrap(), b"next");
    assert_eq!(read_from_group(&us, &mut peer, &late).unwrap(), b"late");
}

#[test]
fn we_read_the_peers_messages_to_a_group_in_any_order_once_each() {
    let Some(mut peer) = Peer::start(RATCHET) else { return };
    let mut us = Person::new(1);
    let mut record = SenderKeyRecord::new(GROUP);
    record.accept(&their_key(&mut peer)).unwrap();
    let mut sent: Vec<_> = (0..100_u32)
        .map(|text| (text.to_be_bytes(), write_to_group(&mut peer, &text.to_be_bytes())))
        .collect();
    shuffle(&mut sent, &mut us.rng);
    for (text, bytes) in &sent {
        let before = record.encode();
        let bad = SenderKeyMessage::decode(&tampered(bytes)).unwrap();
        assert_eq!(record.decrypt(&bad), Err(SenderKeyError::BadSignature));
        assert_eq!(record.encode(), before);
        let message = SenderKeyMessage::decode(bytes).unwrap();
        assert_eq!(record.decrypt(&message).unwrap().as_slice(), text);
        record = SenderKeyRecord::decode(&record.encode()).unwrap();
        assert_eq!(record.decrypt(&message), Err(SenderKeyError::Duplicate));
    }
    // The same key again, in its current state.
    record.accept(&their_key(&mut peer)).unwrap();
    let next = SenderKeyMessage::decode(&write_to_group(&mut peer, b"next")).unwrap();
    assert_eq!(record.decrypt(&next).unwrap().as_slice(), b"next");
}

/// Both limits are the peer's, too.
#[test]
fn the_peer_keeps_as_many_keys_of_skipped_messages_as_we_do() {
    let Some(mut peer) = Peer::start(RATCHET) else { return };
    let mut us = Person::new(1);
    let mut key = SenderKey::random(GROUP, &mut us.rng);
    let mut record = SenderKeyRecord::new(GROUP);
    record.accept(&key.distribution_message()).unwrap();
    distribute(&us, &mut peer, &key);
    let sent: Vec<_> = (0..2105).map(|_| key.encrypt(b"text", &mut us.rng).unwrap()).collect();
    for (number, is_read) in [(2104, true), (103, false), (104, true)] {
        let message = SenderKeyMessage::decode(&sent[number]).unwrap();
        assert_eq!(record.decrypt(&message).is_ok(), is_read);
        assert_eq!(read_from_group(&us, &mut peer, &sent[number]).is_ok(), is_read);
    }
}

/// A service that certifies senders.
struct Service {
    root: KeyPair,
    server: KeyPair,
    certificate: ServerCertificate,
}

impl Service {
    fn new(us: &mut Person) -> Self {
        let (root, server) = (KeyPair::random(&mut us.rng), KeyPair::random(&mut us.rng));
        let certificate = ServerCertificate::issue(3, *server.public(), &root, &mut us.rng);
        Self { root, server, certificate }
    }

    fn certify(&self, address: Address, identity: PublicKey, us: &mut Person) -> SenderCertificate {
        let sender = CertifiedSender { address, identity, number: None };
        let server = self.certificate.clone();
        SenderCertificate::issue(sender, NOW, server, &self.server, &mut us.rng)
    }
}

fn identity(peer: &mut Peer) -> PublicKey {
    key(&peer.ask(&json!({"operation": "identity"})).unwrap()["identity"])
}

/// Seals a message for the peer in both versions.
fn sealed(us: &mut Person, content: &SealedContent, to: PublicKey) -> [Vec<u8>; 2] {
    let recipient = SealedRecipient {
        account: address(THEM).account,
        identity: to,
        devices: vec![SealedDevice { device: address(THEM).device, registration_id: 4242 }],
    };
    let pair = us.identity.pair.clone();
    let many = MultiRecipientMessage::seal(content, &pair, &[recipient], &mut us.rng).unwrap();
    let many = MultiRecipientMessage::decode(&many.encode()).unwrap();
    let one = content.seal(&pair, &to, &mut us.rng).unwrap();
    [one, many.for_account(address(THEM).account).unwrap()]
}

fn content_of(sent: Ciphertext, certificate: &SenderCertificate) -> SealedContent {
    let kind = match sent.kind {
        CiphertextKind::PreKey => SealedKind::PreKey,
        CiphertextKind::Signal => SealedKind::Signal,
    };
    SealedContent {
        certificate: certificate.clone(),
        kind,
        message: sent.bytes,
        hint: ContentHint::Default,
        group: None,
    }
}

/// The peer opens a sealed message.
fn open_there(
    peer: &mut Peer,
    operation: &str,
    message: &[u8],
    root: &PublicKey,
    now: Timestamp,
) -> Result<Value, String> {
    let (message, root) = (BASE64.encode(message), BASE64.encode(&root.encode()));
    peer.ask(&json!({"operation": operation, "message": message, "root": root, "now": now.0}))
}

#[test]
fn the_peer_opens_our_sealed_messages_of_both_versions() {
    for we_begin in [true, false] {
        let Some((mut us, mut peer)) = met(RATCHET, PQXDH, we_begin) else { return };
        if !we_begin {
            let sent = peer.write(us.address, b"first");
            us.read(address(THEM), &sent).unwrap();
        }
        let to = identity(&mut peer);
        let service = Service::new(&mut us);
        let certificate = service.certify(us.address, *us.identity.pair.public(), &mut us);
        let (root, late) = (service.root.public(), Timestamp(NOW.0 + 1));
        for version in [0, 1, 0, 1] {
            let sent = us.write(address(THEM), b"text");
            assert_eq!(sent.kind == CiphertextKind::PreKey, we_begin);
            let bytes = &sealed(&mut us, &content_of(sent, &certificate), to)[version];
            let unseal = "unseal";
            open_there(&mut peer, unseal, &tampered(bytes), root, NOW).unwrap_err();
            open_there(&mut peer, unseal, bytes, root, late).unwrap_err();
            open_there(&mut peer, unseal, bytes, service.server.public(), NOW).unwrap_err();
            let opened = open_there(&mut peer, unseal, bytes, root, NOW).unwrap();
            assert_eq!(peer::bytes(&opened["plaintext"]), b"text");
            assert_eq!(opened["account"], us.address.account.to_string());
            assert_eq!(opened["device"], 1);
            open_there(&mut peer, unseal, bytes, root, NOW).unwrap_err();
        }
    }
}

fn open_here(us: &Person, bytes: &[u8], root: &PublicKey) -> Result<Unsealed, UnsealError> {
    let rules = UnsealRules { us: us.address, roots: &[*root], now: NOW };
    Unsealed::open(bytes, &us.identity.pair, rules)
}

/// Decrypts what was in a sealed message.
fn decrypt(us: &mut Person, opened: Unsealed) -> Result<Vec<u8>, DecryptError> {
    let from = opened.sender.address;
    match opened.message {
        UnsealedMessage::First(message) => us.read_first(from, &message, None),
        UnsealedMessage::Signal(message) => us.read_signal(from, &message),
        UnsealedMessage::SenderKey(_) | UnsealedMessage::DecryptionError(_) => {
            Err(DecryptError::NoSession)
        }
    }
}

#[test]
fn we_open_the_peers_sealed_messages_of_version_1() {
    for we_begin in [true, false] {
        let Some((mut us, mut peer)) = met(RATCHET, PQXDH, we_begin) else { return };
        if we_begin {
            let sent = us.write(address(THEM), b"first");
            peer.read(us.address, &sent).unwrap();
        }
        let service = Service::new(&mut us);
        let theirs = identity(&mut peer);
        let certificate = service.certify(address(THEM), theirs, &mut us);
        let certificate = BASE64.encode(&certificate.encode());
        let request = json!({
            "operation": "seal", "peer": us.address.account.to_string(),
            "plaintext": BASE64.encode(b"text"), "certificate": certificate,
        });
        for _ in 0..4 {
            let bytes = bytes(&peer.ask(&request).unwrap()["message"]);
            let root = service.root.public();
            let tampered = open_here(&us, &tampered(&bytes), root);
            assert_eq!(tampered, Err(UnsealError::NotAuthentic));
            let untrusted = UnsealError::Certificate(CertificateError::UntrustedServer);
            assert_eq!(open_here(&us, &bytes, &theirs), Err(untrusted));
            let opened = open_here(&us, &bytes, root).unwrap();
            assert_eq!(opened.sender.address, address(THEM));
            assert_eq!(opened.sender.identity, theirs);
            assert_eq!(decrypt(&mut us, opened.clone()), Ok(b"text".to_vec()));
            assert_eq!(decrypt(&mut us, opened), Err(DecryptError::Duplicate));
        }
    }
}

#[test]
fn sealed_messages_to_a_group_are_understood_in_both_directions() {
    let Some((mut us, mut peer)) = met(RATCHET, PQXDH, false) else { return };
    let sent = peer.write(us.address, b"first");
    us.read(address(THEM), &sent).unwrap();
    let service = Service::new(&mut us);
    let root = *service.root.public();
    let theirs = identity(&mut peer);
    // Ours, in both versions.
    let mut key = SenderKey::random(GROUP, &mut us.rng);
    distribute(&us, &mut peer, &key);
    let certificate = service.certify(us.address, *us.identity.pair.public(), &mut us);
    for version in [0, 1] {
        let content = SealedContent {
            certificate: certificate.clone(),
            kind: SealedKind::SenderKey,
            message: key.encrypt(b"to all", &mut us.rng).unwrap(),
            hint: ContentHint::Resendable,
            group: Some(b"group".to_vec()),
        };
        let bytes = &sealed(&mut us, &content, theirs)[version];
        let opened = open_there(&mut peer, "unsealFromGroup", bytes, &root, NOW).unwrap();
        assert_eq!(peer::bytes(&opened["plaintext"]), b"to all");
        assert_eq!(opened["account"], us.address.account.to_string());
        assert_eq!(opened["hint"], 1);
        assert_eq!(peer::bytes(&opened["group"]), b"group");
    }
    // The peer's, which we split like a server.
    let mut record = SenderKeyRecord::new(GROUP);
    record.accept(&their_key(&mut peer)).unwrap();
    let certificate = service.certify(address(THEM), theirs, &mut us);
    let request = json!({
        "operation": "sealForMany", "peer": us.address.account.to_string(),
        "distribution": GROUP.to_string(), "plaintext": BASE64.encode(b"to all"),
        "certificate": BASE64.encode(&certificate.encode()),
    });
    for _ in 0..3 {
        let sent = bytes(&peer.ask(&request).unwrap()["message"]);
        let multi = MultiRecipientMessage::decode(&sent).unwrap();
        assert_eq!(multi.encode(), sent);
        let device = SealedDevice {
            device: us.address.device,
            registration_id: us.identity.registration_id.try_into().unwrap(),
        };
        let recipients: Vec<_> = multi.recipients().collect();
        assert_eq!(recipients, [(us.address.account, &[device][..])]);
        let bytes = multi.for_account(us.address.account).unwrap();
        assert!(open_here(&us, &tampered(&bytes), &root).is_err());
        let opened = open_here(&us, &bytes, &root).unwrap();
        assert_eq!(opened.sender.address, address(THEM));
        assert_eq!(opened.hint, ContentHint::Resendable);
        assert_eq!(opened.group.as_deref(), Some(&b"group"[..]));
        let UnsealedMessage::SenderKey(message) = opened.message else {
            panic!("a message to a group")
        };
        assert_eq!(record.decrypt(&message).unwrap().as_slice(), b"to all");
        assert_eq!(record.decrypt(&message), Err(SenderKeyError::Duplicate));
    }
}

#[test]
fn a_certificate_of_the_peer_is_valid_here() {
    let Some(mut peer) = Peer::start(RATCHET) else { return };
    let us = Person::new(1);
    let identity = BASE64.encode(&us.identity.pair.public().encode());
    let answer = peer.ask(&json!({
        "operation": "certify", "account": us.address.account.to_string(), "device": 5,
        "identity": identity, "expires": NOW.0,
    }));
    let answer = answer.unwrap();
    let certificate = SenderCertificate::decode(&bytes(&answer["certificate"])).unwrap();
    let sender = certificate.verify(&[key(&answer["root"])], NOW).unwrap();
    assert_eq!(sender.address.account, us.address.account);
    assert_eq!(sender.address.device.number(), 5);
    assert_eq!(sender.identity, *us.identity.pair.public());
}
