//! Replays the fuzz corpus: whatever once was interesting to a decoder is a test for ever.
//!
//! The fuzz targets themselves are in `fuzz/`; this runs their very bodies.

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

use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

#[test]
fn nothing_in_the_corpus_upsets_a_decoder() {
    for (name, body) in fuzz::BODIES {
        let entries = fs::read_dir(folder("corpus").join(name)).expect("every target has a corpus");
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let result = std::panic::catch_unwind(|| body(&bytes));
            assert!(result.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has an empty corpus");
    }
}

#[test]
fn every_corpus_and_every_target_has_its_body() {
    let names = |kind: &str| {
        let entries = fs::read_dir(folder(kind)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name.starts_with("whisper_"))
            .collect();
        names.sort_unstable();
        names
    };
    let bodies: Vec<_> = fuzz::BODIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("corpus"), bodies);
    assert_eq!(names("fuzz_targets"), bodies);
}
