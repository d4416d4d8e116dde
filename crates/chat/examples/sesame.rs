//! Runs the simulation of `tests/sesame.rs` until people have written so many messages (default: 100,000), in towns of 2,000
//! messages each, prints what has happened, and fails if a message was lost. Half of the towns have a device whose store is
//! sometimes replaced with an older copy.
//!
//! `cargo run --release -p wormhole-chat --features fast-x25519 --example sesame -- 100000`

#![expect(
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a simulation may panic, and prints"
)]

#[path = "../tests/support/town.rs"]
mod town;

use std::process::ExitCode;

use town::{Counts, Town};

fn main() -> ExitCode {
    let wanted: usize = std::env::args().nth(1).map_or(100_000, |text| text.parse().unwrap());
    let (mut total, mut wrong) = (Counts::default(), 0);
    for seed in 0.. {
        if total.messages >= wanted {
            break;
        }
        let town = Town::new(seed);
        let mut town = if seed % 2 == 0 { town } else { town.with_backups() };
        town.run(PER_TOWN);
        town.settle();
        let problems = town.problems();
        problems.iter().for_each(|problem| println!("seed {seed}: {problem}"));
        wrong += problems.len();
        total.add(town.counts);
        let Counts { retries, messages, .. } = town.counts;
        println!(
            "seed {seed}: {retries} retries for {messages} messages; in all {total:?}, problems: {wrong}"
        );
    }
    if wrong > 0 {
        return ExitCode::FAILURE;
    }
    println!("Every message was read once by every device that should.");
    ExitCode::SUCCESS
}

const PER_TOWN: usize = 2_000;
