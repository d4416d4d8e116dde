//! Mailbox servers with PostgreSQL: one node under load, and how fast a message gets from one node to another.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow};
use serde_json::Value;
use wormhole_testbed::{Durability, Nats, Postgres};

use crate::Bench;
use crate::measure::{Running, median};
use crate::network::is_real_root;
use crate::report::{Report, Table};
use crate::servers::{figures, load, number, start};

/// Measures both.
///
/// # Errors
/// A server or the generator failed.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    if !is_real_root() {
        eprintln!("skipped PostgreSQL: it needs root here, to run as the user `postgres`");
        return Ok(());
    }
    let postgres = Postgres::start(Durability::Full, Some(Path::new(DISK)))
        .map_err(|missing| anyhow!("{missing:?}: run scripts/peers"))?;
    let head = ["clients", "exchanges/s", "p50, ms", "p99, ms", "errors", "CPU ms per exchange"];
    let mut table = Table::new(
        "Mailbox server: complete exchanges of two clients, one node with PostgreSQL",
        &head,
    );
    for clients in [100, 1000] {
        let mut rounds = Vec::new();
        for run in 0..bench.arguments.runs() {
            eprintln!("mailbox with PostgreSQL, {clients} clients, run {}", run + 1);
            let url = postgres.create_database(&format!("load_{clients}_{run}"));
            rounds.push(exchanges(bench, &url, clients)?);
        }
        let of = |key: &str| median(&rounds.iter().map(|r| number(r, key)).collect::<Vec<_>>());
        table.row(vec![
            clients.to_string(),
            format!("{:.0}", of("cycles_per_s")),
            format!("{:.0}", of("lat_p50_ms")),
            format!("{:.0}", of("lat_p99_ms")),
            format!("{:.0}", of("errors")),
            format!("{:.2}", of("server_cpu_ms_per_cycle")),
        ]);
    }
    report.add(table);
    measure_notifications(bench, report, &postgres)
}

/// One round of whole exchanges on a new database.
fn exchanges(bench: &Bench, url: &str, clients: u64) -> Result<Value> {
    let node = start_node(bench, PORTS[0], url, "postgres")?;
    let cycles = bench.arguments.scaled(20_000).to_string();
    let arguments = [
        "cycles".into(),
        format!("--url=ws://127.0.0.1:{}/v1", PORTS[0]),
        format!("--pid={}", node.id()),
        format!("--clients={clients}"),
        format!("--cycles={cycles}"),
    ];
    let output = load(bench, "mailbox_load", &arguments)?;
    node.stop();
    figures(&output)
}

/// The time from a client of one node to a client of another node.
fn measure_notifications(bench: &Bench, report: &mut Report, postgres: &Postgres) -> Result<()> {
    let nats = Nats::start().map_err(|missing| anyhow!("{missing:?}: run scripts/peers"))?;
    let head =
        ["notified through", "message arrives, p50, ms", "p99, ms", "its author's echo, p50, ms"];
    let mut table = Table::new("Mailbox server: from one node to another", &head);
    for (name, wake) in [("PostgreSQL", "postgres".to_owned()), ("NATS", nats.url())] {
        eprintln!("two mailbox nodes, {name}");
        let url = postgres.create_database(&format!("wake_{}", name.to_lowercase()));
        let nodes =
            [start_node(bench, PORTS[0], &url, &wake)?, start_node(bench, PORTS[1], &url, &wake)?];
        let arguments = [
            "wake".into(),
            format!("--url=ws://127.0.0.1:{}/v1", PORTS[0]),
            format!("--other=ws://127.0.0.1:{}/v1", PORTS[1]),
            format!("--messages={}", bench.arguments.scaled(8000)),
        ];
        let found = figures(&load(bench, "mailbox_load", &arguments)?)?;
        nodes.into_iter().for_each(Running::stop);
        table.row(vec![
            name.to_owned(),
            format!("{:.1}", number(&found, "delivery_p50_ms")),
            format!("{:.1}", number(&found, "delivery_p99_ms")),
            format!("{:.1}", number(&found, "echo_p50_ms")),
        ]);
    }
    report.add(table);
    Ok(())
}

fn start_node(bench: &Bench, port: u16, url: &str, wake: &str) -> Result<Running> {
    let mut command = Command::new(bench.binary("wormhole-server"));
    command.args(["mailbox", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--db", url, "--wake", wake]);
    start(command, &bench.memory, port)
}

/// Where the nodes listen.
const PORTS: [u16; 2] = [4100, 4110];

/// A folder on a disk that the user `postgres` can reach.
const DISK: &str = "/var/tmp";
