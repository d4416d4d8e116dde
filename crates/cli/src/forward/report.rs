//! Shows what happens in a session: lines for people, or JSON (docs/json.md).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::code::Code;
use wormhole::forward::{Event, ServiceName, Traffic};

use super::spec;
use crate::args::ForwardArgs;
use crate::console::Console;
use crate::request::Servers;
use crate::{json as events, printable, progress, units};

/// The output so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The services of the open connections.
    open: BTreeMap<u64, ServiceName>,
    /// How many connections of each service were opened.
    opened: BTreeMap<ServiceName, u64>,
    is_connected: bool,
    /// The traffic that was reported last: open connections, bytes sent and received.
    last: (u64, u64, u64),
}

impl Report {
    /// Shows an event.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn show(&mut self, event: &Event, console: &Console) -> Result<()> {
        if let Some(line) = self.sentence(event) {
            console.screen.show(&line);
        }
        match json_of(event) {
            Some(value) => console.report(&value),
            None => Ok(()),
        }
    }

    fn sentence(&mut self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Connected(path) if self.is_connected => {
                format!("Connected again {}. Nothing was lost.", progress::route(path))
            }
            Event::Connected(path) => {
                self.is_connected = true;
                format!("Connected {}.", progress::route(path))
            }
            Event::Listening { name, address, wanted_port } => {
                let wish = wanted_port.map(|port| {
                    format!(
                        " (the other side suggests port {port}: --client {}:{port})",
                        shown(name)
                    )
                });
                format!("{} is at {address}{}", shown(name), wish.unwrap_or_default())
            }
            Event::Offered(name) => format!("{} can be reached from the other side", shown(name)),
            Event::NotOffered { name, reason } => format!(
                "The other side does not listen for {} yet: {}",
                shown(name),
                printable::line(reason)
            ),
            Event::NobodyOffers(name) => format!(
                "The other side does not offer {}: connections to it are closed",
                shown(name)
            ),
            Event::NotWanted(name) => format!(
                "The other side offers {}. To use it, start again with --client {0}",
                shown(name)
            ),
            Event::Opened { id, name, .. } => {
                self.open.insert(*id, name.clone());
                let count = self.opened.entry(name.clone()).or_default();
                *count += 1;
                // Single connections would flood the screen: the status line counts them.
                return (*count == 1).then(|| format!("First connection to {}", shown(name)));
            }
            Event::Closed { id, failure, .. } => {
                let name = self.open.remove(id)?;
                let failure = printable::line(failure.as_ref()?);
                format!("A connection to {} has broken: {failure}", shown(&name))
            }
            Event::NotOpened { name, is_incoming: true, reason } => format!(
                "The other side wanted to connect to {}, but: {}",
                shown(name),
                printable::line(reason)
            ),
            Event::NotOpened { name, reason, .. } => {
                format!("No connection to {}: {}", shown(name), printable::line(reason))
            }
            Event::PeerLeft => "The other side has ended the session.".to_owned(),
            // A later event of the SDK.
            _ => return None,
        })
    }

    /// Shows the counters.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn show_traffic(&mut self, traffic: &Traffic, console: &mut Console) -> Result<()> {
        let now = (traffic.open(), traffic.sent(), traffic.received());
        if !self.is_connected || now == self.last {
            return Ok(());
        }
        self.last = now;
        let (open, sent, received) = now;
        let (up, down) = (units::size(sent), units::size(received));
        console.screen.show_status(&format!("{open} open, {up} sent, {down} received"));
        console.report(&json!({
            "event": "traffic", "open": open, "sent": sent, "received": received,
        }))
    }

    /// Shows the totals at the end.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn end(&self, traffic: &Traffic, console: &Console) -> Result<()> {
        let (sent, received) = (traffic.sent(), traffic.received());
        let connections: u64 = self.opened.values().sum();
        if self.is_connected {
            let (up, down) = (units::size(sent), units::size(received));
            let plural = if connections == 1 { "" } else { "s" };
            console
                .screen
                .show(&format!("{connections} connection{plural}, {up} sent, {down} received"));
        }
        console.report(&json!({
            "event": "done", "connections": connections, "sent": sent, "received": received,
        }))
    }
}

/// Shows a new code and the command for the other side.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn show_code(
    code: &Code,
    args: &ForwardArgs,
    servers: &Servers,
    console: &Console,
) -> Result<()> {
    let (code, options) = (code.to_string(), counterpart(args));
    let options = options.iter().map(String::as_str);
    let command = servers.other_side(["forward"].into_iter().chain(options).chain([code.as_str()]));
    console.screen.show("On the other computer, run:\n");
    console.print(&format!("{command}\n"))?;
    console.screen.show("");
    console.report(&json!({"event": "code", "code": code}))
}

/// The options of the other side. A service has to run there, so its port is unknown here.
fn counterpart(args: &ForwardArgs) -> Vec<String> {
    let clients = args.service.iter().filter_map(|text| spec::service(text).ok());
    let clients = clients.map(|service| match service.listen_port {
        Some(port) => format!("--client={}:{port}", service.name),
        None => format!("--client={}", service.name),
    });
    let services = args.client.iter().filter_map(|text| spec::client(text).ok());
    let services = services.map(|spec| match spec.connect_port {
        Some(port) => format!("--service={}:{port}", spec.name),
        None => format!("--service={}:PORT", spec.name),
    });
    let local = args.remote_forward.iter().map(|text| format!("-L{text}"));
    let remote = args.local_forward.iter().map(|text| format!("-R{text}"));
    clients.chain(services).chain(local).chain(remote).collect()
}

/// Shows the address of a listener that others can reach, too.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn bound(name: &ServiceName, address: SocketAddr, console: &Console) -> Result<()> {
    if !address.ip().is_loopback() {
        console.screen.show(&format!(
            "wormhole: warning: other computers can reach {} at {address}, too",
            shown(name)
        ));
    }
    console.report(&json!({
        "event": "bound", "service": name.as_str(), "address": address.to_string(),
    }))
}

fn json_of(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Connected(path) => events::connected(path),
        Event::Listening { name, address, wanted_port } => json!({
            "event": "listening", "service": name.as_str(), "address": address.to_string(),
            "wanted_port": wanted_port,
        }),
        Event::Offered(name) => json!({"event": "offered", "service": name.as_str()}),
        Event::NotOffered { name, reason } => {
            json!({"event": "not-offered", "service": name.as_str(), "reason": reason})
        }
        Event::NobodyOffers(name) => json!({"event": "nobody-offers", "service": name.as_str()}),
        Event::NotWanted(name) => json!({"event": "not-wanted", "service": name.as_str()}),
        Event::Opened { id, name, is_incoming } => json!({
            "event": "opened", "id": id, "service": name.as_str(), "incoming": is_incoming,
        }),
        Event::Closed { id, sent, received, failure } => json!({
            "event": "closed", "id": id, "sent": sent, "received": received, "failure": failure,
        }),
        Event::NotOpened { name, is_incoming, reason } => json!({
            "event": "not-opened", "service": name.as_str(), "incoming": is_incoming,
            "reason": reason,
        }),
        Event::PeerLeft => json!({"event": "peer-left"}),
        // A later event of the SDK.
        _ => return None,
    })
}

fn shown(name: &ServiceName) -> String {
    printable::line(name.as_str())
}

/// Time between two updates of the counters.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
