//! Transit and file transfer: the known answers, and the messages that real peers sent in
//! `trace-*.jsonl`.

use serde_json::Value;
use wormhole_magic::transfer::{
    Ack, Answer, Message, Offer, ReceiveEvent, ReceiveNegotiation, SendEvent, SendNegotiation,
};
use wormhole_magic::transit::{Hint, Opener, RelaySide, Role, Sealer, TransitKey};

use crate::{bytes, read, secret, text, vectors};

fn key(vectors: &Value) -> TransitKey {
    TransitKey::new(secret(vectors, "transit_key"))
}

fn plaintext(case: &Value) -> Vec<u8> {
    text(case, "plaintext_utf8").as_bytes().to_vec()
}

#[test]
fn handshake_lines_are_those_of_the_reference() {
    let vectors = vectors("transit");
    let key = key(&vectors);
    assert_eq!(key.hello(Role::Sender), text(&vectors, "sender_handshake_ascii").as_bytes());
    assert_eq!(key.hello(Role::Receiver), text(&vectors, "receiver_handshake_ascii").as_bytes());
    let side = RelaySide(bytes(&vectors, "relay_side").try_into().unwrap());
    assert_eq!(key.relay_line(side), text(&vectors, "relay_handshake_ascii").as_bytes());
}

#[test]
fn records_are_those_of_the_reference_in_both_directions() {
    let vectors = vectors("transit");
    let key = key(&vectors);
    let mut sealer = Sealer::new(&key, Role::Sender);
    let mut opener = Opener::new(&key, Role::Sender);
    for case in vectors["sender_records"].as_array().unwrap() {
        let mut record = bytes(case, "record");
        let counter = u64::from_be_bytes(record[20..28].try_into().unwrap());
        while sealer.records() < counter {
            let mut skipped = sealer.seal_to_vec(b"x").unwrap();
            opener.open(&mut skipped).unwrap();
        }
        assert_eq!(sealer.seal_to_vec(&plaintext(case)).unwrap(), record);
        assert_eq!(opener.open(&mut record).unwrap(), plaintext(case));
    }
}

#[test]
fn the_acknowledgement_is_that_of_the_reference() {
    let vectors = vectors("transit");
    let (key, case) = (key(&vectors), &vectors["receiver_ack_record"]);
    let mut record = bytes(case, "record");
    let sealed = Sealer::new(&key, Role::Receiver).seal_to_vec(&plaintext(case)).unwrap();
    assert_eq!(sealed, record);
    let mut opener = Opener::new(&key, Role::Receiver);
    let opened = opener.open(&mut record).unwrap();
    assert_eq!(opened, plaintext(case));
    assert!(Ack::decode(opened).unwrap().sha256.is_some());
}

#[test]
fn the_keys_of_the_records_are_those_of_the_reference() {
    let vectors = vectors("transit");
    let key = key(&vectors);
    assert_eq!(key.record_key(Role::Sender), secret(&vectors, "sender_record_key"));
    assert_eq!(key.record_key(Role::Receiver), secret(&vectors, "receiver_record_key"));
}

/// The messages of one side, as the peer that wrote the trace decrypted or encrypted them.
fn messages(trace: &str, op: &str) -> Vec<Message> {
    let lines = read(trace);
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let plaintexts = lines.filter(|line| line["dir"] == "P" && line["op"] == op);
    let messages = plaintexts.map(|line| {
        let plaintext = text(&line, "plaintext").to_owned();
        Message::decode(plaintext.as_bytes()).unwrap()
    });
    messages.flatten().collect()
}

#[test]
fn every_traced_sender_is_understood() {
    for (trace, name) in [
        ("trace-file-sender.jsonl", "hello.txt"),
        ("trace-dir-sender.jsonl", "adir"),
        ("trace-filerelay-sender.jsonl", "hello.txt"),
        ("trace-text-sender.jsonl", ""),
    ] {
        let mut receiver = ReceiveNegotiation::new();
        let events: Vec<_> = messages(trace, "encrypt")
            .into_iter()
            .filter_map(|message| receiver.handle(message).unwrap())
            .collect();
        check_offer(&events, name, trace);
    }
    for trace in ["trace-william-to-py-receiver.jsonl", "trace-rust-to-py-receiver.jsonl"] {
        let mut receiver = ReceiveNegotiation::new();
        let events: Vec<_> = messages(trace, "decrypt")
            .into_iter()
            .filter_map(|message| receiver.handle(message).unwrap())
            .collect();
        check_offer(&events, if trace.contains("william") { "adir" } else { "hello.txt" }, trace);
    }
}

fn check_offer(events: &[ReceiveEvent], name: &str, trace: &str) {
    match events {
        [ReceiveEvent::Transit(info), ReceiveEvent::Offer(offer)] => {
            assert_eq!(offer.name().unwrap().as_sent(), name, "{trace}");
            assert!(info.hints.iter().any(|hint| matches!(hint, Hint::Relay(_))), "{trace}");
        }
        [ReceiveEvent::Offer(Offer::Text(text))] => assert!(!text.is_empty(), "{trace}"),
        other => panic!("{trace}: {other:?}"),
    }
}

#[test]
fn every_traced_receiver_is_understood() {
    for trace in ["trace-file-sender.jsonl", "trace-dir-sender.jsonl", "trace-text-sender.jsonl"] {
        let offers = messages(trace, "encrypt");
        let offer = offers.iter().find_map(|message| match message {
            Message::Offer(offer) => Some(offer.clone()),
            Message::Answer(_) | Message::Error(_) | Message::Transit(_) | _ => None,
        });
        let (mut sender, _) = SendNegotiation::start(&offer.unwrap(), None);
        let events: Vec<_> = messages(trace, "decrypt")
            .into_iter()
            .filter_map(|message| sender.handle(message).unwrap())
            .collect();
        assert_eq!(events.last(), Some(&SendEvent::Accepted), "{trace}");
    }
    let text = messages("trace-text-receiver.jsonl", "encrypt");
    assert!(text.contains(&Message::Answer(Answer::Text)));
}
