//! Posting, watching and talking through a node of `wormhole-server whisper`, over HTTP and over a
//! WebSocket, and npm `web3-shh` on the same node.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use wormhole_node::devp2p::enode::Enode;

use super::world::{Ended, Running};
use super::{Folder, PATIENCE, connected, hear, interrupted, npm_packages, our_node};

/// A node with JSON-RPC.
struct Server {
    process: Running,
    http: String,
    web_socket: String,
    enode: String,
}

impl Server {
    fn start(folder: &Folder, arguments: &[&str]) -> Self {
        Self::start_at(folder, "127.0.0.1:0", "127.0.0.1:0", arguments)
    }

    /// Starts it with JSON-RPC at these addresses.
    fn start_at(folder: &Folder, rpc: &str, ws: &str, arguments: &[&str]) -> Self {
        let server = Path::new(env!("CARGO_BIN_EXE_wormhole")).with_file_name("wormhole-server");
        assert!(server.exists(), "build the workspace first: {} is missing", server.display());
        let mut command = Command::new(server);
        command.args(["whisper", "--listen", "127.0.0.1:0", "--rpc", rpc, "--ws", ws]);
        command.args(arguments);
        command.current_dir(&folder.0);
        let process = Running::start(command);
        let http = format!("http://{}", process.wait_for("RPC listening on http://"));
        let web_socket = format!("ws://{}", process.wait_for("RPC listening on ws://"));
        let enode = format!("enode://{}", process.wait_for("node listening on enode://"));
        Self { process, http, web_socket, enode }
    }

    /// Kills it, and starts it again at the same addresses.
    fn restart(self, folder: &Folder, arguments: &[&str], meanwhile: impl FnOnce()) -> Self {
        let (rpc, ws) = (self.http.clone(), self.web_socket.clone());
        self.process.signal("KILL");
        self.process.end();
        meanwhile();
        let at = |url: &str| url.split_once("://").unwrap().1.to_owned();
        Self::start_at(folder, &at(&rpc), &at(&ws), arguments)
    }

    /// Makes it ask for this much work of messages.
    fn ask_for_work(&self, work: &str) {
        self.call(&format!(r#""method":"shh_setMinPoW","params":[{work}]"#));
    }

    /// Calls a method that answers `true`.
    fn call(&self, call: &str) {
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,{call}}}"#);
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{call}",
            call.len()
        );
        let mut link = TcpStream::connect(self.http.trim_start_matches("http://")).unwrap();
        link.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        link.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(r#""result":true"#), "{answer}");
    }
}

/// What is posted leaves at once, even if nobody is there.
const ALONE: &[&str] = &["--min-peers", "0"];

/// Runs `wormhole whisper` with the password of the room.
fn whisper(folder: &Folder, arguments: &[&str]) -> Running {
    let mut command = folder.command(&[&["whisper"], arguments].concat());
    command.env("WORMHOLE_WHISPER_PASSWORD", "hush");
    Running::start(command)
}

fn post(folder: &Folder, url: &str, more: &[&str]) -> Ended {
    let ended =
        whisper(folder, &[&["post", "--topic", "lobby", "--rpc", url], more].concat()).end();
    assert_eq!(ended.exit, 0, "{ended}");
    ended
}

/// The text at the end of each line.
fn texts(ended: &Ended) -> Vec<String> {
    assert_eq!(ended.exit, 0, "{ended}");
    let last = |line: &str| line.rsplit("  ").next().unwrap().to_owned();
    ended.out().lines().map(last).collect()
}

#[test]
fn what_is_posted_at_one_node_is_watched_at_another() {
    let folder = Folder::new();
    let one = Server::start(&folder, &[]);
    let two = Server::start(&folder, &["--peer", &one.enode]);
    for (from, to) in [(&one.http, &two.web_socket), (&two.web_socket, &one.http)] {
        let watch = ["watch", "--topic", "lobby", "--rpc", to, "-n", "1"];
        let watcher = whisper(&folder, &watch);
        watcher.wait_for_prompt("Watching lobby (0x");
        let posted = post(&folder, from, &["hello \u{1b}[31m"]);
        assert!(posted.out().starts_with("0x") && posted.out().trim_end().len() == 66, "{posted}");
        assert_eq!(texts(&watcher.end()), ["hello \\u{1b}[31m"]);
    }
}

#[test]
fn a_message_for_a_key_is_read_with_it_and_shows_its_signer() {
    let folder = Folder::new();
    let server = Server::start(&folder, ALONE);
    let reader = folder.whisper(&["keygen", "reader"]).out();
    let writer = folder.whisper(&["keygen", "writer"]).out();
    let watch = ["--json", "whisper", "watch", "--topic", "lobby", "--key", "reader", "-n", "1"];
    let mut command = folder.command(&watch);
    command.args(["--rpc", &server.web_socket]);
    let watcher = Running::start(command);
    watcher.wait_for(r#"{"event":"watching","#);
    let sealed = ["--to", reader.trim_end(), "--sign", "writer", "for you alone"];
    let posted = post(&folder, &server.http, &sealed);
    let ended = watcher.end();
    let event = &ended.events()[1];
    assert_eq!(event["text"], "for you alone", "{ended}");
    assert_eq!(event["signer"], writer.trim_end());
    assert_eq!(event["hash"], posted.out().trim_end());
}

#[tokio::test]
async fn what_is_sealed_for_one_key_is_as_long_as_for_a_password_if_it_shall_be_uniform() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let enode = Enode::parse(&server.enode).unwrap();
    let node = our_node(|settings| settings.static_peers = vec![enode]).await;
    connected(&node).await;
    let reader = folder.whisper(&["keygen"]).out();
    let mut heard = node.envelopes();
    for more in [&["--to", reader.trim_end(), "--uniform", "hello"][..], &["hello"]] {
        post(&folder, &server.http, more);
        assert_eq!(hear(&mut heard).await.0.data().len(), 284);
    }
}

#[test]
fn a_chat_shows_each_message_once_and_no_own_messages() {
    let folder = Folder::new();
    let server = Server::start(&folder, ALONE);
    let chat = |url: &str| whisper(&folder, &["chat", "--topic", "lobby", "--rpc", url]);
    let (mut alice, mut bob) = (chat(&server.web_socket), chat(&server.http));
    alice.wait_for_prompt("You are in lobby (0x");
    bob.wait_for_prompt("You are in lobby (0x");
    alice.type_in("is anybody there?\n");
    bob.wait_for_prompt("is anybody there?\n");
    bob.type_in("only me\n");
    alice.wait_for_prompt("only me\n");
    alice.end_input();
    bob.end_input();
    assert_eq!(texts(&alice.end()), ["only me"]);
    assert_eq!(texts(&bob.end()), ["is anybody there?"]);
}

#[test]
fn what_others_say_is_shown_while_a_line_of_ours_is_worked_for() {
    let folder = Folder::new();
    let one = Server::start(&folder, &[]);
    let two = Server::start(&folder, &["--peer", &one.enode]);
    // More than anybody can do.
    let chat = ["chat", "--topic", "lobby", "--rpc", &one.http, "--pow", "1e30"];
    let mut alice = whisper(&folder, &chat);
    alice.wait_for_prompt("You are in lobby (0x");
    alice.type_in("never said\n");
    post(&folder, &two.http, &["meanwhile"]);
    alice.wait_for_prompt("meanwhile\n");
    alice.signal("INT");
    interrupted(alice);
}

#[test]
fn a_line_that_is_refused_is_named_and_the_next_has_the_work_that_is_asked_for_by_then() {
    let folder = Folder::new();
    let server = Server::start(&folder, ALONE);
    let chat = |more: &[&str]| {
        let chat = ["chat", "--topic", "lobby", "--rpc", server.http.as_str()];
        whisper(&folder, &[&chat, more].concat())
    };
    let (mut alice, mut bob) = (chat(&[]), chat(&["--pow", "1"]));
    alice.wait_for_prompt("You are in lobby (0x");
    bob.wait_for_prompt("You are in lobby (0x");
    server.ask_for_work("2");
    bob.type_in("too cheap\n");
    bob.wait_for_prompt("This line was not posted: the node says: message rejected, PoW too low");
    alice.type_in("dear\n");
    bob.wait_for_prompt("dear\n");
    server.ask_for_work("1");
    bob.type_in("dear enough\n");
    alice.wait_for_prompt("dear enough\n");
    alice.end_input();
    bob.end_input();
    assert_eq!(texts(&alice.end()), ["dear enough"]);
    assert_eq!(texts(&bob.end()), ["dear"]);
}

#[test]
#[cfg(target_os = "linux")]
fn at_a_terminal_what_others_say_stands_above_the_line_being_typed() {
    let folder = Folder::new();
    let server = Server::start(&folder, ALONE);
    let mut alice = in_terminal(&folder, &["chat", "--topic", "lobby", "--rpc", &server.http]);
    alice.wait_for_prompt("> ");
    alice.type_in("hi bo");
    alice.wait_for_prompt("hi bo");
    post(&folder, &server.http, &["half way"]);
    alice.wait_for_prompt("half way");
    alice.type_in("b\r");
    alice.wait_for_prompt("you               hi bob");
    alice.type_in("\x03");
    let ended = alice.end();
    let out = ended.out();
    // Beginning on a line of its own, and then what had been typed again.
    let (before, after) = out.split_once("unsigned          half way\r\n").unwrap();
    assert!(before.rsplit_once("\r\u{1b}[J").is_some_and(|(_, time)| time.len() == 25), "{ended}");
    assert!(after.starts_with("> hi bo"), "{ended}");
    assert!(ended.exit == 130 && !out.contains("error"), "{ended}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_talk_is_suspended_and_continued_with_what_was_typed() {
    let folder = Folder::new();
    let server = Server::start(&folder, ALONE);
    let ours = env!("CARGO_BIN_EXE_wormhole");
    let mut shell = shell_line(&folder, "PS1='$ ' exec bash --norc --noprofile --noediting -i");
    shell.wait_for_prompt("$ ");
    shell.type_in(format!("{ours} whisper chat --topic lobby --rpc {}\r", server.http));
    shell.wait_for_prompt("> ");
    shell.type_in("hi bo");
    shell.wait_for_prompt("hi bo");
    shell.type_in("\x1a");
    shell.wait_for_prompt("Stopped");
    shell.type_in("fg\r");
    // Typed letters come one by one; a line that is drawn comes whole.
    shell.wait_for_prompt("> hi bo");
    shell.type_in("b\r");
    shell.wait_for_prompt("you               hi bob");
    shell.type_in("more\x03");
    shell.wait_for_times("$ ", 3);
    shell.type_in("echo status=$?=; stty -a | tr ' ;' '\\n\\n' | grep -x -e icanon -e isig\r");
    shell.wait_for_prompt("status=130=\r\nisig\r\nicanon\r\n");
}

#[test]
#[cfg(target_os = "linux")]
fn a_chat_can_be_ended_while_its_node_is_gone_and_names_the_lines_that_were_not_posted() {
    for (key, exit) in [("\x03", 130), ("\x04", 1)] {
        let folder = Folder::new();
        let server = Server::start(&folder, ALONE);
        let mut alice = in_terminal(&folder, &["chat", "--topic", "lobby", "--rpc", &server.http]);
        alice.wait_for_prompt("> ");
        server.process.signal("KILL");
        server.process.end();
        alice.wait_for_prompt("is gone");
        alice.type_in("into the void\r");
        alice.wait_for_prompt("This line waits until the node is back: into the void");
        alice.type_in("and more\r");
        alice.wait_for_prompt("you               and more");
        alice.type_in(key);
        let ended = alice.end();
        assert_eq!(ended.exit, exit, "{ended}");
        for line in ["into the void", "and more"] {
            let expected = format!("This line was not posted: {line}");
            assert!(ended.out().contains(&expected), "{ended}");
        }
    }
}

#[test]
fn a_long_proof_of_work_is_announced() {
    let folder = Folder::new();
    let server = Server::start(&folder, ALONE);
    let post = ["post", "--topic", "lobby", "--rpc", &server.http, "--pow", "1e30", "hello"];
    let post = whisper(&folder, &post);
    post.wait_for("The node is computing the proof of work");
    post.signal("INT");
    post.end().failed(130, "interrupted");
}

/// Runs `wormhole whisper` in a terminal.
#[cfg(target_os = "linux")]
fn in_terminal(folder: &Folder, arguments: &[&str]) -> Running {
    let ours = env!("CARGO_BIN_EXE_wormhole");
    shell_line(folder, &format!("exec {ours} whisper {}", arguments.join(" ")))
}

/// Runs a line of shell in a terminal, which `script` makes (util-linux).
#[cfg(target_os = "linux")]
fn shell_line(folder: &Folder, line: &str) -> Running {
    let line = format!("stty cols 100 rows 50; {line}");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.current_dir(&folder.0).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.env("HOME", &folder.0).env("XDG_CONFIG_HOME", &folder.0);
    command.env("WORMHOLE_WHISPER_PASSWORD", "hush");
    Running::start(command)
}

#[test]
fn posting_without_peers_prints_that_the_message_waits() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let posted = post(&folder, &server.http, &["--ttl", "20", "hello"]);
    assert!(posted.stderr.contains("The node has no peers."), "{posted}");
    assert!(posted.stderr.contains("expires in 20 s"), "{posted}");
}

#[test]
fn watching_at_a_node_without_peers_prints_a_note() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let watch = ["whisper", "watch", "--topic", "lobby", "--rpc", &server.http, "-p", "hush"];
    let watch = Running::start(folder.command(&watch));
    watch.wait_for(
        "The node has no peers yet: until it has one, you only get messages that are posted at this node.",
    );
}

#[test]
fn a_server_without_json_rpc_or_public_address_says_what_to_add() {
    let folder = Folder::new();
    let server = Path::new(env!("CARGO_BIN_EXE_wormhole")).with_file_name("wormhole-server");
    let mut command = Command::new(server);
    command.args(["whisper", "--listen", "[::]:0"]).current_dir(&folder.0);
    let server = Running::start(command);
    server.wait_for("the Whisper node has no JSON-RPC address, so no client can use it: add --rpc 127.0.0.1:8545");
    server.wait_for("add --advertise IP");
}

#[test]
fn the_peers_of_a_node_are_listed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let alone = folder.whisper(&["peers", "--rpc", &server.http]);
    assert_eq!((alone.exit, alone.out().as_str()), (0, ""), "{alone}");
    let (node, enode) = folder.node(&["--peer", &server.enode]);
    node.wait_for(r#""peers":1"#);
    let listed = folder.whisper(&["peers", "--rpc", &server.http]).out();
    assert!(listed.starts_with(&enode.id.to_string()[..16]), "{listed}");
    assert!(listed.contains("  in   127.0.0.1:") && listed.contains("Wormhole/v"), "{listed}");
}

#[test]
fn a_node_of_ours_serves_the_other_commands_on_this_computer() {
    let folder = Folder::new();
    let arguments = ["--rpc", "127.0.0.1:0"];
    let (one, enode) = folder.node(&arguments);
    let (two, _) = folder.node(&[&arguments, ["--peer", &enode.to_string()].as_slice()].concat());
    two.wait_for(r#""peers":1"#);
    let [at_one, at_two] = [&one, &two].map(|node| {
        let rest = node.wait_for(r#""event":"node","rpc":""#);
        rest.split('"').next().unwrap().to_owned()
    });
    let watch = ["watch", "--topic", "lobby", "--rpc", &at_two, "-n", "1"];
    let watcher = whisper(&folder, &watch);
    watcher.wait_for_prompt("Watching lobby (0x");
    post(&folder, &at_one, &["hello"]);
    assert_eq!(texts(&watcher.end()), ["hello"]);
    // A client that stays does not keep it from ending.
    let watcher = whisper(&folder, &["watch", "--topic", "lobby", "--rpc", &at_two]);
    watcher.wait_for_prompt("Watching lobby (0x");
    watcher.signal("INT");
    interrupted(watcher);
    two.signal("INT");
    interrupted(two);
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let peers = |place: &str| {
        let mut command = folder.command(&["whisper", "peers"]);
        command.env("WORMHOLE_WHISPER_RPC", place);
        Running::start(command).end()
    };
    assert_eq!(peers(&server.http).exit, 0);
    // Whether anything is at the usual place is not known here.
    assert!(!peers("").stderr.contains("address"));
}

#[test]
fn web3_shh_understands_every_method() {
    let Some(packages) = npm_packages() else { return };
    let folder = Folder::new();
    let one = Server::start(&folder, &[]);
    let two = Server::start(&folder, &["--peer", &one.enode]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whisper/web3-probe.js");
    for url in [&one.http, &one.web_socket] {
        let mut command = Command::new("node");
        command.arg(&script).arg(&packages);
        command.args([url, &two.web_socket, &two.enode]);
        let ended = Running::start(command).end();
        assert!(ended.exit == 0 && ended.out().contains("web3-shh understands"), "{ended}");
    }
}

#[test]
fn what_is_posted_at_a_node_that_asks_for_no_work_has_enough_for_its_peers() {
    let folder = Folder::new();
    let strict = Server::start(&folder, &["--min-pow", "1"]);
    let lax = Server::start(&folder, &["--min-pow", "0", "--peer", &strict.enode]);
    until_there(&folder, &lax);
    let watch = ["watch", "--topic", "lobby", "--rpc", &strict.web_socket, "-n", "1"];
    let watcher = whisper(&folder, &watch);
    watcher.wait_for_prompt("Watching lobby (0x");
    post(&folder, &lax.http, &["hello"]);
    assert_eq!(texts(&watcher.end()), ["hello"]);
}

/// Waits until a node has a peer.
fn until_there(folder: &Folder, server: &Server) {
    let peers = || folder.whisper(&["peers", "--rpc", &server.http]).out();
    let begun = Instant::now();
    while peers().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no peer in time");
    }
}

#[test]
fn whoever_watches_or_talks_misses_nothing_when_the_node_is_killed_and_started_again() {
    let folder = Folder::new();
    let far = Server::start(&folder, &[]);
    let arguments = ["--data", "data", "--peer", &far.enode];
    let near = Server::start(&folder, &arguments);
    until_there(&folder, &near);
    let mut listeners = Vec::new();
    for (kind, url, mark) in [
        ("watch", &near.http, "Watching lobby"),
        ("watch", &near.web_socket, "Watching lobby"),
        ("chat", &near.http, "You are in lobby"),
        ("chat", &near.web_socket, "You are in lobby"),
    ] {
        let listener = whisper(&folder, &[kind, "--topic", "lobby", "--rpc", url]);
        listener.wait_for_prompt(mark);
        listeners.push(listener);
    }
    let say = |text: &str| post(&folder, &far.http, &["--ttl", "300", text]);
    say("before");
    listeners.iter().for_each(|listener| listener.wait_for_prompt("before\n"));
    let near = near.restart(&folder, &arguments, || {
        listeners.iter().for_each(|listener| {
            listener.wait_for("The node at ");
            listener.wait_for(" is gone (");
        });
        say("meanwhile");
    });
    listeners.iter().for_each(|listener| {
        listener.wait_for_prompt(" is back.\n");
        listener.wait_for_prompt("meanwhile\n");
    });
    until_there(&folder, &near);
    say("after");
    // What is typed goes through the new link.
    for listener in &mut listeners[2..] {
        listener.wait_for_prompt("after\n");
        listener.type_in("here again\n");
    }
    listeners.iter().for_each(|listener| listener.wait_for_prompt("here again\n"));
    for listener in listeners {
        listener.signal("INT");
        let ended = listener.end();
        let out = ended.out();
        let heard: Vec<_> = out.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
        assert_eq!(&heard[..3], ["before", "meanwhile", "after"], "{ended}");
    }
}

#[test]
fn a_node_without_peers_delivers_to_its_own_clients_and_reports_unsent_messages() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let chat = ["chat", "--topic", "lobby", "--rpc", &server.web_socket];
    let mut alice = whisper(&folder, &[chat.as_slice(), &["--ttl", "8"]].concat());
    let bob = whisper(&folder, &chat);
    alice.wait_for_prompt("You are in lobby");
    bob.wait_for_prompt("You are in lobby");
    alice.type_in("hello\n");
    bob.wait_for_prompt("hello\n");
    alice.wait_for_prompt("This line expired before another node received it: hello\n");
    server
        .process
        .wait_for("a message posted here expired before it could be sent: this node has no");
    let wait = ["post", "--topic", "lobby", "--rpc", &server.http, "--ttl", "5", "--wait", "lost"];
    let ended = whisper(&folder, &wait).end();
    assert_eq!(ended.exit, 1, "{ended}");
    assert!(ended.stderr.contains("expired before any other node received it"), "{ended}");
}

#[test]
fn waiting_until_a_message_is_sent_ends_when_a_peer_has_it() {
    let folder = Folder::new();
    let far = Server::start(&folder, &[]);
    let near = Server::start(&folder, &[]);
    let post = ["--json", "whisper", "post", "--topic", "lobby", "--rpc", &near.http, "-p", "hush"];
    let waiting = Running::start(folder.command(&[post.as_slice(), &["--wait", "hello"]].concat()));
    waiting.wait_for(r#""event":"posted""#);
    let add = format!(r#""method":"admin_addPeer","params":["{}"]"#, far.enode);
    near.call(&add);
    let ended = waiting.end();
    assert_eq!(ended.exit, 0, "{ended}");
    assert_eq!(ended.events().last().unwrap()["event"], "sent", "{ended}");
}
