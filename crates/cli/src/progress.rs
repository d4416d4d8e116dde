//! Shows the events that `send` and `receive` display in the same way.

use wormhole::code::{self, Welcome};
use wormhole::transfer::{Event, MetadataLoss, Report, Settings};
use wormhole::transit::Path;

use crate::active_transfer::ActiveTransfer;
use crate::screen::Screen;
use crate::{printable, units};

/// The address of the mailbox server that is tried first.
pub(crate) fn server(settings: &Settings) -> String {
    settings.servers.first().map(ToString::to_string).unwrap_or_default()
}

/// Shows an event that sender and receiver show in the same way. Returns any other event.
#[expect(clippy::wildcard_enum_match_arm, reason = "returns every other event")]
pub(crate) fn show(event: Event, active: &mut ActiveTransfer<'_>) -> Option<Event> {
    match event {
        Event::Wormhole(event) => return show_wormhole(event, active).map(Event::Wormhole),
        Event::ServerRetry { .. } | Event::PortTaken { .. } => {
            if let Some(line) = trouble(&event) {
                active.console.screen.show(&line);
            }
        }
        Event::Resuming { done, total } => {
            let of = total.map(|total| format!(" of {}", units::size(total))).unwrap_or_default();
            active.console.screen.show(&format!("Continuing at {}{of}.", units::size(done)));
        }
        Event::ConnectionLost => {
            active.console.screen.show("Lost the connection to the other side; reconnecting..");
        }
        Event::Kept(path) => active.console.screen.show(&kept(&path)),
        Event::Progress { done, total } => active.console.screen.show_progress(done, total),
        other => return Some(other),
    }
    None
}

#[expect(clippy::wildcard_enum_match_arm, reason = "returns every other event")]
fn show_wormhole(event: code::Event, active: &mut ActiveTransfer<'_>) -> Option<code::Event> {
    match event {
        code::Event::Server(server) => active.set_server(server.to_string()),
        code::Event::Welcome(message) => {
            welcome(&message, active);
            show_proof_of_work(&message, active);
        }
        code::Event::ServerLost => {
            active.console.screen.show(SERVER_LOST);
        }
        code::Event::ServerFound => {
            active.console.screen.show(SERVER_FOUND);
        }
        code::Event::Key(_) => {
            active.notice_if_peer_is_silent("Key established, waiting for confirmation...");
        }
        other => return Some(other),
    }
    None
}

/// Describes trouble with the mailbox server or with a port, if this event is about that and worth a line.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other event is no trouble")]
pub(crate) fn trouble(event: &Event) -> Option<String> {
    match event {
        // Less and less often, because it can take hours.
        Event::ServerRetry { why, failures, pause } if failures.is_power_of_two() => {
            let (why, seconds) = (printable::line(&why.to_string()), pause.as_secs().max(1));
            Some(format!(
                "The mailbox server still cannot be reached ({why}); next attempt in {seconds} s."
            ))
        }
        Event::PortTaken { port, kind } => Some(format!(
            "Note: cannot listen on port {port} ({kind}). The transfer continues, but the other side \
             cannot connect directly to this computer."
        )),
        _ => None,
    }
}

/// Describes the leftover of an interrupted transfer.
pub(crate) fn kept(path: &std::path::Path) -> String {
    let path = printable::path(path);
    format!(
        "What has arrived is kept in '{path}'. Receive the same again within 7 days to continue."
    )
}

/// Shows the message of the day of the server.
fn welcome(welcome: &Welcome, active: &ActiveTransfer<'_>) {
    let Some(motd) = welcome.motd.as_deref().filter(|motd| !motd.trim().is_empty()) else { return };
    let lines: Vec<_> = motd.trim().lines().take(MAX_MOTD).map(printable::line).collect();
    let (server, lines) = (active.server(), lines.join("\n "));
    active.console.screen.show(&format!("Server (at {server}) says:\n {lines}"));
}

/// Announces a proof of work that the server requires and that can take long.
fn show_proof_of_work(welcome: &Welcome, active: &ActiveTransfer<'_>) {
    let required = welcome.permission_required.as_ref().and_then(|it| it.hashcash.as_ref());
    if let Some(hashcash) = required.filter(|hashcash| hashcash.bits >= LONG_WORK) {
        active.console.screen.show(&format!(
            "The mailbox server requires a proof of work of {} bits: computing it..",
            hashcash.bits
        ));
    }
}

/// Shows size, time, speed and path of a transfer; nothing for a text.
pub(crate) fn summary(report: &Report, screen: &Screen) {
    let Some(path) = &report.path else { return };
    let size = units::size(report.bytes);
    let time = units::elapsed(report.elapsed);
    let moved = report.bytes.saturating_sub(report.resumed);
    let rate = units::rate(moved, report.elapsed).filter(|_| moved >= MIN_RATED);
    let rate = rate.map(|rate| format!(" ({rate})")).unwrap_or_default();
    screen.show(&format!("{size} in {time}{rate}, {}", route(path)));
}

/// A number of files.
pub(crate) fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// The warning about permissions and times that could not be set.
pub(crate) fn lost(lost: &MetadataLoss) -> String {
    let what: Vec<_> = [
        (lost.permissions, "set the permissions of", ""),
        (lost.times, "set the time of", ""),
        (lost.links, "create", ", because the disk has no symbolic links"),
        (lost.unflushed, "flush", " to the disk"),
    ]
    .iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, verb, rest)| match count {
        1 => format!("{verb} 1 file or directory{rest}"),
        count => format!("{verb} {count} files or directories{rest}"),
    })
    .collect();
    let consequence = match lost.unflushed {
        0 if lost.links > 0 => "Everything else is complete.",
        0 => "The contents are complete.",
        _ => "All data was received, but it may be lost if this computer crashes now.",
    };
    format!(
        "warning: could not {}, such as '{}': {}. {consequence}",
        what.join(" and "),
        printable::path(&lost.path),
        printable::line(&lost.why),
    )
}

/// How the two sides are connected, in a few words.
pub(crate) fn route(path: &Path) -> String {
    match path {
        Path::Relay(relay) => {
            let relay = relay.strip_prefix("tcp:").unwrap_or(relay);
            format!("through the relay {}", printable::text(relay))
        }
        path if path.is_local() => "direct, LAN".to_owned(),
        Path::Accepted(_) | Path::Direct(_) => "direct".to_owned(),
        // A later kind of connection.
        path => printable::text(&path.to_string()),
    }
}

/// The mailbox server does not answer any more, or again.
pub(crate) const SERVER_LOST: &str = "Lost the connection to the mailbox server; reconnecting..";
pub(crate) const SERVER_FOUND: &str = "Reconnected to the mailbox server.";

/// The notice while the connection takes long.
pub(crate) const CONNECTING: &str = "Connecting to the other side..";

/// Bits of a proof of work that can take more than a second.
const LONG_WORK: u32 = 20;

/// The speed is shown from this number of bytes on.
const MIN_RATED: u64 = 100_000;

/// Maximum number of lines of the message of the day.
const MAX_MOTD: usize = 24;
