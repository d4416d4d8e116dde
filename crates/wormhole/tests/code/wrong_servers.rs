//! Scripted servers that do what no mailbox server does: they refuse, answer in another protocol, or say nothing.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wormhole::code::{Config, Error, Wormhole};
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
