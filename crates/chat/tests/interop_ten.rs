//! A group of ten: five members with this program, five with npm's `@signalapp/libsignal-client` 0.103.0, each in its own process.
//! `scripts/peers` installs it; without `WORMHOLE_PEERS` this test is skipped, except under `CI`.

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
use peer::{Peer, RATCHET, bytes, key};
use person::{PQXDH, Person, address};
use serde_json::json;
use wormhole_chat::{
    Address, CertifiedSender, ContentHint, DistributionId, KeyPair, MultiRecipientMessage,
    PublicKey, SealedContent, SealedDevice, SealedKind, SealedRecipient, SenderCertificate,
    SenderKey, SenderKeyDistributionMessage, SenderKeyRecord, ServerCertificate, Timestamp,
    UnsealRules, Unsealed, UnsealedMessage,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// The registration id of each peer.
const THEIR_REGISTRATION_ID: u16 = 4242;

/// A member of the group.
struct Member {
    address: Address,
    identity: PublicKey,
    certificate: SenderCertificate,
    distribution: DistributionId,
    program: Program,
}

/// The program of a member.
enum Program {
    Ours { person: Box<Person>, key: SenderKey, records: Vec<SenderKeyRecord> },
    Libsignal(Peer),
}

/// Ten members, who do not have the keys of the others yet, and the root of the service. `None` without the package.
fn ten() -> Option<(Vec<Member>, PublicKey)> {
    let mut us = Person::new(99);
    let (root, server) = (KeyPair::random(&mut us.rng), KeyPair::random(&mut us.rng));
    let of_server = ServerCertificate::issue(3, *server.public(), &root, &mut us.rng);
    let mut members = Vec::new();
    for number in 1..=10 {
        let distribution = DistributionId::from_bytes([number; 16]);
        let (identity, program) = if number % 2 == 0 {
            let mut peer = Peer::start_as(RATCHET, number)?;
            let identity = key(&peer.ask(&json!({"operation": "identity"})).unwrap()["identity"]);
            (identity, Program::Libsignal(peer))
        } else {
            let mut person = Person::new(number);
            let key = SenderKey::random(distribution, &mut person.rng);
            let identity = *person.identity.pair.public();
            (identity, Program::Ours { person: Box::new(person), key, records: Vec::new() })
        };
        let address = address(number);
        let sender = CertifiedSender { address, identity, number: None };
        let certificate =
            SenderCertificate::issue(sender, NOW, of_server.clone(), &server, &mut us.rng);
        members.push(Member { address, identity, certificate, distribution, program });
    }
    Some((members, *root.public()))
}

impl Member {
    /// Its sender key, as the others get it.
    fn distribute(&mut self) -> Vec<u8> {
        match &mut self.program {
            Program::Ours { key, .. } => key.distribution_message().encode().to_vec(),
            Program::Libsignal(peer) => {
                let distribution = self.distribution.to_string();
                let request = json!({"operation": "distribute", "distribution": distribution});
                bytes(&peer.ask(&request).unwrap()["key"])
            }
        }
    }

    /// Takes the sender key of another member.
    fn accept(&mut self, from: Address, key: &[u8]) {
        match &mut self.program {
            Program::Ours { records, .. } => {
                let key = SenderKeyDistributionMessage::decode(key).unwrap();
                let mut record = SenderKeyRecord::new(key.distribution());
                record.accept(&key).unwrap();
                records.push(record);
            }
            Program::Libsignal(peer) => {
                let (from, key) = (from.account.to_string(), BASE64.encode(key));
                peer.ask(&json!({"operation": "acceptKey", "peer": from, "key": key})).unwrap();
            }
        }
    }

    /// A message for all others, encrypted and sealed once.
    fn write(&mut self, text: &[u8], others: &[SealedRecipient]) -> Vec<u8> {
        let certificate = self.certificate.clone();
        match &mut self.program {
            Program::Ours { person, key, .. } => {
                let content = SealedContent {
                    certificate,
                    kind: SealedKind::SenderKey,
                    message: key.encrypt(text, &mut person.rng).unwrap(),
                    hint: ContentHint::Resendable,
                    group: Some(b"group".to_vec()),
                };
                let pair = person.identity.pair.clone();
                let sealed = MultiRecipientMessage::seal(&content, &pair, others, &mut person.rng);
                sealed.unwrap().encode()
            }
            Program::Libsignal(peer) => {
                let peers: Vec<_> = others.iter().map(|it| it.account.to_string()).collect();
                let request = json!({
                    "operation": "sealForMany", "peers": peers,
                    "distribution": self.distribution.to_string(),
                    "plaintext": BASE64.encode(text),
                    "certificate": BASE64.encode(&certificate.encode()),
                });
                bytes(&peer.ask(&request).unwrap()["message"])
            }
        }
    }

    /// Opens and decrypts a message. Returns who has sent it, and the text.
    fn read(&mut self, sealed: &[u8], root: &PublicKey) -> Result<(String, Vec<u8>), String> {
        match &mut self.program {
            Program::Ours { person, records, .. } => {
                let rules = UnsealRules { us: person.address, roots: &[*root], now: NOW };
                let opened = Unsealed::open(sealed, &person.identity.pair, rules);
                let opened = opened.map_err(|error| error.to_string())?;
                assert_eq!(opened.group.as_deref(), Some(&b"group"[..]));
                let UnsealedMessage::SenderKey(message) = opened.message else {
                    return Err("no message to a group".into());
                };
                let mut records = records.iter_mut();
                let record = records.find(|it| it.distribution() == message.distribution());
                let text = record.unwrap().decrypt(&message).map_err(|error| error.to_string())?;
                Ok((opened.sender.address.account.to_string(), text.to_vec()))
            }
            Program::Libsignal(peer) => {
                let (message, root) = (BASE64.encode(sealed), BASE64.encode(&root.encode()));
                let opened = peer.ask(&json!({
                    "operation": "unsealFromGroup", "message": message, "root": root, "now": NOW.0,
                }))?;
                let from = opened["account"].as_str().unwrap().to_owned();
                Ok((from, bytes(&opened["plaintext"])))
            }
        }
    }

    fn recipient(&self) -> SealedRecipient {
        let registration_id = match &self.program {
            Program::Ours { person, .. } => person.identity.registration_id.try_into().unwrap(),
            Program::Libsignal(_) => THEIR_REGISTRATION_ID,
        };
        let device = SealedDevice { device: self.address.device, registration_id };
        SealedRecipient {
            account: self.address.account,
            identity: self.identity,
            devices: vec![device],
        }
    }
}

/// libsignal seals only for those with whom it has a session.
fn begin_sessions(members: &mut [Member]) {
    for from in 0..members.len() {
        for to in (0..members.len()).filter(|to| *to != from) {
            if !matches!(members[from].program, Program::Libsignal(_)) {
                continue;
            }
            let bundle = match &mut members[to].program {
                Program::Ours { person, .. } => person.bundle(PQXDH),
                Program::Libsignal(peer) => peer.bundle(PQXDH),
            };
            let address = members[to].address;
            if let Program::Libsignal(peer) = &mut members[from].program {
                peer.begin(address, &bundle);
            }
        }
    }
}

#[test]
fn ten_members_with_two_programs_read_what_each_of_them_writes() {
    let Some((mut members, root)) = ten() else { return };
    begin_sessions(&mut members);
    for from in 0..members.len() {
        let (address, key) = (members[from].address, members[from].distribute());
        for to in (0..members.len()).filter(|to| *to != from) {
            members[to].accept(address, &key);
        }
    }
    for round in 0..2 {
        for from in 0..members.len() {
            let others = members.iter().filter(|it| it.address != members[from].address);
            let others: Vec<_> = others.map(Member::recipient).collect();
            let text = format!("{round} from {from}");
            let sent = members[from].write(text.as_bytes(), &others);
            // Each side reads the upload of the other, as a server does.
            let upload = MultiRecipientMessage::decode(&sent).unwrap();
            assert_eq!((upload.encode(), upload.recipients().count()), (sent, 9));
            let author = members[from].address.account.to_string();
            for to in (0..members.len()).filter(|to| *to != from) {
                let sealed = upload.for_account(members[to].address.account).unwrap();
                let read = members[to].read(&sealed, &root).unwrap();
                assert_eq!(read, (author.clone(), text.clone().into_bytes()), "{from} to {to}");
                members[to].read(&sealed, &root).unwrap_err();
            }
            assert_eq!(upload.for_account(members[from].address.account), None);
        }
    }
}
