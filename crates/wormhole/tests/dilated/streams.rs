//! Two of ours.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wormhole::code::{AppId, Code, Config, Wormhole};
use wormhole::dilated::{Dilated, Error, Settings};
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};
use wormhole_server::testing::TestServers;

use crate::echo::{ECHO, check, check_many, serve, soon};
use crate::servers::relay;
use crate::wire::{CutWire, Wire};

fn config(servers: &TestServers) -> Config {
    Config {
        app_id: AppId::new("example.com/dilated"),
        servers: vec![format!("ws://{}/v1", servers.mailbox()).parse().unwrap()],
        ..Config::default()
    }
}

/// Two dilated sides, of which the second one echoes.
async fn pair(servers: &TestServers, settings: [Settings; 2]) -> [Dilated; 2] {
    let code = Code::parse("4-purple-sausages").unwrap();
    let [one, two] = settings;
    let wormholes = [(); 2].map(|()| Wormhole::create_dilatable(config(servers)));
    wormholes.iter().for_each(|wormhole| wormhole.set_code(code.clone()).unwrap());
    let [first, second] = wormholes;
    let (first, second) = tokio::join!(first.dilate(one), second.dilate(two));
    let (first, second) = (first.unwrap(), second.unwrap());
    serve(second.listen(ECHO).unwrap());
    [first, second]
}

fn direct() -> Settings {
    Settings { policy: RelayPolicy::Never, relays: vec![], ..Settings::default() }
}

fn relayed(hint: RelayHint) -> Settings {
    Settings { policy: RelayPolicy::Only, relays: vec![hint], ..Settings::default() }
}

#[tokio::test]
async fn streams_of_any_length_are_echoed_directly_and_over_a_relay() {
    let servers = TestServers::start(&[]).await;
    for settings in [direct(), relayed(relay(&servers))] {
        let is_direct = settings.policy == RelayPolicy::Never;
        let [one, two] = pair(&servers, [settings.clone(), settings]).await;
        let path = soon("connection", one.connected()).await.unwrap();
        assert_eq!(path.is_direct(), is_direct, "{path}");
        soon("streams", async {
            for length in [0, 1, 65_510, 65_511, 3_000_000] {
                check(&one, length, length).await;
            }
            check_many(&one, 50, 20_000).await;
            check_many(&one, 200, 10).await;
        })
        .await;
        soon("close", one.close()).await.unwrap();
        assert_eq!(soon("end", two.ended()).await.to_string(), "the peer has left");
    }
}

#[tokio::test]
async fn a_direct_connection_is_preferred_to_a_relay() {
    let servers = TestServers::start(&[]).await;
    let settings = Settings { relays: vec![relay(&servers)], ..Settings::default() };
    let [one, _two] = pair(&servers, [settings.clone(), settings]).await;
    assert!(soon("connection", one.connected()).await.unwrap().is_direct());
}

/// Loses the connection in this way, busy and idle.
async fn lose(how: Wire, pause: Duration) {
    let servers = TestServers::start(&[]).await;
    let wire = CutWire::start(servers.relay()).await;
    let hint = TcpHint::new(wire.address.ip().to_string(), wire.address.port());
    let settings = relayed(RelayHint::tcp(hint));
    let [one, _two] = pair(&servers, [settings.clone(), settings]).await;
    soon("connection", one.connected()).await.unwrap();
    let busy = check_many(&one, 10, 1_000_000);
    let cuts = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.cut(how, pause).await;
    };
    soon("streams", async { tokio::join!(busy, cuts) }).await;
    wire.cut(how, pause).await;
    soon("stream after an idle cut", check(&one, 1, 1000)).await;
    assert!(one.connections() >= 2, "{}", one.connections());
}

#[tokio::test]
async fn data_survives_a_connection_that_is_reset() {
    lose(Wire::Reset, Duration::ZERO).await;
}

#[tokio::test]
async fn data_survives_a_connection_that_is_closed() {
    lose(Wire::Close, Duration::ZERO).await;
}

#[tokio::test]
async fn data_survives_a_connection_that_is_silent() {
    lose(Wire::Silent, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_and_then_continues() {
    let servers = TestServers::start(&[]).await;
    let [one, two] = pair(&servers, [direct(), direct()]).await;
    let mut listener = two.listen("slow").unwrap();
    let mut stream = one.connect("slow").unwrap();
    let sent = vec![7; 30 << 20];
    let write = async {
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let read = async {
        let mut slow = listener.accept().await.unwrap();
        // The peer does not send more than both sides keep.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut received = Vec::new();
        slow.read_to_end(&mut received).await.unwrap();
        received.len()
    };
    let ((), received) = soon("slow stream", async { tokio::join!(write, read) }).await;
    assert_eq!(received, 30 << 20);
}

#[tokio::test]
async fn twenty_streams_that_nobody_reads_hold_up_no_other_one() {
    let servers = TestServers::start(&[]).await;
    let [one, two] = pair(&servers, [direct(), direct()]).await;
    let mut listener = two.listen("unread").unwrap();
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut stream = one.connect("unread").unwrap();
        unread.push((
            tokio::spawn(async move { stream.write_all(&vec![7; 8 << 20]).await }),
            listener.accept().await.unwrap(),
        ));
    }
    soon("other streams", check_many(&one, 10, 3_000_000)).await;
    assert!(unread.iter().all(|(writer, _)| !writer.is_finished()));
    // One that is dropped unread lets its writer finish.
    let (writer, stream) = unread.pop().unwrap();
    drop(stream);
    soon("dropped stream", writer).await.unwrap().unwrap();
    let (writer, mut stream) = unread.pop().unwrap();
    let mut received = vec![0; 8 << 20];
    soon("read stream", stream.read_exact(&mut received)).await.unwrap();
    soon("its writer", writer).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_unexpected_subprotocol_is_closed_and_a_late_listener_finds_its_streams() {
    let servers = TestServers::start(&[]).await;
    let only = Settings { subprotocols: Some(vec![ECHO.into(), "late".into()]), ..direct() };
    let [one, two] = pair(&servers, [direct(), only]).await;
    let mut unexpected = one.connect("other").unwrap();
    let mut late = one.connect("late").unwrap();
    late.write_all(b"hello").await.unwrap();
    late.shutdown().await.unwrap();
    let ended = soon("end of the unexpected stream", unexpected.read(&mut [0; 10])).await;
    assert_eq!(ended.unwrap(), 0);
    let mut stream = soon("late", two.listen("late").unwrap().accept()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    assert_eq!(one.connect("").unwrap_err(), Error::SubprotocolName);
}

#[tokio::test]
async fn streams_fail_when_the_peer_is_gone_for_longer_than_our_patience() {
    let servers = TestServers::start(&[]).await;
    let impatient = Settings { patience: Some(Duration::from_secs(2)), ..direct() };
    let [one, two] = pair(&servers, [impatient, direct()]).await;
    soon("connection", one.connected()).await.unwrap();
    let mut stream = one.connect(ECHO).unwrap();
    drop(two);
    let end = soon("end", one.ended()).await;
    assert!(matches!(end, Error::Ended(_)), "{end}");
    assert!(stream.read(&mut [0; 10]).await.is_err());
    assert!(stream.write_all(b"x").await.is_err());
    assert_eq!(one.connect(ECHO).unwrap_err(), end);
}

#[tokio::test]
async fn a_peer_that_cannot_dilate_is_an_error() {
    let servers = TestServers::start(&[]).await;
    let code = Code::parse("4-purple-sausages").unwrap();
    let (ours, theirs) =
        (Wormhole::create_dilatable(config(&servers)), Wormhole::create(config(&servers)));
    ours.set_code(code.clone()).unwrap();
    theirs.set_code(code).unwrap();
    let error = soon("dilate", ours.dilate(direct())).await.unwrap_err();
    assert_eq!(error, Error::PeerCannotDilate);
    let error = soon("dilate", theirs.dilate(direct())).await.unwrap_err();
    assert_eq!(error, Error::NotDilatable);
}
