//! Certificates of our own, and those that libsignal has issued.

use data_encoding::HEXLOWER;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;
use wormhole_kit::Secret;

use super::*;
use crate::key::PrivateKey;

const EXPIRES: Timestamp = Timestamp(1_600_000_000_000);

fn pair(byte: u8) -> KeyPair {
    PrivateKey::from_secret(&Secret::new([byte; 32])).into()
}

fn sender() -> CertifiedSender {
    CertifiedSender {
        address: Address {
            account: AccountId::from_bytes([7; 16]),
            device: DeviceId::new(3).unwrap(),
        },
        identity: *pair(9).public(),
        number: Some("+14155550101".to_owned()),
    }
}

/// A certificate of a server with this id.
fn issued(id: u32) -> SenderCertificate {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let server = ServerCertificate::issue(id, *pair(2).public(), &pair(1), &mut rng);
    SenderCertificate::issue(sender(), EXPIRES, server, &pair(2), &mut rng)
}

fn root() -> [PublicKey; 1] {
    [*pair(1).public()]
}

/// The fields of a certificate, signed again after a change.
fn changed(change: impl FnOnce(&mut SenderFields)) -> Result<SenderCertificate, CertificateError> {
    let mut fields = SenderFields::decode(&*issued(5).signed.bytes).unwrap();
    change(&mut fields);
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let signed = Signed::new(fields.encode_to_vec(), &pair(2), &mut rng);
    SenderCertificate::decode(&signed.encode())
}

#[test]
fn a_certificate_says_who_the_sender_is() {
    let certificate = SenderCertificate::decode(&issued(5).encode()).unwrap();
    assert_eq!(certificate, issued(5));
    assert_eq!(certificate.verify(&root(), EXPIRES), Ok(&sender()));
    // The right one of several roots.
    let roots = [*pair(4).public(), *pair(1).public()];
    assert_eq!(certificate.verify(&roots, EXPIRES), Ok(&sender()));
}

#[test]
fn the_recorded_certificates_of_libsignal_are_verified() {
    let text = include_str!("../../../../vectors/chat/groups.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let hex = |value: &Value| HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let server = ServerCertificate::decode(&hex(&file["server_certificate"]["hex"])).unwrap();
    assert_eq!((server.id, server.key), (7, *pair(34).public()));
    for case in file["sender_certificates"].as_array().unwrap() {
        let certificate = SenderCertificate::decode(&hex(&case["hex"])).unwrap();
        assert_eq!(certificate.encode(), hex(&case["hex"]));
        assert_eq!(certificate.expires(), Timestamp(31_337));
        let sender = certificate.verify(&[*pair(17).public()], Timestamp(31_337)).unwrap();
        assert_eq!(sender.address.account.to_string(), file["alice"].as_str().unwrap());
        assert_eq!(sender.address.device, DeviceId::PRIMARY);
        assert_eq!(sender.identity, *pair(51).public());
        assert_eq!(sender.number.as_deref(), case["number"].as_str());
    }
}

#[test]
fn attack_22_a_certificate_is_not_valid_after_it_has_expired() {
    let certificate = issued(5);
    let late = Timestamp(EXPIRES.0 + 1);
    assert_eq!(certificate.verify(&root(), late), Err(CertificateError::Expired));
    assert!(certificate.verify(&root(), Timestamp(0)).is_ok());
}

#[test]
fn attack_10_only_a_pinned_root_makes_a_server() {
    let certificate = issued(5);
    let untrusted = Err(CertificateError::UntrustedServer);
    assert_eq!(certificate.verify(&[], EXPIRES), untrusted);
    assert_eq!(certificate.verify(&[*pair(2).public()], EXPIRES), untrusted);
    // Someone signs both certificates.
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let server = ServerCertificate::issue(5, *pair(6).public(), &pair(6), &mut rng);
    let forged = SenderCertificate::issue(sender(), EXPIRES, server, &pair(6), &mut rng);
    assert_eq!(forged.verify(&root(), EXPIRES), untrusted);
    // Or only that of the sender.
    let forged = SenderCertificate { server: issued(5).server, ..forged };
    assert_eq!(forged.verify(&root(), EXPIRES), Err(CertificateError::BadSignature));
}

#[test]
fn attack_10_every_changed_bit_makes_a_certificate_invalid() {
    let bytes = issued(5).encode();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(certificate) = SenderCertificate::decode(&changed) {
            assert!(certificate.verify(&root(), EXPIRES).is_err(), "{at}");
        }
        assert!(SenderCertificate::decode(&bytes[..at]).is_err(), "{at}");
    }
}

#[test]
fn a_revoked_server_is_refused() {
    let revoked = Err(CertificateError::Revoked(0xdead_c357));
    assert_eq!(issued(0xdead_c357).verify(&root(), EXPIRES), revoked);
}

#[test]
fn an_account_has_one_of_two_forms() {
    let bytes = Some(sender().address.account.as_bytes().to_vec());
    let certificate =
        changed(|fields| (fields.account, fields.account_bytes) = (None, bytes.clone()));
    assert_eq!(certificate.unwrap().verify(&root(), EXPIRES), Ok(&sender()));
    let malformed = Err(CertificateError::Malformed);
    assert_eq!(changed(|fields| fields.account_bytes = bytes.clone()), malformed);
    assert_eq!(changed(|fields| fields.account = None), malformed);
    assert_eq!(changed(|fields| fields.account = Some("Alice".to_owned())), malformed);
}

#[test]
fn a_certificate_with_a_missing_or_invalid_field_is_malformed() {
    let malformed = Err(CertificateError::Malformed);
    assert_eq!(changed(|fields| fields.device = None), malformed);
    assert_eq!(changed(|fields| fields.device = Some(0)), malformed);
    assert_eq!(changed(|fields| fields.device = Some(300)), malformed);
    assert_eq!(changed(|fields| fields.expires = None), malformed);
    assert_eq!(changed(|fields| fields.identity = Some(vec![5; 3])), malformed);
    assert_eq!(changed(|fields| fields.server = None), malformed);
    let unknown = changed(|fields| (fields.server, fields.server_id) = (None, Some(3)));
    assert_eq!(unknown, Err(CertificateError::UnknownServer(3)));
    assert_eq!(SenderCertificate::decode(&[0; MAX_CERTIFICATE + 1]), malformed);
}
