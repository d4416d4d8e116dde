//! ejabberd from Debian, as the peer of the messaging service. It neither encrypts nor checks what it carries, and users send
//! no receipts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{DISK, median_of};
use crate::Bench;
use crate::measure::Running;
use crate::servers::{figures, load, start};

/// Where messages wait for users who are offline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Offline {
    /// The database of Erlang, the default. It does not flush each message to the disk.
    Mnesia,
    /// PostgreSQL at this URL.
    Postgres(String),
}

/// A running server.
#[derive(Debug)]
struct Ejabberd {
    server: Running,
    folder: PathBuf,
}

impl Ejabberd {
    /// Starts a server without any users, in its own Erlang node that no other node can reach.
    fn start(offline: &Offline) -> Result<Self> {
        let folder = Path::new(DISK).join("wormhole-bench-ejabberd");
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("log"))?;
        let settings = folder.join("ejabberd.yml");
        fs::write(&settings, configuration(offline)?)?;
        let owned = Command::new("chown").arg("-R").arg("ejabberd").arg(&folder).status()?;
        ensure!(owned.success(), "ejabberd is not installed: run scripts/peers --optimised");
        let quoted = |path: PathBuf| format!("\"{}\"", path.display());
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "ejabberd", "--regid", "ejabberd", "--clear-groups"]);
        command.args(["erl", "-noinput", "-pa"]).args(code_folders()?);
        command.args(["-mnesia", "dir", &quoted(folder.join("spool"))]);
        command.args(["-ejabberd", "config", &quoted(settings)]);
        command.args(["log_path", &quoted(folder.join("log/ejabberd.log")), "-s", "ejabberd"]);
        command.env("HOME", &folder);
        Ok(Self { server: start(command, &folder, PORT)?, folder })
    }

    fn load(&self, bench: &Bench, arguments: &[String]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend([format!("--port={PORT}"), format!("--pid={}", self.server.id())]);
        figures(&load(bench, "xmpp_load", &all)?)
    }

    fn stop(self) -> Result<()> {
        self.server.stop();
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

/// Messages that are stored for users who are offline, and fetched by them.
pub(super) fn measure_stored(bench: &Bench, offline: &Offline) -> Result<Vec<String>> {
    // Mnesia becomes slow with more.
    let (name, messages) = match offline {
        Offline::Mnesia => ("ejabberd, recipients offline, Mnesia (not flushed)", 3000),
        Offline::Postgres(url) => {
            create_tables(url)?;
            ("ejabberd, recipients offline, PostgreSQL", 9000)
        }
    };
    let messages = format!("--messages={}", bench.arguments.scaled(messages));
    measure_messages(bench, name, offline, &["stored".into(), messages])
}

/// Messages that the server only passes on.
pub(super) fn measure_online(bench: &Bench) -> Result<Vec<String>> {
    let messages = format!("--messages={}", bench.arguments.scaled(40_000));
    let name = "ejabberd, recipients online, nothing stored";
    measure_messages(bench, name, &Offline::Mnesia, &["online".into(), messages])
}

fn measure_messages(
    bench: &Bench,
    name: &str,
    offline: &Offline,
    arguments: &[String],
) -> Result<Vec<String>> {
    let mut rounds = Vec::new();
    for run in 0..bench.arguments.runs() {
        eprintln!("{name}, run {}", run + 1);
        let server = Ejabberd::start(offline)?;
        rounds.push(server.load(bench, arguments)?);
        server.stop()?;
    }
    let of = |key: &str| median_of(&rounds, key);
    let delivered = if of("delivered_p50_ms").is_nan() {
        "-".to_owned()
    } else {
        format!("{:.1}; {:.1} (one at a time)", of("delivered_p50_ms"), of("delivered_p99_ms"))
    };
    Ok(vec![
        name.to_owned(),
        format!("{:.0}", of("messages_per_s")),
        format!("{:.0}", of("server_cpu_us_per_message")),
        "-".to_owned(),
        delivered,
    ])
}

/// The memory of idle connections.
pub(super) fn measure_idle(bench: &Bench, connections: u64) -> Result<Value> {
    let server = Ejabberd::start(&Offline::Mnesia)?;
    let figures = server.load(bench, &["idle".into(), format!("--connections={connections}")])?;
    server.stop()?;
    Ok(figures)
}

/// The file of settings: one listener without TLS and without limits.
fn configuration(offline: &Offline) -> Result<String> {
    let (database, storage) = match offline {
        Offline::Mnesia => (String::new(), "db_type: mnesia"),
        Offline::Postgres(url) => {
            let (server, database) = url
                .strip_prefix("postgresql://postgres@127.0.0.1:")
                .and_then(|rest| rest.split_once('/'))
                .context("unexpected URL of the database")?;
            let settings = format!(
                "sql_type: pgsql\nsql_server: 127.0.0.1\nsql_port: {server}\n\
                 sql_database: {database}\nsql_username: postgres\n"
            );
            (settings, "db_type: sql, use_cache: false")
        }
    };
    Ok(format!(
        "hosts: [localhost]\nloglevel: error\nregistration_timeout: infinity\n{database}\
         listen:\n  - {{port: {PORT}, ip: 127.0.0.1, module: ejabberd_c2s, starttls: false, \
         shaper: none, max_stanza_size: 262144, backlog: 4096}}\n\
         shaper_rules: {{max_user_offline_messages: 5000, max_user_sessions: 10}}\n\
         modules:\n  mod_offline: {{access_max_user_messages: max_user_offline_messages, {storage}}}\n  \
         mod_ping: {{}}\n  mod_register: {{}}\n"
    ))
}

/// The folders of ejabberd's code. Debian puts the version into their names.
fn code_folders() -> Result<Vec<String>> {
    let files = installed_files()?;
    let folders: Vec<String> =
        files.lines().filter(|path| path.ends_with("/ebin")).map(str::to_owned).collect();
    ensure!(!folders.is_empty(), "ejabberd is not installed: run scripts/peers --optimised");
    Ok(folders)
}

/// Creates ejabberd's tables in an empty database, unless an earlier run did.
fn create_tables(url: &str) -> Result<()> {
    let files = installed_files()?;
    let schema = files.lines().find(|path| path.ends_with("/sql/pg.sql"));
    let schema = schema.context("ejabberd has no schema for PostgreSQL")?;
    let created = Command::new("psql").args(["-X", "-q", "-f", schema, url]).output()?;
    ensure!(created.status.success(), "psql: {}", String::from_utf8_lossy(&created.stderr));
    Ok(())
}

fn installed_files() -> Result<String> {
    let listed = Command::new("dpkg").args(["-L", "ejabberd"]).output()?;
    Ok(String::from_utf8(listed.stdout)?)
}

/// Where it listens.
const PORT: u16 = 5290;
