//! Replays the fuzz corpus with the code of the fuzz targets.

#[path = "../../../fuzz/src/whisper.rs"]
#[expect(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
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
    replay::inventory(fuzz::BODIES, |name| name.starts_with("whisper_"));
}
