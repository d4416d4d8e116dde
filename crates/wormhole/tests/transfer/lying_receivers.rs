//! Scripted receivers that confirm what they did not receive, or answer what was not asked: the sender reports them
//! and never takes a transfer for complete.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wormhole::transfer::{BadMessage, NegotiationFault, PeerMisbehaved};
use wormhole::transit::Pipe;

use super::liars::Liar;
use super::*;

/// The contents of the file that is sent.
const CONTENTS: &[u8] = b"contents";

/// Accepts the offer and connects; returns the connection once all contents have arrived.
async fn receive_contents(liar: &Liar) -> Pipe {
    let (_, mut pipe) = liar.accept().await;
    let mut received = Vec::new();
    while received.len() < CONTENTS.len() {
        received.extend(pipe.receive_record().await.unwrap());
    }
    assert_eq!(received, CONTENTS);
    pipe
}

/// The result of a sender whose receiver takes everything and then sends this record; `None` closes the connection.
async fn send_and_confirm(record: Option<&[u8]>) -> Result<Report, Error> {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let file = from.file("a", CONTENTS);
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    let liar = Liar::new(&settings, code);
    let confirm = async {
        let mut pipe = receive_contents(&liar).await;
        if let Some(record) = record {
            pipe.send_record(record).await.unwrap();
        }
        pipe.close().await;
    };
    let ((sent, _), ()) = tokio::join!(finish(sender, None), confirm);
    sent
}

/// The result of a sender whose receiver gives this answer to the offer.
async fn answer(what: Outgoing, answer: Value) -> Result<Report, Error> {
    let (settings, code) = settings().await;
    let sender = transfer::send(what, settings.clone()).unwrap();
    let liar = Liar::new(&settings, code);
    let answering = async {
        while liar.hear().await.get("offer").is_none() {}
        liar.say(answer).await;
    };
    let ((sent, _), ()) = tokio::join!(finish(sender, None), answering);
    sent
}

#[tokio::test]
async fn a_confirmation_with_the_hash_of_the_contents_completes_the_transfer() {
    let hash = HEXLOWER.encode(&Sha256::digest(CONTENTS));
    let ack = json!({ "ack": "ok", "sha256": hash }).to_string();
    assert_eq!(send_and_confirm(Some(ack.as_bytes())).await.unwrap().bytes, 8);
}

#[tokio::test]
async fn a_confirmation_with_another_hash_is_an_error() {
    let hash = HEXLOWER.encode(&Sha256::digest(b"other contents"));
    let ack = json!({ "ack": "ok", "sha256": hash }).to_string();
    let outcome = send_and_confirm(Some(ack.as_bytes())).await;
    assert_eq!(outcome, Err(PeerMisbehaved::WrongHash.into()));
}

#[tokio::test]
async fn a_confirmation_that_confirms_nothing_is_an_error() {
    for (ack, wrong) in [
        (&b"{\"ack\": \"failed\"}"[..], BadMessage::Field("ack")),
        (b"{}", BadMessage::Field("ack")),
        (b"{\"ack\": \"ok\", \"sha256\": \"00\"}", BadMessage::Field("sha256")),
        (b"ok", BadMessage::NotAnObject),
    ] {
        let outcome = send_and_confirm(Some(ack)).await;
        assert_eq!(outcome, Err(PeerMisbehaved::BadAck(wrong).into()), "{ack:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_leaves_without_a_confirmation_is_not_a_success() {
    let outcome = send_and_confirm(None).await;
    assert!(
        matches!(outcome, Err(Error::Interrupted { total: Some(8), .. } | Error::PeerGone)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_answer_for_a_text_to_the_offer_of_a_file_is_an_error() {
    let from = Folder::new();
    let file = path(&from.file("a", CONTENTS));
    let outcome = answer(file, json!({ "answer": { "message_ack": "ok" } })).await;
    let wrong = PeerMisbehaved::Negotiation(NegotiationFault::WrongAnswer);
    assert_eq!(outcome, Err(wrong.into()));
}

#[tokio::test]
async fn an_answer_for_a_file_to_a_text_is_an_error() {
    let text = Outgoing::Text("a".into());
    let outcome = answer(text, json!({ "answer": { "file_ack": "ok" } })).await;
    let wrong = PeerMisbehaved::Negotiation(NegotiationFault::WrongAnswer);
    assert_eq!(outcome, Err(wrong.into()));
}

#[tokio::test]
async fn a_receiver_that_offers_something_itself_is_an_error() {
    let offer = json!({ "offer": { "message": "my own" } });
    let outcome = answer(Outgoing::Text("a".into()), offer).await;
    let wrong = PeerMisbehaved::Negotiation(NegotiationFault::BothSend);
    assert_eq!(outcome, Err(wrong.into()));
}
