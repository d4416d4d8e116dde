//! The fuzz targets of sender keys and sealed sender.

use std::sync::LazyLock;

use wormhole_chat::{
    AccountId, Address, DeviceId, DistributionId, KeyPair, MultiRecipientMessage, SealedContent,
    SealedDevice, SealedRecipient, SenderCertificate, SenderKey, SenderKeyDistributionMessage,
    SenderKeyMessage, SenderKeyRecord, ServerCertificate, Timestamp, UnsealRules, Unsealed,
};

use super::rng;

/// The certificates of a server and of a sender.
pub fn certificate(bytes: &[u8]) {
    if let Ok(server) = ServerCertificate::decode(bytes) {
        assert_eq!(ServerCertificate::decode(&server.encode()), Ok(server));
    }
    if let Ok(sender) = SenderCertificate::decode(bytes) {
        let roots = [*MEMBER.pair.public()];
        assert!(sender.verify(&roots, Timestamp(0)).is_err(), "nobody knows the root's key");
        assert_eq!(SenderCertificate::decode(&sender.encode()), Ok(sender));
    }
}

/// A sealed message for many recipients, as a server gets it.
pub fn multi_recipient_message(bytes: &[u8]) {
    let Ok(message) = MultiRecipientMessage::decode(bytes) else { return };
    let accounts: Vec<_> = message.recipients().map(|(account, _)| account).collect();
    assert_eq!(message.messages().count(), accounts.len());
    for (account, received) in accounts.into_iter().zip(message.messages()) {
        assert_eq!(message.for_account(account).as_ref(), Some(&received));
        assert_eq!(received.len(), message.bytes_for_each());
        let sealed = message.for_account(account).expect("it is a recipient");
        assert!(Unsealed::open(&sealed, &MEMBER.pair, rules()).is_err(), "nobody knows the key");
    }
    assert_eq!(MultiRecipientMessage::decode(&message.encode()), Ok(message));
}

/// A sealed message: as it is, and what is inside, sealed correctly in both versions.
pub fn sealed_sender(bytes: &[u8]) {
    assert!(Unsealed::open(bytes, &MEMBER.pair, rules()).is_err(), "nobody knows the key");
    let Ok(content) = SealedContent::decode(bytes) else { return };
    assert_eq!(SealedContent::decode(&content.encode()).as_ref(), Ok(&content));
    let _ = content.message();
    let (pair, mut rng) = (&MEMBER.pair, rng());
    let one = content.seal(pair, pair.public(), &mut rng).expect("the key is good");
    let to = SealedRecipient {
        account: ADDRESS.account,
        identity: *pair.public(),
        devices: vec![SealedDevice { device: ADDRESS.device, registration_id: 1 }],
    };
    let many = MultiRecipientMessage::seal(&content, pair, &[to], &mut rng);
    let many = many.expect("the key is good").for_account(ADDRESS.account);
    for sealed in [one, many.expect("it is a recipient")] {
        assert!(Unsealed::open(&sealed, pair, rules()).is_err(), "nobody knows the root's key");
    }
}

/// The sender key of another member.
pub fn sender_key_distribution(bytes: &[u8]) {
    let Ok(key) = SenderKeyDistributionMessage::decode(bytes) else { return };
    let mut record = SenderKeyRecord::new(key.distribution());
    assert_eq!(record.accept(&key), Ok(()));
    assert_eq!(SenderKeyRecord::decode(&record.encode()), Ok(record));
    assert_eq!(SenderKeyDistributionMessage::decode(&key.encode()), Ok(key));
}

/// A message to a group: decoded, and decrypted with a key that has not signed it.
pub fn sender_key_message(bytes: &[u8]) {
    let Ok(message) = SenderKeyMessage::decode(bytes) else { return };
    let mut record = MEMBER.record.clone();
    assert!(record.decrypt(&message).is_err(), "nobody knows the key");
    assert_eq!(record, MEMBER.record);
}

/// A stored sender key: of another member, and our own.
pub fn sender_key_record(bytes: &[u8]) {
    if let Ok(record) = SenderKeyRecord::decode(bytes) {
        assert_eq!(SenderKeyRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(mut key) = SenderKey::decode(bytes) {
        assert_eq!(SenderKey::decode(&key.encode()).as_ref(), Ok(&key));
        let _ = key.encrypt(b"text", &mut rng());
    }
}

/// A member of a group.
struct Member {
    pair: KeyPair,
    record: SenderKeyRecord,
}

static MEMBER: LazyLock<Member> = LazyLock::new(|| {
    let mut rng = rng();
    let pair = KeyPair::random(&mut rng);
    let key = SenderKey::random(DistributionId::from_bytes([1; 16]), &mut rng);
    let mut record = SenderKeyRecord::new(key.distribution());
    record.accept(&key.distribution_message()).expect("the id is the same");
    Member { pair, record }
});

const ADDRESS: Address =
    Address { account: AccountId::from_bytes([2; 16]), device: DeviceId::PRIMARY };

/// The rules of a program without trust roots.
const fn rules() -> UnsealRules<'static> {
    UnsealRules { us: ADDRESS, roots: &[], now: Timestamp(0) }
}
