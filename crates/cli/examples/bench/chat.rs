//! Messaging: the cost of encryption, and the service under load, compared with libsignal-client, vodozemac and ejabberd.

mod ejabberd;
mod encryption;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use wormhole_testbed::{Durability, Postgres};

use crate::Bench;
use crate::measure::median;
use crate::network::is_real_root;
use crate::report::{Report, Table};
use crate::servers::{figures, load, number};
use ejabberd::Offline;

/// Measures everything about messaging.
///
/// # Errors
/// A program failed.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    encryption::measure(bench, report)?;
    measure_history(bench, report)?;
    measure_files(bench, report)?;
    if !is_real_root() {
        eprintln!(
            "skipped the messaging service: PostgreSQL and ejabberd need users of their own here"
        );
        return Ok(());
    }
    let postgres = Postgres::start(Durability::Full, Some(Path::new(DISK)));
    let postgres = postgres.map_err(|missing| anyhow!("{missing:?}: run scripts/peers"))?;
    measure_messages(bench, report, &postgres)?;
    measure_groups(bench, report)?;
    measure_requests(bench, report)?;
    measure_idle(bench, report)
}

/// The history of a client, and linking a device to which it is copied.
fn measure_history(bench: &Bench, report: &mut Report) -> Result<()> {
    let count = bench.arguments.scaled(1_000_000);
    eprintln!("a history of {count} messages");
    let folder = bench.disk.join("history");
    fs::create_dir_all(&folder)?;
    let mut command = Command::new(bench.binary("examples/chat_history"));
    // It makes its runs itself, because writing the store takes longest.
    command.arg(&folder).arg(count.to_string());
    let measured = run_program(command);
    fs::remove_dir_all(&folder)?;
    let measured = measured?;
    let title = "Message history on the client: an encrypted store with a million messages";
    let mut table = Table::new(title, &["what", "ms"]);
    let link = format!("link a device and copy {} messages to it", count / 100);
    for (key, name) in [
        ("open_ms", "open the store"),
        ("rare_ms", "search: find the only message with a word, the oldest"),
        ("common_ms", "search: first message with a frequent word"),
        ("two_ms", "search: first message with two words"),
        ("link_ms", &link),
    ] {
        table.row(vec![name.to_owned(), format!("{:.1}", number(&measured, key))]);
    }
    report.add(table);
    Ok(())
}

/// Files of 200 MiB between two people, through the service and directly.
fn measure_files(bench: &Bench, report: &mut Report) -> Result<()> {
    eprintln!("files of 200 MiB in a chat");
    let folder = bench.disk.join("files");
    fs::create_dir_all(&folder)?;
    let mut command = Command::new(bench.binary("examples/chat_files"));
    // It makes its runs itself, with the same accounts.
    command.arg(&folder);
    let measured = run_program(command);
    fs::remove_dir_all(&folder)?;
    let measured = measured?;
    let title = "Large files in a chat: 200 MiB from one disk to the other on this computer, encrypted, stored and checked";
    let mut table = Table::new(title, &["way", "MiB/s"]);
    for (key, name) in [
        ("service_mib_per_s", "through the service, as two files"),
        ("direct_mib_per_s", "directly, as one file"),
    ] {
        table.row(vec![name.to_owned(), format!("{:.0}", number(&measured, key))]);
    }
    report.add(table);
    Ok(())
}

/// Runs a program and returns the JSON that it prints.
fn run_program(mut command: Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    figures(&String::from_utf8_lossy(&output.stdout))
}

fn median_of(rounds: &[Value], key: &str) -> f64 {
    median(&rounds.iter().map(|figures| number(figures, key)).collect::<Vec<_>>())
}

/// Messages that are stored before the sender is told so, and what ejabberd does that comes closest.
fn measure_messages(bench: &Bench, report: &mut Report, postgres: &Postgres) -> Result<()> {
    let head = [
        "service",
        "messages/s",
        "CPU µs per message",
        "half load: accepted, p50 and p99, ms",
        "delivered, p50 and p99, ms",
    ];
    let mut table = Table::new(
        "Messaging service: messages of 256 bytes between two devices, stored, delivered and confirmed",
        &head,
    );
    let count = bench.arguments.scaled(40_000);
    let services = [("this program, SQLite", None), ("this program, PostgreSQL", Some(postgres))];
    for (name, postgres) in services {
        let (mut full, mut half) = (Vec::new(), Vec::new());
        for run in 0..bench.arguments.runs() {
            eprintln!("{name}, run {}", run + 1);
            let database =
                |kind: &str| postgres.map(|it| it.create_database(&format!("chat_{kind}_{run}")));
            let messages = format!("--messages={count}");
            full.push(load_service(bench, database("full"), &["messages", &messages])?);
            let rate = median_of(&full, "messages_per_s") / 2.0;
            let arguments = [
                "messages",
                &format!("--messages={:.0}", rate * 5.0),
                &format!("--rate={rate:.0}"),
            ];
            half.push(load_service(bench, database("half"), &arguments)?);
        }
        let pair = |kind: &str| {
            let of = |share: &str| median_of(&half, &format!("{kind}_{share}_ms"));
            format!("{:.1}; {:.1}", of("p50"), of("p99"))
        };
        table.row(vec![
            name.to_owned(),
            format!("{:.0}", median_of(&full, "messages_per_s")),
            format!("{:.0}", median_of(&full, "server_cpu_us_per_message")),
            pair("accepted"),
            pair("delivered"),
        ]);
    }
    for offline in [Offline::Mnesia, Offline::Postgres(postgres.create_database("ejabberd"))] {
        table.row(ejabberd::measure_stored(bench, &offline)?);
    }
    table.row(ejabberd::measure_online(bench)?);
    report.add(table);
    Ok(())
}

/// A message to a group whose members are all connected. The times begin with its encryption.
fn measure_groups(bench: &Bench, report: &mut Report) -> Result<()> {
    let members = bench.arguments.scaled(1000);
    let mut rounds = Vec::new();
    for run in 0..bench.arguments.runs() {
        eprintln!("a group of {members} members, run {}", run + 1);
        rounds.push(load_service(bench, None, &["group", &format!("--members={members}")])?);
    }
    let title = "Messaging service: a message of 256 bytes to a group of 1,000 connected members";
    let mut table = Table::new(title, &["what", "measured"]);
    for (key, name, unit) in [
        ("encrypted_ms", "encrypted and sealed for all members", "ms"),
        ("accepted_ms", "stored for all members", "ms"),
        ("delivered_p50_ms", "half of the members have it", "ms"),
        ("complete_ms", "the last member has it", "ms"),
        ("server_cpu_us_per_member", "CPU of the server for each member", "µs"),
    ] {
        table.row(vec![name.to_owned(), format!("{:.1} {unit}", median_of(&rounds, key))]);
    }
    report.add(table);
    Ok(())
}

/// Keys and attachments, for which ejabberd has no counterpart in the same form.
fn measure_requests(bench: &Bench, report: &mut Report) -> Result<()> {
    let (mut bundles, mut attachments) = (Vec::new(), Vec::new());
    let requests = format!("--requests={}", bench.arguments.scaled(20_000));
    let count = format!("--count={}", bench.arguments.scaled(32).max(2));
    for run in 0..bench.arguments.runs() {
        eprintln!("keys and attachments, run {}", run + 1);
        bundles.push(load_service(bench, None, &["bundles", &requests])?);
        attachments.push(load_service(bench, None, &["attachments", &count])?);
    }
    let head = ["what", "measured"];
    let mut table = Table::new("Messaging service: keys and attachments", &head);
    let mut row = |what: &str, rounds: &[Value], key: &str, unit: &str| {
        table.row(vec![what.to_owned(), format!("{:.0} {unit}", median_of(rounds, key))]);
    };
    row("keys of a device, requests", &bundles, "bundles_per_s", "per second");
    row("keys of a device, CPU of the server", &bundles, "server_cpu_us_per_bundle", "µs");
    row("attachments of 64 MiB, upload", &attachments, "up_mib_per_s", "MiB/s");
    row("attachments of 64 MiB, download", &attachments, "down_mib_per_s", "MiB/s");
    report.add(table);
    Ok(())
}

fn measure_idle(bench: &Bench, report: &mut Report) -> Result<()> {
    let count = bench.arguments.scaled(15_000);
    eprintln!("{count} idle sockets");
    let ours = load_service(bench, None, &["idle", &format!("--sockets={count}")])?;
    let theirs = ejabberd::measure_idle(bench, count)?;
    let head = ["service", "connections", "memory of each, KiB"];
    let mut table = Table::new("Messaging service: idle authenticated connections", &head);
    for (name, figures, key) in
        [("this program", ours, "kib_per_socket"), ("ejabberd", theirs, "kib_per_connection")]
    {
        let kib = format!("{:.1}", number(&figures, key));
        table.row(vec![name.to_owned(), count.to_string(), kib]);
    }
    report.add(table);
    Ok(())
}

/// Runs the load generator with a new server and an empty database.
fn load_service(bench: &Bench, database: Option<String>, arguments: &[&str]) -> Result<Value> {
    let folder = bench.disk.join("messaging");
    fs::create_dir_all(&folder)?;
    let mut all: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    all.push(format!("--server={}", bench.binary("wormhole-server").display()));
    all.push(format!("--folder={}", folder.display()));
    all.extend(database.map(|url| format!("--db={url}")));
    let output = load(bench, "messaging_load", &all);
    fs::remove_dir_all(&folder)?;
    figures(&output?)
}

/// A folder on a disk that the users `postgres` and `ejabberd` can reach.
const DISK: &str = "/var/tmp";
