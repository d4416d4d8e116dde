//! Direct connections, and the records on them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wormhole::transit::{
    Error, Hint, PipeError, RaceError, RelayPolicy, Role, Settings, TcpHint, Transit, TransitInfo,
};

use crate::{direct, key, pair};

#[tokio::test]
async fn records_of_any_size_go_both_ways_in_order() {
    let (mut one, mut other) = pair().await;
    for size in [0, 1, 65_536, 5 << 20] {
        let record = vec![7; size];
        let (sent, received) = tokio::join!(one.send_record(&record), other.receive_record());
        sent.unwrap();
        assert!(received.unwrap() == record);
        let (sent, received) = tokio::join!(other.send_record(&record), one.receive_record());
        sent.unwrap();
        assert!(received.unwrap() == record);
    }
    assert_eq!(one.send_record(&vec![0; 17 << 20]).await, Err(PipeError::TooLong(17 << 20)));
}

#[tokio::test]
async fn closing_is_seen_by_the_other_side() {
    let (one, mut other) = pair().await;
    one.close().await;
    assert!(matches!(other.receive_record().await, Err(PipeError::Link(_))));
}

#[tokio::test]
async fn a_side_that_may_not_listen_can_still_connect() {
    let silent = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    assert_eq!(silent.info().hints, []);
    let open = Transit::new(direct()).unwrap();
    let (for_silent, for_open) = (open.info(), silent.info());
    let key = key();
    let (one, other) = tokio::join!(
        silent.connect(Role::Receiver, &key, &for_silent),
        open.connect(Role::Sender, &key, &for_open)
    );
    assert!(one.unwrap().path().is_direct());
    assert!(other.unwrap().path().is_direct());
}

#[tokio::test]
async fn with_no_way_to_the_peer_connecting_fails_at_once() {
    let silent = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let outcome = silent.connect(Role::Sender, &key(), &TransitInfo::default()).await;
    assert_eq!(
        outcome.map(drop),
        Err(Error::NotConnected { race: RaceError::NoCommonMethod, relay: None, last: None })
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_reported() {
    let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let outcome = Transit::new(Settings { port: Some(port), ..direct() }).map(drop);
    assert!(matches!(outcome, Err(Error::PortTaken { port: found, .. }) if found == port));
}

#[tokio::test]
async fn our_address_stays_with_us_when_only_a_relay_may_be_used() {
    let hidden = Settings { policy: RelayPolicy::Only, ..direct() };
    assert_eq!(Transit::new(hidden).unwrap().info().hints, []);
}

#[tokio::test]
async fn a_connection_without_the_key_is_closed_and_the_peer_can_still_connect() {
    let (one, other) = (Transit::new(direct()).unwrap(), Transit::new(direct()).unwrap());
    let info = one.info();
    let Some(Hint::Direct(TcpHint { endpoint, .. })) = info.hints.first().cloned() else {
        panic!("no address")
    };
    let mut stranger = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.unwrap();
    stranger.write_all(&[b'x'; 200]).await.unwrap();
    let key = key();
    let for_one = other.info();
    let (one, other) = tokio::join!(
        one.connect(Role::Receiver, &key, &for_one),
        other.connect(Role::Sender, &key, &info)
    );
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    other.send_record(b"for the peer").await.unwrap();
    assert_eq!(one.receive_record().await.unwrap(), b"for the peer");
    let mut heard = Vec::new();
    let reading = timeout(Duration::from_secs(30), stranger.read_to_end(&mut heard));
    // Cut, with or without a goodbye; nothing of the transfer was said.
    let _cut = reading.await.expect("the stranger is kept");
    assert!(!heard.windows(8).any(|bytes| bytes == b"for the "));
}
