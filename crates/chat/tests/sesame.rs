//! Three people with one to six devices each, in a town where everything goes wrong (Sesame): messages, responses and
//! acknowledgements are lost, duplicated and reordered; devices crash between any two steps; clocks are wrong; devices are added,
//! removed and installed again; and everybody may start a session at the same moment.
//!
//! `cargo run --release -p wormhole-chat --example sesame -- 100000` runs more messages.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "support/town.rs"]
mod town;

use town::Town;

#[test]
fn every_message_is_read_once_by_every_device_that_should() {
    let mut readings = 0;
    for seed in 0..4 {
        let mut town = Town::new(seed);
        town.run(600);
        town.settle();
        town.check(seed);
        let counts = town.counts;
        assert!(counts.readings > 50 && counts.crashes > 5 && counts.changes > 2, "{counts:?}");
        // Each change but the first installations has a list of its own.
        assert!(counts.lists > 10, "{counts:?}");
        readings += counts.readings;
    }
    assert!(readings > 800, "{readings}");
}

#[test]
fn attack_23_a_device_with_an_older_copy_of_its_store_misses_nothing() {
    let (mut restored, mut retries) = (0, 0);
    for seed in 100..105 {
        let mut town = Town::new(seed).with_backups();
        town.run(400);
        town.settle();
        town.check(seed);
        restored += town.counts.restored;
        retries += town.counts.retries;
    }
    assert!(restored >= 4 && retries > 10, "{restored} {retries}");
}
