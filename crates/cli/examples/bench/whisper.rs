//! Whisper: what the examples of `crates/whisper` print of the core, and that of `crates/server` of a
//! node, compared with the goals.
//!
//! go-ethereum 1.9.7 is not run here: its figures are those that were once measured.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::measure::{NEVER, Running, median};
use crate::report::{Report, Table};

/// What is measured, the goal, and the result of go-ethereum 1.9.7 on a similar machine.
const ROWS: &[[&str; 3]] = &[
    ["nonces tried, Portable, 284 bytes", "≥ 2.5 M/s", "0.59 M/s"],
    ["nonces tried, Avx2, 284 bytes", "≥ 4 M/s", "0.59 M/s"],
    ["nonces tried, Avx512, 284 bytes", "≥ 12 M/s", "0.59 M/s"],
    ["nonces tried, Portable, 65536 bytes", "as for 284 bytes", HASHES_ALL],
    ["nonces tried, Avx2, 65536 bytes", "as for 284 bytes", HASHES_ALL],
    ["nonces tried, Avx512, 65536 bytes", "as for 284 bytes", HASHES_ALL],
    ["relay of envelopes of 512 bytes to 4 peers, RLPx included", "≥ 20,000 envelopes/s", "-"],
    [
        "relay of envelopes of 512 bytes to 4 peers, a real node with sockets",
        "≥ 20,000 envelopes/s",
        "-",
    ],
    ["memory of a node with 5 peers, compared with the bytes in its pool", "≤ 2 x", "-"],
    ["1,000 filters on 1,000 envelopes with topics", "≤ 30 ms", "-"],
    ["1,000 filters on 1,000 envelopes without topics", "≤ 2,000 ms", "-"],
    ["insertion into a pool of a million envelopes, mean", "-", "-"],
    ["insertion into a pool of a million envelopes, longest", "≤ 5 ms", "-"],
    ["expiry, pool of a million envelopes, mean", "-", "-"],
    ["expiry, pool of a million envelopes, longest step of 512 envelopes", "≤ 5 ms", "-"],
];

/// Why go-ethereum's speed for 284 bytes does not apply to larger envelopes.
const HASHES_ALL: &str = "slower: hashes the whole envelope for each nonce";

/// Measures Whisper on one processor core.
///
/// # Errors
/// An example failed, or was not built.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut printed = Vec::new();
    for run in 0..bench.arguments.runs() {
        for example in ["mining_speed", "node_speed", "whisper_load"] {
            eprintln!("whisper, {example}, run {}", run + 1);
            let command = Command::new(bench.binary("examples").join(example));
            let used = Running::start(command, "", NEVER)?.finish()?;
            for line in used.output.lines() {
                printed.push(parse(line).with_context(|| format!("{example} prints {line:?}"))?);
            }
        }
    }
    let mut table =
        Table::new("Whisper, one core", &["what", "measured", "goal", "go-ethereum 1.9.7"]);
    for [what, goal, geth] in ROWS {
        let of_it = || printed.iter().filter(|(name, ..)| name == what);
        let values: Vec<f64> = of_it().map(|(_, value, _)| *value).collect();
        let unit = of_it().next().map_or("", |(_, _, unit)| unit.as_str());
        let measured = if values.is_empty() {
            "not supported by this processor".to_owned()
        } else {
            format!("{} {unit}", median(&values))
        };
        table.row([*what, &measured, *goal, *geth].map(str::to_owned).to_vec());
    }
    report.add(table);
    Ok(())
}

/// Parses `name: number unit`.
fn parse(line: &str) -> Option<(String, f64, String)> {
    let (name, rest) = line.split_once(": ")?;
    let (number, unit) = rest.split_once(' ')?;
    Some((name.to_owned(), number.parse().ok()?, unit.to_owned()))
}
