//! Continuing a large file: how long it takes until new data arrives, when nine tenths are there already.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::Bench;
use crate::measure::{NEVER, Running, median};
use crate::report::{Report, Table};
use crate::servers::{Maker, Servers};

/// One continued transfer. Times in seconds since the start of the receiver.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// When the receiver says what it has.
    resuming: f64,
    /// When it reports new data. It reports several times per second, so the data arrived earlier.
    new_data: f64,
    /// When it has ended.
    end: f64,
}

/// Measures it.
///
/// # Errors
/// A program failed, or the transfer was not continued.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let servers = Servers::start(bench, Maker::Ours, &bench.memory)?;
    let size = bench.arguments.scaled(10 << 30);
    let source = bench.memory.join("sparse");
    File::create(&source)?.set_len(size)?;
    let folder = bench.memory.join("what arrives");
    let transfer = Transfer { bench, servers: &servers, source: &source, folder: &folder };
    let mut figures = Vec::new();
    for run in 0..bench.arguments.runs() {
        eprintln!("continuing, run {}", run + 1);
        fs::create_dir_all(&folder)?;
        transfer.interrupt(2 * run + 1, size / 10 * 9)?;
        figures.push(transfer.resume(2 * run + 2, size)?);
        fs::remove_dir_all(&folder)?;
    }
    servers.stop();
    fs::remove_file(&source)?;
    report.add(table(&figures));
    Ok(())
}

/// A file on its way.
struct Transfer<'a> {
    bench: &'a Bench,
    servers: &'a Servers,
    source: &'a Path,
    folder: &'a Path,
}

impl Transfer<'_> {
    /// Transfers the first `bytes`, then kills both programs.
    fn interrupt(&self, nameplate: usize, bytes: u64) -> Result<()> {
        let sender = self.send(nameplate)?;
        let mut receiver = self.receive(nameplate)?;
        receiver.wait_for("progress", |event| done(event) >= bytes)?;
        drop(receiver);
        sender.stop();
        Ok(())
    }

    fn resume(&self, nameplate: usize, size: u64) -> Result<Figures> {
        let sender = self.send(nameplate)?;
        let mut receiver = self.receive(nameplate)?;
        let (resuming, kept) = receiver.wait_for("resuming", |_| true)?;
        ensure!(kept >= size / 10 * 9 - (64 << 20), "only {kept} bytes were kept");
        let (new_data, _) = receiver.wait_for("progress", |event| done(event) > kept)?;
        let (end, _) = receiver.wait_for("done", |_| true)?;
        sender.finish()?;
        Ok(Figures { resuming, new_data, end })
    }

    fn send(&self, nameplate: usize) -> Result<Running> {
        let mut command = self.command();
        command.args(["send", "--no-qr", "--hide-progress", "--code", &code(nameplate)]);
        command.arg(self.source);
        Running::start(command, "", NEVER)
    }

    fn receive(&self, nameplate: usize) -> Result<Receiver> {
        let mut command = self.command();
        command.args(["--json", "receive", "--accept-file", &code(nameplate)]);
        Receiver::start(command.current_dir(self.folder))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.bench.binary("wormhole"));
        command.args(["--relay-url", &self.servers.site.mailbox]);
        command.args(["--transit-helper", &format!("tcp:{}", self.servers.site.relay)]);
        command.env("HOME", &self.bench.memory).env("XDG_CONFIG_HOME", &self.bench.memory);
        command
    }
}

fn code(nameplate: usize) -> String {
    format!("{nameplate}-purple-sausages")
}

/// The bytes that an event counts.
fn done(event: &Value) -> u64 {
    event.get("done").and_then(Value::as_u64).unwrap_or_default()
}

/// A receiving program, which prints events. Dropping it kills it.
struct Receiver {
    child: Child,
    started: Instant,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    fn start(command: &mut Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        Ok(Self { child, started, lines: BufReader::new(output).lines() })
    }

    /// Waits for an event. Returns the seconds since the start, and the bytes that the event counts.
    fn wait_for(&mut self, name: &str, matches: impl Fn(&Value) -> bool) -> Result<(f64, u64)> {
        while self.started.elapsed() < PATIENCE {
            let line = self.lines.next().context("the receiver has ended")??;
            let event: Value = serde_json::from_str(&line)?;
            if event.get("event").is_some_and(|it| it == name) && matches(&event) {
                return Ok((self.started.elapsed().as_secs_f64(), done(&event)));
            }
        }
        bail!("the receiver did not print {name}")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn table(figures: &[Figures]) -> Table {
    let title = "A sparse file of 10 GiB, continued at 90 %";
    let columns = ["resuming, s", "new data reported, s", "complete and compared, s"];
    let mut table = Table::new(title, &columns);
    let of = |what: fn(&Figures) -> f64| {
        format!("{:.2}", median(&figures.iter().map(what).collect::<Vec<_>>()))
    };
    table.row(vec![of(|f| f.resuming), of(|f| f.new_data), of(|f| f.end)]);
    table
}

/// Time limit for one transfer.
const PATIENCE: Duration = Duration::from_secs(300);
