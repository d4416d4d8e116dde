//! Our command against itself through our servers: two processes, as two people would start them.
//!
//! Foreign peers are in `interop.rs`, what is said before anything connects is in `cmd.rs`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "tests may panic")]

#[expect(dead_code, reason = "the tests of chat use more of it")]
#[path = "transfers/world.rs"]
mod world;

#[cfg(unix)]
#[path = "transfers/away.rs"]
mod away;
#[path = "transfers/choices.rs"]
mod choices;
#[path = "transfers/codes.rs"]
mod codes;
#[path = "transfers/destination.rs"]
mod destination;
#[path = "transfers/early.rs"]
mod early;
#[path = "transfers/environment.rs"]
mod environment;
#[cfg(unix)]
#[path = "transfers/forward.rs"]
mod forward;
#[path = "transfers/jobs.rs"]
mod jobs;
#[path = "transfers/kept.rs"]
mod kept;
#[path = "transfers/kinds.rs"]
mod kinds;
#[path = "transfers/programs.rs"]
mod programs;
#[cfg(target_os = "linux")]
#[path = "transfers/resume.rs"]
mod resume;
#[cfg(unix)]
#[path = "transfers/servers.rs"]
mod servers;
#[path = "transfers/several.rs"]
mod several;
#[path = "transfers/share.rs"]
mod share;
#[cfg(target_os = "linux")]
#[path = "transfers/share_kills.rs"]
mod share_kills;
#[path = "transfers/terminal.rs"]
mod terminal;
#[path = "transfers/trouble.rs"]
mod trouble;
