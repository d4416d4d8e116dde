//! Senders that offer one thing and send another: everything is refused, and nothing is left.

use serde_json::{Value, json};
use wormhole::code::{AppId, Config, Wormhole};
use wormhole::transfer::{BadMessage, CodeSource, NegotiationFault, PeerMisbehaved, UnsafeName};
use wormhole::transit::{
    Pipe, Role, Settings as TransitSettings, Transit, TransitInfo, TransitKey,
};

use super::*;

/// A peer that sends whatever a test wants.
pub(crate) struct Liar {
    wormhole: Wormhole,
}

impl Liar {
    pub(crate) fn new(settings: &Settings, code: Code) -> Self {
        let config = Config { servers: settings.servers.clone(), ..Config::default() };
        let wormhole = Wormhole::create(config);
        wormhole.set_code(code).unwrap();
        Self { wormhole }
    }

    pub(crate) async fn say(&self, message: Value) {
        self.wormhole.send_message(message.to_string().into_bytes()).await.unwrap();
    }

    pub(crate) async fn hear(&self) -> Value {
        serde_json::from_slice(&self.wormhole.receive_message().await.unwrap()).unwrap()
    }

    /// Offers something, and connects once that is accepted.
    pub(crate) async fn connect(&self, offer: Value) -> Pipe {
        let settings = TransitSettings { relays: Vec::new(), ..TransitSettings::default() };
        let transit = Transit::new(settings).unwrap();
        self.say(json!({ "transit": transit.info().encode() })).await;
        self.say(json!({ "offer": offer })).await;
        let (mut peer, mut accepted) = (None, false);
        while peer.is_none() || !accepted {
            let message = self.hear().await;
            accepted |= message["answer"]["file_ack"] == "ok";
            if let Some(info) = message.get("transit") {
                peer = Some(TransitInfo::decode(info));
            }
        }
        transit.connect(Role::Sender, &self.key().await, &peer.unwrap()).await.unwrap()
    }

    /// Accepts the offer and connects. Returns the offer and the connection.
    pub(crate) async fn accept(&self) -> (Value, Pipe) {
        let settings = TransitSettings { relays: Vec::new(), ..TransitSettings::default() };
        let transit = Transit::new(settings).unwrap();
        let (mut peer, mut offer) = (None, None);
        while peer.is_none() || offer.is_none() {
            let mut message = self.hear().await;
            if let Some(info) = message.get("transit") {
                peer = Some(TransitInfo::decode(info));
            }
            offer = offer.or_else(|| message.get_mut("offer").map(Value::take));
        }
        self.say(json!({ "transit": transit.info().encode() })).await;
        self.say(json!({ "answer": { "file_ack": "ok" } })).await;
        let key = self.key().await;
        let pipe = transit.connect(Role::Receiver, &key, &peer.unwrap()).await.unwrap();
        (offer.unwrap(), pipe)
    }

    /// The key of the data connection.
    pub(crate) async fn key(&self) -> TransitKey {
        TransitKey::new(self.wormhole.key().await.unwrap().transit_key(&AppId::default()))
    }
}

/// Lets a liar offer something and send records; returns what the receiver makes of it.
async fn receive(offer: Value, records: &[&[u8]]) -> (Result<Report, Error>, Folder) {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let liar = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let send = async {
        let mut pipe = liar.connect(offer).await;
        for record in records {
            // The receiver may have hung up, which is what it should do.
            let _cut = pipe.send_record(record).await;
        }
        pipe.close().await;
    };
    let destination = to.destination(OnExists::Refuse);
    let (outcome, ()) = tokio::join!(finish(receiver, Some(destination)), send);
    (outcome.0, to)
}

/// An offer that is refused before it is accepted, and what the sender is told.
async fn refuse(offer: Value) -> (Error, String) {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let liar = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let send = async {
        liar.say(json!({ "offer": offer })).await;
        liar.hear().await["error"].as_str().unwrap().to_owned()
    };
    let destination = to.destination(OnExists::Refuse);
    let (outcome, told) = tokio::join!(finish(receiver, Some(destination)), send);
    assert_eq!(to.names(), Vec::<String>::new());
    (outcome.0.unwrap_err(), told)
}

#[tokio::test]
async fn more_bytes_than_offered_are_refused() {
    let offer = json!({ "file": { "filename": "a", "filesize": 5 } });
    let (outcome, to) = receive(offer, &[b"123", b"456"]).await;
    let lie = PeerMisbehaved::WrongSize { offered: 5, sent: 6 };
    assert_eq!(outcome, Err(Error::PeerMisbehaved(lie)));
    assert_eq!(to.names(), Vec::<String>::new());
}

#[tokio::test]
async fn fewer_bytes_than_offered_are_refused() {
    let offer = json!({ "file": { "filename": "a", "filesize": 7 } });
    let (outcome, to) = receive(offer, &[b"123", b"456"]).await;
    assert_eq!(outcome, Err(Error::Interrupted { done: 6, total: Some(7) }));
    assert_eq!(to.names(), Vec::<String>::new());
}

#[tokio::test]
async fn names_that_are_no_names_are_refused() {
    for (name, why) in [
        ("", UnsafeName::Empty),
        ("..", UnsafeName::Dots),
        ("../x", UnsafeName::Separator),
        ("/etc/passwd", UnsafeName::Separator),
        ("a\u{0}b", UnsafeName::ForbiddenCharacter),
        (&"x".repeat(256), UnsafeName::TooLong),
    ] {
        for offer in [
            json!({ "file": { "filename": name, "filesize": 1 } }),
            json!({ "directory": { "mode": "zipfile/deflated", "dirname": name, "zipsize": 1,
                "numbytes": 1, "numfiles": 1 } }),
        ] {
            let (error, _) = refuse(offer).await;
            let Error::PeerMisbehaved(PeerMisbehaved::UnsafeName { why: found, .. }) = error else {
                panic!("{name:?}: {error:?}")
            };
            assert_eq!(found, why, "{name:?}");
        }
    }
}

#[tokio::test]
async fn offers_that_make_no_sense_are_refused_in_the_usual_words() {
    for (offer, told) in [
        (json!({ "file": { "filename": "a", "filesize": -1 } }), "invalid message"),
        (json!({ "file": { "filename": 1, "filesize": 1 } }), "invalid message"),
        (json!({ "torrent": {} }), "unknown offer type"),
        (json!({ "directory": { "mode": "tar" } }), "unknown mode"),
    ] {
        let (error, said) = refuse(offer).await;
        assert!(
            matches!(error, Error::PeerMisbehaved(PeerMisbehaved::Negotiation(_))),
            "{error:?}"
        );
        assert_eq!(said, told);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn more_than_the_disk_has_room_for_is_refused() {
    let size = i64::MAX;
    let (error, _) = refuse(json!({ "file": { "filename": "a", "filesize": size } })).await;
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
}

#[tokio::test]
async fn a_zip_that_leads_elsewhere_or_is_damaged_is_refused() {
    let good =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/magic/zip-python.zip"))
            .unwrap();
    let replace = |from: &[u8], to: &[u8]| {
        let mut zip = good.clone();
        for at in 0..zip.len() - from.len() {
            if zip[at..].starts_with(from) {
                zip[at..at + to.len()].copy_from_slice(to);
            }
        }
        zip
    };
    let zips = [
        ("traversal", replace(b"sub/r.bin", b"../../bin"), 10_000),
        ("absolute", replace(b"sub/r.bin", b"/tmp/evil"), 10_000),
        ("duplicate", replace(b"link", b"zero"), 10_000),
        ("wrong data", replace(b"hello", b"jello"), 10_000),
        ("truncated", good[..good.len() - 30].to_vec(), 10_000),
        ("a bomb", good.clone(), 100),
    ];
    for (what, zip, bytes) in zips {
        let offer = json!({ "directory": { "mode": "zipfile/deflated", "dirname": "d",
            "zipsize": zip.len(), "numbytes": bytes, "numfiles": 5 } });
        let (outcome, to) = receive(offer, &[&zip]).await;
        let Err(Error::PeerMisbehaved(PeerMisbehaved::BadZip(_))) = outcome else {
            panic!("{what}: {outcome:?}")
        };
        assert_eq!(to.names(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn the_reason_for_a_broken_connection_arrives_through_the_mailbox() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let liar = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let send = async {
        let offer = json!({ "file": { "filename": "a", "filesize": 1 } });
        let pipe = liar.connect(offer).await;
        pipe.close().await;
        liar.say(json!({ "error": "changed my mind" })).await;
    };
    let destination = to.destination(OnExists::Refuse);
    let (outcome, ()) = tokio::join!(finish(receiver, Some(destination)), send);
    assert_eq!(outcome.0, Err(Error::PeerRefused("changed my mind".into())));
    assert_eq!(to.names(), Vec::<String>::new());
}

/// The result of a receiver that accepts everything, from a sender that sends these messages.
async fn receive_messages(messages: &[&[u8]]) -> (Result<Report, Error>, Vec<Event>) {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let liar = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    for message in messages {
        liar.wormhole.send_message(message.to_vec()).await.unwrap();
    }
    let outcome = finish(receiver, Some(to.destination(OnExists::Refuse))).await;
    assert_eq!(to.names(), Vec::<String>::new());
    outcome
}

#[tokio::test]
async fn an_error_instead_of_an_offer_ends_the_transfer_with_its_text() {
    let (outcome, _) = receive_messages(&[b"{\"error\": \"no such file\"}"]).await;
    assert_eq!(outcome, Err(Error::PeerRefused("no such file".into())));
}

#[tokio::test]
async fn messages_of_unknown_kinds_are_ignored() {
    let (outcome, events) = receive_messages(&[
        b"{\"later\": {\"a\": 1}}",
        b"{}",
        b"{\"offer\": {\"message\": \"hi\"}}",
    ])
    .await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Text(text) if text == "hi")));
}

#[tokio::test]
async fn a_message_that_is_not_a_json_object_ends_the_transfer() {
    for message in [&b"hello"[..], b"[]", b"\xff", b""] {
        let (outcome, _) = receive_messages(&[message]).await;
        let wrong = NegotiationFault::BadMessage(BadMessage::NotAnObject);
        assert_eq!(outcome, Err(PeerMisbehaved::Negotiation(wrong).into()), "{message:?}");
    }
}

#[tokio::test]
async fn an_offer_cannot_be_exchanged_for_another_one() {
    let (outcome, _) = receive_messages(&[
        b"{\"offer\": {\"file\": {\"filename\": \"a\", \"filesize\": 1}}}",
        b"{\"offer\": {\"file\": {\"filename\": \"b\", \"filesize\": 2}}}",
    ])
    .await;
    let wrong = PeerMisbehaved::Negotiation(NegotiationFault::SecondOffer);
    assert_eq!(outcome, Err(wrong.into()));
}

#[tokio::test]
async fn a_path_of_the_user_can_take_what_has_an_unsafe_name() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let liar = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let send = async {
        let offer = json!({ "file": { "filename": "../../etc/passwd", "filesize": 4 } });
        let mut pipe = liar.connect(offer).await;
        pipe.send_record(b"data").await.unwrap();
        pipe.receive_record().await.unwrap()
    };
    let path = to.path().join("mine");
    let destination = Destination::Path { path: path.clone(), on_exists: OnExists::Refuse };
    let ((received, _), _ack) = tokio::join!(finish(receiver, Some(destination)), send);
    assert_eq!(received.unwrap().written, Some(path.clone()));
    assert_eq!(std::fs::read(path).unwrap(), b"data");
    assert_eq!(to.names(), ["mine"]);
}
