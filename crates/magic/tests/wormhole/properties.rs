//! What holds for any order, any repetition and any garbage.

use proptest::prelude::*;
use serde_json::{Value, json};
use wormhole_magic::wormhole::{Event, PeerVersion};

use crate::client::{Peer, TestClient, code, pake_body};

/// The order in which twelve messages are shown, each up to three times.
fn any_order() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..12_usize, 0..24)
        .prop_flat_map(|repeated| Just((0..12).chain(repeated).collect::<Vec<_>>()).prop_shuffle())
}

/// JSON that looks somewhat like messages of a server.
fn any_message() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        "[a-z0-9-]{0,12}".prop_map(|text| json!(text)),
        Just(json!("pake")),
        Just(json!("version")),
        Just(json!({})),
        Just(json!([{"id": "4"}])),
    ];
    let kinds = prop_oneof![
        Just("welcome"),
        Just("claimed"),
        Just("allocated"),
        Just("released"),
        Just("closed"),
        Just("message"),
        Just("message"),
        Just("error"),
        Just("nameplates"),
        Just("ack"),
    ];
    let keys = prop_oneof![
        Just("side"),
        Just("phase"),
        Just("body"),
        Just("mailbox"),
        Just("nameplate"),
        Just("nameplates"),
        Just("welcome"),
        Just("error"),
        Just("orig"),
    ];
    (kinds, proptest::collection::vec((keys, scalar), 0..5)).prop_map(|(kind, fields)| {
        let mut message = json!({ "type": kind });
        for (key, value) in fields {
            message[key] = value;
        }
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_and_repetition_of_a_peers_messages_tells_the_application_the_same(
        order in any_order(),
    ) {
        let mut client = TestClient::in_mailbox(&code());
        // Shown to the other wormhole first, to learn what the peer's messages look like.
        let mut stage = TestClient::in_mailbox(&code());
        let peer = Peer::connect(&mut stage, "peer", &code());
        let pake = pake_body(&Peer::start(&code()).1);
        let mut shown = vec![("pake".to_owned(), pake)];
        shown.push(("version".to_owned(), peer.seal("version", b"{}")));
        for number in 0..10_u8 {
            let phase = number.to_string();
            shown.push((phase.clone(), peer.seal(&phase, &[number])));
        }
        client.events();
        for at in order {
            client.deliver("peer", &shown[at].0, &shown[at].1);
        }
        let events = client.events();
        prop_assert_eq!(&client.error, &None);
        let mut expected = vec![
            Event::Key(peer.key.clone()),
            Event::Verifier(peer.key.verifier()),
            Event::Version(PeerVersion::parse(b"{}").unwrap()),
        ];
        expected.extend((0..10).map(|number| Event::Message(vec![number])));
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn whatever_a_server_says_there_is_no_panic_and_one_end(
        messages in proptest::collection::vec(any_message(), 0..40),
        start in 0..3,
    ) {
        let mut client = match start {
            0 => TestClient::welcomed(),
            1 => TestClient::in_mailbox(&code()),
            _ => TestClient::with_peer().0,
        };
        for message in messages {
            client.receive(message);
        }
        client.command(wormhole_magic::wormhole::Command::Close(None));
        client.advance(std::time::Duration::from_secs(10));
        let closed = client.events().iter().filter(|event| matches!(event, Event::Closed(_))).count();
        prop_assert_eq!(closed + usize::from(client.error.is_some()), 1);
    }
}
