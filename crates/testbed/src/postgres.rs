//! A PostgreSQL server with a new, empty cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::NotInstalled;
use crate::supervised::{Supervised, find_program, free_port, new_folder, wait_until};

/// A running PostgreSQL server. Its superuser is `postgres` and needs no password.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
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
    pub fn start(durability: Durability, parent: Option<&Path>) -> Result<Self, NotInstalled> {
        let programs = find_programs().ok_or(NotInstalled("PostgreSQL"))?;
        let folder = new_folder(parent, "postgres");
        give_to_server_user(&folder);
        let data = folder.join("data");
        create_cluster(&programs, &data);
        let port = free_port();
        let mut arguments = vec![
            programs.join("postgres").display().to_string(),
            format!("-D{}", data.display()),
            format!("-p{port}"),
            "-clisten_addresses=127.0.0.1".into(),
            "-cunix_socket_directories=".into(),
        ];
        if durability == Durability::Process {
            arguments.push("-cfsync=off".into());
        }
        let server = Supervised::start(as_server_user("sh"), &folder, "QUIT", &arguments);
        let postgres = Self { programs, data, port, server };
        postgres.wait();
        Ok(postgres)
    }

    /// The address of a database for clients.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on the loopback address.
    pub const fn port(&self) -> u16 {
        self.port
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
        let path = self.data.join("pg_hba.conf");
        let rules = fs::read_to_string(&path).expect("no pg_hba.conf");
        let rule = format!("host all {user} all scram-sha-256\n");
        fs::write(&path, rule + &rules).expect("could not write pg_hba.conf");
        self.execute("postgres", "SELECT pg_reload_conf()");
    }

    /// Ends the server without warning, as a crash would.
    pub fn crash(&mut self) {
        self.server.stop();
    }

    /// Starts the server again, at the same address and with the data that it had.
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.wait();
    }

    fn wait(&self) {
        let status = self.data.join("postmaster.pid");
        // The eighth line is the state of the server.
        let ready = || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        };
        wait_until(&self.server, ready);
    }
}

fn create_cluster(programs: &Path, data: &Path) {
    let output = as_server_user(programs.join("initdb"))
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"])
        .args(["--no-sync", "-D"])
        .arg(data)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .expect("could not start initdb");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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

/// PostgreSQL refuses to run as root; the package has a user for it.
fn as_server_user(program: impl AsRef<Path>) -> Command {
    if !is_root() {
        return Command::new(program.as_ref());
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program.as_ref());
    command
}

fn give_to_server_user(folder: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("postgres").arg(folder).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "could not chown {}",
            folder.display()
        );
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("could not start id");
    id.stdout.trim_ascii() == b"0"
}
