//! A client whose peer sends post-quantum keys that do not fit together.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/bob.rs"]
mod bob;
#[path = "support/person.rs"]
mod person;

use bob::{Bob, content, text};
use person::{PQXDH, Person, address};
use wormhole_chat::{Ciphertext, ClientInput, Response, SessionRecord};

/// Makes the MACs of a person's part of the exchange wrong.
fn break_exchange(person: &mut Person) {
    let record = person.sessions.get_mut(&address(2)).unwrap();
    let mut stored = record.encode().to_vec();
    // There is a ratchet (1) in this format (1), of the initiator (0) and in the first epoch. Its root and its MAC key follow.
    let head = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let at = stored.windows(head.len()).position(|bytes| bytes == head).unwrap();
    stored[at + head.len() + 32] ^= 1;
    *record = SessionRecord::decode(&stored).unwrap();
}

/// Alice begins a conversation in which the third message of hers and all later ones are refused.
fn met() -> (Person, Bob) {
    let (mut alice, mut bob) = (Person::new(1), Bob::new());
    bob.keep(&alice);
    let bundle = bob.bundle().verify().unwrap();
    let record = alice.sessions.entry(address(2)).or_default();
    record.initiate(&alice.identity, &bundle, alice.now, &mut alice.rng).unwrap();
    break_exchange(&mut alice);
    (alice, bob)
}

/// Bob writes to Alice: what he sends to her at once.
fn write(bob: &mut Bob, alice: &Person) -> Option<Ciphertext> {
    bob.messages.clear();
    let input = ClientInput::Send(alice.address.account, content("from Bob"));
    bob.client.handle(bob.now, input, &mut bob.rng);
    bob.run();
    bob.messages.first().cloned()
}

#[test]
fn a_client_starts_another_session_when_an_exchange_has_failed_for_good() {
    // Bob does not answer before, so all messages of Alice could start a session; or he does.
    for has_answered in [false, true] {
        let (mut alice, mut bob) = met();
        for _ in 0..2 {
            let sent = text(&mut alice, "right");
            bob.read(alice.address, &sent);
        }
        if has_answered {
            let sent = write(&mut bob, &alice).unwrap();
            alice.read(address(2), &sent).unwrap();
        }
        for _ in 0..3 {
            let sent = text(&mut alice, "wrong");
            bob.read(alice.address, &sent);
            bob.restart();
        }
        assert_eq!((bob.texts.len(), bob.errors), (2, 3));
        assert_eq!(write(&mut bob, &alice), None);
        // He gets her keys, and both continue with the new session.
        let response = Response::Bundles(vec![alice.bundle(PQXDH)], None);
        let input = ClientInput::Response(bob.asked.unwrap(), response);
        bob.client.handle(bob.now, input, &mut bob.rng);
        bob.run();
        let sent = bob.messages.first().cloned().unwrap();
        alice.read(address(2), &sent).unwrap();
        for _ in 0..5 {
            let sent = text(&mut alice, "right again");
            bob.read(alice.address, &sent);
        }
        assert_eq!((bob.texts.len(), bob.errors), (7, 3));
    }
}
