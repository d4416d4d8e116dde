//! Tests that clients with endless proof of work do not block other clients.

#![cfg(unix)]

use std::thread::available_parallelism;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::*;

/// A number of posts that is larger than the number of processors.
fn many() -> usize {
    available_parallelism().unwrap().get() + 1
}

/// A call with an impossible proof of work and the maximum time for it.
fn endless(key: &Value) -> String {
    let message = json!([{
        "symKeyID": key, "topic": "0x01020304", "powTarget": 1e30, "powTime": u32::MAX, "ttl": 3600,
    }]);
    json!({ "jsonrpc": "2.0", "id": 1, "method": "shh_post", "params": message }).to_string()
}

/// A link over the Unix socket of a node.
struct Link {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    writing: OwnedWriteHalf,
}

impl Link {
    async fn open(path: &str) -> Self {
        let (reading, writing) = UnixStream::connect(path).await.unwrap().into_split();
        Self { lines: BufReader::new(reading).lines(), writing }
    }

    /// Sends a call, and then requests the version. The answer shows that the first call has begun.
    async fn begin(&mut self, call: &str) {
        let version = r#"{"jsonrpc":"2.0","id":"begun","method":"shh_version"}"#;
        self.writing.write_all(format!("{call}\n{version}\n").as_bytes()).await.unwrap();
        let line = self.lines.next_line().await.unwrap().unwrap();
        assert!(line.contains("begun"), "{line}");
    }
}

/// Checks that an ordinary message reaches its filter in time.
async fn gets_through(node: &Node, key: &Value) {
    let wanted = json!([{ "symKeyID": key, "topics": ["0x01020304"] }]);
    let filter = node.call("shh_newMessageFilter", wanted).await;
    let message = json!([{
        "symKeyID": key, "topic": "0x01020304", "payload": "0x6869", "powTarget": 0.2, "powTime": 5,
    }]);
    let posted = tokio::time::timeout(BOUND, node.call("shh_post", message)).await;
    let posted = posted.expect("in a bounded time");
    assert_eq!(poll(node, &filter).await[0]["hash"], posted);
    let stretched = node.call("shh_generateSymKeyFromPassword", json!(["hush"]));
    tokio::time::timeout(BOUND, stretched).await.expect("in a bounded time");
}

/// Time limit for ordinary calls: much less than the endless calls take.
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn endless_posts_of_many_links_do_not_delay_ordinary_posts() {
    let folder = Folder::new("fair");
    let path = folder.path("rpc.sock");
    let node = Node::start(&["--ipc", &path]);
    let key = node.call("shh_newSymKey", json!([])).await;
    let mut links = Vec::new();
    for _ in 0..many() {
        let mut link = Link::open(&path).await;
        for _ in 0..3 {
            link.begin(&endless(&key)).await;
        }
        links.push(link);
    }
    gets_through(&node, &key).await;
}

#[tokio::test]
async fn endless_posts_of_one_link_delay_only_this_link() {
    let folder = Folder::new("alone");
    let path = folder.path("rpc.sock");
    let node = Node::start(&["--ipc", &path]);
    let key = node.call("shh_newSymKey", json!([])).await;
    let mut link = Link::open(&path).await;
    // Many more calls than may run or wait.
    let calls = endless(&key).repeat(3000);
    let writing = link.writing.write_all(calls.as_bytes());
    tokio::select! {
        _ = writing => {}
        () = gets_through(&node, &key) => {}
    }
    gets_through(&node, &key).await;
}

/// The processor time of the process, in milliseconds.
#[cfg(target_os = "linux")]
fn cpu_milliseconds(node: &Node) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.process.id())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |place: usize| fields.split(' ').nth(place).unwrap().parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10
}

/// Waits until the process uses almost no processor time.
#[cfg(target_os = "linux")]
async fn until_idle(node: &Node) {
    until(async || {
        let before = cpu_milliseconds(node);
        tokio::time::sleep(Duration::from_secs(1)).await;
        cpu_milliseconds(node) - before < 150
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_work_of_a_client_ends_when_it_disconnects() {
    let folder = Folder::new("leaves");
    let path = folder.path("rpc.sock");
    let node = Node::start(&["--ipc", &path]);
    let key = node.call("shh_newSymKey", json!([])).await;
    let call = endless(&key);
    let busy = async |before: u64| until(async || cpu_milliseconds(&node) > before + 500).await;

    let mut link = Link::open(&path).await;
    link.begin(&call).await;
    busy(cpu_milliseconds(&node)).await;
    drop(link);
    until_idle(&node).await;

    let mut link = TcpStream::connect(node.rpc).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{call}", call.len());
    link.write_all(request.as_bytes()).await.unwrap();
    busy(cpu_milliseconds(&node)).await;
    drop(link);
    until_idle(&node).await;

    let url = format!("ws://{}", node.rpc);
    let link = TcpStream::connect(node.rpc).await.unwrap();
    let (mut link, _) = tokio_tungstenite::client_async(url, link).await.unwrap();
    let message = tokio_tungstenite::tungstenite::Message::text(call);
    futures_util::SinkExt::send(&mut link, message).await.unwrap();
    busy(cpu_milliseconds(&node)).await;
    drop(link);
    until_idle(&node).await;
}
