//! The real binary under clients that want it to run out of memory, measured from outside.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process with a folder of its own; both are gone when it is dropped.
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

    /// A WebSocket that has not said anything yet, and has read nothing but the handshake.
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

    /// What the process has in memory now, in MiB.
    fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).expect("the server is gone");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Looks again and again until the process has at most so much in memory.
    fn until_at_most(&self, mebibytes: u64) {
        let start = Instant::now();
        while self.resident() > mebibytes {
            let resident = self.resident();
            assert!(start.elapsed() < DEADLINE, "{resident} MiB are still there");
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

/// Three times, many links each send this and do not read; then they go.
fn three_rounds(name: &str, sent: &[u8]) {
    let server = Server::start(name);
    // The first link makes the server load what every link needs.
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
fn long_wrong_messages_that_nobody_reads_the_answer_of_take_little_and_leave_nothing() {
    let id = "x".repeat((4 << 20) - 100);
    three_rounds("wrong", &frame(&format!(r#"{{"type":"nonsense","id":"{id}"}}"#)));
}

#[test]
fn long_messages_that_are_never_whole_take_what_one_address_may_have_and_leave_nothing() {
    let id = "x".repeat((4 << 20) - 100);
    let whole = frame(&format!(r#"{{"type":"nonsense","id":"{id}"}}"#));
    three_rounds("unfinished", whole.split_last().unwrap().1);
}

#[test]
fn messages_to_a_reader_that_does_not_read_take_little_and_leave_nothing() {
    let bind = frame(r#"{"type":"bind","appid":"a","side":"s"}"#);
    let open = frame(r#"{"type":"open","mailbox":"m"}"#);
    let body = "ab".repeat(1 << 20);
    let add = frame(&format!(r#"{{"type":"add","phase":"0","body":"{body}"}}"#));
    three_rounds("replays", &[bind, open, add].concat());
}

/// Enough that each could take as much as one message to exceed the bound several times.
const LINKS: usize = 64;

/// What one address may take, in MiB, and what it takes to handle that.
const BOUND: u64 = 32 + 48;

/// How long memory may take to go back to the system.
const DEADLINE: Duration = Duration::from_secs(60);
