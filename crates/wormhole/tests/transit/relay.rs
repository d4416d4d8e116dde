//! Record pipes through the real transit relay.

use tokio::net::TcpListener;
use wormhole::net::LinkFailure;
use wormhole::transit::{
    Error, Path, PipeError, Priority, RaceError, RelayAddress, RelayHint, RelayPolicy, Role,
    Secret, Settings, TcpHint, Transit, TransitInfo, TransitKey,
};
use wormhole_server::testing::TestServers;

use crate::servers::{relay, websocket_relay};
use crate::{connect, key, only};

#[tokio::test]
async fn records_of_any_size_pass_through_the_relay_in_both_directions() {
    for hint in [relay, websocket_relay] {
        let servers = TestServers::start(&[]).await;
        let settings = only(vec![hint(&servers)]);
        let (one, other) = connect(settings.clone(), settings).await;
        let (mut one, mut other) = (one.unwrap(), other.unwrap());
        for size in [0, 1, 65_536, 3 << 20] {
            let record = vec![7; size];
            let (sent, received) = tokio::join!(one.send_record(&record), other.receive_record());
            sent.unwrap();
            assert!(received.unwrap() == record);
            let (sent, received) = tokio::join!(other.send_record(&record), one.receive_record());
            sent.unwrap();
            assert!(received.unwrap() == record);
        }
        assert!(servers.metric("transit_relay_bytes_total") >= 2 * (3 << 20));
    }
}

#[tokio::test]
async fn a_side_on_tcp_and_a_side_on_websocket_meet_at_one_relay() {
    let servers = TestServers::start(&[]).await;
    let address = servers.relay();
    let tcp = TcpHint::new(address.ip().to_string(), address.port());
    let url = format!("ws://{}/", servers.websocket_relay());
    let both = RelayHint {
        name: None,
        addresses: vec![
            RelayAddress::WebSocket { url, priority: Priority::default() },
            RelayAddress::Tcp(tcp),
        ],
    };
    let (one, other) = connect(only(vec![both.clone()]), only(vec![both])).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    one.send_record(b"across").await.unwrap();
    assert_eq!(other.receive_record().await.unwrap(), b"across");
}

#[tokio::test]
async fn the_path_names_the_relay() {
    let servers = TestServers::start(&[]).await;
    let settings = only(vec![relay(&servers)]);
    let (one, other) = connect(settings.clone(), settings).await;
    for pipe in [one.unwrap(), other.unwrap()] {
        assert_eq!(*pipe.path(), Path::Relay(format!("tcp:{}", servers.relay())));
        assert!(!pipe.path().is_direct() && !pipe.path().is_local());
    }
}

#[tokio::test]
async fn closing_is_seen_through_the_relay() {
    let servers = TestServers::start(&[]).await;
    let settings = only(vec![relay(&servers)]);
    let (one, other) = connect(settings.clone(), settings).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    one.send_record(b"last").await.unwrap();
    one.close().await;
    assert_eq!(other.receive_record().await.unwrap(), b"last");
    assert!(matches!(other.receive_record().await, Err(PipeError::Link(_))));
    servers.until("transit_relay_pairs", 0).await;
}

#[tokio::test]
async fn two_pairs_at_one_relay_do_not_mix() {
    let servers = TestServers::start(&[]).await;
    let settings = only(vec![relay(&servers)]);
    let pair = async |byte: u8| {
        let key = TransitKey::new(Secret::new([byte; 32]));
        let one = Transit::new(settings.clone()).unwrap();
        let other = Transit::new(settings.clone()).unwrap();
        let (for_one, for_other) = (other.info(), one.info());
        let (one, other) = tokio::join!(
            one.connect(Role::Sender, &key, &for_one),
            other.connect(Role::Receiver, &key, &for_other)
        );
        let (mut one, mut other) = (one.unwrap(), other.unwrap());
        one.send_record(&[byte]).await.unwrap();
        assert_eq!(other.receive_record().await.unwrap(), [byte]);
        (one, other)
    };
    let _open = tokio::join!(pair(1), pair(2), pair(3));
    assert_eq!(servers.metric("transit_relay_pairs"), 3);
}

#[tokio::test]
async fn a_relay_that_is_not_running_is_named_in_the_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let relay = RelayHint::tcp(TcpHint::new("127.0.0.1", port));
    let transit = Transit::new(only(vec![relay])).unwrap();
    let peer = transit.info();
    let error = transit.connect(Role::Sender, &key(), &peer).await.map(drop).unwrap_err();
    let address = format!("tcp:127.0.0.1:{port}");
    let refused = LinkFailure::Io(std::io::ErrorKind::ConnectionRefused);
    let Error::NotConnected { race, relay, last } = &error else { panic!("{error:?}") };
    assert!(matches!(race, RaceError::AllFailed(_)), "{race:?}");
    assert_eq!(relay.as_ref(), Some(&address));
    assert_eq!(last.as_ref(), Some(&(address.clone(), refused)));
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_dead_relay_does_not_keep_two_sides_from_a_living_one() {
    let servers = TestServers::start(&[]).await;
    let dead = RelayHint::tcp(TcpHint::new("127.0.0.1", 1));
    let settings = only(vec![dead, relay(&servers)]);
    let (one, other) = connect(settings.clone(), settings).await;
    assert_eq!(*one.unwrap().path(), Path::Relay(format!("tcp:{}", servers.relay())));
    assert!(!other.unwrap().path().is_direct());
}

#[tokio::test]
async fn a_side_that_refuses_relays_does_not_announce_or_use_them() {
    let servers = TestServers::start(&[]).await;
    let never = Settings {
        policy: RelayPolicy::Never,
        relays: vec![relay(&servers)],
        listen: false,
        ..Settings::default()
    };
    assert_eq!(Transit::new(never.clone()).unwrap().info().hints, []);
    let (one, other) = connect(never, only(vec![relay(&servers)])).await;
    let no_way = Error::NotConnected { race: RaceError::NoCommonMethod, relay: None, last: None };
    assert_eq!(one.map(drop), Err(no_way));
    drop(other);
    assert_eq!(servers.metric("transit_relay_bytes_total"), 0);
}

#[tokio::test]
async fn hints_survive_the_message_to_the_peer() {
    let servers = TestServers::start(&[]).await;
    let settings = Settings {
        relays: vec![relay(&servers), websocket_relay(&servers)],
        ..Settings::default()
    };
    let info = Transit::new(settings).unwrap().info();
    assert_eq!(TransitInfo::decode(&info.encode()), info);
}
