//! Computers that move to another network while streams are open. A stream continues within a second of the moment at which
//! a path exists.
//!
//! These tests need the right to create network namespaces. Where the system does not allow that, they say so and do
//! nothing, except under `CI`, where they fail.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wormhole::code::{AppId, Code, Config, Wormhole};
use wormhole::dilated::{Dilated, Settings, Subchannel};
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};
use wormhole_server::testing::TestServers;

use crate::child;
use crate::echo::{ECHO, check_many, serve, soon};
use crate::network::{Network, PRIVATE, ROUTER};

/// The network, with both sides dilated: the first computer leads.
struct Pair {
    network: Network,
    sides: [Dilated; 2],
    _servers: TestServers,
}

impl Pair {
    /// Connects both sides, and lets the second one echo.
    async fn new(policy: RelayPolicy) -> Self {
        Self::with_settings(Network::new(), Settings { policy, ..Settings::default() }).await
    }

    async fn with_settings(network: Network, settings: Settings) -> Self {
        let policy = settings.policy;
        let servers =
            TestServers::start(&["--mailbox-listen=0.0.0.0:0", "--transit-relay-listen=0.0.0.0:0"])
                .await;
        let mailbox = format!("ws://{ROUTER}:{}/v1", servers.mailbox().port());
        let relay = RelayHint::tcp(TcpHint::new(ROUTER, servers.relay().port()));
        let relays = if policy == RelayPolicy::Never { vec![] } else { vec![relay] };
        let dilate = |lead| {
            let settings = Settings { relays: relays.clone(), lead, ..settings.clone() };
            let config = Config {
                app_id: AppId::new("example.com/moving"),
                servers: vec![mailbox.parse().unwrap()],
                ..Config::default()
            };
            async move {
                let wormhole = Wormhole::create_dilatable(config);
                wormhole.set_code(Code::parse("4-purple-sausages").unwrap()).unwrap();
                wormhole.dilate(settings).await.unwrap()
            }
        };
        let [a, b] = &network.computers;
        let dilated = async { tokio::join!(a.run(dilate(true)), b.run(dilate(false))) };
        let (one, two) = soon("dilate", dilated).await;
        serve(two.listen(ECHO).unwrap());
        soon("connection", one.connected()).await.unwrap();
        Self { network, sides: [one, two], _servers: servers }
    }
}

/// Sends a byte and waits until it comes back. Returns how long that took.
async fn round_trip(stream: &mut Subchannel) -> Duration {
    let start = Instant::now();
    soon("round trip", async {
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    })
    .await;
    start.elapsed()
}

/// Whether any of these times is at most a second. The others may be longer on a busy computer.
fn is_fast(times: &[Duration]) -> bool {
    times.iter().any(|time| *time <= Duration::from_secs(1))
}

/// Moves each computer several times, and checks how soon a stream continues.
async fn move_and_continue(policy: RelayPolicy) {
    let mut pair = Pair::new(policy).await;
    let mut stream = pair.sides[0].connect(ECHO).unwrap();
    round_trip(&mut stream).await;
    for mover in 0..2 {
        let mut times = Vec::new();
        for _ in 0..3 {
            pair.network.computers[mover].move_away();
            times.push(round_trip(&mut stream).await);
        }
        println!("{policy:?}, computer {mover} moved: {times:?}");
        assert!(is_fast(&times), "{policy:?}, computer {mover} moved: {times:?}");
    }
    let path = pair.sides[0].path().unwrap();
    assert_eq!(path.is_direct(), policy == RelayPolicy::Never, "{path}");
}

#[test]
fn streams_continue_within_a_second_when_a_side_moves_to_another_network() {
    if child::is_possible(PRIVATE) {
        child::run(
            streams_continue_within_a_second_when_a_side_moves_to_another_network,
            PRIVATE,
            move_and_continue(RelayPolicy::Never),
        );
    }
}

#[test]
fn streams_over_a_relay_continue_within_a_second_when_a_side_moves_to_another_network() {
    if child::is_possible(PRIVATE) {
        child::run(
            streams_over_a_relay_continue_within_a_second_when_a_side_moves_to_another_network,
            PRIVATE,
            move_and_continue(RelayPolicy::Only),
        );
    }
}

/// Both sides send much, and both move.
async fn move_while_busy() {
    let Pair { mut network, sides: [one, _two], _servers } = Pair::new(RelayPolicy::Never).await;
    let busy = check_many(&one, 10, 3_000_000);
    let moves = async {
        for number in 0..4 {
            one.connected_after(number).await.unwrap();
            let mover = usize::try_from(number % 2).unwrap();
            network.computers[mover].move_away();
        }
    };
    soon("streams", async { tokio::join!(busy, moves) }).await;
    assert!(one.connections() >= 4, "{}", one.connections());
}

#[test]
fn nothing_is_lost_when_both_sides_move_while_they_are_busy() {
    if child::is_possible(PRIVATE) {
        child::run(
            nothing_is_lost_when_both_sides_move_while_they_are_busy,
            PRIVATE,
            move_while_busy(),
        );
    }
}

/// A computer has no network for some seconds, and then an address in another one.
async fn move_slowly() {
    // A computer without a network does not take that for a peer that has closed the connection.
    let settings = Settings {
        policy: RelayPolicy::Never,
        closed_patience: Some(Duration::from_secs(3)),
        ..Settings::default()
    };
    let mut pair = Pair::with_settings(Network::new(), settings).await;
    let mut stream = pair.sides[0].connect(ECHO).unwrap();
    for mover in 0..2 {
        round_trip(&mut stream).await;
        let computer = &mut pair.network.computers[mover];
        computer.lose_address();
        tokio::time::sleep(Duration::from_secs(5)).await;
        computer.find_address();
        let time = round_trip(&mut stream).await;
        println!("computer {mover} was away: {time:?}");
        assert!(is_fast(&[time]), "computer {mover} was away: {time:?}");
    }
}

#[test]
fn streams_continue_within_a_second_after_five_seconds_without_a_network() {
    if child::is_possible(PRIVATE) {
        child::run(
            streams_continue_within_a_second_after_five_seconds_without_a_network,
            PRIVATE,
            move_slowly(),
        );
    }
}

/// The path of a computer, also to the servers, is dead for some seconds. Its addresses stay.
async fn cut_the_cable(policy: RelayPolicy) {
    let pair = Pair::new(policy).await;
    let mut stream = pair.sides[0].connect(ECHO).unwrap();
    let mut times = Vec::new();
    // The second attempt is for a busy computer.
    while times.len() < 2 && !is_fast(&times) {
        round_trip(&mut stream).await;
        pair.network.computers[0].cut();
        // Something is on the way, so that the system repeats it less and less often.
        stream.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        pair.network.computers[0].repair();
        let start = Instant::now();
        soon("byte", stream.read_exact(&mut [0])).await.unwrap();
        times.push(start.elapsed());
    }
    println!("{policy:?}, the cable was cut: {times:?}");
    assert!(is_fast(&times), "{policy:?}, the cable was cut: {times:?}");
}

#[test]
fn streams_continue_within_a_second_after_a_dead_path() {
    if child::is_possible(PRIVATE) {
        child::run(
            streams_continue_within_a_second_after_a_dead_path,
            PRIVATE,
            cut_the_cable(RelayPolicy::Never),
        );
    }
}

#[test]
fn streams_over_a_relay_continue_within_a_second_after_a_dead_path() {
    if child::is_possible(PRIVATE) {
        child::run(
            streams_over_a_relay_continue_within_a_second_after_a_dead_path,
            PRIVATE,
            cut_the_cable(RelayPolicy::Only),
        );
    }
}

/// The computers reach only the relay, and later each other.
async fn find_a_direct_path() {
    let network = Network::new();
    network.set_forwarding(false);
    let pair = Pair::with_settings(network, Settings::default()).await;
    let [one, two] = &pair.sides;
    assert!(!soon("connection", one.connected()).await.unwrap().is_direct());
    let mut stream = one.connect(ECHO).unwrap();
    round_trip(&mut stream).await;
    pair.network.set_forwarding(true);
    for side in [one, two] {
        let found = soon("direct connection", side.connected_after(1)).await;
        let (connections, path) = found.unwrap();
        assert!(path.is_direct() && connections == 2, "{connections} {path}");
    }
    assert!(is_fast(&[round_trip(&mut stream).await]));
    check_many(one, 10, 100_000).await;
}

#[test]
fn a_direct_path_that_appears_late_replaces_the_relay() {
    if child::is_possible(PRIVATE) {
        child::run(
            a_direct_path_that_appears_late_replaces_the_relay,
            PRIVATE,
            find_a_direct_path(),
        );
    }
}
