//! fowl 26.8 at the other end, in both roles: much data, killed sockets, dead services, unknown names, IPv6, and how it
//! ends.
//!
//! `scripts/peers` installs it. Without it, these tests pass without having looked, except under `CI`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use wormhole::forward::{Event, Forwards, Service, Session};
use wormhole_server::testing::TestServers;

use crate::echo::soon;
use crate::forward::{listening, name, wait_for};
use crate::fowl::{fowl, start};

/// Pieces of a download: 1 GiB, or less without optimization, which is many times slower.
const PIECES: u64 = if cfg!(debug_assertions) { 16 } else { 1024 };

/// The piece of a download with this number: all pieces differ.
fn piece(number: u64) -> Vec<u8> {
    let mut piece = vec![0x5a; PIECE];
    piece[..8].copy_from_slice(&number.to_be_bytes());
    piece
}

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

/// A server that answers a page, sends a download, or resets the connection in its middle. The first byte says which.
async fn server(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A client may leave at any time.
            tokio::spawn(async move { drop(serve(socket).await) });
        }
    });
    port
}

async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut kind = [0; 1];
    socket.read_exact(&mut kind).await?;
    match &kind {
        b"G" => {
            let mut request = vec![];
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await?);
            }
            socket.write_all(PAGE).await
        }
        b"d" => {
            for number in 0..PIECES {
                socket.write_all(&piece(number)).await?;
            }
            Ok(())
        }
        _ => {
            socket.write_all(&piece(0)).await?;
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))
        }
    }
}

/// Sends a request for a page, and returns everything up to the end.
async fn get(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Gets the page again and again until it arrives: fowl refuses connections while it starts.
async fn get_soon(address: SocketAddr) {
    soon("page", async {
        loop {
            if get(address).await.is_ok_and(|answer| answer == PAGE) {
                return;
            }
        }
    })
    .await;
}

/// Reads a download, and checks each of its bytes.
async fn download(address: SocketAddr) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"d").await.unwrap();
    let mut received = vec![0; PIECE];
    for number in 0..PIECES {
        soon("piece of a download", socket.read_exact(&mut received)).await.unwrap();
        assert!(received == piece(number), "piece {number} was changed");
    }
    assert_eq!(soon("end", socket.read(&mut [0])).await.unwrap(), 0);
}

/// Kills sockets at both ends in the middle of downloads.
async fn kill_sockets(address: SocketAddr) {
    for _ in 0..5 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"d").await.unwrap();
        soon("data", socket.read_exact(&mut [0; 1000])).await.unwrap();
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"k").await.unwrap();
    // It ends in some way, perhaps after some of the data.
    let _reset = soon("end", socket.read_to_end(&mut Vec::new())).await;
}

/// A port that was just free.
async fn free(address: IpAddr) -> SocketAddr {
    TcpListener::bind((address, 0)).await.unwrap().local_addr().unwrap()
}

/// fowl listens for our service on this port; `None` where it is not installed.
async fn reached_by_fowl(
    servers: &TestServers,
    (host, port): (IpAddr, u16),
) -> Option<(Child, Session, SocketAddr)> {
    let address = free(Ipv4Addr::LOCALHOST.into()).await;
    let fowl = fowl(servers, &["--client", &format!("web:{}", address.port())])?;
    let mut forwards = Forwards::default();
    let mut service = Service::new(name("web"), port);
    service.host = host.to_string();
    forwards.offer(service).unwrap();
    let mut session = start(servers, forwards);
    wait_for(&mut session, "listener of fowl", |event| {
        matches!(event, Event::Offered(_)).then_some(())
    })
    .await;
    Some((fowl, session, address))
}

/// We listen for this port of fowl; `None` where it is not installed.
async fn reaching_fowl(
    servers: &TestServers,
    port: u16,
    listen: IpAddr,
) -> Option<(Child, Session, SocketAddr)> {
    let fowl = fowl(servers, &["--service", &format!("web:{port}")])?;
    let mut forwards = Forwards::default();
    forwards.listen(name("web"), SocketAddr::new(listen, 0), None).await.unwrap();
    let mut session = start(servers, forwards);
    let address = listening(&mut session).await;
    Some((fowl, session, address))
}

/// Waits until all connections have ended, on our side.
async fn until_idle(session: &mut Session) {
    while session.traffic().open() > 0 {
        soon("event", session.next()).await.unwrap().unwrap();
    }
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn fowl_downloads_from_our_service_even_if_sockets_are_killed() {
    let servers = TestServers::start(&[]).await;
    let port = server(HERE).await;
    let Some((_fowl, mut session, address)) = reached_by_fowl(&servers, (HERE, port)).await else {
        return;
    };
    get_soon(address).await;
    download(address).await;
    kill_sockets(address).await;
    get_soon(address).await;
    until_idle(&mut session).await;
}

#[tokio::test]
async fn we_download_from_a_service_of_fowl_even_if_sockets_are_killed() {
    let servers = TestServers::start(&[]).await;
    let port = server(HERE).await;
    let Some((_fowl, mut session, address)) = reaching_fowl(&servers, port, HERE).await else {
        return;
    };
    get_soon(address).await;
    download(address).await;
    kill_sockets(address).await;
    get_soon(address).await;
    until_idle(&mut session).await;
}

#[tokio::test]
async fn a_dead_service_ends_connections_from_fowl_and_to_fowl() {
    let servers = TestServers::start(&[]).await;
    let dead = free(HERE).await.port();
    let Some((fowl, mut session, address)) = reached_by_fowl(&servers, (HERE, dead)).await else {
        return;
    };
    let mut socket = TcpStream::connect(address).await.unwrap();
    let _reset = soon("end", socket.read(&mut [0])).await;
    not_opened(&mut session, true).await;
    drop((fowl, session));
    let servers = TestServers::start(&[]).await;
    let Some((_fowl, mut session, address)) = reaching_fowl(&servers, dead, HERE).await else {
        return;
    };
    let mut socket = TcpStream::connect(address).await.unwrap();
    let _reset = soon("end", socket.read(&mut [0])).await;
    not_opened(&mut session, false).await;
}

/// Waits for a connection that could not be opened.
async fn not_opened(session: &mut Session, incoming: bool) {
    let found = wait_for(session, "failure", |event| {
        let Event::NotOpened { is_incoming, .. } = event else { return None };
        Some(*is_incoming)
    });
    assert_eq!(found.await, incoming);
}

#[tokio::test]
async fn names_that_nobody_offers_are_reported_and_work_later() {
    let servers = TestServers::start(&[]).await;
    let port = server(HERE).await;
    let Some(_fowl) = fowl(&servers, &["--client", "other", "--service", "web:1"]) else { return };
    let mut forwards = Forwards::default();
    forwards.offer(Service::new(name("mine"), port)).unwrap();
    let mut session = start(&servers, forwards);
    wait_for(&mut session, "refusal", |event| {
        let Event::NotOffered { name, .. } = event else { return None };
        (name.as_str() == "mine").then_some(())
    })
    .await;
    drop(session);
    let servers = TestServers::start(&[]).await;
    let Some(_fowl) = fowl(&servers, &["--service", "web:1"]) else { return };
    let mut session = start(&servers, Forwards::default());
    wait_for(&mut session, "offer", |event| {
        matches!(event, Event::NotWanted(name) if name.as_str() == "web").then_some(())
    })
    .await;
}

#[tokio::test]
async fn services_at_ipv6_addresses_work_with_fowl() {
    let here = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let servers = TestServers::start(&[]).await;
    let port = server(here).await;
    let Some((fowl, session, address)) = reached_by_fowl(&servers, (here, port)).await else {
        return;
    };
    get_soon(address).await;
    drop((fowl, session));
    let servers = TestServers::start(&[]).await;
    let port = server(HERE).await;
    let Some((_fowl, _session, address)) = reaching_fowl(&servers, port, here).await else {
        return;
    };
    assert!(address.is_ipv6());
    get_soon(address).await;
}

/// Ends fowl as Ctrl-C does, and waits until our session has ended, too.
async fn interrupt(fowl: &mut Child, session: &mut Session) {
    let id = fowl.id().unwrap().to_string();
    let sent = tokio::process::Command::new("kill").args(["-s", "INT", &id]).status().await;
    assert!(sent.unwrap().success());
    wait_for(session, "end", |event| matches!(event, Event::PeerLeft).then_some(())).await;
    assert!(soon("end of the session", session.next()).await.is_none());
    soon("end of fowl", fowl.wait()).await.unwrap();
}

#[tokio::test]
async fn our_session_ends_when_fowl_is_interrupted_in_both_roles() {
    let servers = TestServers::start(&[]).await;
    let port = server(HERE).await;
    let Some((mut fowl, mut session, address)) = reached_by_fowl(&servers, (HERE, port)).await
    else {
        return;
    };
    get_soon(address).await;
    interrupt(&mut fowl, &mut session).await;
    let servers = TestServers::start(&[]).await;
    let Some((mut fowl, mut session, address)) = reaching_fowl(&servers, port, HERE).await else {
        return;
    };
    get_soon(address).await;
    interrupt(&mut fowl, &mut session).await;
}
