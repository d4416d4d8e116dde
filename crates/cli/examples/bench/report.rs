//! The tables, and what has to be known to read them.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::Arguments;

/// All that was measured, in order.
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
    /// Notes the machine as it is before anything runs.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let runs = arguments.runs();
        let quick = if arguments.quick {
            "A QUICK RUN, with a sixteenth of the data: it proves nothing.\n\n"
        } else {
            ""
        };
        let introduction = format!(
            "# Benchmarks\n\n{quick}\
             Written by `scripts/bench`; medians of {runs} alternating runs on one machine, in a \
             network that is loopback alone.\n\
             Read ratios within one table, not figures across machines.\n\n\
             {}\n\n\
             \"Receive\" is the life of the receiving process, its start included. \"Code shown\" \
             is from the sender's start until its code is printed.\n\
             Files lie on tmpfs, output goes to a pipe (no progress bars), and every file that \
             arrives is compared.\n\
             Unless named otherwise, ours runs through our servers and every other program through \
             the Python servers.\n\
             wormhole-rs does not unpack folders: its time for 10,000 files ends with a tar \
             file.\n",
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
croc 11.2.5 speaks a protocol of its own. Measured once on such a machine, before this program \
existed: 1 GiB direct
in 2.5 s (407 MiB/s), through its relay in 2.7 s (378), 10,000 files of 4 KiB in 13 s, a text in \
0.29 s, code shown
after 0.01 s, 18 MiB of memory at its peak.
";
