//! Replays the fuzz corpus through the very bodies of the fuzz targets.

#![cfg(not(target_family = "wasm"))] // catches panics

#[path = "../../../fuzz/src/magic.rs"]
#[expect(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "written for the fuzz targets, where these are allowed"
)]
mod fuzz;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn nothing_in_the_corpus_upsets_a_decoder() {
    replay::corpus(fuzz::BODIES);
}

#[test]
fn every_corpus_and_every_target_has_its_body() {
    replay::inventory(fuzz::BODIES, |name| {
        !["chat_", "cli_", "node_", "sdk_", "server_", "whisper_"]
            .iter()
            .any(|other| name.starts_with(other))
    });
}
