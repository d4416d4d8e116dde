//! Loads a transit relay, any implementation of it, and prints what it can carry.
//!
//! ```text
//! cargo run --release -p wormhole-server --example relay_load -- 127.0.0.1:4001 --pid PID
//! cargo run --release -p wormhole-server --example relay_load -- 127.0.0.1:4001 --pid PID --idle 3000
//! ```
//!
//! With `--pid`, the relay's CPU time and memory are read from `/proc` (Linux). Use a fresh relay for
//! `--idle` and `--lonely`: what a link costs is a difference. One thread does everything, so that the
//! relay has the other core; the generator's own CPU time is printed to show what bounds a run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Loads a transit relay and prints what it can carry
#[derive(Debug, Parser)]
struct Arguments {
    /// The relay
    relay: SocketAddr,

    /// Process of the relay, for its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,

    /// Pairs that transfer at once
    #[arg(long, default_value_t = 1)]
    pairs: u32,

    /// MiB to transfer in each run, all pairs together
    #[arg(long, default_value_t = 2048)]
    mib: u32,

    /// KiB handed to the system at once
    #[arg(long, default_value_t = 256)]
    chunk: usize,

    /// Runs; the median is printed last
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// Compare every byte that arrives; costs the generator time
    #[arg(long)]
    check: bool,

    /// Instead of transferring, hold this many silent pairs
    #[arg(long)]
    idle: Option<u32>,

    /// Instead of transferring, hold this many links that wait for a partner
    #[arg(long)]
    lonely: Option<u32>,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
struct Run {
    mib_per_second: f64,
    /// CPU seconds per GiB, of the relay and of this program.
    relay_cpu: f64,
    own_cpu: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (arguments.idle, arguments.lonely) {
        (Some(pairs), _) => hold(&arguments, pairs, true).await,
        (None, Some(links)) => hold(&arguments, links, false).await,
        (None, None) => transfer(&arguments).await,
    }
}

async fn transfer(arguments: &Arguments) -> Result<()> {
    let mut runs = Vec::new();
    for number in 1..=arguments.runs {
        let run = one_run(arguments).await?;
        println!("run {number}: {}", run.line());
        runs.push(run);
    }
    let pairs = arguments.pairs;
    println!("median of {} runs, {pairs} pairs: {}", runs.len(), median(&runs).line());
    if let Some(pid) = arguments.pid {
        println!("peak memory of the relay: {:.1} MiB", status_kib(pid, "VmHWM:")? / 1024.0);
    }
    Ok(())
}

async fn one_run(arguments: &Arguments) -> Result<Run> {
    let bytes = u64::from(arguments.mib) * (1 << 20) / u64::from(arguments.pairs.max(1));
    let mut pairs = Vec::new();
    for _ in 0..arguments.pairs {
        pairs.push(Pair::new(arguments.relay).await?);
    }
    let cpu = || -> Result<(f64, f64)> {
        let relay = arguments.pid.map_or(Ok(f64::NAN), cpu_seconds)?;
        Ok((relay, cpu_seconds(std::process::id())?))
    };
    let (before, start) = (cpu()?, Instant::now());
    let mut tasks = JoinSet::new();
    for Pair { sender, receiver } in pairs {
        tasks.spawn(send(sender, bytes, arguments.chunk << 10));
        tasks.spawn(receive(receiver, bytes, arguments.check));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu()?);
    let gib = f64::from(arguments.mib) / 1024.0;
    Ok(Run {
        mib_per_second: f64::from(arguments.mib) / seconds,
        relay_cpu: (after.0 - before.0) / gib,
        own_cpu: (after.1 - before.1) / gib,
    })
}

/// Two links that the relay has glued together.
#[derive(Debug)]
struct Pair {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Pair {
    async fn new(relay: SocketAddr) -> Result<Self> {
        let token = token();
        let mut sender = ask(relay, &token, "0000000000000001").await?;
        let mut receiver = ask(relay, &token, "0000000000000002").await?;
        for link in [&mut sender, &mut receiver] {
            let mut answer = [0; 3];
            link.read_exact(&mut answer).await.context("the relay refuses")?;
            ensure!(&answer == b"ok\n", "the relay says {answer:?}");
        }
        Ok(Self { sender, receiver })
    }
}

async fn ask(relay: SocketAddr, token: &str, side: &str) -> Result<TcpStream> {
    let mut link = TcpStream::connect(relay).await.context("cannot reach the relay")?;
    link.write_all(format!("please relay {token} for side {side}\n").as_bytes()).await?;
    Ok(link)
}

/// 64 digits that nobody else will name.
fn token() -> String {
    use std::hash::{BuildHasher, RandomState};
    (0..4).map(|part| format!("{:016x}", RandomState::new().hash_one(part))).collect()
}

/// Sends `bytes` bytes; position `i` holds `i mod 251`.
async fn send(mut link: TcpStream, bytes: u64, chunk: usize) -> Result<()> {
    // Long enough that a chunk can start at any phase of the pattern.
    let pattern = pattern(chunk + PERIOD);
    let mut sent: u64 = 0;
    while sent < bytes {
        let phase = usize::try_from(sent % PERIOD_BYTES)?;
        let most = usize::try_from(bytes - sent)?.min(chunk);
        let piece = pattern.get(phase..phase + most).context("pattern too short")?;
        sent += u64::try_from(link.write(piece).await?)?;
    }
    // Stay until the receiver has everything and leaves: closing ends the pair.
    let _ = link.read(&mut [0]).await;
    Ok(())
}

/// Receives `bytes` bytes.
async fn receive(mut link: TcpStream, bytes: u64, check: bool) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let expected = pattern(buffer.len() + PERIOD);
    let mut received: u64 = 0;
    while received < bytes {
        let count = link.read(&mut buffer).await?;
        ensure!(count > 0, "the relay closed after {received} of {bytes} bytes");
        if check {
            let phase = usize::try_from(received % PERIOD_BYTES)?;
            let same = buffer.get(..count) == expected.get(phase..phase + count);
            ensure!(same, "wrong bytes after {received}");
        }
        received += u64::try_from(count)?;
    }
    Ok(())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % PERIOD).unwrap_or_default()).collect()
}

/// Opens silent pairs or waiting links and prints what each costs.
async fn hold(arguments: &Arguments, number: u32, paired: bool) -> Result<()> {
    let pid = arguments.pid.context("memory is measured with --pid")?;
    let before = status_kib(pid, "VmRSS:")?;
    let mut links = Vec::new();
    for _ in 0..number {
        if paired {
            let Pair { sender, receiver } = Pair::new(arguments.relay).await?;
            links.extend([sender, receiver]);
        } else {
            links.push(ask(arguments.relay, &token(), "0000000000000001").await?);
        }
    }
    // Whatever is still being set up settles; nothing signals its end.
    tokio::time::sleep(SETTLE).await;
    let after = status_kib(pid, "VmRSS:")?;
    let count = u32::try_from(links.len())?;
    let kind = if paired { "silent" } else { "waiting" };
    println!(
        "{count} {kind} links: {:.2} KiB each ({:.1} -> {:.1} MiB)",
        (after - before) / f64::from(count),
        before / 1024.0,
        after / 1024.0
    );
    Ok(())
}

impl Run {
    fn line(&self) -> String {
        let Self { mib_per_second, relay_cpu, own_cpu } = self;
        format!(
            "{mib_per_second:.0} MiB/s; CPU per GiB: relay {relay_cpu:.2} s, load generator (the clients) {own_cpu:.2} s"
        )
    }
}

/// The median of each figure by itself.
fn median(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| {
        let mut figures: Vec<_> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Run {
        mib_per_second: of(|run| run.mib_per_second),
        relay_cpu: of(|run| run.relay_cpu),
        own_cpu: of(|run| run.own_cpu),
    }
}

/// CPU time a process has used (proc(5), `stat`, fields 14 and 15 in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("unexpected /proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// A line of `/proc/PID/status`, in KiB.
fn status_kib(pid: u32, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {key} in /proc/PID/status"))?.parse()?)
}

/// Bytes after which the pattern repeats: a prime, so that no buffer is in step with it.
const PERIOD: usize = 251;

/// The same as a count of bytes on the wire.
const PERIOD_BYTES: u64 = 251;

/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(2);
