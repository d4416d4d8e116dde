//! Dilated connections: this program and the Python client 0.24, in all combinations: how fast streams are, and how soon data
//! flows again when the connection was lost.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::Bench;
use crate::measure::median;
use crate::report::{Report, Table};
use crate::servers::{Maker, Servers};
use crate::wire::Wire;

/// The program at one end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Ours,
    Python,
}

/// What is measured together: the end that leads, opens the streams and measures, and the one that echoes.
#[derive(Clone, Copy, Debug)]
struct Stack {
    name: &'static str,
    probe: End,
    echo: End,
}

/// One run. Times in milliseconds, sizes in MiB.
#[derive(Clone, Copy, Debug)]
struct Figures {
    round_trip: f64,
    short: f64,
    reset: f64,
    /// After the end of the dead path.
    dead: f64,
    memory: f64,
}

const STACKS: &[Stack] = &[
    Stack { name: "this program", probe: End::Ours, echo: End::Ours },
    Stack { name: "this program leads, Python follows", probe: End::Ours, echo: End::Python },
    Stack { name: "Python leads, this program follows", probe: End::Python, echo: End::Ours },
    Stack { name: "Python", probe: End::Python, echo: End::Python },
];

const APP_ID: &str = "example.com/dilation-bench";

/// Measures all stacks.
///
/// # Errors
/// A program failed.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let script = bench.memory.join("dilation_peer.py");
    fs::write(&script, include_str!("dilation_peer.py"))?;
    let servers = Servers::start(bench, Maker::Ours, &bench.memory)?;
    let wire = Wire::start(&servers.site.relay)?;
    let mut figures = vec![Vec::new(); STACKS.len()];
    for run in 0..bench.arguments.runs() {
        for (number, (stack, figures)) in STACKS.iter().zip(&mut figures).enumerate() {
            eprintln!("dilation, {}, run {}", stack.name, run + 1);
            let session = Session {
                bench,
                script: &script,
                mailbox: &servers.site.mailbox,
                nameplate: 100 + 2 * (run * STACKS.len() + number),
            };
            figures.push(session.measure(*stack, &wire)?);
        }
    }
    servers.stop();
    report.add(table(&figures));
    Ok(())
}

/// What the programs of a run need.
struct Session<'a> {
    bench: &'a Bench,
    script: &'a Path,
    mailbox: &'a str,
    /// The number of the first of two codes.
    nameplate: usize,
}

impl Session<'_> {
    fn measure(&self, stack: Stack, wire: &Wire) -> Result<Figures> {
        let (mut probe, echo) = self.pair(stack, None)?;
        let round_trip = probe.number("round-trips 200")?;
        let short = probe.number("short 100")?;
        let dead = dead_path(&mut probe)?;
        let memory = probe.peak()?.max(echo.peak()?);
        drop((probe, echo));
        let relay = format!("tcp:{}", wire.address);
        let (mut probe, _echo) = self.pair(stack, Some(&relay))?;
        let reset = reset(&mut probe, wire)?;
        Ok(Figures { round_trip, short, reset, dead, memory })
    }

    /// Starts both programs, and waits until they are connected: directly, or over this relay.
    fn pair(&self, stack: Stack, relay: Option<&str>) -> Result<(Peer, Peer)> {
        let number = self.nameplate + usize::from(relay.is_some());
        let code = format!("{number}-purple-sausages");
        let echo = Peer::start(self.command(stack.echo, "echo", relay, &code))?;
        let mut probe = Peer::start(self.command(stack.probe, "probe", relay, &code))?;
        probe.expect("ready", PATIENCE)?;
        if stack.echo == End::Python {
            echo.expect("ready", PATIENCE)?;
        }
        probe.ask("ping", PATIENCE)?;
        Ok((probe, echo))
    }

    fn command(&self, end: End, role: &str, relay: Option<&str>, code: &str) -> Command {
        if end == End::Python {
            let mut command = Command::new(self.bench.python("python"));
            command.arg(self.script).args([self.mailbox, APP_ID, code]);
            command.args([relay.unwrap_or("-"), role]);
            return command;
        }
        let mut command = Command::new(self.example(role));
        command.args(["--mailbox", self.mailbox, "--appid", APP_ID]);
        match relay {
            Some(relay) => drop(command.args(["--relay", relay])),
            None if role == "echo" => drop(command.arg("--direct")),
            None => {}
        }
        if role == "echo" {
            command.arg("--follow");
        }
        command.arg(code);
        command
    }

    fn example(&self, role: &str) -> PathBuf {
        self.bench.binary("examples").join(format!("dilate_{role}"))
    }
}

/// Takes the network down for five seconds. Returns the time from its return until data arrives.
fn dead_path(probe: &mut Peer) -> Result<f64> {
    set_loopback("down")?;
    probe.say("ping")?;
    thread::sleep(DEAD);
    set_loopback("up")?;
    let start = Instant::now();
    probe.expect_or_never("pong", start)
}

/// Resets the connection at the relay. Returns the time until data arrives.
fn reset(probe: &mut Peer, wire: &Wire) -> Result<f64> {
    wire.reset();
    let start = Instant::now();
    probe.say("ping")?;
    probe.expect_or_never("pong", start)
}

fn set_loopback(state: &str) -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", state]).status()?;
    ensure!(status.success(), "cannot set the network {state}");
    Ok(())
}

/// A running program, which answers lines with lines. Dropping it kills it.
struct Peer {
    child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Peer {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    fn ask(&mut self, line: &str, patience: Duration) -> Result<String> {
        self.say(line)?;
        Ok(self.lines.recv_timeout(patience)?)
    }

    fn number(&mut self, line: &str) -> Result<f64> {
        let answer = self.ask(line, PATIENCE)?;
        answer.parse().with_context(|| format!("{line}: {answer}"))
    }

    fn expect(&self, wanted: &str, patience: Duration) -> Result<()> {
        let line = self.lines.recv_timeout(patience)?;
        ensure!(line == wanted, "{line} instead of {wanted}");
        Ok(())
    }

    /// The milliseconds until the answer; infinite if it does not come.
    fn expect_or_never(&self, wanted: &str, start: Instant) -> Result<f64> {
        match self.lines.recv_timeout(NEVER) {
            Ok(line) if line == wanted => Ok(start.elapsed().as_secs_f64() * 1e3),
            Ok(line) => bail!("{line} instead of {wanted}"),
            Err(RecvTimeoutError::Timeout) => Ok(f64::INFINITY),
            Err(RecvTimeoutError::Disconnected) => bail!("the program has ended"),
        }
    }

    /// Its peak memory in MiB so far.
    fn peak(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()).context("no VmHWM")?;
        Ok(kilobytes.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn table(figures: &[Vec<Figures>]) -> Table {
    let mut table = Table::new(
        "A dilated connection",
        &[
            "program",
            "round trip, ms",
            "stream with 100 bytes and back, ms",
            "reset to data, s",
            "end of 5 s of dead path to data, s",
            "peak memory per side, MiB",
        ],
    );
    for (stack, figures) in STACKS.iter().zip(figures) {
        let of = |what: fn(&Figures) -> f64| median(&figures.iter().map(what).collect::<Vec<_>>());
        let seconds = |time: f64| match time.is_finite() {
            true => format!("{:.2}", time / 1e3),
            false => format!("more than {}", NEVER.as_secs()),
        };
        table.row(vec![
            stack.name.to_owned(),
            format!("{:.2}", of(|figures| figures.round_trip)),
            format!("{:.2}", of(|figures| figures.short)),
            seconds(of(|figures| figures.reset)),
            seconds(of(|figures| figures.dead)),
            format!("{:.0}", of(|figures| figures.memory)),
        ]);
    }
    table
}

/// How long the path is dead.
const DEAD: Duration = Duration::from_secs(5);

/// After this time, data is never expected to flow again.
const NEVER: Duration = Duration::from_secs(30);

/// Time limit for two programs to find each other, and for measurements without losses.
const PATIENCE: Duration = Duration::from_secs(60);
