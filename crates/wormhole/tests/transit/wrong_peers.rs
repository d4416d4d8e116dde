//! Peers that listen at the address that they announced, and then do not keep to the handshake.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wormhole::net::LinkFailure;
use wormhole::transit::{
    Ability, Error, Hint, Pipe, RaceError, Role, Secret, Settings, TcpHint, Transit, TransitInfo,
    TransitKey,
};
use wormhole_magic::transit::Sealer;

use crate::{connect, direct, key};

/// Listens on this computer, and returns the hints of such a peer.
async fn listen() -> (TcpListener, TransitInfo) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hints = vec![Hint::Direct(TcpHint::new("127.0.0.1", port))];
    (listener, TransitInfo { abilities: vec![Ability::DirectTcp], hints })
}

/// Connects to a peer without listening.
async fn connect_to(peer: &TransitInfo, role: Role) -> Result<Pipe, Error> {
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    transit.connect(role, &key(), peer).await
}

/// Connects as a receiver to a peer that sends these bytes, and then waits until we close the connection. Also returns
/// what the peer has received.
async fn receiver_of(bytes: &[u8]) -> (Result<Pipe, Error>, Vec<u8>) {
    let (listener, peer) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut received = Vec::new();
        // With or without a reset.
        let _ = stream.read_to_end(&mut received).await;
        received
    };
    let connecting = async {
        let result = connect_to(&peer, Role::Receiver).await;
        // A connection would keep the peer waiting.
        assert!(result.is_err(), "{result:?}");
        result
    };
    tokio::join!(connecting, serve)
}

fn all_failed(outcome: Result<Pipe, Error>) -> Option<LinkFailure> {
    match outcome {
        Err(Error::NotConnected { race: RaceError::AllFailed(1), last, .. }) => {
            last.map(|(_, failure)| failure)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_with_another_key_is_rejected_and_learns_only_our_hello() {
    let other = TransitKey::new(Secret::new([8; 32]));
    let hello = [&other.hello(Role::Sender)[..], b"go\n"].concat();
    let (outcome, received) = receiver_of(&hello).await;
    assert_eq!(all_failed(outcome), None);
    assert_eq!(received, key().hello(Role::Receiver));
}

#[tokio::test]
async fn two_sides_with_different_keys_do_not_connect() {
    let (one, other) = (Transit::new(direct()).unwrap(), Transit::new(direct()).unwrap());
    let (for_one, for_other) = (other.info(), one.info());
    let keys = [7, 8].map(|byte| TransitKey::new(Secret::new([byte; 32])));
    let impatient = std::time::Duration::from_millis(300);
    // Both listen, so both would wait for a minute for the right peer.
    let one = tokio::time::timeout(impatient, one.connect(Role::Sender, &keys[0], &for_one));
    let other =
        tokio::time::timeout(impatient, other.connect(Role::Receiver, &keys[1], &for_other));
    let (one, other) = tokio::join!(one, other);
    assert!(one.is_err() && other.is_err());
}

#[tokio::test]
async fn our_own_hello_is_not_accepted_from_the_peer() {
    let (listener, peer) = listen().await;
    let reflect = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; key().hello(Role::Receiver).len()];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (outcome, ()) = tokio::join!(connect_to(&peer, Role::Receiver), reflect);
    all_failed(outcome);
}

#[tokio::test]
async fn two_senders_do_not_connect() {
    let (listener, peer) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The hello of a receiver is two bytes longer.
        stream.write_all(&[&key().hello(Role::Sender)[..], b"\n\n"].concat()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (outcome, ()) = tokio::join!(connect_to(&peer, Role::Sender), serve);
    all_failed(outcome);
}

#[tokio::test]
async fn a_peer_that_closes_the_connection_before_its_hello_is_reported() {
    let (listener, peer) = listen().await;
    let serve = async { drop(listener.accept().await.unwrap()) };
    let (outcome, ()) = tokio::join!(connect_to(&peer, Role::Receiver), serve);
    let failure = all_failed(outcome).unwrap();
    let reset = LinkFailure::Io(std::io::ErrorKind::ConnectionReset);
    assert!(failure == LinkFailure::Closed || failure == reset, "{failure:?}");
}

#[tokio::test]
async fn a_peer_that_stops_in_the_middle_of_its_hello_is_reported() {
    let (listener, peer) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&key().hello(Role::Sender)[..40]).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (outcome, ()) = tokio::join!(connect_to(&peer, Role::Receiver), serve);
    assert_eq!(all_failed(outcome), Some(LinkFailure::Closed));
}

#[tokio::test]
async fn anything_but_a_decision_after_the_hello_ends_the_connection() {
    for decision in [&b"nevermind\n"[..], b"gone", b"no", b"\0\0\0\0", b"GO\n"] {
        let bytes = [&key().hello(Role::Sender)[..], decision].concat();
        let (outcome, received) = receiver_of(&bytes).await;
        all_failed(outcome);
        assert_eq!(received, key().hello(Role::Receiver), "{decision:?}");
    }
}

#[tokio::test]
async fn data_without_end_instead_of_a_hello_is_not_read_for_ever() {
    let (listener, peer) = listen().await;
    let flood = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Ends with an error when the connection is closed.
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    };
    let (outcome, ()) = tokio::join!(connect_to(&peer, Role::Receiver), flood);
    all_failed(outcome);
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_accepted_and_the_records_after_it_are_kept() {
    let (listener, peer) = listen().await;
    let key = key();
    let record = Sealer::new(&key, Role::Sender).seal_to_vec(b"first").unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in key.hello(Role::Sender) {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(&[b"go\n", &record[..]].concat()).await.unwrap();
        stream
    };
    let (pipe, _stream) = tokio::join!(connect_to(&peer, Role::Receiver), serve);
    assert_eq!(pipe.unwrap().receive_record().await.unwrap(), b"first");
}

#[tokio::test]
async fn a_silent_address_does_not_delay_another_one() {
    let (silent, mut peer) = listen().await;
    let (good, also) = listen().await;
    peer.hints.extend(also.hints);
    let key = key();
    let serve = async {
        let (mut stream, _) = good.accept().await.unwrap();
        stream.write_all(&[&key.hello(Role::Sender)[..], b"go\n"].concat()).await.unwrap();
        stream
    };
    let (pipe, _stream) = tokio::join!(connect_to(&peer, Role::Receiver), serve);
    let port = good.local_addr().unwrap().port();
    assert_eq!(pipe.unwrap().path().to_string(), format!("->tcp:127.0.0.1:{port}"));
    // The silent one was connected as well, and is closed now.
    let (mut stream, _) = silent.accept().await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, key.hello(Role::Receiver));
}

/// Connects to the port of a side.
async fn dial(info: &TransitInfo) -> TcpStream {
    let Some(Hint::Direct(TcpHint { endpoint, .. })) = info.hints.first() else {
        panic!("no address")
    };
    TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.unwrap()
}

#[tokio::test]
async fn a_sender_uses_one_connection_of_its_peer_and_declines_the_others() {
    let sender = Transit::new(direct()).unwrap();
    let info = sender.info();
    let key = key();
    let peer = TransitInfo { abilities: vec![Ability::DirectTcp], hints: Vec::new() };
    let hello = key.hello(Role::Sender);
    let connections = async {
        let mut streams = [dial(&info).await, dial(&info).await];
        let mut received = vec![0; hello.len()];
        for stream in &mut streams {
            stream.read_exact(&mut received).await.unwrap();
            assert_eq!(received, hello);
        }
        let [used, declined] = &mut streams;
        used.write_all(&key.hello(Role::Receiver)).await.unwrap();
        let mut decision = [0; 3];
        used.read_exact(&mut decision).await.unwrap();
        assert_eq!(decision, *b"go\n");
        let mut decision = Vec::new();
        declined.read_to_end(&mut decision).await.unwrap();
        assert_eq!(decision, b"nevermind\n");
        streams
    };
    let (pipe, _streams) = tokio::join!(sender.connect(Role::Sender, &key, &peer), connections);
    assert!(pipe.unwrap().path().is_direct());
}

#[tokio::test]
async fn strangers_on_the_port_cannot_keep_the_peer_out() {
    let receiver = Transit::new(direct()).unwrap();
    let info = receiver.info();
    let key = key();
    let peer = TransitInfo { abilities: vec![Ability::DirectTcp], hints: Vec::new() };
    let attack = async {
        let mut strangers = Vec::new();
        for _ in 0..100 {
            strangers.push(dial(&info).await);
        }
        // The oldest ones are disconnected, so there is room for the peer.
        let mut received = Vec::new();
        let _ = strangers[0].read_to_end(&mut received).await;
        let mut stream = dial(&info).await;
        stream.write_all(&[&key.hello(Role::Sender)[..], b"go\n"].concat()).await.unwrap();
        (strangers, stream)
    };
    let (pipe, _open) = tokio::join!(receiver.connect(Role::Receiver, &key, &peer), attack);
    assert!(pipe.is_ok());
}

#[tokio::test]
async fn a_side_that_only_permits_a_relay_does_not_call_the_peer() {
    let (listener, peer) = listen().await;
    let hidden = crate::only(Vec::new());
    let outcome = Transit::new(hidden).unwrap().connect(Role::Sender, &key(), &peer).await;
    let no_way = Error::NotConnected { race: RaceError::NoCommonMethod, relay: None, last: None };
    assert_eq!(outcome.map(drop), Err(no_way));
    let called = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
    assert!(called.is_err());
}

#[tokio::test]
async fn a_refused_address_is_named_with_the_reason() {
    let (listener, peer) = listen().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = connect_to(&peer, Role::Receiver).await.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the only connection attempt failed (tcp:{address}: connection refused)")
    );
}

#[tokio::test]
async fn both_sides_may_call_each_other_at_the_same_time() {
    for _ in 0..10 {
        let (one, other) = connect(direct(), direct()).await;
        let (mut one, mut other) = (one.unwrap(), other.unwrap());
        one.send_record(b"ping").await.unwrap();
        assert_eq!(other.receive_record().await.unwrap(), b"ping");
        other.send_record(b"pong").await.unwrap();
        assert_eq!(one.receive_record().await.unwrap(), b"pong");
    }
}
