//! Transfers: who sends what to whom, how long it takes and what it costs.
//!
//! Every file that arrives is compared with the one that was sent.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::Bench;
use crate::measure::{NEVER, Running, Used, median};
use crate::peer::{Line, Manner, Peer, What};
use crate::report::{Report, Table};
use crate::servers::{Maker, Servers};

/// What is measured together: both ends and the servers between them.
#[derive(Clone, Copy, Debug)]
struct Stack {
    name: &'static str,
    sender: Peer,
    receiver: Peer,
    servers: Maker,
    /// Additional options of both sides.
    options: &'static [&'static str],
}

/// What is sent, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Case {
    /// One file of 1 GiB.
    Big { relay: bool },
    /// 10,000 files of 4 KiB in 100 folders.
    Small,
    /// A text of one letter.
    Text,
}

/// One transfer. Times in seconds, memory in MiB.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// From the sender's start until its code is printed.
    code: f64,
    /// From the receiver's start until it has ended.
    receive: f64,
    send_cpu: f64,
    receive_cpu: f64,
    send_memory: f64,
    receive_memory: f64,
}

const STACKS: &[Stack] = &[
    Stack {
        name: "this program",
        sender: Peer::Ours,
        receiver: Peer::Ours,
        servers: Maker::Ours,
        options: &[],
    },
    Stack {
        name: "this program, version 1",
        sender: Peer::Ours,
        receiver: Peer::Ours,
        servers: Maker::Ours,
        options: &["--no-dilation"],
    },
    Stack {
        name: "this program, Python servers",
        sender: Peer::Ours,
        receiver: Peer::Ours,
        servers: Maker::Python,
        options: &[],
    },
    Stack {
        name: "this program to Python",
        sender: Peer::Ours,
        receiver: Peer::Python,
        servers: Maker::Python,
        options: &[],
    },
    Stack {
        name: "Python to this program",
        sender: Peer::Python,
        receiver: Peer::Ours,
        servers: Maker::Python,
        options: &[],
    },
    Stack {
        name: "Python",
        sender: Peer::Python,
        receiver: Peer::Python,
        servers: Maker::Python,
        options: &[],
    },
    Stack {
        name: "wormhole-rs",
        sender: Peer::Rust,
        receiver: Peer::Rust,
        servers: Maker::Python,
        options: &[],
    },
    Stack {
        name: "wormhole-william",
        sender: Peer::William,
        receiver: Peer::William,
        servers: Maker::Python,
        options: &[],
    },
];

const CASES: &[Case] =
    &[Case::Big { relay: false }, Case::Big { relay: true }, Case::Small, Case::Text];

impl Case {
    const fn title(self) -> &'static str {
        match self {
            Self::Big { relay: false } => "1 GiB, direct",
            Self::Big { relay: true } => "1 GiB, through the relay",
            Self::Small => "10,000 files of 4 KiB",
            Self::Text => "A text",
        }
    }

    /// Whether both ends can do it.
    fn suits(self, stack: Stack) -> bool {
        let without = |peer| stack.sender != peer && stack.receiver != peer;
        match self {
            Self::Big { relay: false } | Self::Small => true,
            // There is no way to keep wormhole-william from connecting directly.
            Self::Big { relay: true } => without(Peer::William),
            Self::Text => without(Peer::Rust),
        }
    }
}

/// Measures all stacks in all cases.
///
/// # Errors
/// A transfer failed, or what arrived is not what was sent.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let ours = Servers::start(bench, Maker::Ours, &bench.memory)?;
    let python = Servers::start(bench, Maker::Python, &bench.memory)?;
    for &case in CASES {
        let what = prepare(bench, case)?;
        let stacks: Vec<_> = STACKS.iter().copied().filter(|stack| case.suits(*stack)).collect();
        let mut figures = vec![Vec::new(); stacks.len()];
        for run in 0..bench.arguments.runs() {
            for (stack, figures) in stacks.iter().zip(&mut figures) {
                eprintln!("{}, {}, run {}", case.title(), stack.name, run + 1);
                let servers = if stack.servers == Maker::Ours { &ours } else { &python };
                figures.push(transfer(bench, *stack, servers, case, &what)?);
            }
        }
        report.add(table(bench, case, &stacks, &figures));
        remove(&what)?;
    }
    ours.stop();
    python.stop();
    Ok(())
}

/// Makes what is sent; a text is its own path.
fn prepare(bench: &Bench, case: Case) -> Result<PathBuf> {
    let path = bench.memory.join("what is sent");
    match case {
        Case::Big { .. } => random_file(&path, bench.arguments.scaled(1 << 30))?,
        Case::Small => {
            for folder in 0..bench.arguments.scaled(100).max(1) {
                let folder = path.join(format!("folder {folder}"));
                fs::create_dir_all(&folder)?;
                for file in 0..100 {
                    random_file(&folder.join(format!("file {file}")), 4096)?;
                }
            }
        }
        Case::Text => return Ok("x".into()),
    }
    Ok(path)
}

fn random_file(path: &Path, length: u64) -> Result<()> {
    let mut random = File::open("/dev/urandom")?.take(length);
    std::io::copy(&mut random, &mut File::create(path)?)?;
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// One transfer, checked.
fn transfer(
    bench: &Bench,
    stack: Stack,
    servers: &Servers,
    case: Case,
    what: &Path,
) -> Result<Figures> {
    let manner = Manner { relay_only: case == Case::Big { relay: true }, ..Manner::default() };
    let offer = match case {
        Case::Text => What::Text("x"),
        Case::Big { .. } | Case::Small => What::Path(what),
    };
    let folder = bench.memory.join("what arrives");
    fs::create_dir_all(&folder)?;
    let mut line = stack.sender.send(&servers.site, offer, manner);
    let options = || stack.options.iter().copied().map(str::to_owned);
    line.arguments.extend(options());
    let sender =
        Running::start(command(bench, &line, &bench.memory), "", stack.sender.before_code())?;
    let (code_after, code) = sender.word()?;
    // The sender has settled when a person types the code; so it has here.
    std::thread::sleep(Duration::from_millis(300));
    let mut line = stack.receiver.receive(&servers.site, &code, manner);
    line.arguments.extend(options());
    let input = stack.receiver.receiver_input(manner);
    let receiver = Running::start(command(bench, &line, &folder), input, NEVER)?;
    let received = receiver.finish()?;
    let sent = sender.finish()?;
    check(case, what, &folder)?;
    fs::remove_dir_all(&folder)?;
    Ok(figures(code_after, &sent, &received))
}

fn figures(code_after: Duration, sent: &Used, received: &Used) -> Figures {
    Figures {
        code: code_after.as_secs_f64(),
        receive: (received.ended - received.started).as_secs_f64(),
        send_cpu: sent.cpu,
        receive_cpu: received.cpu,
        send_memory: sent.memory,
        receive_memory: received.memory,
    }
}

fn command(bench: &Bench, line: &Line, folder: &Path) -> Command {
    let mut command = Command::new(&line.program);
    command
        .args(&line.arguments)
        .current_dir(folder)
        .env("HOME", &bench.memory)
        .env("XDG_CONFIG_HOME", &bench.memory)
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONUNBUFFERED", "1");
    command
}

/// Compares what arrived. wormhole-rs leaves a tar file of a folder; that counts.
fn check(case: Case, sent: &Path, folder: &Path) -> Result<()> {
    let arrived = folder.join(sent.file_name().unwrap_or_default());
    match case {
        Case::Text => {}
        Case::Big { .. } => ensure!(same(sent, &arrived)?, "the received file differs"),
        Case::Small if arrived.is_dir() => {
            ensure!(count(&arrived)? == count(sent)?, "files are missing");
        }
        Case::Small => ensure!(arrived.with_extension("tar").exists(), "no file has arrived"),
    }
    Ok(())
}

fn same(left: &Path, right: &Path) -> Result<bool> {
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let open = |path| Ok::<_, std::io::Error>(BufReader::with_capacity(1 << 20, File::open(path)?));
    let (mut left, mut right) = (open(left)?, open(right)?);
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = left.read(&mut a)?;
        let (Some(a), Some(b)) = (a.get(..count), b.get_mut(..count)) else { return Ok(false) };
        right.read_exact(b)?;
        if a != b {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// Files below a folder.
fn count(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        files += if path.is_dir() { count(&path)? } else { 1 };
    }
    Ok(files)
}

fn table(bench: &Bench, case: Case, stacks: &[Stack], figures: &[Vec<Figures>]) -> Table {
    let mut table = Table::new(
        case.title(),
        &[
            "program",
            "receive, s",
            "relative time",
            "MiB/s",
            "code shown, s",
            "sender CPU, s",
            "receiver CPU, s",
            "sender peak, MiB",
            "receiver peak, MiB",
        ],
    );
    let of = |figures: &[Figures], what: fn(&Figures) -> f64| {
        median(&figures.iter().map(what).collect::<Vec<_>>())
    };
    let ours = figures.first().map_or(f64::NAN, |figures| of(figures, |f| f.receive));
    for (stack, figures) in stacks.iter().zip(figures) {
        let receive = of(figures, |f| f.receive);
        let rate = match case {
            Case::Big { .. } => format!("{:.0}", mib(bench.arguments.scaled(1 << 30)) / receive),
            Case::Small | Case::Text => "-".to_owned(),
        };
        table.row(vec![
            stack.name.to_owned(),
            format!("{receive:.3}"),
            format!("{:.1} x", receive / ours),
            rate,
            format!("{:.3}", of(figures, |f| f.code)),
            format!("{:.2}", of(figures, |f| f.send_cpu)),
            format!("{:.2}", of(figures, |f| f.receive_cpu)),
            format!("{:.0}", of(figures, |f| f.send_memory)),
            format!("{:.0}", of(figures, |f| f.receive_memory)),
        ]);
    }
    table
}

/// Bytes in MiB.
fn mib(bytes: u64) -> f64 {
    crate::measure::as_f64(i64::try_from(bytes).unwrap_or(i64::MAX)) / f64::from(1 << 20)
}

/// Measures our peak memory for different file sizes. The file is sparse and is received to standard
/// output, so that it needs no disk space.
///
/// # Errors
/// A transfer failed.
pub(crate) fn measure_memory(bench: &Bench, report: &mut Report) -> Result<()> {
    let servers = Servers::start(bench, Maker::Ours, &bench.memory)?;
    let path = bench.memory.join("what is sent");
    let mut table =
        Table::new("Peak memory of this program", &["file size", "sender, MiB", "receiver, MiB"]);
    let last = if bench.arguments.quick { 1 << 10 } else { 100 << 10 };
    for size in [1, 1 << 10, last] {
        eprintln!("peak memory, {size} MiB");
        File::create(&path)?.set_len(size << 20)?;
        let line = Peer::Ours.send(&servers.site, What::Path(&path), Manner::default());
        let sender =
            Running::start(command(bench, &line, &bench.memory), "", Peer::Ours.before_code())?;
        let (_, code) = sender.word()?;
        let mut line = Peer::Ours.receive(&servers.site, &code, Manner::default());
        line.arguments.extend(["--output-file".into(), "-".into()]);
        let received = Running::start_mute(command(bench, &line, &bench.memory))?.finish()?;
        let sent = sender.finish()?;
        let name = if size < 1024 { format!("{size} MiB") } else { format!("{} GiB", size >> 10) };
        table.row(vec![name, format!("{:.1}", sent.memory), format!("{:.1}", received.memory)]);
    }
    servers.stop();
    remove(&path)?;
    report.add(table);
    Ok(())
}
