//! `doctor`: checks everything that a transfer needs, then runs test transfers.
//!
//! Both sides of these transfers are in this process and use the configured servers. What works here also works
//! between two computers, except for firewalls between them.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole::code::{self, MailboxUrl, Welcome, Wormhole, YourAddress};
use wormhole::transfer::{self, CodeSource, Destination, Error, Outgoing, Report, Settings};
use wormhole::transit::{RelayAddress, RelayHint, RelayPolicy, TcpHint};

use crate::config;
use crate::console::Console;
use crate::failure::Failure;
use crate::request::Servers;
use crate::tor::TorChoice;
use crate::{explain, printable, units};

/// Runs all checks and shows their results.
///
/// # Errors
/// A check failed.
pub(crate) async fn run(servers: &Servers, tor: TorChoice, console: &mut Console) -> Result<()> {
    let mut settings = servers.settings()?;
    settings.tor = tor.connect(console).await?;
    let mut checks = Checks { console, failed: 0 };
    checks.about()?;
    let has_mailbox = checks.mailbox(&settings).await?;
    if has_mailbox {
        checks.transfer("text", "a text arrives", greeting(), &settings).await?;
        let mut direct = settings.clone();
        direct.relay = RelayPolicy::Never;
        checks.transfer("direct", "a direct transfer works", sample(), &direct).await?;
    } else {
        checks.skip("text", NEEDS_MAILBOX)?;
        checks.skip("direct", NEEDS_MAILBOX)?;
    }
    checks.relay(settings, has_mailbox).await?;
    match checks.failed {
        0 => Ok(()),
        1 => Err(Failure::new("one check failed").into()),
        failed => Err(Failure::new(format!("{failed} checks failed")).into()),
    }
}

/// The checks, and the number that failed.
#[derive(Debug)]
struct Checks<'d> {
    console: &'d mut Console,
    failed: u32,
}

impl Checks<'_> {
    /// Shows the result of one check.
    fn note(&mut self, name: &str, result: Result<String, Failure>) -> Result<()> {
        match result {
            Ok(detail) => self.show("ok    ", name, Some(true), &detail, None),
            Err(failure) => {
                self.failed += 1;
                let hint = failure.advice().map(|advice| hint(name, advice));
                self.show("FAILED", name, Some(false), &failure.to_string(), hint)
            }
        }
    }

    /// Shows that a check was skipped, which is not a failure.
    fn skip(&self, name: &str, why: &str) -> Result<()> {
        self.show("-     ", name, None, &format!("not tried: {why}"), None)
    }

    fn show(
        &self,
        mark: &str,
        name: &str,
        ok: Option<bool>,
        said: &str,
        hint: Option<&str>,
    ) -> Result<()> {
        self.console.print(&format!("{mark}  {name:<9} {said}\n"))?;
        if let Some(hint) = hint {
            self.console.print(&format!("                  {hint}\n"))?;
        }
        self.console.report(&json!({
            "event": "check", "name": name, "ok": ok, "detail": said, "hint": hint,
        }))
    }

    /// Shows the version and the configuration file.
    fn about(&mut self) -> Result<()> {
        let (os, machine) = (std::env::consts::OS, std::env::consts::ARCH);
        self.note("version", Ok(format!("{}, {os} {machine}", env!("CARGO_PKG_VERSION"))))?;
        let file = config::usual_path();
        let found = file.as_ref().is_some_and(|file| file.is_file());
        let path = file.map(|file| printable::path(&file)).unwrap_or_default();
        self.note("config", Ok(if found { path } else { format!("{path} (does not exist)") }))
    }

    /// Checks the mailbox server, and shows our addresses. Returns whether it answers.
    async fn mailbox(&mut self, settings: &Settings) -> Result<bool> {
        let begun = Instant::now();
        let answer = greet(settings).await;
        let millis = begun.elapsed().as_millis();
        let (result, welcome) = match answer {
            Ok((url, welcome)) => (Ok(format!("{url} answers after {millis} ms")), Some(welcome)),
            Err(failure) => (Err(failure), None),
        };
        self.note("mailbox", result)?;
        self.note("address", Ok(addresses(welcome.as_ref())))?;
        Ok(welcome.is_some())
    }

    /// Checks whether the relay accepts connections, then sends something through it.
    async fn relay(&mut self, mut settings: Settings, has_mailbox: bool) -> Result<()> {
        if settings.relays.is_empty() {
            return self.skip("relay", "no relay is set (--transit-helper is empty)");
        }
        // Only the SDK can connect through Tor.
        if settings.tor.is_none() {
            match reach(&settings.relays).await {
                Ok(relay) if !has_mailbox => {
                    return self.note("relay", Ok(format!("{relay} accepts connections")));
                }
                Ok(_) => {}
                Err(failure) => return self.note("relay", Err(failure)),
            }
        } else if !has_mailbox {
            return self.skip("relay", NEEDS_MAILBOX);
        }
        settings.relay = RelayPolicy::Only;
        self.transfer("relay", "a transfer through the relay works", sample(), &settings).await
    }

    /// Runs a test transfer.
    async fn transfer(
        &mut self,
        name: &str,
        what: &str,
        outgoing: Outgoing,
        settings: &Settings,
    ) -> Result<()> {
        let begun = Instant::now();
        let result = match timeout(PATIENCE, loopback(outgoing, settings)).await {
            Ok(Ok(report)) => {
                let millis = begun.elapsed().as_millis();
                let way = report.path.map(|path| format!(" ({path})")).unwrap_or_default();
                Ok(format!("{what}: {} in {millis} ms{way}", units::size(report.bytes)))
            }
            Ok(Err(error)) => Err(explain::failure(&error, &servers(settings))),
            Err(_) => Err(Failure::new(format!("no result within {} s", PATIENCE.as_secs()))),
        };
        self.note(name, result)
    }
}

/// Connects to the mailbox server and disconnects. Returns the address at which it answered.
async fn greet(settings: &Settings) -> Result<(MailboxUrl, Welcome), Failure> {
    let wormhole = Wormhole::create(code::Config {
        app_id: settings.app_id.clone(),
        servers: settings.servers.clone(),
        tor: settings.tor.clone(),
        ..code::Config::default()
    });
    let answer = async { Ok((wormhole.server().await?, wormhole.welcome().await?)) };
    let answer = timeout(PATIENCE, answer)
        .await
        .map_err(|_| {
            let servers = servers(settings);
            Failure::new(format!("the mailbox server {servers} does not answer"))
        })?
        .map_err(|error| explain::rendezvous(&error, &servers(settings)))?;
    // Nothing was stored on the server.
    let _closed = wormhole.close().await;
    Ok(answer)
}

/// All addresses of the mailbox server.
fn servers(settings: &Settings) -> String {
    settings.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// Connects to the first relay that accepts a connection. Returns its address.
async fn reach(relays: &[RelayHint]) -> Result<String, Failure> {
    let mut failure = Failure::new("no relay with a TCP address is configured");
    for address in relays.iter().flat_map(|relay| &relay.addresses) {
        let RelayAddress::Tcp(TcpHint { endpoint, .. }) = address else { continue };
        let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        let why = match timeout(PATIENCE, connecting).await {
            Ok(Ok(_stream)) => return Ok(format!("tcp:{endpoint}")),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            Ok(Err(error)) => printable::line(&error.to_string()),
            Err(_) => "no answer in time".to_owned(),
        };
        failure = Failure::new(format!("the relay tcp:{endpoint} cannot be reached: {why}"))
            .hint(RELAY_HINT);
    }
    Err(failure)
}

/// What to do about a failed check. Replaces the advice to run `wormhole doctor`.
fn hint<'a>(check: &str, advice: &'a str) -> &'a str {
    match check {
        _ if !advice.contains("wormhole doctor") => advice,
        "mailbox" => {
            "is this computer online? try again later, or use another server with --relay-url"
        }
        "direct" => {
            "a firewall on this computer may block connections; transfers can use a relay instead"
        }
        "relay" => RELAY_HINT,
        _ => "try again later",
    }
}

/// Our addresses, and the one that the server sees.
fn addresses(welcome: Option<&Welcome>) -> String {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let ours: Vec<IpAddr> =
        interfaces.iter().filter(|one| !one.is_loopback()).map(if_addrs::Interface::ip).collect();
    let list = ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "only loopback".to_owned() } else { list };
    let seen = welcome.and_then(|welcome| welcome.your_address.as_ref()).and_then(address);
    seen.map_or_else(|| list.clone(), |seen| format!("{list}; {}", meaning(seen, &ours)))
}

/// Explains what the address that the server sees means for others.
fn meaning(seen: IpAddr, ours: &[IpAddr]) -> String {
    let meaning = if seen.is_loopback() {
        "the server is on this computer, so this does not show whether others can reach you"
    } else if !ours.contains(&seen) {
        "you are behind NAT: others can reach you only if your router forwards a port to this computer; set that port with --listen-port"
    } else if is_local(seen) {
        "computers in the network of the server can reach you directly"
    } else {
        "others can reach you directly"
    };
    format!("the server sees {seen}: {meaning}")
}

/// Whether an address is valid only in one network.
const fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn address(seen: &YourAddress) -> Option<IpAddr> {
    seen.ipv4.map(IpAddr::V4).or_else(|| seen.ipv6.map(IpAddr::V6))
}

/// Sends something to this process, which discards it.
async fn loopback(outgoing: Outgoing, settings: &Settings) -> Result<Report, Error> {
    let mut sender = transfer::send(outgoing, settings.clone())?;
    let code = sender.code().await?;
    let mut receiver = transfer::receive(CodeSource::Code(code), settings.clone());
    let receiving = async {
        receiver.offered().await?;
        receiver.accept(Destination::Writer(Box::new(io::sink())));
        receiver.done().await
    };
    tokio::try_join!(sender.done(), receiving).map(|(sent, _received)| sent)
}

fn greeting() -> Outgoing {
    Outgoing::Text("hello".to_owned())
}

/// A megabyte of zeros.
fn sample() -> Outgoing {
    let zeros = io::Read::take(io::repeat(0), SAMPLE);
    Outgoing::Stream { name: "doctor".to_owned(), reader: Box::new(zeros) }
}

/// Bytes of a test transfer: enough for several records, quick on a slow line.
const SAMPLE: u64 = 1_000_000;

/// Time for one check. A relay on a slow line needs seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a test transfer is skipped.
const NEEDS_MAILBOX: &str = "it needs the mailbox server";

/// What to do about a relay that does not work.
const RELAY_HINT: &str = "is the relay running? --transit-helper sets another relay";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_others_can_use_is_called_reachable() {
        let ours = ["10.0.0.7", "198.51.100.7", "fd00::7"].map(|ours| ours.parse().unwrap());
        let says = |seen: &str| meaning(seen.parse().unwrap(), &ours);
        assert!(says("198.51.100.7").ends_with(": others can reach you directly"));
        assert!(says("10.0.0.7").contains("computers in the network of the server"));
        assert!(says("fd00::7").contains("computers in the network of the server"));
        assert!(says("203.0.113.7").contains("behind NAT"));
        for loopback in ["127.0.0.1", "::1"] {
            assert!(says(loopback).contains("on this computer"), "{loopback}");
        }
    }

    #[test]
    fn every_address_that_was_tried_is_named() {
        let settings = Settings::default();
        let named = servers(&settings);
        assert!(settings.servers.len() > 1);
        assert!(settings.servers.iter().all(|server| named.contains(&server.to_string())));
    }
}
