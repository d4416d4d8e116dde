//! A wormhole whose server, peer and clock are played by the test.

use std::time::Duration;

use data_encoding::HEXLOWER;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_kit::{Input, Instant, LinkId, Output, Session};
use wormhole_magic::AppId;
use wormhole_magic::code::Code;
use wormhole_magic::key::Key;
use wormhole_magic::mailbox::MailboxUrl;
use wormhole_magic::secretbox;
use wormhole_magic::spake2::Spake2;
use wormhole_magic::wormhole::{Command, Config, Event, Wormhole, WormholeError};

/// The wormhole, with everything that it has sent and reported.
pub(crate) struct TestClient {
    pub(crate) wormhole: Wormhole<ChaCha8Rng>,
    pub(crate) now: Instant,
    /// The last link that it opened, and its URL.
    pub(crate) link: Option<(LinkId, String)>,
    /// Messages to the server that have not been checked.
    sent: Vec<Value>,
    /// Events that have not been checked.
    events: Vec<Event>,
    /// Links it closed.
    pub(crate) closed: Vec<LinkId>,
    pub(crate) error: Option<WormholeError>,
}

impl TestClient {
    /// With these addresses of the server.
    pub(crate) fn with_servers(urls: &[&str]) -> Self {
        let servers = urls.iter().map(|url| url.parse::<MailboxUrl>().unwrap()).collect();
        Self::with_config(Config { servers, ..Config::default() })
    }

    /// With these settings.
    pub(crate) fn with_config(config: Config) -> Self {
        let now = Instant::now();
        let wormhole = Wormhole::new(config, now, ChaCha8Rng::seed_from_u64(1));
        let mut client = Self {
            wormhole,
            now,
            link: None,
            sent: vec![],
            events: vec![],
            closed: vec![],
            error: None,
        };
        client.collect_outputs();
        client
    }

    /// With one server, linked and welcomed.
    pub(crate) fn welcomed() -> Self {
        let mut client = Self::with_servers(&["ws://one/v1"]);
        client.open_link();
        client.receive(json!({"type": "welcome", "welcome": {}}));
        client
    }

    /// With a mailbox that is open, named `m`, for this code.
    pub(crate) fn in_mailbox(code: &Code) -> Self {
        let mut client = Self::welcomed();
        client.command(Command::SetCode(code.clone()));
        client.receive(json!({"type": "claimed", "mailbox": "m"}));
        client
    }

    /// Returns a wormhole with a confirmed key and its peer. All earlier outputs have been taken.
    pub(crate) fn with_peer() -> (Self, Peer) {
        let code = code();
        let mut client = Self::in_mailbox(&code);
        let peer = Peer::connect(&mut client, "peer", &code);
        peer.send(&mut client, "version", br#"{"app_versions": {"a": 1}}"#);
        client.sent();
        client.events();
        (client, peer)
    }

    pub(crate) fn open_link(&mut self) {
        let link = self.link();
        self.input(Input::Opened(link));
    }

    pub(crate) fn lose_link(&mut self) {
        let link = self.link();
        self.input(Input::Closed(link));
    }

    pub(crate) fn link(&self) -> LinkId {
        self.link.as_ref().expect("a link was asked for").0
    }

    /// The server says this.
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub(crate) fn receive(&mut self, message: Value) {
        self.receive_bytes(message.to_string().as_bytes());
    }

    pub(crate) fn receive_bytes(&mut self, frame: &[u8]) {
        let link = self.link();
        self.input(Input::Bytes(link, frame));
    }

    /// A message of this side is shown in the mailbox.
    pub(crate) fn deliver(&mut self, side: &str, phase: &str, body: &str) {
        self.receive(json!({"type": "message", "side": side, "phase": phase, "body": body}));
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    fn input(&mut self, input: Input<'_, Command>) {
        let result = self.wormhole.handle(self.now, input);
        self.collect_outputs();
        self.keep(result);
    }

    /// Lets time advance, stopping at each deadline.
    pub(crate) fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.wormhole.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            let result = self.wormhole.handle_timeout(self.now);
            self.collect_outputs();
            self.keep(result);
        }
        self.now = until;
    }

    fn keep(&mut self, result: Result<(), WormholeError>) {
        if let Err(error) = result {
            assert_eq!(self.error, None, "there is one error");
            self.error = Some(error);
        }
    }

    fn collect_outputs(&mut self) {
        while let Some(output) = self.wormhole.poll() {
            match output {
                Output::Connect(link, url) => self.link = Some((link, url.to_string())),
                Output::Send(link, message) => {
                    assert_eq!(self.link.as_ref().map(|(link, _)| *link), Some(link));
                    self.sent.push(serde_json::from_slice(&message).unwrap());
                }
                Output::Close(link) => self.closed.push(link),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// What was sent to the server since this was last asked.
    pub(crate) fn sent(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.sent)
    }

    /// The types of what was sent to the server, messages with their phase.
    pub(crate) fn sent_in_short(&mut self) -> Vec<String> {
        let short = |message: Value| {
            let kind = message["type"].as_str().unwrap().to_owned();
            message["phase"]
                .as_str()
                .map_or_else(|| kind.clone(), |phase| format!("{kind} {phase}"))
        };
        self.sent().into_iter().map(short).collect()
    }

    /// What the application was told since this was last asked.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The messages among the events.
    pub(crate) fn messages(&mut self) -> Vec<Vec<u8>> {
        let message =
            |event| if let Event::Message(message) = event { Some(message) } else { None };
        self.events().into_iter().filter_map(message).collect()
    }

    /// The body of our message of that phase, as last sent.
    pub(crate) fn body(&self, phase: &str) -> Vec<u8> {
        let sent = self.sent.iter().rev();
        let mut bodies = sent.filter(|message| message["phase"] == phase);
        HEXLOWER.decode(bodies.next().unwrap()["body"].as_str().unwrap().as_bytes()).unwrap()
    }
}

/// The other side, played by the test.
pub(crate) struct Peer {
    pub(crate) side: String,
    pub(crate) key: Key,
    rng: std::cell::RefCell<ChaCha8Rng>,
}

impl Peer {
    /// Starts a key exchange; the message is the same each time.
    pub(crate) fn start(code: &Code) -> (Spake2, [u8; 33]) {
        Spake2::start(code, &AppId::default(), &mut ChaCha8Rng::seed_from_u64(2))
    }

    /// Ends the key exchange with a wormhole whose `pake` has not been looked at yet.
    pub(crate) fn finish(spake2: Spake2, client: &TestClient, side: &str) -> Self {
        let theirs: Value = serde_json::from_slice(&client.body("pake")).unwrap();
        let theirs = HEXLOWER.decode(theirs["pake_v1"].as_str().unwrap().as_bytes()).unwrap();
        let key = spake2.finish(&theirs).unwrap();
        Self { side: side.into(), key, rng: ChaCha8Rng::seed_from_u64(3).into() }
    }

    /// Does the whole key exchange.
    pub(crate) fn connect(client: &mut TestClient, side: &str, code: &Code) -> Self {
        let (spake2, message) = Self::start(code);
        let peer = Self::finish(spake2, client, side);
        client.deliver(side, "pake", &pake_body(&message));
        peer
    }

    /// Seals a message as this side would.
    pub(crate) fn seal(&self, phase: &str, plaintext: &[u8]) -> String {
        let key = self.key.phase_key(&self.side, phase);
        HEXLOWER.encode(&secretbox::seal(&key, plaintext, &mut *self.rng.borrow_mut()))
    }

    pub(crate) fn send(&self, client: &mut TestClient, phase: &str, plaintext: &[u8]) {
        client.deliver(&self.side, phase, &self.seal(phase, plaintext));
    }

    /// Opens a message of the wormhole.
    pub(crate) fn open(&self, client: &TestClient, phase: &str) -> Vec<u8> {
        let key = self.key.phase_key(client.wormhole.side(), phase);
        secretbox::open(&key, &client.body(phase)).unwrap()
    }
}

/// The body of a `pake` message, in hex.
pub(crate) fn pake_body(message: &[u8]) -> String {
    let json = json!({"pake_v1": HEXLOWER.encode(message)}).to_string();
    HEXLOWER.encode(json.as_bytes())
}

pub(crate) fn code() -> Code {
    "4-purple-sausages".parse().unwrap()
}
