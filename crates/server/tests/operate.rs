//! Tests the real binary from the point of view of an operator: exit codes, log lines, backup and import.

#![expect(clippy::unwrap_used, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "JSON values do not panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use futures_util::{SinkExt, StreamExt};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A temporary folder of one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-operate-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    command.args(arguments);
    command
}

/// Runs a command until it ends.
fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server process; killed when dropped.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = command(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        Self { process, log }
    }

    /// The address of a service, from the log.
    fn listens(&mut self, service: &str) -> String {
        self.listens_any(&[service])
    }

    /// The address of the first of these services in the log.
    fn listens_any(&mut self, services: &[&str]) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the server did not start");
            if let Some((before, url)) = line.split_once(" listening on ")
                && services.iter().any(|service| before.ends_with(service))
            {
                return url.trim().to_owned();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client of a mailbox.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn bound(url: &str, side: &str) -> Self {
        let address = url.strip_prefix("ws://").unwrap().strip_suffix("/v1").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut peer = Self(tokio_tungstenite::client_async(url, stream).await.unwrap().0);
        peer.request(json!({"type": "bind", "appid": "app", "side": side}), "ack").await;
        peer
    }

    async fn request(&mut self, message: Value, kind: &str) -> Value {
        self.0.send(Message::text(message.to_string())).await.unwrap();
        self.expect(kind).await
    }

    async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let message = self.0.next().await.unwrap().unwrap();
            let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            assert_ne!(frame["type"], "error", "{frame}");
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    async fn claim(&mut self, nameplate: &str) -> String {
        let claim = json!({"type": "claim", "nameplate": nameplate});
        self.request(claim, "claimed").await["mailbox"].as_str().unwrap().to_owned()
    }

    /// Opens a mailbox and returns the first message in it.
    async fn open(&mut self, mailbox: &str) -> Value {
        self.request(json!({"type": "open", "mailbox": mailbox}), "message").await
    }

    async fn add(&mut self, phase: &str) {
        self.request(json!({"type": "add", "phase": phase, "body": "00ff"}), "message").await;
    }
}

const LOOPBACK: [&str; 2] = ["--mailbox-listen", "127.0.0.1:0"];

/// Two clients, one of which has connected before, meet at the server.
async fn continue_exchange(url: &str, mailbox: &str) {
    let (mut one, mut two) = (Peer::bound(url, "one").await, Peer::bound(url, "two").await);
    assert_eq!(one.claim("4").await, mailbox);
    assert_eq!(two.claim("4").await, mailbox);
    let message = two.open(mailbox).await;
    assert_eq!((&message["side"], &message["phase"]), (&json!("one"), &json!("pake")));
    two.add("version").await;
    assert_eq!(one.open(mailbox).await["phase"], "pake");
    assert_eq!(one.expect("message").await["phase"], "version");
}

#[test]
fn without_a_service_the_exit_code_is_two() {
    let output = run(&["run", "--mailbox", "false", "--transit-relay", "false"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.starts_with("wormhole-server: error: nothing to serve: "), "{text}");
}

#[test]
fn an_invalid_configuration_ends_with_exit_code_two_and_names_the_line() {
    let folder = Folder::new("wrong");
    let file = folder.path("server.toml");
    std::fs::write(&file, "[mailbox]\nmax-links = \"many\"\n").unwrap();
    let output = run(&["run", "--config", &file]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "wormhole-server: error: {file} line 2: [mailbox] max-links: 'many' is not valid here: \
         expected a whole number\n"
    );
    assert_eq!(stderr(&output), expected);
    let variable = "WORMHOLE_SERVER_MAILBOX_MAX_LINKS";
    let output = command(&["run"]).env(variable, "many").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&format!("environment variable {variable}: ")));
}

#[test]
fn a_number_out_of_range_is_explained() {
    for (value, expected) in [("many", "expected a whole number"), ("0", "at least 1")] {
        let output = run(&["mailbox", "--ping-seconds", value]);
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(text.contains(&format!("'--ping-seconds <SECONDS>': {}", "expected")), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn every_error_of_the_command_line_has_the_same_prefix_and_an_explanation() {
    let listen = "wormhole-server: error: invalid value '4000' for '--listen <ADDRESS>': expected an address with a \
                  port, such as 127.0.0.1:4000 or [::]:4000\n";
    let url =
        "wormhole-server: error: --db: the address of a database must start with postgresql://";
    let missing = "wormhole-server: error: cannot read the configuration file nosuch: No such file or directory\n";
    for (arguments, expected) in [
        (&["mailbox", "--listen", "4000"][..], listen),
        (&["mailbox", "--db", "http://x/y"], url),
        (&["run", "--config", "nosuch"], missing),
        (&["foo"], "wormhole-server: error: unrecognized subcommand 'foo'\n"),
        (
            &["mailbox", "--nosuch"],
            "wormhole-server: error: unexpected argument '--nosuch' found\n",
        ),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = stderr(&output);
        assert!(text.starts_with(expected), "{text}");
    }
    let text = stderr(&run(&["mailbox", "--nosuch"]));
    assert!(text.contains("Usage: wormhole-server mailbox [OPTIONS]\n"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error_and_not_a_panic() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["config"][..], &["--help"], &["run", "--help-all"], &["--version"]] {
        let output = command(arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&output);
        let expected = "wormhole-server: error: cannot write to standard output: ";
        assert!(text.starts_with(expected) && text.lines().count() == 1, "{text}");
    }
    for arguments in
        [&["run", "--threads", "x"][..], &["run", "--mailbox", "false", "--transit-relay", "false"]]
    {
        let status = command(arguments).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_whose_log_cannot_be_written_continues() {
    let folder = Folder::new("full");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let db = folder.path("relay.sqlite");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut server = command(&["mailbox", "--listen", &port.to_string(), "--db", &db]);
    let mut server = server.stderr(full).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::net::TcpStream::connect(port).is_err() {
        assert!(server.try_wait().unwrap().is_none(), "the server ended");
        assert!(std::time::Instant::now() < deadline, "the server did not start");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(page(&port.to_string(), "/health").ends_with("\r\n\r\nok\n"));
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn the_output_of_config_is_a_valid_configuration() {
    let folder = Folder::new("printed");
    let file = folder.path("server.toml");
    let printed = run(&["config"]).stdout;
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(run(&["config", "--config", &file]).stdout, printed);
}

#[test]
fn a_server_that_cannot_start_does_not_log_that_it_listens() {
    let folder = Folder::new("unusable");
    let db = folder.path("relay.sqlite");
    let tables = "CREATE TABLE version (version INTEGER); CREATE TABLE nameplate_sides (x);
        CREATE TABLE mailbox_sides (x)";
    Connection::open(&db).unwrap().execute_batch(tables).unwrap();
    let output = run(&["mailbox", "--listen", "127.0.0.1:0", "--db", &db]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("wormhole-server import"), "{text}");
    assert!(!text.contains("listening"), "{text}");
    // The same for a relay whose usage database cannot be created.
    let output =
        run(&["transit-relay", "--listen", "127.0.0.1:0", "--usage-db", &folder.path("none/x")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains("listening"));
    // The same for a service if another service cannot start.
    let data = folder.path("data");
    let relay_db = ["--transit-relay-usage-db", "none/x", "--transit-relay-listen", "127.0.0.1:0"];
    let output = run(&[&["run", "--data", &data][..], &LOOPBACK, &relay_db].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains("listening"));
}

#[tokio::test]
async fn a_backup_of_a_running_server_contains_all_acknowledged_messages() {
    let folder = Folder::new("backup");
    let (data, copies) = (folder.path("data"), folder.path("copies"));
    let usage = ["--mailbox-usage-db", "usage.sqlite"];
    let serve = [&["run", "--data", &data, "--transit-relay", "false"][..], &LOOPBACK, &usage];
    let mut server = Server::start(&serve.concat());
    let url = server.listens("mailbox");
    let mut one = Peer::bound(&url, "one").await;
    let mailbox = one.claim("4").await;
    one.0
        .send(Message::text(json!({"type": "open", "mailbox": mailbox}).to_string()))
        .await
        .unwrap();
    one.add("pake").await;
    let copy = [&["backup", "--data", &data, "--transit-relay", "false"][..], &usage, &[&copies]];
    let copy = copy.concat();
    // The second backup replaces the copies of the first.
    for _ in 0..2 {
        let output = run(&copy);
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("mailbox.sqlite (") && text.contains("usage.sqlite ("), "{text}");
    }
    // The server and a server with the copy continue, each with its own database.
    one.add("after").await;
    let serve = [&["run", "--data", &copies, "--transit-relay", "false"][..], &LOOPBACK, &usage];
    let mut restored = Server::start(&serve.concat());
    let restored_url = restored.listens("mailbox");
    continue_exchange(&restored_url, &mailbox).await;
    let output = run(&copy);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("choose another one"), "{}", stderr(&output));
}

#[test]
fn a_backup_without_databases_fails() {
    let folder = Folder::new("nothing");
    let output = run(&["backup", "--data", &folder.path("data"), &folder.path("copies")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("mailbox.sqlite: there is no such file"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn clients_of_the_python_server_continue_after_the_import() {
    let folder = Folder::new("import");
    let (data, python) = (folder.path("data"), folder.path("relay.sqlite"));
    python_database(Path::new(&python));
    let output = run(&["import", "--data", &data, &python]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("imported 1 nameplates, 1 mailboxes and 1 messages into "), "{text}");
    let serve = [&["run", "--data", &data, "--transit-relay", "false"][..], &LOOPBACK].concat();
    let mut server = Server::start(&serve);
    let url = server.listens("mailbox");
    continue_exchange(&url, "box").await;
}

/// A database of the Python server with one waiting client.
fn python_database(path: &Path) {
    let batch = "
        CREATE TABLE version (version INTEGER);
        CREATE TABLE nameplates (
            id INTEGER PRIMARY KEY AUTOINCREMENT, app_id VARCHAR, name VARCHAR, mailbox_id VARCHAR,
            request_id VARCHAR
        );
        CREATE TABLE nameplate_sides (nameplates_id, claimed BOOLEAN, side VARCHAR, added INTEGER);
        CREATE TABLE mailboxes (
            app_id VARCHAR, id VARCHAR PRIMARY KEY, updated INTEGER, for_nameplate BOOLEAN
        );
        CREATE TABLE mailbox_sides (
            mailbox_id, opened BOOLEAN, side VARCHAR, added INTEGER, mood VARCHAR
        );
        CREATE TABLE messages (
            app_id VARCHAR, mailbox_id VARCHAR, side VARCHAR, phase VARCHAR, body VARCHAR,
            server_rx INTEGER, msg_id VARCHAR
        );
        INSERT INTO version VALUES (1);
        INSERT INTO mailboxes VALUES ('app', 'box', 1000.5, 1);
        INSERT INTO nameplates (app_id, name, mailbox_id) VALUES ('app', '4', 'box');
        INSERT INTO nameplate_sides VALUES (1, 1, 'one', 1000.5);
        INSERT INTO mailbox_sides VALUES ('box', 1, 'one', 1000.5, NULL);
        INSERT INTO messages VALUES ('app', 'box', 'one', 'pake', '00ff', 1000.75, NULL);";
    Connection::open(path).unwrap().execute_batch(batch).unwrap();
}

#[test]
fn two_servers_cannot_use_the_same_database() {
    let folder = Folder::new("twice");
    let data = folder.path("data");
    let serve = [&["run", "--data", &data, "--transit-relay", "false"][..], &LOOPBACK].concat();
    let mut server = Server::start(&serve);
    server.listens("mailbox");
    let output = run(&serve);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by another process"), "{}", stderr(&output));
}

/// The response for a page of a listener.
fn page(address: &str, path: &str) -> String {
    let mut link = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    link.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    link.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_with_a_separate_listener_are_served_only_there() {
    let folder = Folder::new("metrics");
    let mut server = Server::start(&[
        "run",
        "--data",
        &folder.path("data"),
        "--metrics-listen",
        "127.0.0.1:0",
        "--mailbox-listen",
        "127.0.0.1:0",
        "--transit-relay-listen",
        "127.0.0.1:0",
        "--whisper",
        "true",
        "--whisper-listen",
        "127.0.0.1:0",
        "--whisper-rpc",
        "127.0.0.1:0",
    ]);
    let at = |url: String| url.split("//").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let monitor = at(server.listens("metrics"));
    let mut rest = [String::new(), String::new()];
    for _ in 0..2 {
        // Each service is ready when it is.
        let url = server.listens_any(&["mailbox", "whisper RPC"]);
        let place = usize::from(url.starts_with("http"));
        rest[place] = at(url);
    }
    let metrics = page(&monitor, "/metrics");
    let is_named = |line: &str| line.starts_with("wormhole_") || line.starts_with("# ");
    let body = metrics.split_once("\r\n\r\n").unwrap().1;
    assert!(body.contains("wormhole_mailbox_links 0\n"), "{metrics}");
    assert!(body.contains("wormhole_transit_relay_pairs 0\n"), "{metrics}");
    assert!(body.lines().all(is_named), "{metrics}");
    let documentation = include_str!("../../../docs/self-hosting.md");
    for line in body.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let listed = [format!("`{name}`"), format!("`{name}{{")];
        assert!(listed.iter().any(|name| documentation.contains(name)), "{name} is not documented");
    }
    for address in &rest {
        assert!(!page(address, "/metrics").contains("wormhole_mailbox_links"));
        assert!(page(address, "/health").ends_with("\r\n\r\nok\n"));
    }
    assert!(page(&monitor, "/health").ends_with("\r\n\r\nok\n"));
}
