//! Replays a fuzz corpus: every interesting input becomes a test case.
//!
//! Each package that has decoders includes this in its `tests/corpus.rs`.

#![allow(clippy::expect_used, reason = "a part of tests, in some packages only by its place")]

use std::fs;
use std::path::{Path, PathBuf};

/// The name of a fuzz target, and its body.
type Named = (&'static str, fn(&[u8]));

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

/// Runs every body on its corpus.
pub(crate) fn corpus(bodies: &[Named]) {
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

/// Checks that each target and each corpus of this package (`is_ours`) has a body, and the reverse.
pub(crate) fn inventory(bodies: &[Named], is_ours: fn(&str) -> bool) {
    let bodies: Vec<_> = bodies.iter().map(|(name, _)| (*name).to_owned()).collect();
    for kind in ["corpus", "fuzz_targets"] {
        let entries = fs::read_dir(folder(kind)).expect("the folder of the fuzz targets");
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
            .filter(|name| is_ours(name))
            .collect();
        names.sort_unstable();
        assert_eq!(names, bodies, "{kind}");
    }
}
