//! The race for a transit connection on links in memory.

use std::time::Duration;

use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio::time::Instant as TokioInstant;
use tokio_tungstenite::tungstenite::Message;
use wormhole_magic::transit::race::{Command, Event};
use wormhole_magic::transit::{
    Address, Endpoint, Hint, Race, RaceError, RaceSettings, RelayHint, RelayPolicy, RelaySide,
    Role, Route, Target, TcpHint, TransitInfo, TransitKey,
};

use super::super::Driver;
use super::{Attempt, Dial, dial};
use crate::net::Frames;

/// A race of a sender for the relays that its policy allows, and a peer with these addresses.
fn race(
    relays: &[&str],
    addresses: &[&str],
) -> (Driver<Race, Dial<Target>>, mpsc::UnboundedReceiver<Attempt<Target>>) {
    let relay = |host: &&str| RelayHint::tcp(TcpHint::new(*host, 4001));
    let settings = RaceSettings {
        role: Role::Sender,
        side: RelaySide([1; 8]),
        relays: relays.iter().map(relay).collect(),
        policy: if addresses.is_empty() { RelayPolicy::Only } else { RelayPolicy::Auto },
        listens: false,
        tor: false,
    };
    let (dial, attempts) = dial();
    let mut driver = Driver::new(Race::new(&key(), settings), dial);
    let hint = |host: &&str| Hint::Direct(TcpHint::new(*host, 4000));
    let hints = addresses.iter().map(hint).collect();
    driver.command(Command::Start(TransitInfo { abilities: Vec::new(), hints }));
    (driver, attempts)
}

fn key() -> TransitKey {
    TransitKey::new(wormhole_kit::Secret::new([9; 32]))
}

#[tokio::test(start_paused = true)]
async fn a_silent_relay_is_given_up_after_a_minute() {
    let (mut race, mut attempts) = race(&["relay.example"], &[]);
    let start = TokioInstant::now();
    let serve = async {
        let _silent = attempts.recv().await.unwrap().open(Frames::Binary).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    };
    let error = tokio::select! {
        result = race.next() => result.unwrap_err(),
        () = serve => panic!("it waits indefinitely"),
    };
    assert!(matches!(error, RaceError::TimedOut(_) | RaceError::AllFailed(1)), "{error:?}");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_peer_never_comes_loses_to_one_where_it_comes_later() {
    let (mut race, mut attempts) = race(&["one.example", "two.example"], &[]);
    let serve = async {
        let _silent = attempts.recv().await.unwrap().open(Frames::Binary).await;
        let mut relay = attempts.recv().await.unwrap().open(Frames::Binary).await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        let answer = [&b"ok\n"[..], &key().hello(Role::Receiver)].concat();
        relay.send(Message::binary(answer)).await.unwrap();
        std::future::pending::<()>().await;
    };
    let event = tokio::select! {
        result = race.next() => result.unwrap(),
        () = serve => panic!("it waits indefinitely"),
    };
    let Event::Connected { received, .. } = event;
    assert_eq!(received, b"");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_cannot_be_connected_ends_the_race_after_a_minute() {
    let (mut race, mut attempts) = race(&["relay.example"], &[]);
    let start = TokioInstant::now();
    let _half_open = attempts.try_recv();
    assert!(race.next().await.is_err());
    assert_eq!(start.elapsed().as_secs(), 60);
    drop(attempts);
}

/// The time from the first attempt of a race with this peer until its relay is tried, if `serve` handles the first
/// attempt.
async fn until_relay(serve: fn(Attempt<Target>) -> Option<Attempt<Target>>) -> Duration {
    let (mut race, mut attempts) = race(&["relay.example"], &["peer.example"]);
    let serve = async {
        let direct = attempts.recv().await.unwrap();
        let start = direct.at;
        let _half_open = serve(direct);
        let relay = attempts.recv().await.unwrap();
        let expected = Address::Tcp(Endpoint::new("relay.example", 4001));
        assert_eq!(relay.address.address, expected);
        relay.at.duration_since(start)
    };
    tokio::select! {
        result = race.next() => panic!("{result:?}"),
        waited = serve => waited,
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_follows_a_silent_address_of_the_peer_after_two_seconds() {
    assert_eq!(until_relay(Some).await.as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_relay_follows_at_once_when_every_address_of_the_peer_refuses() {
    let refuse = |attempt: Attempt<Target>| {
        attempt.refuse();
        None
    };
    assert_eq!(until_relay(refuse).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_address_of_the_peer_that_answers_late_still_wins_over_a_silent_relay() {
    let (mut race, mut attempts) = race(&["relay.example"], &["peer.example"]);
    let serve = async {
        let direct = attempts.recv().await.unwrap();
        let _silent = attempts.recv().await.unwrap().open(Frames::Binary).await;
        let mut peer = direct.open(Frames::Binary).await;
        peer.send(Message::binary(key().hello(Role::Receiver))).await.unwrap();
        std::future::pending::<()>().await;
    };
    let Event::Connected { route, .. } = tokio::select! {
        result = race.next() => result.unwrap(),
        () = serve => panic!("it waits indefinitely"),
    };
    assert_eq!(route, Route::Direct(Endpoint::new("peer.example", 4000)));
}
