//! The cost of encryption: this program, libsignal-client and vodozemac in turns.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use super::{median_of, run_program};
use crate::Bench;
use crate::report::{Report, Table};

/// The programs to compare, each with the figures of its runs.
#[derive(Default)]
struct Rounds {
    ours: Vec<Value>,
    libsignal: Vec<Value>,
    /// A version whose sessions always have the post-quantum ratchet.
    libsignal_ratchet: Vec<Value>,
    vodozemac: Vec<Value>,
}

/// Measures the operations of a session, without and with the post-quantum ratchet.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPTS).join(name);
    let libsignal = |version: &str| {
        let mut command = Command::new("node");
        command.arg(script("libsignal_speed.mjs"));
        command.arg(bench.arguments.peers.join(format!("libsignal-{version}/node_modules")));
        command
    };
    let mut rounds = Rounds::default();
    for run in 0..bench.arguments.runs() {
        eprintln!("encryption, run {}", run + 1);
        let mut vodozemac = Command::new(bench.arguments.peers.join("venv-chat/bin/python"));
        vodozemac.arg(script("vodozemac_speed.py"));
        rounds.ours.push(run_program(Command::new(bench.binary("examples/speed")))?);
        rounds.libsignal.push(run_program(libsignal("0.72.1"))?);
        rounds.libsignal_ratchet.push(run_program(libsignal("0.103.0"))?);
        rounds.vodozemac.push(run_program(vodozemac)?);
    }
    report.add(rounds.operations());
    report.add(rounds.ratchet());
    Ok(())
}

impl Rounds {
    fn operations(&self) -> Table {
        let head = [
            "operation, µs",
            "this program",
            "libsignal-client 0.72.1, from node",
            "vodozemac 0.10, from Python",
        ];
        let mut table = Table::new("Messages of 256 bytes: encryption, one core", &head);
        for (key, name) in OPERATIONS {
            let mut cells = vec![name.to_owned()];
            let programs = [&self.ours, &self.libsignal, &self.vodozemac];
            cells.extend(programs.map(|rounds| microseconds(median_of(rounds, key))));
            table.row(cells);
        }
        table
    }

    /// What the post-quantum ratchet adds to a message. Its keys are exchanged in pieces, so only the average over whole
    /// exchanges says what it costs.
    fn ratchet(&self) -> Table {
        let head = [
            "operation, µs",
            "this program, without it",
            "this program, with it",
            "libsignal-client 0.103.0, from node",
        ];
        let title = "Messages of 256 bytes with the post-quantum ratchet, one core";
        let mut table = Table::new(title, &head);
        for (key, name) in RATCHET_OPERATIONS {
            let ratchet = median_of(&self.ours, &format!("ratchet_{key}"));
            let without = median_of(&self.ours, key);
            let share = 100.0 * (ratchet / without - 1.0);
            table.row(vec![
                name.to_owned(),
                microseconds(without),
                format!("{} ({share:+.0} %)", microseconds(ratchet)),
                microseconds(median_of(&self.libsignal_ratchet, key)),
            ]);
        }
        table
    }
}

/// With one digit after the point; `-` if a program does not have the operation.
fn microseconds(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.1}") }
}

/// The keys in the figures of each implementation, and their names.
const OPERATIONS: [(&str, &str); 7] = [
    ("encrypt", "encrypt"),
    ("decrypt", "decrypt"),
    ("dh_step", "encrypt and decrypt, with a Diffie-Hellman step"),
    ("x3dh_begin", "X3DH: check keys, begin a session, encrypt"),
    ("x3dh_receive", "X3DH: decrypt a first message"),
    ("pqxdh_begin", "PQXDH: check keys, begin a session, encrypt"),
    ("pqxdh_receive", "PQXDH: decrypt a first message"),
];

/// The same for messages with the post-quantum ratchet; ours have `ratchet_` before the key.
const RATCHET_OPERATIONS: [(&str, &str); 3] = [
    ("encrypt", "encrypt, one side alone"),
    ("decrypt", "decrypt, one side alone"),
    ("dh_step", "encrypt and decrypt, in turns, average over two exchanges of keys"),
];

/// The folder of the scripts that measure other implementations.
const SCRIPTS: &str = "examples/bench/chat";
