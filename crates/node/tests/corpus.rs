//! Replays the fuzz corpus through the very bodies of the fuzz targets.

#[path = "../../../fuzz/src/node.rs"]
#[expect(
    clippy::expect_used,
    unreachable_pub,
    reason = "written for the fuzz targets and the library"
)]
#[allow(unfulfilled_lint_expectations, reason = "what is public in the library is not so here")]
mod fuzz;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn nothing_in_the_corpus_upsets_a_decoder() {
    replay::corpus(fuzz::BODIES);
}

#[test]
fn every_corpus_and_every_target_has_its_body() {
    replay::inventory(fuzz::BODIES, |name| name.starts_with("node_"));
}
