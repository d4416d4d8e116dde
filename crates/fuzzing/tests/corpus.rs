//! Replays the corpora of the fuzz targets: each interesting input is a test case.

#![expect(clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use wormhole_fuzzing::{Body, chat, magic, node, sdk, server, whisper};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

/// Runs every body on its corpus.
fn replay(bodies: &[(&str, Body)]) {
    for (name, body) in bodies {
        let entries = fs::read_dir(folder("corpus").join(name)).expect("every target has a corpus");
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("a corpus can be listed").path();
            let bytes = fs::read(&path).expect("a corpus can be read");
            let result = std::panic::catch_unwind(|| body(&bytes));
            assert!(result.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has an empty corpus");
    }
}

/// Every body of this package, with the name of its target and of its corpus.
fn bodies() -> impl Iterator<Item = (&'static str, Body)> {
    let packages =
        [chat::BODIES, magic::BODIES, node::BODIES, sdk::BODIES, server::BODIES, whisper::BODIES];
    packages.into_iter().flatten().copied()
}

#[test]
fn no_input_of_the_chat_corpora_breaks_a_decoder() {
    replay(chat::BODIES);
}

#[test]
fn no_input_of_the_magic_wormhole_corpora_breaks_a_decoder() {
    replay(magic::BODIES);
}

#[test]
fn no_input_of_the_node_corpora_breaks_a_decoder() {
    replay(node::BODIES);
}

#[test]
fn no_input_of_the_sdk_corpora_breaks_a_decoder() {
    replay(sdk::BODIES);
}

#[test]
fn no_input_of_the_server_corpora_breaks_a_decoder() {
    replay(server::BODIES);
}

#[test]
fn no_input_of_the_whisper_corpora_breaks_a_decoder() {
    replay(whisper::BODIES);
}

#[test]
fn every_corpus_and_every_target_has_a_body() {
    let mut bodies: Vec<_> = bodies().map(|(name, _)| name.to_owned()).collect();
    bodies.sort_unstable();
    for kind in ["corpus", "fuzz_targets"] {
        let entries = fs::read_dir(folder(kind)).expect("the folder of the fuzz targets");
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
            .collect();
        names.sort_unstable();
        assert_eq!(names, bodies, "{kind}");
    }
}
