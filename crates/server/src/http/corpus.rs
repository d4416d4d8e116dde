//! Replays the fuzz corpus through the bodies of the fuzz targets.

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;

use crate::fuzzing::BODIES;

#[test]
fn nothing_in_the_corpus_upsets_a_decoder() {
    replay::corpus(BODIES);
}

#[test]
fn every_corpus_and_every_target_has_its_body() {
    replay::inventory(BODIES, |name| name.starts_with("server_"));
}
