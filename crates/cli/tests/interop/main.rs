//! Tests our programs with those of other authors, in both directions, through our servers and
//! through theirs.
//!
//! This is not where behaviour is specified; the scenarios (`scenario.rs`) are what two
//! users would try first. The peers are installed by `scripts/peers` and named by
//! `WORMHOLE_PEERS`; without it these tests pass without having looked, except under `CI`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod peer;
mod program;
mod scenario;
mod tree;
mod world;

/// One module of tests for a sender, a receiver and a kind of servers.
macro_rules! cases {
    ($servers:ident, $sender:ident => $receiver:ident: $($case:ident)+) => { $(
        #[test]
        fn $case() {
            $crate::scenario::$case($crate::scenario::Pair {
                servers: $crate::world::Servers::$servers,
                sender: $crate::peer::Peer::$sender,
                receiver: $crate::peer::Peer::$receiver,
            });
        }
    )+ };
}

/// Every case for a sender and a receiver, through both kinds of servers; `also` names the cases
/// that not every pair can try.
macro_rules! pair {
    ($name:ident, $sender:ident => $receiver:ident, also: $($also:ident)*) => {
        mod $name {
            mod through_our_servers { pair!(Ours, $sender => $receiver, $($also)*); }
            mod through_python_servers { pair!(Python, $sender => $receiver, $($also)*); }
        }
    };
    ($servers:ident, $sender:ident => $receiver:ident, $($also:ident)*) => {
        cases!($servers, $sender => $receiver:
            a_file_arrives_through_the_relay_alone
            a_file_of_64_mib_arrives
            a_file_of_one_byte_arrives
            a_folder_with_odd_names_arrives
            a_refused_offer_ends_both_sides
            a_wrong_code_fails_on_both_sides
            an_empty_file_arrives
            the_receiver_notices_a_dying_sender
            the_sender_notices_a_dying_receiver
            $($also)*
        );
    };
}

pair!(ours_to_ours, Ours => Ours,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ
        files_that_change_cost_only_themselves);
pair!(ours_to_python, Ours => Python,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ
        files_that_change_cost_only_themselves);
pair!(python_to_ours, Python => Ours,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ);
pair!(ours_to_debian, Ours => Debian,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ
        files_that_change_cost_only_themselves);
pair!(debian_to_ours, Debian => Ours,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ);
pair!(ours_to_william, Ours => William,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ
        files_that_change_cost_only_themselves);
pair!(william_to_ours, William => Ours,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ);
// wormhole-rs knows no text and no verifier: the text that ours sends is refused, and only our
// sender can ask its user to compare.
pair!(ours_to_rust, Ours => Rust,
    also: a_text_arrives both_see_the_same_verifier nothing_arrives_when_the_verifiers_differ);
pair!(rust_to_ours, Rust => Ours, also:);

/// From the Python servers to ours, with clients that are waiting meanwhile.
mod moving {
    mod ours_to_python {
        cases!(Python, Ours => Python: a_code_outlives_the_move_to_our_servers);
    }
    mod python_to_ours {
        cases!(Python, Python => Ours: a_code_outlives_the_move_to_our_servers);
    }
}
