//! Measures this project and the programs that people use today, on one machine and in one run, and
//! writes `docs/benchmarks.md`.
//!
//! ```text
//! scripts/bench                 everything: medians of 5 runs, about half an hour
//! scripts/bench --quick         one run of everything with a sixteenth of the data, printed only
//! ```
//!
//! Everything, including the servers, runs in a network namespace (`network.rs`); nothing leaves the
//! machine. The programs take turns, so that noise affects all of them. Only ratios within one table
//! matter: do not add figures of another machine.

mod chat;
mod dilation;
mod forward;
mod measure;
mod network;
mod nodes;
#[path = "../../tests/interop/peer.rs"]
#[expect(dead_code, reason = "the tests know more about the peers than their speed")]
mod peer;
mod report;
mod resume;
mod servers;
mod transfers;
mod whisper;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;

/// Measures this program and others, and writes docs/benchmarks.md
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Runs of each case; the result is the median
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// One run of everything with little data, printed only
    #[arg(long)]
    quick: bool,

    /// Folder in which scripts/peers has installed the other programs
    #[arg(long, env = "WORMHOLE_PEERS", default_value = "target/peers")]
    peers: PathBuf,

    /// Parts to measure
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "transfers,memory,resume,dilation,forward,mailbox,nodes,relay,whisper,chat"
    )]
    only: Vec<String>,

    /// File to write
    #[arg(long, default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

impl Arguments {
    /// How much data a case moves: all of it, or a sixteenth.
    const fn scaled(&self, full: u64) -> u64 {
        if self.quick { full / 16 } else { full }
    }

    const fn runs(&self) -> usize {
        if self.quick { 1 } else { self.runs }
    }

    fn wants(&self, part: &str) -> bool {
        self.only.iter().any(|wanted| wanted == part)
    }
}

/// What every part needs to know.
#[derive(Debug)]
struct Bench {
    arguments: Arguments,
    /// The folder of our release binaries.
    binaries: PathBuf,
    /// A folder on tmpfs, so that disks do not influence the results.
    memory: PathBuf,
    /// A folder on a disk, for databases.
    disk: PathBuf,
}

fn main() -> Result<()> {
    network::enter()?;
    let mut arguments = Arguments::parse();
    arguments.peers = arguments.peers.canonicalize().context("run scripts/peers first")?;
    let own = std::env::current_exe()?;
    let binaries = own.ancestors().nth(2).context("run this with scripts/bench")?.to_owned();
    let (memory, disk) = (Path::new("/dev/shm/wormhole-bench"), binaries.join("bench"));
    for folder in [memory, disk.as_path()] {
        let _absent = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
    }
    let bench = Bench { arguments, binaries, memory: memory.to_owned(), disk };
    let result = bench.run();
    for folder in [&bench.memory, &bench.disk] {
        fs::remove_dir_all(folder)?;
    }
    result
}

impl Bench {
    fn run(&self) -> Result<()> {
        let mut report = report::Report::new(&self.arguments);
        if self.arguments.wants("transfers") {
            transfers::measure(self, &mut report)?;
        }
        if self.arguments.wants("memory") {
            transfers::measure_memory(self, &mut report)?;
        }
        if self.arguments.wants("resume") {
            resume::measure(self, &mut report)?;
        }
        if self.arguments.wants("dilation") {
            dilation::measure(self, &mut report)?;
        }
        if self.arguments.wants("forward") {
            forward::measure(self, &mut report)?;
        }
        if self.arguments.wants("mailbox") {
            servers::measure_mailboxes(self, &mut report)?;
        }
        if self.arguments.wants("nodes") {
            nodes::measure(self, &mut report)?;
        }
        if self.arguments.wants("relay") {
            servers::measure_relays(self, &mut report)?;
        }
        if self.arguments.wants("whisper") {
            whisper::measure(self, &mut report)?;
        }
        if self.arguments.wants("chat") {
            chat::measure(self, &mut report)?;
        }
        let text = report.finish()?;
        println!("{text}");
        if !self.arguments.quick {
            fs::write(&self.arguments.output, text)?;
            eprintln!("written to {}", self.arguments.output.display());
        }
        Ok(())
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    fn python(&self, name: &str) -> PathBuf {
        self.arguments.peers.join("venv/bin").join(name)
    }
}
