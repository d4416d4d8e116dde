//! A client reads sealed messages: of senders whom the service certifies, and of nobody else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(dead_code, reason = "it uses a part of the support")]

#[path = "support/bob.rs"]
mod bob;
#[path = "support/person.rs"]
mod person;

use bob::Bob;
use person::Person;
use wormhole_chat::{
    CertificateError, CertifiedSender, Ciphertext, CiphertextKind, ClientEvent, ClientInput,
    ClientOutput, Content, ContentHint, DataMessage, Delivery, Envelope, EnvelopeKind, KeyPair,
    ReadError, SealedContent, SealedKind, SenderCertificate, ServerCertificate, Timestamp,
    UnsealError, pad,
};

const DAY: u64 = 24 * 60 * 60 * 1000;

/// A service that certifies senders.
struct Certifier {
    root: KeyPair,
    server: KeyPair,
    certificate: ServerCertificate,
}

impl Certifier {
    fn new(person: &mut Person) -> Self {
        let root = KeyPair::random(&mut person.rng);
        let server = KeyPair::random(&mut person.rng);
        let certificate = ServerCertificate::issue(1, *server.public(), &root, &mut person.rng);
        Self { root, server, certificate }
    }

    fn certify(&self, person: &mut Person) -> SenderCertificate {
        let sender = CertifiedSender {
            address: person.address,
            identity: *person.identity.pair.public(),
            number: None,
        };
        let expires = Timestamp(person.now.0 + DAY);
        let certificate = self.certificate.clone();
        SenderCertificate::issue(sender, expires, certificate, &self.server, &mut person.rng)
    }
}

/// A message of Alice to Bob, encrypted for a session.
fn write(alice: &mut Person, bob: &Bob, text: &str) -> Ciphertext {
    let data =
        DataMessage { body: Some(text.into()), timestamp: Some(bob.now), ..DataMessage::default() };
    let content = Content::Data(Box::new(data)).encode();
    alice.write(bob.client.address(), &pad(&content))
}

/// Seals what Alice has written.
fn seal(
    alice: &mut Person,
    bob: &Bob,
    certificate: SenderCertificate,
    sent: Ciphertext,
) -> Vec<u8> {
    let kind = match sent.kind {
        CiphertextKind::PreKey => SealedKind::PreKey,
        CiphertextKind::Signal => SealedKind::Signal,
    };
    let hint = ContentHint::Default;
    let content = SealedContent { certificate, kind, message: sent.bytes, hint, group: None };
    content.seal(&alice.identity.pair, bob.client.identity(), &mut alice.rng).unwrap()
}

/// Delivers a sealed message that the server got at this time, and returns the event.
fn deliver(bob: &mut Bob, sealed: Vec<u8>, accepted: Option<Timestamp>) -> Option<ClientEvent> {
    let mut envelope = Envelope::new(EnvelopeKind::UnidentifiedSender, bob.now);
    envelope.server_timestamp = accepted;
    envelope.content = Some(sealed);
    let input = ClientInput::Envelope(Delivery(1), Box::new(envelope));
    bob.client.handle(bob.now, input, &mut bob.rng);
    let mut event = None;
    while let Some(output) = bob.client.poll() {
        match output {
            ClientOutput::Commit(id, _) => {
                bob.client.handle(bob.now, ClientInput::Committed(id), &mut bob.rng);
            }
            ClientOutput::Event(it) => event = Some(it),
            ClientOutput::Acknowledge(_)
            | ClientOutput::ReadAgain(..)
            | ClientOutput::Request(..) => {}
        }
    }
    event
}

fn text(event: Option<ClientEvent>, alice: &Person) -> String {
    match event {
        Some(ClientEvent::Received(received)) => {
            assert_eq!(received.from, alice.address);
            let Content::Data(data) = received.content else { panic!() };
            data.body.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn not_read(error: UnsealError) -> Option<ClientEvent> {
    Some(ClientEvent::NotRead(None, ReadError::Sealed(error)))
}

#[test]
fn a_sealed_message_comes_from_the_sender_in_its_certificate_even_if_it_has_waited_for_weeks() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    let service = Certifier::new(&mut alice);
    bob.client.set_roots(vec![*service.root.public()]);
    alice.sessions.entry(bob.client.address()).or_default();
    let bundle = bob.bundle().verify().unwrap();
    let record = alice.sessions.get_mut(&bob.client.address()).unwrap();
    record.initiate(&alice.identity, &bundle, alice.now, &mut alice.rng).unwrap();
    let certificate = service.certify(&mut alice);
    let accepted = Some(alice.now);
    // Bob connects again after a month. The certificate was valid when the server got the messages.
    bob.now.0 += 30 * DAY;
    for number in ["one", "two"] {
        let sent = write(&mut alice, &bob, number);
        let sealed = seal(&mut alice, &bob, certificate.clone(), sent);
        let event = deliver(&mut bob, sealed.clone(), accepted);
        assert_eq!(text(event, &alice), number);
        // The server delivers it again.
        assert_eq!(deliver(&mut bob, sealed, accepted), None);
    }
}

#[test]
fn attack_22_an_expired_certificate_proves_nothing() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    let service = Certifier::new(&mut alice);
    bob.client.set_roots(vec![*service.root.public()]);
    let bundle = bob.bundle().verify().unwrap();
    let record = alice.sessions.entry(bob.client.address()).or_default();
    record.initiate(&alice.identity, &bundle, alice.now, &mut alice.rng).unwrap();
    let certificate = service.certify(&mut alice);
    let sent = write(&mut alice, &bob, "late");
    let sealed = seal(&mut alice, &bob, certificate, sent);
    let late = Timestamp(alice.now.0 + DAY + 1);
    let expired = not_read(UnsealError::Certificate(CertificateError::Expired));
    assert_eq!(deliver(&mut bob, sealed.clone(), Some(late)), expired);
    // Without a time of the server, the own clock decides.
    bob.now = late;
    assert_eq!(deliver(&mut bob, sealed, None), expired);
}

#[test]
fn attack_10_a_sealed_message_needs_a_certificate_of_the_pinned_service() {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    let (service, other) = (Certifier::new(&mut alice), Certifier::new(&mut alice));
    let bundle = bob.bundle().verify().unwrap();
    let record = alice.sessions.entry(bob.client.address()).or_default();
    record.initiate(&alice.identity, &bundle, alice.now, &mut alice.rng).unwrap();
    let sent = write(&mut alice, &bob, "hello");
    let untrusted = not_read(UnsealError::Certificate(CertificateError::UntrustedServer));
    let certificate = service.certify(&mut alice);
    let sealed = seal(&mut alice, &bob, certificate, sent.clone());
    let accepted = Some(alice.now);
    // Before the root is known, and with another one.
    assert_eq!(deliver(&mut bob, sealed.clone(), accepted), untrusted);
    bob.client.set_roots(vec![*other.root.public()]);
    assert_eq!(deliver(&mut bob, sealed.clone(), accepted), untrusted);
    bob.client.set_roots(vec![*service.root.public()]);
    // The certificate of somebody else.
    let mut carol = Person::new(3);
    let certificate = service.certify(&mut carol);
    let forged = seal(&mut alice, &bob, certificate, sent);
    assert_eq!(deliver(&mut bob, forged, accepted), not_read(UnsealError::WrongSender));
    assert_eq!(deliver(&mut bob, vec![0x11; 40], accepted), not_read(UnsealError::Malformed));
    // Nothing has changed, so the right one can be read.
    assert_eq!(text(deliver(&mut bob, sealed, accepted), &alice), "hello");
}

#[test]
fn what_a_client_seals_is_read_by_another_one_only_with_its_own_certificate() {
    let (mut alice, bob) = (Person::new(1), Bob::new());
    let service = Certifier::new(&mut alice);
    let roots = [*service.root.public()];
    let sealer = bob.client.sealer();
    let mut as_bob = Person::new(2);
    as_bob.address = bob.client.address();
    as_bob.identity.pair = KeyPair::random(&mut as_bob.rng);
    // Another identity key, another address, and an expired one.
    let foreign = service.certify(&mut as_bob);
    assert!(sealer.check(&foreign, &roots, bob.now).is_err());
    let alices = service.certify(&mut alice);
    assert!(sealer.check(&alices, &roots, bob.now).is_err());
    let own = Person::new(2);
    let mut own = Person { address: bob.client.address(), ..own };
    let certificate = service.certify(&mut own);
    assert_eq!(sealer.check(&certificate, &roots, own.now), Ok(()));
    let late = Timestamp(own.now.0 + DAY + 1);
    assert_eq!(sealer.check(&certificate, &roots, late), Err(CertificateError::Expired));
}
