//! Tests the real binary with each of its databases: one node with SQLite, and several nodes that share a PostgreSQL
//! database. Nodes and databases are killed at random moments, and no acknowledged message is lost.
//!
//! The tests with PostgreSQL and NATS start real servers (`wormhole-testbed`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "JSON values do not panic")]

mod kill;
mod meet;
mod peer;
mod startup;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use wormhole_testbed::{Durability, Nats, Postgres, installed_or_skip};

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-nodes-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node; killed with `SIGKILL` when dropped.
struct Node {
    process: Child,
    url: String,
}

impl Node {
    fn start(arguments: &[String]) -> Self {
        let mut process = command(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once(" listening on ").map(|(_, url)| url.to_owned()))
            .expect("the server did not start");
        Self { process, url }
    }
}

impl Node {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    command.args(["mailbox", "--listen", "127.0.0.1:0"]).args(arguments);
    command
}

/// How the nodes of a cluster notify each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wake {
    Postgres,
    Nats,
}

/// Nodes, and the servers and files that they need.
struct Cluster {
    nodes: Vec<Node>,
    /// The arguments with which each node is started.
    arguments: Vec<String>,
    postgres: Option<Postgres>,
    nats: Option<Nats>,
    /// Dropped last, when the nodes do not use it any more.
    _folder: Option<Folder>,
}

impl Cluster {
    /// One node with an SQLite file.
    fn of_sqlite(name: &str) -> Self {
        let folder = Folder::new(name);
        let file = folder.0.join("mailbox.sqlite").display().to_string();
        let arguments = vec!["--db".into(), file];
        let nodes = vec![Node::start(&arguments)];
        Self { nodes, arguments, postgres: None, nats: None, _folder: Some(folder) }
    }

    /// A number of nodes with one PostgreSQL database; `None` if a program is not installed.
    fn of_postgres(nodes: usize, wake: Wake) -> Option<Self> {
        let postgres = installed_or_skip(Postgres::start(Durability::Full, None))?;
        let url = postgres.create_database("mailbox");
        Self::on(postgres, &url, nodes, wake)
    }

    /// So many nodes whose connections to PostgreSQL are encrypted.
    fn with_tls(nodes: usize) -> Option<Self> {
        let mut postgres = installed_or_skip(Postgres::start(Durability::Process, None))?;
        postgres.use_tls(
            include_str!("../../src/net/tls/test-certificate.pem"),
            include_str!("../../src/net/tls/test-key.pem"),
        );
        let url = postgres.create_database("mailbox").replace("127.0.0.1", "localhost");
        let roots = concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/tls/test-certificate.pem");
        let url = format!("{url}?sslmode=verify-full&sslrootcert={roots}");
        Self::on(postgres, &url, nodes, Wake::Postgres)
    }

    fn on(postgres: Postgres, url: &str, nodes: usize, wake: Wake) -> Option<Self> {
        let mut arguments = vec!["--db".into(), url.to_owned()];
        let nats = match wake {
            Wake::Postgres => None,
            Wake::Nats => {
                let nats = installed_or_skip(Nats::start())?;
                arguments.extend(["--wake".into(), nats.url()]);
                Some(nats)
            }
        };
        let nodes = (0..nodes).map(|_| Node::start(&arguments)).collect();
        Some(Self { nodes, arguments, postgres: Some(postgres), nats, _folder: None })
    }

    /// Kills a node and starts another one in its place.
    fn replace_node(&mut self, number: usize) {
        // Only one node at a time can use an SQLite database, so the old one must end first.
        let _ = self.nodes[number].process.kill();
        let _ = self.nodes[number].process.wait();
        self.nodes[number] = Node::start(&self.arguments);
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url.clone()).collect()
    }
}
