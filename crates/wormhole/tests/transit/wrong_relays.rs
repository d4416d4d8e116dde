//! Relays that do not do what a relay does.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use wormhole::net::LinkFailure;
use wormhole::transit::{
    Ability, Error, Hint, Path, Pipe, Priority, RaceError, RelayAddress, RelayHint, RelayPolicy,
    Role, Settings, TcpHint, Transit, TransitInfo,
};
use wormhole_server::testing::TestServers;

use crate::servers::relay;
use crate::{connect, direct, key, only};

/// Listens on a free port, as a relay of this name.
async fn listen() -> (TcpListener, RelayHint, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hint = RelayHint::tcp(TcpHint::new("127.0.0.1", port));
    (listener, hint, format!("tcp:127.0.0.1:{port}"))
}

/// A relay at this WebSocket URL.
fn websocket(url: String) -> RelayHint {
    let address = RelayAddress::WebSocket { url, priority: Priority::default() };
    RelayHint { name: None, addresses: vec![address] }
}

/// Connects through these relays only.
async fn through(relays: Vec<RelayHint>) -> Result<Pipe, Error> {
    let transit = Transit::new(only(relays)).unwrap();
    let peer = transit.info();
    transit.connect(Role::Sender, &key(), &peer).await
}

/// Connects through a relay that answers the request with these bytes. Returns the error, and what the relay has
/// received.
async fn refused_by(answer: &[u8]) -> (Error, Vec<u8>) {
    let (listener, hint, name) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(answer).await.unwrap();
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        received
    };
    let connecting = async {
        let error = through(vec![hint]).await.map(drop).unwrap_err();
        let Error::NotConnected { race: RaceError::AllFailed(1), relay, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(relay.as_ref(), Some(&name));
        error
    };
    tokio::join!(connecting, serve)
}

/// The length of the request to a relay.
const REQUEST: usize = "please relay  for side \n".len() + 64 + 16;

#[tokio::test]
async fn a_relay_that_refuses_is_named_and_receives_nothing_but_the_request() {
    for answer in [&b"bad handshake\n"[..], b"impatient\n", b"no\n", b"okay\n", b"\n"] {
        let (error, received) = refused_by(answer).await;
        assert!(error.to_string().contains("the relay tcp:127.0.0.1:"), "{error}");
        assert!(received.starts_with(b"please relay "));
        assert_eq!(received.len(), REQUEST, "{answer:?}");
    }
}

#[tokio::test]
async fn a_web_server_at_the_port_of_the_relay_is_no_relay() {
    let (_, received) = refused_by(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(received.len(), REQUEST);
}

#[tokio::test]
async fn a_relay_that_lies_about_the_peer_learns_at_most_our_hello() {
    let (_, received) = refused_by(&[&b"ok\n"[..], &[b'x'; 200]].concat()).await;
    assert!(key().hello(Role::Sender).starts_with(&received[REQUEST..]), "{received:?}");
}

#[tokio::test]
async fn a_relay_that_connects_a_side_with_itself_is_rejected() {
    let (listener, hint, _) = listen().await;
    let reflect = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; REQUEST]).await.unwrap();
        stream.write_all(b"ok\n").await.unwrap();
        let mut hello = vec![0; key().hello(Role::Sender).len()];
        stream.read_exact(&mut hello).await.unwrap();
        // The hello of a receiver is two bytes longer.
        stream.write_all(&[&hello[..], b"\n\n"].concat()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (outcome, ()) = tokio::join!(through(vec![hint]), reflect);
    let Err(Error::NotConnected { race: RaceError::AllFailed(1), .. }) = outcome else {
        panic!("connected to itself")
    };
}

#[tokio::test]
async fn a_relay_that_closes_the_connection_is_named_with_the_reason() {
    let (listener, hint, name) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; REQUEST]).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(through(vec![hint]), serve);
    assert_eq!(
        outcome.map(drop).unwrap_err().to_string(),
        format!("the only connection attempt failed (the relay {name}: the connection was closed)")
    );
}

#[tokio::test]
async fn a_relay_that_answers_in_single_bytes_is_understood() {
    let (listener, hint, _) = listen().await;
    let key = key();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in [&b"ok\n"[..], &key.hello(Role::Receiver)].concat() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream
    };
    let (pipe, _stream) = tokio::join!(through(vec![hint]), serve);
    assert!(!pipe.unwrap().path().is_direct());
}

#[tokio::test]
async fn a_silent_relay_does_not_delay_one_that_works() {
    let servers = TestServers::start(&[]).await;
    let (silent, hint, _) = listen().await;
    let settings = only(vec![hint, relay(&servers)]);
    let (one, other) = connect(settings.clone(), settings).await;
    let works = Path::Relay(format!("tcp:{}", servers.relay()));
    assert_eq!(*one.unwrap().path(), works);
    assert_eq!(*other.unwrap().path(), works);
    drop(silent);
}

#[tokio::test]
async fn a_relay_is_used_when_every_direct_address_refuses() {
    let servers = TestServers::start(&[]).await;
    let (closed, _, _) = listen().await;
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let settings = Settings {
        listen: false,
        policy: RelayPolicy::Auto,
        relays: vec![relay(&servers)],
        ..Settings::default()
    };
    let (one, other) = (Transit::new(settings.clone()).unwrap(), Transit::new(settings).unwrap());
    let mut info = one.info();
    info.hints.push(Hint::Direct(TcpHint::new("127.0.0.1", port)));
    let key = key();
    let (one, other) = tokio::join!(
        one.connect(Role::Sender, &key, &info),
        other.connect(Role::Receiver, &key, &info)
    );
    assert!(!one.unwrap().path().is_direct() && !other.unwrap().path().is_direct());
}

#[tokio::test]
async fn a_peer_that_announces_no_relay_ability_is_not_expected_at_a_relay() {
    let (listener, hint, _) = listen().await;
    let transit = Transit::new(only(vec![hint])).unwrap();
    let peer = TransitInfo { abilities: vec![Ability::DirectTcp], hints: Vec::new() };
    let outcome = transit.connect(Role::Sender, &key(), &peer).await;
    let no_way = Error::NotConnected { race: RaceError::NoCommonMethod, relay: None, last: None };
    assert_eq!(outcome.map(drop), Err(no_way));
    let called = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
    assert!(called.is_err());
}

/// Why a WebSocket relay that treats its connection like this cannot be used.
async fn websocket_failure(serve: impl AsyncFnOnce(TcpStream)) -> LinkFailure {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serve = async { serve(listener.accept().await.unwrap().0).await };
    let (outcome, ()) = tokio::join!(through(vec![websocket(url.clone())]), serve);
    match outcome {
        Err(Error::NotConnected { last: Some((address, failure)), .. }) => {
            assert_eq!(address, url);
            failure
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_websocket_relay_that_is_a_web_page_is_reported_with_its_status() {
    let failure = websocket_failure(async |mut stream: TcpStream| {
        let page = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(page).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    assert_eq!(failure, LinkFailure::NotAWebSocket(404));
}

#[tokio::test]
async fn a_websocket_relay_that_gives_a_reason_for_closing_is_quoted() {
    let failure = websocket_failure(async |stream: TcpStream| {
        let mut socket = accept_async(stream).await.unwrap();
        let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 1008.into(),
            reason: "too busy".into(),
        };
        socket.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    assert_eq!(failure.to_string(), "the server closed the connection: too busy");
}

#[tokio::test]
async fn a_websocket_relay_may_divide_the_stream_anywhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let key = key();
    let serve = async {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        socket.send(Message::text("o")).await.unwrap();
        socket.send(Message::binary(Vec::new())).await.unwrap();
        for part in [&b"k\n"[..], &key.hello(Role::Receiver)].concat().chunks(10) {
            socket.send(Message::binary(part.to_vec())).await.unwrap();
        }
        socket
    };
    let (pipe, _socket) = tokio::join!(through(vec![websocket(url.clone())]), serve);
    assert_eq!(*pipe.unwrap().path(), Path::Relay(url));
}

#[tokio::test]
async fn an_invalid_url_of_a_relay_is_named() {
    let url = "ws://relay.example:99999/".to_owned();
    let outcome = through(vec![websocket(url.clone())]).await;
    let Err(Error::NotConnected { last: Some((address, failure)), .. }) = outcome else {
        panic!("connected")
    };
    assert_eq!((address, failure), (url.clone(), LinkFailure::BadUrl(url)));
}

#[tokio::test]
async fn a_relay_that_is_lost_while_records_pass_ends_both_sides() {
    let servers = TestServers::start(&[]).await;
    let (listener, hint, _) = listen().await;
    let (cut, cutting) = tokio::sync::watch::channel(());
    let address = servers.relay();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut cutting = cutting.clone();
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(address).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut onward) => {}
                    _ = cutting.changed() => {}
                }
            });
        }
    });
    let settings = only(vec![hint]);
    let (one, other) = connect(settings.clone(), settings).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    one.send_record(b"before").await.unwrap();
    assert_eq!(other.receive_record().await.unwrap(), b"before");
    cut.send(()).unwrap();
    assert!(one.receive_record().await.is_err());
    assert!(other.receive_record().await.is_err());
}

#[tokio::test]
async fn direct_connections_do_not_need_a_relay_that_works() {
    let (listener, hint, _) = listen().await;
    drop(listener);
    let settings = Settings { relays: vec![hint], ..direct() };
    let (one, other) = connect(settings.clone(), settings).await;
    assert!(one.unwrap().path().is_direct() && other.unwrap().path().is_direct());
}
