//! A PostgreSQL server with a new cluster.

mod cluster;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::NotInstalled;
use crate::supervised::{Supervised, find_program, free_port, new_folder};
use cluster::ServerUser;

/// A running PostgreSQL server. Its superuser is `postgres` and needs no password.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    user: Option<ServerUser>,
    durability: Durability,
    port: u16,
    server: Supervised,
}

/// Whether commits are flushed to the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// As in production.
    Full,
    /// A commit survives the end of the server process, but not a loss of power. Faster.
    Process,
}

impl Postgres {
    /// Starts a server with its data in a new folder in `parent`, or among the temporary files.
    ///
    /// # Errors
    /// The programs are not installed.
    ///
    /// # Panics
    /// The server does not start.
    pub fn start(durability: Durability, parent: Option<&Path>) -> Result<Self, NotInstalled> {
        let programs = find_programs().ok_or(NotInstalled("PostgreSQL"))?;
        let user = ServerUser::needed();
        let folder = new_folder(parent, "postgres");
        let data = cluster::create(&programs, &folder, user);
        let port = free_port();
        let mut command = command(&programs, &data, user, durability, port);
        let server = Supervised::start(&mut command, &folder, Signal::QUIT);
        let mut postgres = Self { programs, data, user, durability, port, server };
        for _ in 0..ATTEMPTS {
            if postgres.wait() {
                return Ok(postgres);
            }
            postgres.port = free_port();
            postgres.run_again();
        }
        panic!("PostgreSQL cannot use any port");
    }

    /// The address of a database for clients.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database and returns its address.
    pub fn create_database(&self, name: &str) -> String {
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Executes SQL in a database and returns the output, without headings.
    ///
    /// # Panics
    /// The SQL failed.
    pub fn execute(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database))
            .output()
            .expect("could not start psql");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes the server ask this user for a password.
    ///
    /// # Panics
    /// The configuration of the server cannot be changed.
    pub fn require_password_of(&self, user: &str) {
        self.add_access_rule(&format!("host all {user} all scram-sha-256"));
        self.execute("postgres", "SELECT pg_reload_conf()");
    }

    /// Makes the server demand TLS with this certificate and key, in PEM, and starts it again.
    ///
    /// # Panics
    /// The server does not start.
    pub fn use_tls(&mut self, certificate: &str, key: &str) {
        cluster::write(&self.data.join("server.crt"), certificate, self.user);
        cluster::write(&self.data.join("server.key"), key, self.user);
        let path = self.data.join("postgresql.conf");
        let settings = fs::read_to_string(&path).expect("no postgresql.conf");
        fs::write(&path, settings + "ssl = on\n").expect("could not write postgresql.conf");
        self.add_access_rule("hostnossl all all all reject");
        self.crash();
        self.start_again();
    }

    /// Adds a rule before the others.
    fn add_access_rule(&self, rule: &str) {
        let path = self.data.join("pg_hba.conf");
        let rules = fs::read_to_string(&path).expect("no pg_hba.conf");
        fs::write(&path, format!("{rule}\n{rules}")).expect("could not write pg_hba.conf");
    }

    /// Ends the server without warning, as a crash would.
    pub fn crash(&mut self) {
        self.server.stop();
    }

    /// Starts the server again, at the same address and with the data that it had.
    ///
    /// # Panics
    /// The server does not start.
    pub fn start_again(&mut self) {
        for _ in 0..ATTEMPTS {
            self.run_again();
            // It ends at once if a connection of another program uses its port for a moment.
            if self.wait() {
                return;
            }
        }
        panic!("PostgreSQL cannot start again");
    }

    fn run_again(&mut self) {
        let Self { programs, data, user, durability, port, server } = self;
        server.start_again(&mut command(programs, data, *user, *durability, *port));
    }

    /// Waits until the server accepts connections. Returns false if it has ended because it cannot use its port.
    fn wait(&mut self) -> bool {
        let status = self.data.join("postmaster.pid");
        // The first line is the process, the eighth line is the state of the server.
        let ready = |pid: u32| {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            lines.next() == Some(&*pid.to_string()) && lines.nth(6) == Some("ready")
        };
        match self.server.wait_until(ready) {
            Ok(()) => true,
            Err(ended) => {
                assert!(ended.0.contains("could not bind"), "PostgreSQL has ended: {}", ended.0);
                false
            }
        }
    }
}

fn command(
    programs: &Path,
    data: &Path,
    user: Option<ServerUser>,
    durability: Durability,
    port: u16,
) -> Command {
    let mut command = Command::new(programs.join("postgres"));
    command
        .arg(format!("-D{}", data.display()))
        .arg(format!("-p{port}"))
        .args(["-clisten_addresses=127.0.0.1", "-cunix_socket_directories="]);
    if durability == Durability::Process {
        command.arg("-cfsync=off");
    }
    if let Some(user) = user {
        user.run(&mut command);
    }
    command
}

/// The folder with `postgres`, `initdb` and `psql`.
fn find_programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WORMHOLE_POSTGRES") {
        return Some(named.into());
    }
    // Debian keeps one folder for each version.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    let program = find_program("initdb", folders)?;
    let folder = program.canonicalize().ok()?.parent()?.to_owned();
    ["postgres", "psql"].iter().all(|name| folder.join(name).is_file()).then_some(folder)
}

/// How often to start a server whose port is in use.
const ATTEMPTS: u32 = 20;
