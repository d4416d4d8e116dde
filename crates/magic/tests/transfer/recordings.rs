//! Conversations recorded between real programs (`vectors/magic/trace-*.jsonl`), with our session in
//! the place of the recorded client: it sends the same messages, and comes to the same end.

use serde_json::Value;
use std::convert::Infallible;

use wormhole_kit::{Input, Instant, Output, Session};
use wormhole_magic::transfer::{
    Abilities, CARRIER, MAILBOX, Message, Offer, Receiver, ReceiverCommand, ReceiverEvent, Sender,
    SenderCommand, SenderEvent, TransferAddress,
};
use wormhole_magic::transit::TransitInfo;
use wormhole_magic::wormhole::PeerVersion;

/// Each recording, and whether it ends with a connection (a text does not).
const SENDERS: [(&str, bool); 5] = [
    ("dir-sender", true),
    ("file-sender", true),
    ("filerelay-sender", true),
    ("server-restart-sender", false),
    ("text-sender", false),
];
const RECEIVERS: [(&str, bool); 6] = [
    ("dir-receiver", true),
    ("file-receiver", true),
    ("filerelay-receiver", true),
    ("rust-to-py-receiver", true),
    ("text-receiver", false),
    ("william-to-py-receiver", true),
];

/// What was said after the version messages.
struct Recording {
    peer: Abilities,
    /// Messages of the recorded client.
    own: Vec<Message>,
    /// Messages of its peer, as they were sent.
    theirs: Vec<Vec<u8>>,
}

impl Recording {
    fn read(trace: &str) -> Self {
        let path =
            format!("{}/../../vectors/magic/trace-{trace}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (mut own, mut theirs) = (vec![], vec![]);
        for line in lines.filter(|line| line["dir"] == "P") {
            let plaintext: Vec<u8> = line["plaintext"].as_str().unwrap().into();
            if line["op"] == "encrypt" { own.push(plaintext) } else { theirs.push(plaintext) }
        }
        let peer = PeerVersion::parse(&theirs.remove(0)).unwrap();
        own.remove(0);
        let own = own.iter().flat_map(|bytes| Message::decode(bytes).unwrap()).collect();
        Self { peer: Abilities::of_peer(peer.app_versions()), own, theirs }
    }

    fn transit(&self) -> Option<TransitInfo> {
        self.own.iter().find_map(|message| {
            if let Message::Transit(info) = message { Some(info.clone()) } else { None }
        })
    }

    fn offer(&self) -> Offer {
        let offer = self.own.iter().find_map(|message| {
            if let Message::Offer(offer) = message { Some(offer.clone()) } else { None }
        });
        offer.expect("the recorded client sends")
    }
}

/// Runs a session over the recorded messages of the peer. `decide` is its application. Returns what it
/// sent, and whether it asked for a connection.
fn replay<S>(
    mut session: S,
    recording: &Recording,
    first: S::Command,
    mut decide: impl FnMut(S::Event) -> Option<S::Command>,
) -> (Vec<Message>, bool)
where
    S: Session<Address = TransferAddress, Changes = Infallible, Error: std::fmt::Debug>,
{
    let now = Instant::now();
    let (mut sent, mut connects) = (vec![], false);
    let mut drain = |session: &mut S| {
        while let Some(output) = session.poll() {
            match output {
                Output::Connect(CARRIER, _) => connects = true,
                Output::Send(_, bytes) => sent.extend(Message::decode(&bytes).unwrap()),
                Output::Event(event) => {
                    if let Some(command) = decide(event) {
                        session.handle(now, Input::Command(command)).unwrap();
                    }
                }
                Output::Connect(..) | Output::Close(_) => {}
            }
        }
    };
    session.handle(now, Input::Command(first)).unwrap();
    drain(&mut session);
    for message in &recording.theirs {
        session.handle(now, Input::Bytes(MAILBOX, message)).unwrap();
        drain(&mut session);
    }
    (sent, connects)
}

#[test]
fn our_sender_sends_what_the_recorded_senders_sent() {
    for (trace, expects_connection) in SENDERS {
        let recording = Recording::read(trace);
        let mut accepted = false;
        let peer = SenderCommand::PeerAbilities(recording.peer);
        let (sent, connects) = replay(Sender::new(false), &recording, peer, |event| match event {
            SenderEvent::OfferWanted(_) => {
                Some(SenderCommand::Offer(recording.offer(), recording.transit()))
            }
            SenderEvent::Accepted => {
                accepted = true;
                None
            }
            SenderEvent::SendData(_) => None,
        });
        assert_eq!(sent, recording.own, "{trace}");
        assert!(accepted, "{trace}");
        assert_eq!(connects, expects_connection, "{trace}");
    }
}

#[test]
fn our_receiver_sends_what_the_recorded_receivers_sent() {
    for (trace, expects_connection) in RECEIVERS {
        let recording = Recording::read(trace);
        let peer = ReceiverCommand::PeerAbilities(recording.peer);
        let (sent, connects) = replay(Receiver::new(), &recording, peer, |event| match event {
            ReceiverEvent::TransitWanted => {
                Some(ReceiverCommand::Transit(recording.transit().unwrap()))
            }
            ReceiverEvent::Offer(_) => Some(ReceiverCommand::Accept),
            ReceiverEvent::ReceiveData(_) => None,
        });
        assert_eq!(sent, recording.own, "{trace}");
        assert_eq!(connects, expects_connection, "{trace}");
    }
}
