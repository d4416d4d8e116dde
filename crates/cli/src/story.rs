//! What sender and receiver say in the same words.

use wormhole::code::Welcome;
use wormhole::transfer::{Report, Settings};
use wormhole::transit::Path;

use crate::screen::Screen;
use crate::{printable, units};

/// Shown when the other side has the code but is slow to prove it.
pub(crate) const KEY_ESTABLISHED: &str = "Key established, waiting for confirmation...";

/// The mailbox server's name for people: the first address is tried first.
pub(crate) fn server(settings: &Settings) -> String {
    settings.servers.first().map(ToString::to_string).unwrap_or_default()
}

/// Shown when the mailbox server is gone for a while.
pub(crate) const SERVER_LOST: &str = "Lost the mailbox server, trying again..";

/// Shown when it is back.
pub(crate) const SERVER_FOUND: &str = "The mailbox server is back.";

/// Passes on what the server says to everybody.
pub(crate) fn welcome(welcome: &Welcome, server: &str, screen: &Screen) {
    let Some(motd) = welcome.motd.as_deref().filter(|motd| !motd.trim().is_empty()) else { return };
    let lines: Vec<_> = motd.trim().lines().map(printable::text).collect();
    screen.say(&format!("Server (at {server}) says:\n {}", lines.join("\n ")));
}

/// Says how much went how fast which way; nothing about a text.
pub(crate) fn summary(report: &Report, screen: &Screen) {
    let Some(path) = &report.path else { return };
    let size = units::size(report.bytes);
    let time = units::elapsed(report.elapsed);
    let rate = units::rate(report.bytes, report.elapsed).filter(|_| report.bytes >= MIN_RATED);
    let rate = rate.map(|rate| format!(" ({rate})")).unwrap_or_default();
    screen.say(&format!("{size} in {time}{rate}, {}", way(path)));
}

/// A number of files.
pub(crate) fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn way(path: &Path) -> String {
    match path {
        Path::Relay(relay) => {
            let relay = relay.strip_prefix("tcp:").unwrap_or(relay);
            format!("through the relay {}", printable::text(relay))
        }
        Path::Accepted(_) | Path::Direct(_) | _ => "direct".to_owned(),
    }
}

/// Fewer bytes than this say nothing about the speed of a connection.
const MIN_RATED: u64 = 100_000;
