//! The servers: started for the transfers, and loaded by the generators next to them
//! (`crates/server/examples`).

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Bench;
use crate::measure::{NEVER, Running, median};
use crate::peer::Site;
use crate::report::{Report, Table};

/// Who wrote a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Maker {
    Ours,
    Python,
}

/// A mailbox server and a transit relay of one maker.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) site: Site,
    mailbox: Running,
    relay: Running,
}

impl Maker {
    /// For the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "this program",
            Self::Python => "Python",
        }
    }

    /// Where its servers listen. wormhole-william knows the relay at port 4001 only, and it is
    /// measured through the Python servers.
    const fn ports(self) -> (u16, u16) {
        match self {
            Self::Ours => (4100, 4101),
            Self::Python => (4000, 4001),
        }
    }
}

impl Servers {
    /// Starts both, with their databases in `folder`.
    ///
    /// # Errors
    /// One of them does not come up.
    pub(crate) fn start(bench: &Bench, maker: Maker, folder: &Path) -> Result<Self> {
        let (mailbox_port, relay_port) = maker.ports();
        let mailbox = start_mailbox(bench, maker, mailbox_port, folder)?;
        let relay = start_relay(bench, maker, relay_port)?;
        let site = Site {
            mailbox: format!("ws://127.0.0.1:{mailbox_port}/v1"),
            relay: format!("127.0.0.1:{relay_port}"),
            ours: bench.binary("wormhole"),
            peers: bench.arguments.peers.clone(),
        };
        Ok(Self { site, mailbox, relay })
    }

    /// Stops both.
    pub(crate) fn stop(self) {
        self.mailbox.stop();
        self.relay.stop();
    }
}

fn start_mailbox(bench: &Bench, maker: Maker, port: u16, folder: &Path) -> Result<Running> {
    let database = folder.join(format!("mailbox-{port}.sqlite"));
    let command = match maker {
        Maker::Ours => {
            let mut command = Command::new(bench.binary("wormhole-server"));
            command.args(["mailbox", "--listen", &format!("127.0.0.1:{port}"), "--db"]);
            command.arg(database);
            command
        }
        Maker::Python => {
            let mut command = Command::new(bench.python("twist"));
            command.args(["wormhole-mailbox", &format!("--port=tcp:{port}:interface=127.0.0.1")]);
            command.arg(format!("--channel-db={}", database.display()));
            command
        }
    };
    start(command, folder, port)
}

fn start_relay(bench: &Bench, maker: Maker, port: u16) -> Result<Running> {
    let command = match maker {
        Maker::Ours => {
            let mut command = Command::new(bench.binary("wormhole-server"));
            command.args(["transit-relay", "--listen", &format!("127.0.0.1:{port}")]);
            // The generator is one single address.
            command.args(["--links-per-address", "0"]);
            command
        }
        Maker::Python => {
            let mut command = Command::new(bench.python("twist"));
            command.args(["transitrelay", &format!("--port=tcp:{port}:interface=127.0.0.1")]);
            command
        }
    };
    start(command, &bench.memory, port)
}

/// Starts a server and waits until it accepts.
pub(crate) fn start(mut command: Command, folder: &Path, port: u16) -> Result<Running> {
    command.current_dir(folder);
    let server = Running::start(command, "", NEVER)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(Instant::now() < deadline, "the server at port {port} does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}

/// Runs a load generator to its end and returns what it printed.
pub(crate) fn load(bench: &Bench, generator: &str, arguments: &[String]) -> Result<String> {
    let mut command = Command::new(bench.binary("examples").join(generator));
    command.args(arguments);
    Ok(Running::start(command, "", NEVER)?.finish()?.output)
}

/// Rendezvous per second, and what a silent link costs.
///
/// # Errors
/// A server or the generator failed.
pub(crate) fn measure_mailboxes(bench: &Bench, report: &mut Report) -> Result<()> {
    let head =
        ["server", "clients", "exchanges/s", "p50, ms", "p99, ms", "errors", "CPU ms per exchange"];
    let mut table = Table::new(
        "Mailbox server: complete exchanges of two clients (one code each), database on disk",
        &head,
    );
    for clients in [100, 1000] {
        let mut rounds = vec![Vec::new(); MAKERS.len()];
        for run in 0..bench.arguments.runs() {
            for (maker, rounds) in MAKERS.iter().zip(&mut rounds) {
                eprintln!("mailbox of {}, {clients} clients, run {}", maker.name(), run + 1);
                rounds.push(cycles(bench, *maker, clients)?);
            }
        }
        for (maker, rounds) in MAKERS.iter().zip(&rounds) {
            let of = |key: &str| median(&rounds.iter().map(|r| number(r, key)).collect::<Vec<_>>());
            table.row(vec![
                maker.name().to_owned(),
                clients.to_string(),
                format!("{:.0}", of("cycles_per_s")),
                format!("{:.0}", of("lat_p50_ms")),
                format!("{:.0}", of("lat_p99_ms")),
                format!("{:.0}", of("errors")),
                format!("{:.2}", of("server_cpu_ms_per_cycle")),
            ]);
        }
    }
    report.add(table);
    measure_idle_links(bench, report)
}

/// One round of whole rendezvous against a fresh server.
fn cycles(bench: &Bench, maker: Maker, clients: u64) -> Result<Value> {
    // Enough for a steady state, and for the slow one not more than a minute.
    let cycles = match maker {
        Maker::Ours => bench.arguments.scaled(20_000),
        Maker::Python => bench.arguments.scaled(clients.max(400)),
    };
    let arguments =
        ["--clients".into(), clients.to_string(), "--cycles".into(), cycles.to_string()];
    load_mailbox(bench, maker, "cycles", &arguments)
}

fn measure_idle_links(bench: &Bench, report: &mut Report) -> Result<()> {
    let links = bench.arguments.scaled(19_000).to_string();
    let mut table = Table::new(
        "Mailbox server: memory per idle connection",
        &["server", "connections", "after `bind`, KiB", "with a claimed mailbox, KiB"],
    );
    for maker in MAKERS {
        eprintln!("mailbox of {}, {links} idle connections", maker.name());
        let arguments = ["--links".into(), links.clone()];
        let bound = load_mailbox(bench, maker, "idle", &arguments)?;
        // Claiming is slow on the Python server, and its memory is a straight line.
        let few = bench.arguments.scaled(if maker == Maker::Ours { 19_000 } else { 2_000 });
        let arguments = ["--links".into(), few.to_string(), "--claim".into()];
        let claimed = load_mailbox(bench, maker, "idle", &arguments)?;
        table.row(vec![
            maker.name().to_owned(),
            links.clone(),
            format!("{:.1}", number(&bound, "kib_per_link")),
            format!("{:.1}", number(&claimed, "kib_per_link")),
        ]);
    }
    report.add(table);
    Ok(())
}

fn load_mailbox(bench: &Bench, maker: Maker, mode: &str, arguments: &[String]) -> Result<Value> {
    let folder = bench.disk.join("mailbox");
    fs::create_dir_all(&folder)?;
    let (port, _) = maker.ports();
    let server = start_mailbox(bench, maker, port, &folder)?;
    let mut all = vec![mode.to_owned(), "--url".into(), format!("ws://127.0.0.1:{port}/v1")];
    all.extend(["--pid".into(), server.id().to_string()]);
    all.extend_from_slice(arguments);
    let output = load(bench, "mailbox_load", &all)?;
    server.stop();
    fs::remove_dir_all(&folder)?;
    figures(&output)
}

/// What a load generator printed as JSON.
pub(crate) fn figures(output: &str) -> Result<Value> {
    let line = output.lines().rfind(|line| line.starts_with('{')).context("no figures")?;
    Ok(serde_json::from_str(line)?)
}

/// One figure; not a number if it is missing.
pub(crate) fn number(figures: &Value, key: &str) -> f64 {
    figures.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// What a transit relay carries, and what a silent link costs.
///
/// # Errors
/// A server or the generator failed.
pub(crate) fn measure_relays(bench: &Bench, report: &mut Report) -> Result<()> {
    let runs = bench.arguments.runs().to_string();
    let mib = bench.arguments.scaled(2048).to_string();
    let mut table = Table::new("Transit relay", &["relay", "connections", "throughput or memory"]);
    for (name, pairs) in
        [("--pairs", "1"), ("--pairs", "16"), ("--idle", "1000"), ("--lonely", "2000")]
    {
        for maker in MAKERS {
            eprintln!("relay of {}, {name} {pairs}", maker.name());
            let (_, port) = maker.ports();
            let relay = start_relay(bench, maker, port)?;
            let arguments = [
                format!("127.0.0.1:{port}"),
                format!("--pid={}", relay.id()),
                format!("--runs={runs}"),
                format!("--mib={mib}"),
                format!("{name}={pairs}"),
            ];
            let output = load(bench, "relay_load", &arguments)?;
            relay.stop();
            let figures = |line: &&str| line.contains("median") || line.contains("KiB each");
            let line = output.lines().rfind(figures).context("no figures")?;
            let figures = line.split_once(": ").map_or(line, |(_, figures)| figures);
            let pairs = format!("{pairs} {}", of_what(name, pairs));
            table.row(vec![maker.name().to_owned(), pairs, figures.to_owned()]);
        }
    }
    report.add(table);
    Ok(())
}

/// What the relay handles, in words.
fn of_what(argument: &str, count: &str) -> &'static str {
    match argument {
        "--idle" => "idle pairs",
        "--lonely" => "connections without a partner",
        _ if count == "1" => "pair",
        _ => "pairs",
    }
}

const MAKERS: [Maker; 2] = [Maker::Ours, Maker::Python];
