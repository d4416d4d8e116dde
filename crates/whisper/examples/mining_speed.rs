//! Prints the number of nonces per second on one core, for each back end and two envelope sizes.
//! `scripts/bench` reads the lines: a name, a number, its unit.
//!
//! `cargo run --release -p wormhole-whisper --example mining_speed [SECONDS]`

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "an example measures and prints; the library does neither"
)]

use std::time::Duration;

use wormhole_kit::Instant;
use wormhole_whisper::shh::{Draft, Miner, Topic, miner::Backend};

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    for backend in [Backend::Portable, Backend::Avx2, Backend::Avx512] {
        for bytes in [284, 64 * 1024] {
            if backend.is_available() {
                let rate = rate(backend, bytes, Duration::from_secs_f64(seconds));
                println!("nonces tried, {backend:?}, {bytes} bytes: {rate:.2} M/s");
            }
        }
    }
}

/// Millions of nonces per second.
fn rate(backend: Backend, bytes: usize, time: Duration) -> f64 {
    let topic = Topic([1, 2, 3, 4]);
    let draft = Draft { expiry: 1_575_000_050, ttl: 50, topic, data: vec![0x42; bytes] };
    let mut miner = Miner::new(&draft, 256).with_backend(backend);
    let start = Instant::now();
    let mut tried = 0_u32;
    while start.elapsed() < time {
        miner.step(STEP.into());
        tried += STEP / 1000;
    }
    f64::from(tried) / 1000.0 / start.elapsed().as_secs_f64()
}

/// Nonces between two clock reads.
const STEP: u32 = 64_000;
