//! The reference (Python 0.24) at the other end, in both roles, directly and over the relay.
//!
//! `scripts/peers` installs it. Without it, these tests pass without having looked, except under `CI`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use wormhole::code::{AppId, Code, Config, Wormhole};
use wormhole::dilated::{Dilated, Settings};
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};
use wormhole_server::testing::TestServers;

use crate::echo::{ECHO, check, check_many, serve, soon};
use crate::wire::{CutWire, Wire};

/// Our role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Leader,
    Follower,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Direct,
    Relay,
}

/// Both sides, dilated.
struct Pair {
    ours: Dilated,
    python: Python,
    wire: CutWire,
    servers: TestServers,
}

/// A Python process. It is killed when it is dropped.
struct Python {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Python {
    async fn command(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn expect(&mut self, wanted: &str) {
        let line = soon(wanted, self.output.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some(wanted));
    }
}

const APP_ID: &str = "example.com/dilated";
const CODE: &str = "7-guitarist-revenge";

/// The interpreter with the reference and what it needs to dilate.
async fn python() -> Option<PathBuf> {
    let peers = PathBuf::from(std::env::var_os("WORMHOLE_PEERS")?);
    let python = peers.join("venv/bin/python");
    let mut check = Command::new(&python);
    check.args(["-c", "import noise, wormhole"]).stderr(Stdio::null());
    check.status().await.is_ok_and(|status| status.success()).then_some(python)
}

/// Starts both sides; `None` where Python is not installed.
async fn pair(role: Role, way: Way) -> Option<Pair> {
    let Some(python) = python().await else {
        assert!(std::env::var_os("CI").is_none(), "no Python that can dilate: run scripts/peers");
        eprintln!("skipped: no Python that can dilate (scripts/peers installs it)");
        return None;
    };
    let servers = TestServers::start(&[]).await;
    let mailbox = format!("ws://{}/v1", servers.mailbox());
    let wire = CutWire::start(servers.relay()).await;
    let relay = match way {
        Way::Direct => "-".to_owned(),
        Way::Relay => format!("tcp:{}", wire.address),
    };
    let theirs = if role == Role::Leader { "follower" } else { "leader" };
    let listen = if way == Way::Direct { "listen" } else { "no-listen" };
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dilated/peer.py"))
        .args([&mailbox, APP_ID, CODE, theirs, &relay, listen])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let config = Config {
        app_id: AppId::new(APP_ID),
        servers: vec![mailbox.parse().unwrap()],
        ..Config::default()
    };
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(Code::parse(CODE).unwrap()).unwrap();
    let hint = TcpHint::new(wire.address.ip().to_string(), wire.address.port());
    let settings = match way {
        Way::Direct => {
            Settings { policy: RelayPolicy::Never, relays: vec![], ..Settings::default() }
        }
        Way::Relay => Settings {
            policy: RelayPolicy::Only,
            relays: vec![RelayHint::tcp(hint)],
            ..Settings::default()
        },
    };
    let settings = Settings { lead: role == Role::Leader, ..settings };
    let ours = soon("dilate", wormhole.dilate(settings)).await.unwrap();
    serve(ours.listen(ECHO).unwrap());
    let input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut python = Python { _child: child, input, output };
    python.expect("dilated").await;
    let path = soon("connection", ours.connected()).await.unwrap();
    assert_eq!(path.is_direct(), way == Way::Direct, "{path}");
    Some(Pair { ours, python, wire, servers })
}

/// Fifty streams at once in both directions, 200 short ones, empty ones, and the end.
async fn streams(role: Role, way: Way) {
    let Some(Pair { ours, mut python, wire: _, servers: _servers }) = pair(role, way).await else {
        return;
    };
    python.command("open 50 20000").await;
    soon("50 streams", check_many(&ours, 50, 20_000)).await;
    python.expect("checked 50 of 50").await;
    python.command("open 200 100").await;
    soon("200 streams", check_many(&ours, 200, 100)).await;
    python.expect("checked 200 of 200").await;
    python.command("open 3 0").await;
    soon("empty streams", check_many(&ours, 3, 0)).await;
    python.expect("checked 3 of 3").await;
    assert_eq!(ours.connections(), 1);
    soon("close", ours.close()).await.unwrap();
    python.command("leave").await;
}

/// Much data in both directions, which both sides echo.
async fn bulk(role: Role, way: Way, length: usize) {
    let Some(Pair { ours, mut python, wire: _, servers: _servers }) = pair(role, way).await else {
        return;
    };
    python.command(&format!("open 1 {length}")).await;
    soon("much data", check(&ours, 1, length)).await;
    python.expect("checked 1 of 1").await;
}

/// Data continues after the connection is lost in this way, while it is busy.
///
/// In silence, the streams are short: the reference never gives up a silent connection to which it still has much to write.
async fn lost(role: Role, cut: Wire) {
    let pair = pair(role, Way::Relay).await;
    let Some(Pair { ours, mut python, wire, servers: _servers }) = pair else { return };
    let length = if cut == Wire::Silent { 2_000 } else { 500_000 };
    python.command(&format!("open 10 {length}")).await;
    let cuts = async {
        if cut != Wire::Silent {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        wire.cut(cut, Duration::from_secs(5)).await;
    };
    let busy = check_many(&ours, 10, length);
    soon("streams", async { tokio::join!(cuts, busy) }).await;
    python.expect("checked 10 of 10").await;
    assert!(ours.connections() >= 2, "{}", ours.connections());
}

/// Data continues after Python has lost a direct connection, while it is idle.
async fn lost_by_python(role: Role, how: &str) {
    let pair = pair(role, Way::Direct).await;
    let Some(Pair { ours, mut python, wire: _, servers: _servers }) = pair else { return };
    soon("stream", check(&ours, 1, 1000)).await;
    python.command(how).await;
    soon("streams after the loss", check_many(&ours, 10, 100_000)).await;
    python.command("open 10 100000").await;
    python.expect("checked 10 of 10").await;
}

#[tokio::test]
async fn many_streams_arrive_when_we_lead_directly() {
    streams(Role::Leader, Way::Direct).await;
}

#[tokio::test]
async fn many_streams_arrive_when_we_lead_over_a_relay() {
    streams(Role::Leader, Way::Relay).await;
}

#[tokio::test]
async fn many_streams_arrive_when_we_follow_directly() {
    streams(Role::Follower, Way::Direct).await;
}

#[tokio::test]
async fn many_streams_arrive_when_we_follow_over_a_relay() {
    streams(Role::Follower, Way::Relay).await;
}

#[tokio::test]
async fn fifty_megabytes_arrive_when_we_lead() {
    bulk(Role::Leader, Way::Direct, 25_000_000).await;
}

#[tokio::test]
async fn ten_megabytes_arrive_when_we_follow_over_a_relay() {
    bulk(Role::Follower, Way::Relay, 5_000_000).await;
}

#[tokio::test]
async fn a_reset_loses_nothing_when_we_lead() {
    lost(Role::Leader, Wire::Reset).await;
}

#[tokio::test]
async fn a_reset_loses_nothing_when_we_follow() {
    lost(Role::Follower, Wire::Reset).await;
}

#[tokio::test]
async fn a_closed_connection_loses_nothing_when_we_lead() {
    lost(Role::Leader, Wire::Close).await;
}

#[tokio::test]
async fn a_closed_connection_loses_nothing_when_we_follow() {
    lost(Role::Follower, Wire::Close).await;
}

#[tokio::test]
async fn five_seconds_of_silence_lose_nothing_when_we_lead() {
    lost(Role::Leader, Wire::Silent).await;
}

#[tokio::test]
async fn five_seconds_of_silence_lose_nothing_when_we_follow() {
    lost(Role::Follower, Wire::Silent).await;
}

#[tokio::test]
async fn a_connection_that_python_resets_is_replaced() {
    lost_by_python(Role::Leader, "reset").await;
    lost_by_python(Role::Follower, "reset").await;
}

#[tokio::test]
async fn a_connection_that_python_closes_is_replaced() {
    lost_by_python(Role::Leader, "close").await;
    lost_by_python(Role::Follower, "close").await;
}
