//! Time limits of a WebSocket, with a clock that the test controls.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::host::testing;
use crate::messaging::{Config, Messaging};

/// The options as a command line.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    config: Config,
}

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a service, and opens a WebSocket without credentials.
async fn open(name: &str) -> (Folder, TcpStream) {
    open_at(name, "/v1/websocket/").await
}

/// The same at this path.
async fn open_at(name: &str, path: &str) -> (Folder, TcpStream) {
    let unique = format!("wormhole-socket-{}-{name}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(unique));
    std::fs::create_dir(&folder.0).unwrap();
    let [db, blobs] = ["db", "blobs"].map(|name| folder.0.join(name).display().to_string());
    let line = ["messaging", "--listen", "127.0.0.1:0", "--db", &db, "--blobs", &blobs];
    let config = Line::parse_from(line).config;
    let listener = crate::net::listen(config.listen).unwrap();
    let address = listener.local_addr().unwrap();
    let messaging = Messaging::start(&config, testing::host(None)).unwrap();
    tokio::spawn(messaging.run(listener));
    (folder, connect(address, path).await)
}

async fn connect(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    stream
}

/// Waits for the end of the connection, and returns how many seconds it took.
async fn end(stream: &mut TcpStream, since: Instant) -> u64 {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        Ok(_) => assert!(rest.iter().all(|byte| [0x8a, 0].contains(byte)), "{rest:?}"),
    }
    since.elapsed().as_secs()
}

/// A ping without content.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_disconnected_after_90_seconds() {
    let (_folder, mut stream) = open("silent").await;
    let begun = Instant::now();
    let seconds = end(&mut stream, begun).await;
    assert!((90..=105).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_something_now_and_then_stays_connected() {
    let (_folder, mut stream) = open("alive").await;
    for _ in 0..10 {
        sleep(Duration::from_secs(80)).await;
        stream.write_all(&PING).await.unwrap();
        let mut pong = [0; 2];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 0]);
    }
    let seconds = end(&mut stream, Instant::now()).await;
    assert!((90..=105).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_message_on_a_slow_line_is_read_and_one_that_never_ends_is_not() {
    let (_folder, mut stream) = open("partial").await;
    // The first frame of a message that has more of them, at 16 KiB per second.
    let mut left = (1 << 20) - 1;
    stream.write_all(&[0x02, 0xff, 0, 0, 0, 0, 0, 0x0f, 0xff, 0xff, 0, 0, 0, 0]).await.unwrap();
    while left > 0 {
        let piece = left.min(16 << 10);
        stream.write_all(&vec![0; piece]).await.unwrap();
        left -= piece;
        sleep(Duration::from_secs(1)).await;
    }
    // Pings show that the client is alive, but the message makes no progress.
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let pings = async {
        loop {
            sleep(Duration::from_secs(20)).await;
            if writer.write_all(&PING).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        _ended = reader.read_to_end(&mut rest) => {}
        () = pings => {}
    }
    let seconds = begun.elapsed().as_secs();
    assert!((30..=120).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_device_waits_ten_minutes_to_be_linked() {
    let begun = Instant::now();
    let (_folder, mut stream) = open_at("waiting", "/v1/websocket/provisioning/").await;
    // The address comes from the thread of the database, which has a clock of its own.
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut address = vec![0; usize::from(head[1])];
    stream.read_exact(&mut address).await.unwrap();
    tokio::time::pause();
    let (mut reader, mut writer) = stream.split();
    let pings = async {
        loop {
            sleep(Duration::from_secs(20)).await;
            if writer.write_all(&PING).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut received = Vec::new();
    tokio::select! {
        _ended = reader.read_to_end(&mut received) => {}
        () = pings => {}
    }
    let close = [&[0x88, 2][..], &1000_u16.to_be_bytes()].concat();
    assert!(received.ends_with(&close), "{received:?}");
    let seconds = begun.elapsed().as_secs();
    // The start of the service counts, too.
    assert!((600..=680).contains(&seconds), "{seconds}");
}
