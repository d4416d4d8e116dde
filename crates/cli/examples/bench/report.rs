//! The page with the tables, and how to read them.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::Arguments;

/// All results, in order.
#[derive(Debug)]
pub(crate) struct Report {
    introduction: String,
    tables: Vec<Table>,
}

/// One table.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: &'static str, head: &[&'static str]) -> Self {
        Self { title, head: head.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl Report {
    /// Records the state of the machine before anything runs.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let runs = arguments.runs();
        let quick = if arguments.quick {
            "A QUICK RUN with a sixteenth of the data: do not use these figures.\n\n"
        } else {
            ""
        };
        let introduction = format!(
            "# Benchmarks\n\n{quick}\
             How fast this program and its servers are, compared with other programs. \
             `scripts/bench` measured all of it on one machine, over loopback.\n\
             Each figure is the median of {runs} runs; the programs took turns. Compare figures \
             within one table, not with other machines.\n\n\
             {}\n\n\
             - \"Receive\" is the run time of the receiving process, including its start. \"Code \
             shown\" is the time from the start of the sender until it prints the code.\n\
             - Files are on tmpfs, and output goes to a pipe (no progress bars). Every received \
             file is compared with the original.\n\
             - \"This program to Python\" means that this program sends and Python receives. In rows \
             with one name, one program does both.\n\
             - Unless a row says otherwise, this program uses our servers, and every other program \
             uses the Python servers.\n\
             - wormhole-rs does not unpack folders: its time for 10,000 files ends when it has \
             written a tar file.\n\
             - A message of our messaging service is complete when its sender has the receipt: the \
             message and the receipt are each stored on the disk, delivered, confirmed and removed. \
             ejabberd's clients send no receipts. The load generators run on the same cores.\n",
            machine()
        );
        Self { introduction, tables: Vec::new() }
    }

    pub(crate) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// The whole page.
    ///
    /// # Errors
    /// None in practice: it writes to memory.
    pub(crate) fn finish(self) -> Result<String> {
        let mut page = self.introduction;
        page.push_str(CROC);
        for Table { title, head, rows } in self.tables {
            writeln!(page, "\n## {title}\n\n| {} |", head.join(" | "))?;
            writeln!(page, "|{}", "---|".repeat(head.len()))?;
            for row in rows {
                writeln!(page, "| {} |", row.join(" | "))?;
            }
        }
        Ok(page)
    }
}

/// Processor, memory, system and load, in one line.
fn machine() -> String {
    let value = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "Machine: {}, {cores} cores, {} of memory, Linux {}, {}; load {load} at the start.",
        value("/proc/cpuinfo", "model name"),
        gibibytes(&value("/proc/meminfo", "MemTotal")),
        said("uname", "-r"),
        said("rustc", "--version"),
    )
}

/// `24684092 kB` as `24 GiB`.
fn gibibytes(kilobytes: &str) -> String {
    let number = kilobytes.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    number.map_or_else(String::new, |number| format!("{} GiB", number.div_ceil(1 << 20)))
}

/// croc is in no package registry, so this program cannot install it.
const CROC: &str = "\
- croc 11.2.5 uses its own protocol. It was measured once on a similar machine, before this \
program existed: 1 GiB direct
  in 2.5 s (407 MiB/s), through its relay in 2.7 s (378 MiB/s), 10,000 files of 4 KiB in 13 s, a \
text in 0.29 s, code shown
  after 0.01 s, peak memory 18 MiB.
";
