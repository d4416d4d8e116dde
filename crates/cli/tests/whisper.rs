//! The commands of `whisper` as people run them: processes on this machine, their outputs and exit
//! codes, and an independent implementation (`whisper/npm.rs`).
//!
//! What the network side of a node does is tested in the SDK; what is said before any node is asked
//! is in `cmd.rs`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "tests may panic")]

#[expect(dead_code, reason = "the tests of transfers use more of it")]
#[path = "transfers/world.rs"]
mod world;

#[path = "whisper/archive.rs"]
mod archive;
#[path = "whisper/keys.rs"]
mod keys;
#[path = "whisper/node.rs"]
mod node;
#[path = "whisper/npm.rs"]
mod npm;
#[path = "whisper/rpc.rs"]
mod rpc;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use wormhole_node::devp2p::enode::Enode;
use wormhole_node::shh::message::{Padding, Sealing, compose};
use wormhole_node::shh::node::Privacy;
use wormhole_node::shh::{Draft, Envelope, SymmetricKey, Topic, Work};
use wormhole_node::{EnvelopeEvent, Envelopes, Node, Settings, mine};

use world::Running;

/// A folder for one test, removed when the test has passed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Our command with a temporary home directory and without our environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .env("HOME", &self.0)
            .env("XDG_CONFIG_HOME", &self.0)
            .env("XDG_DATA_HOME", &self.0)
            .env_remove("WORMHOLE_ARCHIVE_PASSWORD")
            .env_remove("WORMHOLE_WHISPER_PASSWORD")
            .env_remove("WORMHOLE_WHISPER_RPC");
        command
    }

    /// Runs `wormhole whisper` to its end.
    fn whisper(&self, arguments: &[&str]) -> world::Ended {
        Running::start(self.command(&[&["whisper"], arguments].concat())).end()
    }

    /// Starts `wormhole whisper node` at a free port.
    fn node(&self, arguments: &[&str]) -> (Running, Enode) {
        let start = ["--json", "whisper", "node", "--listen", "127.0.0.1:0"];
        let node = Running::start(self.command(&[&start, arguments].concat()));
        let text = node.wait_for(r#"{"enode":""#);
        let enode = Enode::parse(text.split('"').next().unwrap()).unwrap();
        (node, enode)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Expects that Ctrl-C was the end and nothing to talk about.
fn interrupted(running: Running) {
    let ended = running.end();
    assert!(ended.exit == 130 && !ended.stderr.contains("error"), "{ended}");
}

/// The npm packages with independent implementations, if `scripts/peers` has installed them.
fn npm_packages() -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
        eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
        return None;
    };
    Some(PathBuf::from(peers).join("npm/node_modules"))
}

/// A node of this process, which does nothing that takes time on purpose.
async fn our_node(change: impl FnOnce(&mut Settings)) -> Node {
    let mut settings = Settings::loopback();
    settings.privacy = Privacy::OFF;
    change(&mut settings);
    Node::start(settings).await.unwrap()
}

/// Waits until a node has a peer.
async fn connected(node: &Node) {
    until(async || node.status().await.unwrap().peers > 0).await;
}

/// Waits until something is so, looking at it again and again.
async fn until(mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("in time");
}

/// The next envelope, and whether it is for us alone.
async fn hear(heard: &mut Envelopes) -> (Envelope, bool) {
    match timeout(PATIENCE, heard.next()).await.expect("in time") {
        Some(EnvelopeEvent::Envelope { envelope, direct }) => (envelope, direct),
        other => panic!("{other:?}"),
    }
}

/// A message for all who have the key, paid for.
async fn sealed(text: &str, topic: Topic, key: &SymmetricKey) -> Envelope {
    let mut rng = rand_core::OsRng;
    let plaintext = compose(text.as_bytes(), &Padding::Block, Sealing::Symmetric, None, &mut rng);
    let data = key.seal(&plaintext.unwrap(), &mut rng);
    let draft = Draft::new(SystemTime::now().into(), 50, topic, data);
    mine(draft, Some(Work::DEFAULT_MINIMUM), PATIENCE).await.unwrap()
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
