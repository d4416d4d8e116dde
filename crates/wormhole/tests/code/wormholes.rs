//! What an application sees of its wormholes.

use serde_json::{Value, json};
use tokio::sync::mpsc;
use wormhole::code::{
    ApiMisuse, Closed, Code, Config, Delegate, Error, Key, Mood, Nameplate, Password, Verifier,
    Welcome, Wormhole,
};

use crate::mailbox::Mailbox;

/// Two wormholes with one code.
async fn pair(server: &Mailbox) -> (Wormhole, Wormhole) {
    let alice = Wormhole::create(server.config());
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let bob = Wormhole::create(server.config());
    bob.set_code(alice.code().await.unwrap()).unwrap();
    (alice, bob)
}

#[tokio::test]
async fn two_wormholes_share_a_key_and_exchange_messages() {
    let server = Mailbox::with(&["--mailbox-motd", "hi"]).await;
    let versions = json!({"app": "test"});
    let alice = Wormhole::create(Config { app_versions: versions.clone(), ..server.config() });
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let code = alice.code().await.unwrap();
    let bob = Wormhole::create(server.config());
    bob.set_code(code).unwrap();
    assert_eq!(bob.welcome().await.unwrap().motd.as_deref(), Some("hi"));

    for number in 0..20_u8 {
        alice.send_message(vec![number]).await.unwrap();
    }
    for number in 0..20_u8 {
        assert_eq!(bob.receive_message().await, Ok(vec![number]));
    }
    assert_eq!(bob.versions().await, Ok(versions));
    assert_eq!(alice.verifier().await, bob.verifier().await);
    assert_eq!(alice.derive_key("purpose", 9).unwrap(), bob.derive_key("purpose", 9).unwrap());
    alice.code_consumed().await.unwrap();
    let (one, other) = tokio::join!(alice.close(), bob.close());
    for closed in [one.unwrap(), other.unwrap()] {
        assert!(closed.mood == Mood::Happy && closed.confirmed);
    }
}

#[tokio::test]
async fn two_codes_give_an_error_on_both_sides() {
    let server = Mailbox::start().await;
    let alice = Wormhole::create(server.config());
    alice.set_code("4-right".parse().unwrap()).unwrap();
    let bob = Wormhole::create(server.config());
    bob.set_code("4-wrong".parse().unwrap()).unwrap();
    assert_eq!(alice.verifier().await, Err(Error::WrongCode));
    assert_eq!(bob.receive_message().await, Err(Error::WrongCode));
    assert_eq!(bob.send_message(vec![]).await, Err(Error::WrongCode));
    assert_eq!(alice.close().await, Err(Error::WrongCode));
    assert_eq!(server.proxy.received("close").await["mood"], "scary");
}

#[tokio::test]
async fn a_lost_link_is_opened_again_and_loses_nothing() {
    let server = Mailbox::start().await;
    let (alice, bob) = pair(&server).await;
    alice.send_message(b"before".to_vec()).await.unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), b"before");
    server.proxy.cut_all();
    alice.send_message(b"after".to_vec()).await.unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), b"after");
    bob.send_message(b"answer".to_vec()).await.unwrap();
    assert_eq!(alice.receive_message().await.unwrap(), b"answer");
}

#[tokio::test]
async fn dropping_a_wormhole_releases_its_nameplate_and_closes_its_mailbox() {
    let server = Mailbox::start().await;
    let alice = Wormhole::create(server.config());
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let nameplate = alice.code().await.unwrap().nameplate().clone();
    server.proxy.received("open").await;
    drop(alice);
    assert_eq!(server.proxy.received("release").await["nameplate"], nameplate.as_str());
    assert_eq!(server.proxy.received("close").await["mood"], "lonely");
}

#[tokio::test]
async fn what_was_sent_before_closing_arrives() {
    let server = Mailbox::start().await;
    let (alice, bob) = pair(&server).await;
    alice.verifier().await.unwrap();
    for number in 0..8_u8 {
        alice.send_message(vec![number; 100_000]).await.unwrap();
    }
    alice.close_with_mood(Mood::Errory).await.unwrap();
    for number in 0..8_u8 {
        assert_eq!(bob.receive_message().await.unwrap()[0], number);
    }
    assert_eq!(server.proxy.received("close").await["mood"], "errory");
}

#[tokio::test]
async fn a_code_is_typed_with_the_nameplates_and_words_that_the_server_and_the_list_offer() {
    let server = Mailbox::start().await;
    let alice = Wormhole::create(server.config());
    alice.set_code("7-guitarist-revenge".parse().unwrap()).unwrap();
    server.proxy.received("open").await;
    let bob = Wormhole::create(server.config());
    let mut input = bob.input_code().unwrap();
    assert_eq!(input.choose_words(password("x")), Err(ApiMisuse::NameplateNotChosen.into()));
    input.refresh_nameplates();
    assert_eq!(input.first_nameplates().await.unwrap(), [nameplate("7")]);
    assert_eq!(input.nameplates(), [nameplate("7")]);
    assert_eq!(input.complete_nameplate(""), ["7-"]);
    assert_eq!(input.complete_nameplate("8"), Vec::<String>::new());
    input.choose_nameplate(nameplate("7")).unwrap();
    assert_eq!(input.nameplate(), Some(&nameplate("7")));
    let again = input.choose_nameplate(nameplate("8"));
    assert_eq!(again, Err(ApiMisuse::CodeAlreadyChosen.into()));
    assert_eq!(input.complete_words("guit"), ["guitarist-"]);
    input.choose_words(password("guitarist-revenge")).unwrap();
    assert_eq!(bob.code().await.unwrap().to_string(), "7-guitarist-revenge");
    assert_eq!(input.choose_words(password("x")), Err(ApiMisuse::CodeAlreadyChosen.into()));
    assert_eq!(bob.verifier().await.unwrap(), alice.verifier().await.unwrap());
}

fn nameplate(digits: &str) -> Nameplate {
    Nameplate::parse(digits).unwrap()
}

fn password(words: &str) -> Password {
    Password::parse(words).unwrap()
}

#[tokio::test]
async fn misuse_is_an_error_of_the_call_and_does_no_harm() {
    let server = Mailbox::start().await;
    let wormhole = Wormhole::create(server.config());
    assert_eq!(wormhole.derive_key("x", 1), Err(ApiMisuse::NoKey.into()));
    wormhole.set_code("4-x".parse().unwrap()).unwrap();
    let again = wormhole.allocate_code(Wormhole::CODE_WORDS);
    assert_eq!(again, Err(ApiMisuse::CodeAlreadyChosen.into()));
    let long = wormhole.send_message(vec![0; (4 << 20) + 1]).await;
    assert_eq!(long, Err(ApiMisuse::MessageTooLong((4 << 20) + 1).into()));
    assert!(wormhole.close().await.unwrap().confirmed);
}

/// Records the calls.
struct Log(mpsc::UnboundedSender<String>);

impl Log {
    fn note(&self, what: String) {
        self.0.send(what).unwrap();
    }
}

impl Delegate for Log {
    fn on_welcome(&mut self, welcome: &Welcome) {
        self.note(format!("welcome {:?}", welcome.motd));
    }
    fn on_code(&mut self, code: &Code) {
        self.note(format!("code {code}"));
    }
    fn on_code_consumed(&mut self) {
        self.note("consumed".into());
    }
    fn on_key(&mut self, _: &Key) {
        self.note("key".into());
    }
    fn on_verifier(&mut self, _: &Verifier) {
        self.note("verifier".into());
    }
    fn on_versions(&mut self, versions: &Value) {
        self.note(format!("versions {versions}"));
    }
    fn on_message(&mut self, message: Vec<u8>) {
        self.note(format!("message {message:?}"));
    }
    fn on_closed(&mut self, result: &Result<Closed, Error>) {
        self.note(format!("closed {}", result.is_ok()));
    }
}

#[tokio::test]
async fn a_delegate_is_told_everything_in_order() {
    let server = Mailbox::start().await;
    let (log, mut noted) = mpsc::unbounded_channel();
    let alice = Wormhole::create_with_delegate(server.config(), Box::new(Log(log)));
    alice.set_code("4-x".parse().unwrap()).unwrap();
    let bob = Wormhole::create(server.config());
    bob.set_code("4-x".parse().unwrap()).unwrap();
    bob.send_message(vec![1]).await.unwrap();
    alice.code_consumed().await.unwrap();
    let mut notes = Vec::new();
    while notes.last().is_none_or(|note: &String| !note.starts_with("message")) {
        notes.push(noted.recv().await.unwrap());
    }
    assert_eq!(alice.receive_message().await, Err(ApiMisuse::Delegated.into()));
    alice.close().await.unwrap();
    notes.push(noted.recv().await.unwrap());
    assert_eq!(noted.recv().await, None);
    // These two do not wait for anybody, so their place is anywhere.
    let free = |note: &String| note.starts_with("welcome") || note == "consumed";
    assert_eq!(notes.iter().filter(|note| free(note)).count(), 2);
    notes.retain(|note| !free(note));
    assert_eq!(notes, ["code 4-x", "key", "verifier", "versions {}", "message [1]", "closed true"]);
}

#[tokio::test]
async fn the_next_address_is_taken_when_the_first_is_dead() {
    let server = Mailbox::start().await;
    let mut config = server.config();
    config.servers.insert(0, "ws://127.0.0.1:1/v1".parse().unwrap());
    assert!(Wormhole::create(config).welcome().await.is_ok());
}
