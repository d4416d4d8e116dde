//! fowl 26.8 at the other end of a forwarded port, in both roles.
//!
//! `scripts/peers` installs it. Without it, these tests pass without having looked, except under `CI`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use wormhole::forward::{self, Event, Forwards, Service, Session};
use wormhole_server::testing::TestServers;

use crate::echo::{data, soon};
use crate::forward::{direct, listening, name, wait_for, wormhole};

/// Starts fowl; `None` where it is not installed. It is killed when it is dropped.
pub(crate) fn fowl(servers: &TestServers, arguments: &[&str]) -> Option<Child> {
    let program = std::env::var_os("WORMHOLE_PEERS").map(PathBuf::from).unwrap_or_default();
    let program = program.join("venv/bin/fowl");
    if !program.exists() {
        assert!(std::env::var_os("CI").is_none(), "no fowl: run scripts/peers");
        eprintln!("skipped: no fowl (scripts/peers installs it)");
        return None;
    }
    let mut command = Command::new(program);
    command.args(["--no-logo", "--mailbox", &format!("ws://{}/v1", servers.mailbox())]);
    command.args(arguments).arg("4-purple-sausages");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some(command.kill_on_drop(true).spawn().unwrap())
}

pub(crate) fn start(servers: &TestServers, forwards: Forwards) -> Session {
    forward::start(wormhole(servers), direct(), forwards)
}

/// A server that sends back what it has read, at once.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.split();
                // A test that has ended does not need it.
                let _ended = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    port
}

/// Sends bytes and reads as many back. fowl has no half-close, so nobody ends before that.
async fn check(mut socket: TcpStream, number: usize, length: usize) {
    let sent = data(number, length);
    let mut received = vec![0; length];
    let (mut reader, mut writer) = socket.split();
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
    written.unwrap();
    read.unwrap();
    assert!(received == sent, "connection {number} was changed");
}

async fn check_all(address: SocketAddr) {
    soon("connections", async {
        check(TcpStream::connect(address).await.unwrap(), 1, 2_000_000).await;
        let many = (0..20).map(|number| async move {
            check(TcpStream::connect(address).await.unwrap(), number, 10_000).await;
        });
        futures_util::future::join_all(many).await;
    })
    .await;
}

/// Waits until a service that echoes can be reached: fowl refuses connections until it has handled our answer.
async fn wait_for_fowl(address: SocketAddr) {
    soon("first connection", async {
        loop {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"x").await.unwrap();
            if socket.read_exact(&mut [0]).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn fowl_reaches_our_service() {
    let servers = TestServers::start(&[]).await;
    // A port that was just free: fowl does not say which one it has chosen.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let Some(_fowl) = fowl(&servers, &["--client", &format!("web:{}", free.port())]) else {
        return;
    };
    let mut forwards = Forwards::default();
    forwards.offer(Service::new(name("web"), echo_server().await)).unwrap();
    let mut session = start(&servers, forwards);
    wait_for(&mut session, "listener of fowl", |event| {
        matches!(event, Event::Offered(_)).then_some(())
    })
    .await;
    check_all(free).await;
    soon("close", session.close()).await;
}

#[tokio::test]
async fn we_reach_a_service_of_fowl_and_it_leaves_when_we_do() {
    let servers = TestServers::start(&[]).await;
    let service = format!("web:{}", echo_server().await);
    let Some(mut fowl) = fowl(&servers, &["--service", &service]) else { return };
    let mut forwards = Forwards::default();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    forwards.listen(name("web"), any, None).await.unwrap();
    let mut session = start(&servers, forwards);
    let address = listening(&mut session).await;
    wait_for_fowl(address).await;
    check_all(address).await;
    soon("close", session.close()).await;
    assert!(soon("end of fowl", fowl.wait()).await.unwrap().success());
}
