//! Scripted servers that do what no mailbox server does: they lie, refuse, answer in another protocol, or say
//! nothing.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use wormhole::code::{Config, Error, ServerMisbehaved, Wormhole};
use wormhole::net::LinkFailure;

/// The error of a wormhole whose server is at this URL.
async fn end_at(url: &str) -> Error {
    let wormhole =
        Wormhole::create(Config { servers: vec![url.parse().unwrap()], ..Config::default() });
    wormhole.welcome().await.unwrap_err()
}

/// A server that answers anything with these bytes.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 16];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(answer).await.unwrap();
        // Reads to the end, or closing would cut off the answer.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    url
}

#[tokio::test]
async fn the_error_distinguishes_why_a_server_cannot_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("ws://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let refused = LinkFailure::Io(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(end_at(&closed).await, Error::ServerUnreachable(refused));
    let unknown = LinkFailure::NameNotFound("nobody.invalid".into());
    assert_eq!(end_at("ws://nobody.invalid/v1").await, Error::ServerUnreachable(unknown));
    let page = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(end_at(&page).await, Error::ServerUnreachable(LinkFailure::NotAWebSocket(404)));
    let ssh = answering(b"SSH-2.0-OpenSSH_10.0\r\n\r\n").await;
    assert_eq!(end_at(&ssh).await, Error::ServerUnreachable(LinkFailure::NotHttp));
}

#[tokio::test]
async fn closing_does_not_wait_for_a_silent_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    let config = Config { servers: vec![url.parse().unwrap()], ..Config::default() };
    let wormhole = Wormhole::create(config);
    wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
    assert!(wormhole.close().await.is_ok());
}

/// A WebSocket server that sends these messages to its first client, whatever the client sends.
async fn sending(messages: Vec<Message>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        for message in messages {
            socket.send(message).await.unwrap();
        }
        while let Some(Ok(_)) = socket.next().await {}
    });
    url
}

const WELCOME: &str = "{\"type\": \"welcome\", \"welcome\": {}}";

/// The error of a wormhole that allocates a code at a server that sends these messages.
async fn error_after(messages: &[&str]) -> Error {
    let messages = messages.iter().map(|text| Message::text(*text)).collect();
    let servers = vec![sending(messages).await.parse().unwrap()];
    let wormhole = Wormhole::create(Config { servers, ..Config::default() });
    wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
    wormhole.verifier().await.unwrap_err()
}

#[tokio::test]
async fn a_server_whose_messages_are_malformed_is_blamed_for_it() {
    for malformed in ["hello", "[]", "{}", "{\"type\": 1}", "{\"type\": \"allocated\"}"] {
        let error = error_after(&[WELCOME, malformed]).await;
        let is_malformed = matches!(error, Error::ServerMisbehaved(ServerMisbehaved::Malformed(_)));
        assert!(is_malformed, "{malformed}: {error:?}");
    }
}

#[tokio::test]
async fn a_nameplate_that_is_not_a_number_does_not_become_a_code() {
    let allocated = "{\"type\": \"allocated\", \"nameplate\": \"7-rm -rf\"}";
    let error = error_after(&[WELCOME, allocated]).await;
    assert_eq!(error, Error::ServerMisbehaved(ServerMisbehaved::BadNameplate));
}

#[tokio::test]
async fn an_impossible_proof_of_work_is_rejected_without_a_search() {
    let welcome = "{\"type\": \"welcome\", \"welcome\": {\"permission-required\": \
                   {\"hashcash\": {\"bits\": 200, \"resource\": \"x\"}}}}";
    let error = error_after(&[welcome]).await;
    let is_impossible =
        matches!(error, Error::ServerMisbehaved(ServerMisbehaved::ImpossibleDemand(_)));
    assert!(is_impossible, "{error:?}");
}

#[tokio::test]
async fn permissions_of_an_unknown_kind_are_reported() {
    let welcome = "{\"type\": \"welcome\", \"welcome\": {\"permission-required\": \
                   {\"passport\": {}}}}";
    let error = error_after(&[welcome]).await;
    assert_eq!(error, Error::ServerMisbehaved(ServerMisbehaved::UnknownPermissions));
}

#[tokio::test]
async fn control_characters_in_a_servers_error_do_not_reach_the_user() {
    let welcome = "{\"type\": \"welcome\", \"welcome\": {\"error\": \"go\\u001b[2Jaway\"}}";
    let Error::Unwelcome(text) = error_after(&[welcome]).await else { panic!("it was welcome") };
    assert_eq!(text.as_str(), "go [2Jaway");
}
