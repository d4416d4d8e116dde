//! Starts real PostgreSQL and NATS servers for tests and benchmarks, each in a temporary folder and on a free
//! port of the loopback address, and GNOME Keyring on a session bus of its own.
//!
//! `scripts/peers` installs the programs. The servers are looked for in the folder that `WORMHOLE_POSTGRES` names, or
//! at the path that `WORMHOLE_NATS` names, then in `PATH`, then where Debian installs them. Without them, a test should
//! print the reason and skip; under `CI` it must fail ([`installed_or_skip`]).
//!
//! A small shell script ends each server and removes its folder when the test ends, in whatever way: even a
//! killed test closes the pipe that the script reads.

#![expect(clippy::expect_used, clippy::panic, reason = "a test without its server must fail")]

mod keyring;
mod nats;
mod postgres;
mod supervised;

pub use keyring::{DesktopKeyring, SessionBus};
pub use nats::Nats;
pub use postgres::{Durability, Postgres};

/// Returns the server, or prints why the test is skipped.
///
/// # Panics
/// The server is not installed, and `CI` is set.
pub fn installed_or_skip<T>(started: Result<T, NotInstalled>) -> Option<T> {
    match started {
        Ok(server) => Some(server),
        Err(NotInstalled(program)) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "{program} is not installed: run scripts/peers"
            );
            eprintln!("skipped: {program} is not installed (scripts/peers installs it)");
            None
        }
    }
}

/// The name of a program that is not installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotInstalled(&'static str);
