//! The forms of a mailbox URL, and what a server sees of them.

use futures_util::SinkExt;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use wormhole::code::{Config, Error, Wormhole};
use wormhole::net::LinkFailure;

use crate::mailbox::Mailbox;

/// The request of a client: its target, and its header `host`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Requested {
    target: String,
    host: String,
}

/// What a server on `address` is asked for by a client whose URL ends with `end` after the port.
async fn requested(address: &str, host: &str, end: &str) -> Requested {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("ws://{host}:{port}{end}");
    let wormhole =
        Wormhole::create(Config { servers: vec![url.parse().unwrap()], ..Config::default() });
    let mut requested = Requested::default();
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        requested.target = request.uri().to_string();
        let host = request.headers().get("host").unwrap().to_str().unwrap();
        requested.host = host.replace(&port.to_string(), "PORT");
        Ok(response)
    };
    let serve = async {
        let stream = listener.accept().await.unwrap().0;
        let mut socket = accept_hdr_async(stream, look).await.unwrap();
        socket.send(Message::text(r#"{"type": "welcome", "welcome": {}}"#)).await.unwrap();
        socket
    };
    let (welcome, socket) = tokio::join!(wormhole.welcome(), serve);
    welcome.unwrap();
    drop(socket);
    requested
}

fn expected(target: &str, host: &str) -> Requested {
    Requested { target: target.to_owned(), host: host.to_owned() }
}

#[tokio::test]
async fn the_path_and_the_query_of_a_url_are_requested_as_they_are() {
    for end in ["/v1", "/", "/mail/box/v1", "/v1?token=a%20b&x=", "/%C3%A4/~x;y"] {
        assert_eq!(
            requested("127.0.0.1:0", "127.0.0.1", end).await,
            expected(end, "127.0.0.1:PORT")
        );
    }
}

#[tokio::test]
async fn a_url_without_a_path_requests_the_root() {
    assert_eq!(requested("127.0.0.1:0", "127.0.0.1", "").await, expected("/", "127.0.0.1:PORT"));
}

#[tokio::test]
async fn a_name_is_resolved_and_sent_to_the_server() {
    let requested = requested("127.0.0.1:0", "LocalHost", "/v1").await;
    assert_eq!(requested, expected("/v1", "localhost:PORT"));
}

#[tokio::test]
async fn an_ipv6_address_is_written_in_brackets() {
    assert_eq!(requested("[::1]:0", "[::1]", "/v1").await, expected("/v1", "[::1]:PORT"));
}

#[tokio::test]
async fn a_fragment_is_not_sent_to_the_server() {
    let requested = requested("127.0.0.1:0", "127.0.0.1", "/v1#part").await;
    assert_eq!(requested, expected("/v1", "127.0.0.1:PORT"));
}

#[tokio::test]
async fn a_url_that_only_looks_like_one_is_named_in_the_error() {
    for text in ["ws://host:99999/v1", "ws://ho[st/v1", "wss://[::1/v1"] {
        let servers = vec![text.parse().unwrap()];
        let error = Wormhole::create(Config { servers, ..Config::default() }).welcome().await;
        assert_eq!(
            error.unwrap_err(),
            Error::ServerUnreachable(LinkFailure::BadUrl(text.to_owned()))
        );
    }
}

#[tokio::test]
async fn a_wormhole_without_any_server_ends_at_once() {
    let wormhole = Wormhole::create(Config { servers: Vec::new(), ..Config::default() });
    let error = wormhole.welcome().await.unwrap_err();
    assert!(matches!(error, Error::ServerUnreachable(_)), "{error:?}");
}

#[tokio::test]
async fn two_sides_meet_at_one_server_by_different_urls() {
    let server = Mailbox::start().await;
    let port = server.servers.mailbox().port();
    let at = |url: String| {
        Wormhole::create(Config { servers: vec![url.parse().unwrap()], ..server.config() })
    };
    let alice = at(format!("ws://localhost:{port}/v1"));
    let bob = at(format!("ws://127.0.0.1:{port}/v1"));
    alice.set_code("4-x".parse().unwrap()).unwrap();
    bob.set_code("4-x".parse().unwrap()).unwrap();
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
}
