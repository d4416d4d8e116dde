//! Conversations recorded between real programs (`vectors/magic/trace-*.jsonl`).
//!
//! Two things are checked. Every sealed message opens under the recorded key to the recorded
//! plaintext. And our machine, put in the place of the recorded client, says the same to the
//! server, in the same order, and tells its application the same. The records do not hold the
//! client's secret exponent, so for that the conversation is transposed to another key: same
//! frames, same sides, same plaintexts, sealed anew.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wormhole_kit::Secret;
use wormhole_magic::key::Key;
use wormhole_magic::secretbox;
use wormhole_magic::wormhole::{Command, Event, PeerMisbehaved, PeerVersion, WormholeError};

use crate::client::{Peer, TestClient};

const TRACES: [&str; 11] = [
    "dir-receiver",
    "dir-sender",
    "file-receiver",
    "file-sender",
    "filerelay-receiver",
    "filerelay-sender",
    "rust-to-py-receiver",
    "server-restart-sender",
    "text-receiver",
    "text-sender",
    "william-to-py-receiver",
];

fn lines(trace: &str) -> Vec<Value> {
    let path = format!("{}/../../vectors/magic/trace-{trace}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// The recorded client's side.
fn own_side(lines: &[Value]) -> String {
    lines[0]["msg"]["side"].as_str().unwrap().to_owned()
}

/// Every sealed message of the record, in order: side, phase, body. Echoes are left out.
fn sealed(lines: &[Value]) -> Vec<(String, String, Vec<u8>)> {
    let own = own_side(lines);
    let sealed = lines.iter().filter_map(|line| {
        let message = &line["msg"];
        let phase = message["phase"].as_str().filter(|phase| *phase != "pake")?;
        let side = message["side"].as_str().filter(|side| *side != own);
        let side = if message["type"] == "add" { Some(&own[..]) } else { side }?;
        Some((side.to_owned(), phase.to_owned(), unhex(&message["body"])))
    });
    sealed.collect()
}

/// The recorded plaintexts, each with the key it was sealed with.
fn plaintexts(lines: &[Value]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let plain = lines.iter().filter(|line| line["dir"] == "P");
    plain.map(|p| (unhex(&p["key"]), p["plaintext"].as_str().unwrap().into())).collect()
}

#[test]
fn every_recorded_message_opens_under_the_recorded_key() {
    for trace in TRACES {
        let lines = lines(trace);
        let key = lines.iter().find(|line| line["dir"] == "K").unwrap();
        let key = Key::new(Secret::new(unhex(&key["spake2_key"]).try_into().unwrap()));
        let plaintexts = plaintexts(&lines);
        let sealed = sealed(&lines);
        assert_eq!(sealed.len(), plaintexts.len(), "{trace}");
        for (side, phase, body) in sealed {
            let phase_key = key.phase_key(&side, &phase);
            let opened = secretbox::open(&phase_key, &body).unwrap();
            let expected = (phase_key.expose().to_vec(), opened);
            assert!(plaintexts.contains(&expected), "{trace}: {phase} of {side}");
        }
    }
}

/// What matters of a message to the server.
fn essence(message: &Value, own: &str, ours: &str) -> Value {
    let mut message = message.clone();
    let fields = message.as_object_mut().unwrap();
    fields.retain(|key, _| !matches!(key.as_str(), "id" | "body" | "client_version"));
    if message["side"] == own {
        message["side"] = json!(ours);
    }
    message
}

/// A recorded conversation with our machine in the client's place.
struct Replay {
    client: TestClient,
    lines: Vec<Value>,
    own: String,
    peer: Option<Peer>,
    linked: bool,
    /// Everything our machine sent.
    sent: Vec<Value>,
    events: Vec<Event>,
    code: wormhole_magic::code::Code,
    plaintexts: Vec<Vec<u8>>,
}

impl Replay {
    fn new(trace: &str) -> Self {
        let lines = lines(trace);
        let claim = lines.iter().find(|line| line["msg"]["type"] == "claim").unwrap();
        let nameplate = claim["msg"]["nameplate"].as_str().unwrap();
        let code: wormhole_magic::code::Code = format!("{nameplate}-any-words").parse().unwrap();
        let mut client = TestClient::with_servers(&["ws://server/v1"]);
        client.command(Command::SetCode(code.clone()));
        let plaintexts = plaintexts(&lines).into_iter().map(|(_, plaintext)| plaintext).collect();
        let own = own_side(&lines);
        Self {
            client,
            lines,
            own,
            peer: None,
            linked: false,
            sent: vec![],
            events: vec![],
            code,
            plaintexts,
        }
    }

    fn run(mut self) -> Self {
        for line in self.lines.clone() {
            match line["dir"].as_str() {
                Some(">") => self.recorded_client_says(&line["msg"]),
                Some("<") => self.server_says(line["msg"].clone()),
                _ => {}
            }
            if self.peer.is_some() {
                self.sent.extend(self.client.sent());
            }
            self.events.extend(self.client.events());
        }
        self
    }

    /// Our machine says what it has to send by itself; only what the application or the network
    /// did is done here.
    fn recorded_client_says(&mut self, message: &Value) {
        match message["type"].as_str().unwrap() {
            "bind" => {
                if std::mem::replace(&mut self.linked, true) {
                    self.client.lose_link();
                    self.client.advance(Duration::from_secs(2));
                }
                self.client.open_link();
            }
            "add" if message["phase"].as_str().unwrap().parse::<u64>().is_ok() => {
                let plaintext = self.plaintext(&self.own.clone(), message);
                self.client.command(Command::Send(plaintext));
            }
            "close" => self.client.command(Command::Close(None)),
            _ => {}
        }
    }

    fn server_says(&mut self, mut message: Value) {
        if message["type"] != "message" {
            return self.client.receive(message);
        }
        let phase = message["phase"].as_str().unwrap().to_owned();
        let side = message["side"].as_str().unwrap().to_owned();
        if side == self.own {
            message["side"] = json!(self.client.wormhole.side());
            return self.client.receive(message);
        }
        match (&self.peer, phase.as_str()) {
            (None, "pake") => {
                let code = self.code.clone();
                self.peer = Some(Peer::connect(&mut self.client, &side, &code));
            }
            (Some(peer), _) => {
                let plaintext = self.plaintext(&side, &message);
                peer.send(&mut self.client, &phase, &plaintext);
            }
            (None, _) => panic!("a message before the key exchange"),
        }
    }

    /// What a recorded message says.
    fn plaintext(&self, side: &str, message: &Value) -> Vec<u8> {
        let key = self.lines.iter().find(|line| line["dir"] == "K").unwrap();
        let key = Key::new(Secret::new(unhex(&key["spake2_key"]).try_into().unwrap()));
        let key = key.phase_key(side, message["phase"].as_str().unwrap());
        secretbox::open(&key, &unhex(&message["body"])).unwrap()
    }
}

#[test]
fn our_machine_says_what_the_recorded_clients_said() {
    for trace in TRACES {
        let replay = Replay::new(trace).run();
        assert_eq!(replay.client.error, None, "{trace}");
        let ours = replay.client.wormhole.side();
        let recorded = replay.lines.iter().filter(|line| line["dir"] == ">");
        let recorded: Vec<_> =
            recorded.map(|line| essence(&line["msg"], &replay.own, ours)).collect();
        // Ours also asks, on a new link, whether the mailbox is still the same.
        let sent = replay.sent.iter().filter(|message| message["type"] != "ping");
        let sent: Vec<_> = sent.map(|message| essence(message, &replay.own, ours)).collect();
        assert_eq!(sent, recorded, "{trace}");
    }
}

#[test]
fn our_machine_tells_its_application_what_the_peer_said() {
    for trace in TRACES {
        let replay = Replay::new(trace).run();
        let received: Vec<Vec<u8>> = replay
            .events
            .iter()
            .filter_map(|event| {
                if let Event::Message(message) = event { Some(message.clone()) } else { None }
            })
            .collect();
        let decrypted = replay.lines.iter().filter(|line| line["op"] == "decrypt");
        let decrypted: Vec<Vec<u8>> =
            decrypted.map(|line| line["plaintext"].as_str().unwrap().into()).collect();
        assert_eq!(received, decrypted[1..], "{trace}: all but the version message");
        assert!(replay.plaintexts.len() > decrypted.len());
        assert!(
            matches!(replay.events.last(), Some(Event::Closed(closed)) if closed.confirmed),
            "{trace}"
        );
    }
}

#[test]
fn the_reference_s_key_exchange_message_is_read_as_it_stands() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/magic/vectors.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in vectors["spake2_symmetric"]["cases"].as_array().unwrap() {
        let wire = &case["pake_body_a_on_wire_hex"];
        let body: Value = serde_json::from_slice(&unhex(wire)).unwrap();
        assert_eq!(String::from_utf8(unhex(wire)).unwrap(), case["pake_body_a_utf8"]);
        assert_eq!(body, json!({"pake_v1": case["msg_a"]}));
        let mut client = TestClient::in_mailbox(&case["code"].as_str().unwrap().parse().unwrap());
        client.sent();
        client.deliver("peer", "pake", wire.as_str().unwrap());
        assert_eq!(client.sent_in_short(), ["release", "add version"]);
        assert_eq!(client.error, None);
    }
}

const DILATIONS: [&str; 2] = ["dilation-direct", "dilation-relay"];

/// What two peers told each other through the mailbox to set up a dilation. These records were
/// made above the seals: they have plaintexts, and neither keys nor frames of a server. The links
/// and frames of the dilation itself wait until it is implemented.
struct Dilation {
    lines: Vec<Value>,
    sides: [String; 2],
}

impl Dilation {
    fn read(trace: &str) -> Self {
        let lines = lines(trace);
        let sent = lines.iter().filter(|line| line["phase"] == "dilate-0");
        let sides: Vec<_> = sent.map(|line| line["side"].as_str().unwrap().to_owned()).collect();
        Self { lines, sides: sides.try_into().unwrap() }
    }

    /// Phase and content of what this side sent.
    fn sent(&self, side: &str) -> Vec<(&str, &Value)> {
        let sent = self.lines.iter().filter(|line| line["ev"] == "mailbox-dilate-tx");
        let sent = sent.filter(|line| line["side"] == side);
        sent.map(|line| (line["phase"].as_str().unwrap(), &line["fields"])).collect()
    }

    /// What this side received, opened.
    fn received(&self, side: &str) -> Vec<Value> {
        let received = self.lines.iter().filter(|line| line["ev"] == "mailbox-dilate-rx");
        let received = received.filter(|line| line["side"] == side);
        received
            .map(|line| serde_json::from_str(line["plaintext"].as_str().unwrap()).unwrap())
            .collect()
    }

    /// Replaces the other side by our wormhole; `peer` has not sent its version yet.
    fn connect(peer: &str) -> (TestClient, Peer) {
        let code = crate::client::code();
        let mut client = TestClient::in_mailbox(&code);
        let peer = Peer::connect(&mut client, peer, &code);
        (client, peer)
    }
}

#[test]
fn a_recorded_dilation_has_numbered_phases_that_arrive_in_order() {
    for trace in DILATIONS {
        let dilation = Dilation::read(trace);
        let [one, two] = &dilation.sides;
        for (from, to) in [(one, two), (two, one)] {
            let sent = dilation.sent(from);
            let phases: Vec<_> = sent.iter().map(|(phase, _)| (*phase).to_owned()).collect();
            let numbered: Vec<_> = (0..sent.len()).map(|n| format!("dilate-{n}")).collect();
            assert_eq!(phases, numbered, "{trace}");
            assert_eq!(sent[0].1["type"], "please");
            // The last ones may have come after the end of the record.
            let contents: Vec<_> = sent.into_iter().map(|(_, content)| content.clone()).collect();
            assert!(contents.starts_with(&dilation.received(to)), "{trace}");
        }
    }
}

#[test]
fn a_recorded_dilation_reaches_the_application_with_the_whole_version_object() {
    for trace in DILATIONS {
        let dilation = Dilation::read(trace);
        let versions = dilation.lines.iter().find(|line| line["ev"] == "versions").unwrap();
        for side in &dilation.sides {
            let (mut client, peer) = Dilation::connect(side);
            client.sent();
            let version = json!({"can-dilate": ["ged"], "app_versions": versions["v"]}).to_string();
            peer.send(&mut client, "version", version.as_bytes());
            let sent = dilation.sent(side);
            for (phase, content) in &sent {
                peer.send(&mut client, phase, content.to_string().as_bytes());
            }
            peer.send(&mut client, "0", b"still here");
            let events = client.events();
            let version = PeerVersion::parse(version.as_bytes()).unwrap();
            assert_eq!(version.get("can-dilate"), Some(&json!(["ged"])), "{trace}");
            assert!(events.contains(&Event::Version(version)), "{trace}");
            let numbered = (0_u64..).zip(&sent);
            let mut expected: Vec<_> = numbered
                .map(|(number, (_, content))| {
                    let plaintext = content.to_string().into_bytes();
                    Event::Dilation { number, plaintext }
                })
                .collect();
            expected.push(Event::Message(b"still here".to_vec()));
            assert!(events.ends_with(&expected), "{trace}: {events:?}");
            assert_eq!((client.sent(), client.error), (vec![], None), "{trace}");
        }
    }
}

#[test]
fn dilation_messages_wait_for_the_version_and_for_earlier_ones_but_not_for_other_messages() {
    let (mut client, peer) = Dilation::connect("peer");
    let dilation = |number| Event::Dilation { number, plaintext: vec![7] };
    peer.send(&mut client, "dilate-1", &[7]);
    peer.send(&mut client, "1", b"waits for message 0");
    peer.send(&mut client, "dilate-0", &[7]);
    assert!(!client.events().contains(&dilation(0)));
    peer.send(&mut client, "version", b"{}");
    let events = client.events();
    assert!(events.ends_with(&[dilation(0), dilation(1)]), "{events:?}");
    peer.send(&mut client, "dilate-1", &[7]);
    peer.send(&mut client, "dilate-300", &[7]);
    assert_eq!(client.events(), []);
    let missing = WormholeError::PeerMisbehaved(PeerMisbehaved::PhaseMissing(2));
    assert_eq!(client.error, Some(missing));
}

#[test]
fn a_dilation_message_opens_only_with_the_key_of_its_own_phase() {
    for trace in DILATIONS {
        let dilation = Dilation::read(trace);
        for side in &dilation.sides {
            let sent = dilation.sent(side);
            for ((phase, content), (other, _)) in sent.iter().zip(sent.iter().skip(1)) {
                let (mut client, peer) = Dilation::connect(side);
                peer.send(&mut client, "version", b"{}");
                let content = content.to_string();
                let sealed = peer.seal(phase, content.as_bytes());
                let key = peer.key.phase_key(side, phase);
                let opened = secretbox::open(&key, &HEXLOWER.decode(sealed.as_bytes()).unwrap());
                assert_eq!(opened.as_deref(), Ok(content.as_bytes()));
                client.deliver(side, phase, &sealed);
                assert_eq!(client.error, None, "{trace}");
                client.deliver(side, other, &sealed);
                let forged = WormholeError::PeerMisbehaved(PeerMisbehaved::Forged);
                assert_eq!(client.error, Some(forged), "{trace}");
            }
        }
    }
}
