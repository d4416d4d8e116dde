//! Servers inside the process of a test, for tests of other crates: the same code as the program, on free loopback ports,
//! with databases in a temporary directory.
//!
//! It exists only with the feature `testing`. It is not part of the public interface and changes without notice.

#![expect(clippy::expect_used, clippy::panic, reason = "a test without its server must fail")]

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand_core::{OsRng, RngCore};
use tokio::task::JoinSet;

use crate::config::{self, Action};
use crate::host::{Host, Listening};
use crate::messaging::{run_app_command, run_report_command, sent_code};

/// Running servers. They end with this value, or with the runtime of the test.
#[derive(Debug)]
pub struct TestServers {
    host: Host,
    listening: Vec<Listening>,
    running: JoinSet<()>,
}

impl TestServers {
    /// Starts a mailbox server and a transit relay, with further `options` of `wormhole-server run`.
    ///
    /// # Panics
    /// They cannot be started.
    pub async fn start(options: &[&str]) -> Self {
        let folder = Arc::new(Folder::new());
        let data = folder.0.display().to_string();
        let is_given =
            |flag: &str| options.iter().any(|option| option.split('=').next() == Some(flag));
        let listen = LISTEN.into_iter().filter(|flag| !is_given(flag));
        let listen = listen.flat_map(|flag| [flag, "127.0.0.1:0"]);
        let arguments = ["wormhole-server", "run", "--data", &data].into_iter().chain(listen);
        let arguments = arguments.chain(options.iter().copied()).map(OsString::from);
        let settings = match config::read(arguments) {
            Ok(Action::Serve(settings)) => settings,
            other => panic!("these options do not start a server: {other:?}"),
        };
        let host = Host::new(&settings.common).expect("the certificate is invalid");
        let (mut listening, mut running) = (Vec::new(), JoinSet::new());
        for service in settings.services {
            let prepared = service.prepare(host.clone()).await.expect("a server does not start");
            listening.extend(prepared.listening);
            let folder = Arc::clone(&folder);
            running.spawn(async move {
                prepared.run.await.expect("a server ended with an error");
                drop(folder);
            });
        }
        Self { host, listening, running }
    }

    /// Stops the servers like a signal, and waits until they have ended. Then others can use their database.
    ///
    /// # Panics
    /// A server ended with an error.
    pub async fn stop(mut self) {
        self.host.draining.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("a server ended with an error");
        }
    }

    /// The address of the mailbox server.
    ///
    /// # Panics
    /// The options disable it.
    pub fn mailbox(&self) -> SocketAddr {
        self.address("mailbox", "ws")
    }

    /// The address of the transit relay for TCP.
    ///
    /// # Panics
    /// The options disable it.
    pub fn relay(&self) -> SocketAddr {
        self.address("transit relay", "tcp")
    }

    /// The address of the transit relay for WebSockets.
    ///
    /// # Panics
    /// The options disable it.
    pub fn websocket_relay(&self) -> SocketAddr {
        self.address("transit relay", "ws")
    }

    /// The address of the messaging service, which runs with the option `--messaging true`.
    ///
    /// # Panics
    /// It is not running.
    pub fn messaging(&self) -> SocketAddr {
        self.address("messaging", "http")
    }

    /// A number from the metrics page, by its name without `wormhole_`.
    ///
    /// # Panics
    /// There is no such metric.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.host.metrics.render();
        let start = format!("wormhole_{name} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&start));
        value.and_then(|value| value.parse().ok()).expect("there is no such metric")
    }

    /// Waits until a number of the metrics page has this value.
    pub async fn until(&self, name: &str, value: u64) {
        while self.metric(name) != value {
            tokio::task::yield_now().await;
        }
    }

    fn address(&self, service: &str, scheme: &str) -> SocketAddr {
        let is_wanted = |it: &&Listening| it.what == service && it.url.starts_with(scheme);
        let listening = self.listening.iter().find(is_wanted);
        listening.and_then(|it| it.address).expect("this server is not running")
    }
}

/// Executes `wormhole-server app` with the database of a messaging service. Returns what it prints.
///
/// # Panics
/// The command fails.
pub fn app_command(database: &Path, arguments: &[&str]) -> String {
    let start = ["wormhole-server".into(), "app".into(), "--db".into(), database.into()];
    let arguments = start.into_iter().chain(arguments.iter().copied().map(OsString::from));
    match config::read(arguments) {
        Ok(Action::App(command)) => run_app_command(&command).expect("the command fails"),
        other => panic!("this is no command about apps: {other:?}"),
    }
}

/// Executes `wormhole-server report` in the same way.
///
/// # Panics
/// The command fails.
pub fn report_command(database: &Path, arguments: &[&str]) -> String {
    let start = ["wormhole-server".into(), "report".into(), "--db".into(), database.into()];
    let arguments = start.into_iter().chain(arguments.iter().copied().map(OsString::from));
    match config::read(arguments) {
        Ok(Action::Reports(command)) => run_report_command(&command).expect("the command fails"),
        other => panic!("this is no command about reports: {other:?}"),
    }
}

/// The last verification code that a messaging service in this process has sent to a number.
pub fn verification_code(number: &str) -> Option<String> {
    sent_code(number).map(|code| format!("{code:06}"))
}

/// A temporary directory, removed when the last server has ended.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("wormhole-test-servers-{:016x}", OsRng.next_u64());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A server that still writes keeps its open files.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Addresses of the servers. Unless a test chooses one, it is a free port of the loopback address.
const LISTEN: [&str; 4] = [
    "--mailbox-listen",
    "--messaging-listen",
    "--transit-relay-listen",
    "--transit-relay-listen-ws",
];
