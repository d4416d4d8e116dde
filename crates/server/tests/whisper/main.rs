//! Tests the real binary as a Whisper node: two nodes, and JSON-RPC clients.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "JSON values do not panic")]

mod fair;
mod load;
mod modes;
mod refusals;
mod strangers;
mod subscriptions;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A node process; killed when dropped.
struct Node {
    process: Child,
    rpc: SocketAddr,
    enode: String,
    /// Its log lines since it has started to listen.
    log: Arc<Mutex<Vec<String>>>,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_wormhole-server"))
            .args(["whisper", "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut rpc, mut enode) = (None, None);
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        while rpc.is_none() || enode.is_none() {
            let line = lines.next().expect("the node did not start").unwrap();
            match line.split_once(" listening on ") {
                Some((_, url)) if url.starts_with("enode") => enode = Some(url.to_owned()),
                Some((_, url)) => rpc = url.strip_prefix("http://").map(|at| at.parse().unwrap()),
                None => {}
            }
        }
        let log = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&log);
        let keep = move |line: String| kept.lock().unwrap().push(line);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(keep));
        Self { process, rpc: rpc.unwrap(), enode: enode.unwrap(), log }
    }

    /// Waits for a log line that contains all these words.
    async fn logged(&self, words: &[&str]) {
        let says = |line: &String| words.iter().all(|word| line.contains(word));
        until(async || self.log.lock().unwrap().iter().any(says)).await;
    }

    /// The memory of the process, in megabytes.
    #[cfg(target_os = "linux")]
    fn megabytes(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Sends these bytes, and reads until the link is closed.
    async fn raw(&self, request: &str) -> String {
        let mut link = TcpStream::connect(self.rpc).await.unwrap();
        link.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        link.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Posts a body, and returns the body of the answer as JSON.
    async fn send(&self, body: &str) -> Value {
        let answer = self.post(body).await;
        serde_json::from_str(&answer).expect(&answer)
    }

    /// Posts a body, and returns the body of the answer.
    async fn post(&self, body: &str) -> String {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.raw(&request).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
        body.to_owned()
    }

    /// Sends a request without a body, with these headers, and returns the complete response.
    async fn ask(&self, line: &str, headers: &str) -> String {
        self.raw(&format!("{line} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")).await
    }

    async fn answer(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send(&call.to_string()).await
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let mut answer = self.answer(method, params).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    async fn refusal(&self, method: &str, params: Value) -> String {
        let answer = self.answer(method, params).await;
        answer["error"]["message"].as_str().expect("it was done").to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A temporary folder of one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-server-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in the folder.
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A file with the token `hush`, removed when dropped.
struct Token(PathBuf);

impl Token {
    fn new(test: &str) -> Self {
        let name = format!("wormhole-token-{test}-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, "hush\n").unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Repeats a check until it returns true.
async fn until(mut check: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("in time");
}

/// Polls a filter until it has messages.
async fn poll(node: &Node, filter: &Value) -> Vec<Value> {
    let mut messages = Vec::new();
    until(async || {
        let polled = node.call("shh_getFilterMessages", json!([filter])).await;
        messages = polled.as_array().unwrap().clone();
        !messages.is_empty()
    })
    .await;
    messages
}

/// Time limit: longer than any step of these tests on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn two_processes_exchange_a_message_with_a_shared_key() {
    let alice = Node::start(&[]);
    let bob = Node::start(&["--peer", &alice.enode]);
    let password = json!(["hush"]);
    let key = alice.call("shh_generateSymKeyFromPassword", password.clone()).await;
    let topics = json!(["0x01020304"]);
    let wanted = json!([{ "symKeyID": key, "topics": topics }]);
    let filter = alice.call("shh_newMessageFilter", wanted).await;
    let key = bob.call("shh_generateSymKeyFromPassword", password).await;
    let message = json!([{
        "symKeyID": key, "topic": "0x01020304", "payload": "0x6869", "powTarget": 0.2,
        "powTime": 10, "ttl": 60,
    }]);
    let hash = bob.call("shh_post", message).await;
    let messages = poll(&alice, &filter).await;
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    assert_eq!((&message["payload"], &message["hash"]), (&json!("0x6869"), &hash));
    assert_eq!((&message["topic"], &message["ttl"]), (&json!("0x01020304"), &json!(60)));
    // The time of its creation is rounded to ten seconds.
    assert!(message["timestamp"].as_u64().unwrap().is_multiple_of(10), "{message}");
    assert_eq!(alice.call("shh_version", json!([])).await, "6.0");
}
