//! `doctor`: looks at everything a transfer needs, then makes some to itself.
//!
//! Both ends of those transfers live in this process and use the configured servers, so what works
//! here works between two computers, except for what stands between them.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::time::timeout;
use wormhole::code::{self, MailboxUrl, Welcome, Wormhole, YourAddress};
use wormhole::transfer::{self, CodeSource, Destination, Error, Outgoing, Report, Settings};
use wormhole::transit::RelayPolicy;

use crate::config;
use crate::failure::Failure;
use crate::request::Servers;
use crate::talk::Desk;
use crate::tor::WhichTor;
use crate::{explain, printable, story, units};

/// Checks everything and says what is wrong.
///
/// # Errors
/// Something does not work.
pub(crate) async fn run(servers: &Servers, tor: WhichTor, desk: &mut Desk) -> Result<()> {
    let mut settings = servers.settings()?;
    settings.tor = tor.connect(desk).await?;
    let mut checkup = Checkup { desk, failed: 0 };
    checkup.about()?;
    checkup.mailbox(&settings).await?;
    checkup.transfer("text", "a text arrives", greeting(), &settings).await?;
    let (mut direct, mut relayed) = (settings.clone(), settings);
    direct.relay = RelayPolicy::Never;
    relayed.relay = RelayPolicy::Only;
    checkup.transfer("direct", "a direct transfer works", sample(), &direct).await?;
    checkup.transfer("relay", "a transfer through the relay works", sample(), &relayed).await?;
    match checkup.failed {
        0 => Ok(()),
        1 => Err(Failure::new("one check failed").into()),
        failed => Err(Failure::new(format!("{failed} checks failed")).into()),
    }
}

/// What has been found so far.
#[derive(Debug)]
struct Checkup<'d> {
    desk: &'d mut Desk,
    failed: u32,
}

impl Checkup<'_> {
    /// Shows the result of one check.
    fn note(&mut self, name: &str, result: Result<String, Failure>) -> Result<()> {
        let (ok, said) = match &result {
            Ok(detail) => (true, detail.clone()),
            Err(failure) => (false, failure.to_string()),
        };
        let mark = if ok { "ok    " } else { "FAILED" };
        self.desk.print(&format!("{mark}  {name:<9} {said}\n"))?;
        let hint = result.err().and_then(|failure| failure.advice().map(str::to_owned));
        if let Some(hint) = &hint {
            self.desk.print(&format!("                  {hint}\n"))?;
        }
        self.failed += u32::from(!ok);
        self.desk.report(&json!({
            "event": "check", "name": name, "ok": ok, "detail": said, "hint": hint,
        }))
    }

    /// What this program is and what it was told.
    fn about(&mut self) -> Result<()> {
        let (os, machine) = (std::env::consts::OS, std::env::consts::ARCH);
        self.note("version", Ok(format!("{}, {os} {machine}", env!("CARGO_PKG_VERSION"))))?;
        let file = config::usual_path();
        let found = file.as_ref().is_some_and(|file| file.is_file());
        let path = file.map(|file| printable::path(&file)).unwrap_or_default();
        self.note("config", Ok(if found { path } else { format!("{path} (none)") }))
    }

    /// Whether the mailbox server answers, and how it sees us.
    async fn mailbox(&mut self, settings: &Settings) -> Result<()> {
        let begun = Instant::now();
        let answer = greet(settings).await;
        let millis = begun.elapsed().as_millis();
        let (result, welcome) = match answer {
            Ok((url, welcome)) => (Ok(format!("{url} answers after {millis} ms")), Some(welcome)),
            Err(failure) => (Err(failure), None),
        };
        self.note("mailbox", result)?;
        self.note("address", Ok(addresses(welcome.as_ref())))
    }

    /// Sends something to ourselves.
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
            Ok(Err(error)) => Err(explain::failure(&error, &story::server(settings))),
            Err(_) => Err(Failure::new(format!("nothing happened for {} s", PATIENCE.as_secs()))),
        };
        self.note(name, result)
    }
}

/// Connects to the mailbox server and leaves again; tells at which address it answered.
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
        .map_err(|_| Failure::new("the mailbox server does not answer"))?
        .map_err(|error| explain::rendezvous(&error, &story::server(settings)))?;
    // We said nothing, so there is nothing to leave behind.
    let _closed = wormhole.close().await;
    Ok(answer)
}

/// Our addresses, and the one the server sees.
fn addresses(welcome: Option<&Welcome>) -> String {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let ours: Vec<IpAddr> =
        interfaces.iter().filter(|one| !one.is_loopback()).map(if_addrs::Interface::ip).collect();
    let list = ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "none but loopback".to_owned() } else { list };
    let seen = welcome.and_then(|welcome| welcome.your_address.as_ref()).and_then(address);
    match seen {
        None => list,
        Some(seen) if seen.is_loopback() || ours.contains(&seen) => {
            format!("{list}; the server sees {seen}: you can be reached directly")
        }
        Some(seen) => format!(
            "{list}; the server sees {seen}: you are behind NAT, where others can reach you only \
             on a forwarded --listen-port"
        ),
    }
}

fn address(seen: &YourAddress) -> Option<IpAddr> {
    seen.ipv4.map(IpAddr::V4).or_else(|| seen.ipv6.map(IpAddr::V6))
}

/// Sends something to ourselves and forgets it.
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

/// Bytes in a transfer to ourselves: enough for several records, quick on a slow line.
const SAMPLE: u64 = 1_000_000;

/// Time for one check. A relay on a slow line needs seconds, nothing needs a minute.
const PATIENCE: Duration = Duration::from_secs(30);
