//! Tests that clients cannot make the real binary use too much memory.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process with its own folder. Dropping it kills the process and removes the folder.
struct Server {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        let unique = format!("wormhole-memory-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir(&folder).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_wormhole-server"))
            .args(["mailbox", "--listen", "127.0.0.1:0", "--db"])
            .arg(folder.join("mailbox.sqlite"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once(" listening on ws://").map(|(_, url)| url.to_owned()))
            .expect("the server did not start");
        let address = address.trim_end_matches("/v1").to_owned();
        Self { process, address, folder }
    }

    /// Opens a WebSocket, and reads only the start of the response to the handshake.
    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .write_all(
                b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        stream
    }

    /// The resident memory of the process, in MiB.
    fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).expect("the server is gone");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Waits until the process has at most this much resident memory.
    fn until_at_most(&self, mebibytes: u64) {
        let start = Instant::now();
        while self.resident() > mebibytes {
            let resident = self.resident();
            assert!(start.elapsed() < DEADLINE, "{resident} MiB are still in use");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client's text frame, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u64::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0xff], &length[..], &[0; 4], text.as_bytes()].concat()
}

/// Repeats three times: many links send these bytes, do not read, and then close.
fn three_rounds(name: &str, sent: &[u8]) {
    let server = Server::start(name);
    // The first link makes the server load data that all links share.
    drop(server.connect());
    let start = server.resident();
    for round in 0..3 {
        let mut links = Vec::new();
        for _ in 0..LINKS {
            let mut link = server.connect();
            link.write_all(sent).unwrap();
            links.push(link);
            let resident = server.resident();
            assert!(resident <= start + BOUND, "{start}, then {resident} MiB in round {round}");
        }
        drop(links);
        server.until_at_most(2 * start);
    }
}

#[test]
fn unread_answers_to_long_invalid_messages_use_limited_memory_and_free_it() {
    let id = "x".repeat((4 << 20) - 100);
    three_rounds("wrong", &frame(&format!(r#"{{"type":"nonsense","id":"{id}"}}"#)));
}

#[test]
fn long_incomplete_messages_use_limited_memory_and_free_it() {
    let id = "x".repeat((4 << 20) - 100);
    let complete = frame(&format!(r#"{{"type":"nonsense","id":"{id}"}}"#));
    three_rounds("unfinished", complete.split_last().unwrap().1);
}

#[test]
fn messages_for_a_client_that_does_not_read_use_limited_memory_and_free_it() {
    let bind = frame(r#"{"type":"bind","appid":"a","side":"s"}"#);
    let open = frame(r#"{"type":"open","mailbox":"m"}"#);
    let body = "ab".repeat(1 << 20);
    let add = frame(&format!(r#"{{"type":"add","phase":"0","body":"{body}"}}"#));
    three_rounds("replays", &[bind, open, add].concat());
}

/// Number of links: so many that one message of each together would exceed the bound several times.
const LINKS: usize = 64;

/// The limit of one address, and the overhead, in MiB.
const BOUND: u64 = 32 + 48;

/// Time limit for returning memory to the system.
const DEADLINE: Duration = Duration::from_secs(60);
