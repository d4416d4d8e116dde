//! The transit relay: pairs links by token and carries bytes between them.
//!
//! The pairing rules are in `wormhole_magic::relay`; here are the sockets. A link is first
//! [attended](attend) until the [`Meeting`] names its partner, then the later of the two hands
//! itself to the earlier one's task, which [pumps](pump) until one of them leaves. Spec:
//! transit.rst "Relay"; behaviour of magic-wormhole-transit-relay 0.5.0.

mod counters;
mod door;
mod link;
mod meeting;
mod pace;
mod pump;
mod usage;
mod websocket;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wormhole_magic::relay::Patience;

use crate::entrance::{Entrance, ProxyHeader};
use crate::limits::{Allowance, Limits, Pass};
use crate::{Host, ServerError};
use counters::Counters;
use door::{Door, WebDoor};
use link::Link;
use meeting::{Arrived, Meeting, Verdict};
use pump::Tools;
use usage::UsageLog;

/// What can be configured about the transit relay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:4001")]
    pub(crate) listen: SocketAddr,

    /// Address to listen on for WebSocket clients
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen_ws: Option<SocketAddr>,

    /// Database to record usage in
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_db: Option<PathBuf>,

    /// File to append usage records to, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_log: Option<PathBuf>,

    /// Round recorded times down to this many seconds, and recorded sizes up
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) blur_usage: u64,

    /// Seconds that a client may wait for its partner; 0 is for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) waiting_limit: u64,

    /// Links that one address (IPv6: one /64 network) may have open; 0 is any number
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) links_per_address: u32,

    /// Links that may be open altogether; 0 is any number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_links: u32,

    /// Apply the limit per address to loopback addresses as well
    #[arg(long)]
    pub(crate) limit_loopback: bool,

    /// Header that holds a WebSocket client's address; the proxy must set it on every request
    #[arg(long, value_name = "HEADER", value_enum, default_value_t = ProxyHeader::Off)]
    pub(crate) trust_proxy: ProxyHeader,

    /// Bytes per second that a pair may carry, both directions together; 0 is any number
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) bytes_per_second: u64,
}

/// Relays until drained: no new links, no more waiting, but pairs may finish.
pub(crate) async fn serve(config: Config, host: Host) -> Result<(), ServerError> {
    let tcp = crate::net::listen(config.listen)?;
    let web = config.listen_ws.map(crate::net::listen).transpose()?;
    let waiting = (config.waiting_limit > 0).then(|| Duration::from_secs(config.waiting_limit));
    let patience = Patience { waiting, ..Patience::default() };
    let service = Service::start(&config, patience, host)?;
    crate::net::announce("transit relay", "tcp:{}", &tcp);
    if let Some(web) = &web {
        let url = if service.host.tls.is_some() { "wss://{}" } else { "ws://{}" };
        crate::net::announce("transit relay", url, web);
    }
    service.run(tcp, web).await;
    Ok(())
}

impl Config {
    fn limits(&self) -> Limits {
        let allowance = Allowance { links: self.links_per_address, ..Allowance::default() };
        Limits::new(allowance, self.max_links, self.limit_loopback, Instant::now())
    }
}

/// One running relay.
#[derive(Debug)]
struct Service {
    host: Host,
    limits: Arc<Limits>,
    trust_proxy: ProxyHeader,
    meeting: Arc<Meeting>,
    tools: Arc<Tools>,
    usage: UsageLog,
}

impl Service {
    fn start(config: &Config, patience: Patience, host: Host) -> Result<Self, ServerError> {
        let counters = Arc::new(Counters::default());
        let blur = Duration::from_secs(config.blur_usage);
        let db = config.usage_db.as_deref();
        let usage = UsageLog::open(db, config.usage_log.as_deref(), blur)?;
        let meeting = Arc::new(Meeting::new(patience, Arc::clone(&counters), usage.recorder()));
        let shown = (Arc::clone(&counters), Arc::clone(&meeting));
        host.metrics.register(move |page| shown.0.write(page, shown.1.waiting()));
        Ok(Self {
            limits: Arc::new(config.limits()),
            trust_proxy: config.trust_proxy,
            tools: Arc::new(Tools::new(config.bytes_per_second, counters)),
            host,
            meeting,
            usage,
        })
    }

    async fn run(self, tcp: TcpListener, web: Option<TcpListener>) {
        // Every task of a link holds a sender: when all are gone, nothing is under way.
        let (alive, mut over) = mpsc::channel::<()>(1);
        let door = Door {
            limits: Arc::clone(&self.limits),
            meeting: Arc::clone(&self.meeting),
            tools: Arc::clone(&self.tools),
            alive,
        };
        let web_door = WebDoor {
            door: door.clone(),
            tls: self.host.tls,
            entrance: Entrance::new(Arc::clone(&self.limits), self.trust_proxy),
            metrics: self.host.metrics,
        };
        let statistics = tokio::spawn(keep_statistics(
            Arc::clone(&self.meeting),
            Arc::clone(&self.tools.counters),
            self.usage.recorder(),
        ));
        let clock = tokio::spawn(Arc::clone(&self.meeting).keep_time());
        let mut drain = self.host.drain.clone();
        tokio::join!(
            door::accept_plain(tcp, door, self.host.drain.clone()),
            door::accept_web(web, web_door, self.host.drain),
            async {
                drain.begun().await;
                self.meeting.drain();
            },
        );
        let _ = over.recv().await;
        clock.abort();
        statistics.abort();
        self.usage.recorder().statistics(self.tools.counters.statistics(0));
        self.usage.close().await;
    }
}

/// Lives with a link from its opening until it has closed or joined its partner's task.
async fn attend(mut link: Link, pass: Pass, door: Door) {
    let (id, mut verdict) = door.meeting.open();
    let mut early = Vec::new();
    let decided = loop {
        tokio::select! {
            biased;
            verdict = &mut verdict => break verdict,
            read = link.read_early() => {
                if let Err(Decided(bytes)) = door.meeting.hear(id, read) {
                    early = bytes;
                    break verdict.await;
                }
            }
        }
    };
    match decided {
        Ok(Verdict::Dismissed { farewell }) => Box::pin(link.finish(farewell)).await,
        Ok(Verdict::Second { greeting, first }) => {
            // The partner's task waits for this, whatever else happens.
            let _ = first.send(Arrived { id, link, greeting, early, pass });
        }
        Ok(Verdict::First { greeting, second }) => {
            let Ok(second) = second.await else { return };
            let first = Arrived { id, link, greeting, early, pass };
            // A task of its own: a silent pair must not hold what waiting took.
            tokio::spawn(relay(first, second, door));
        }
        // The link closed by itself; the meeting has let it go.
        Err(_) => {}
    }
}

/// Lives with a pair.
async fn relay(mut first: Arrived, mut second: Arrived, door: Door) {
    let finished = pump::carry(&mut first, &mut second, &door.tools).await;
    door.meeting.parted(first.id, second.id, finished.carried);
    Box::pin(pump::part(first, second, finished.ending)).await;
}

/// The verdict on a link was on its way already; these bytes are for its partner.
#[derive(Debug)]
struct Decided(Vec<u8>);

/// Rewrites the `current` row now and then.
async fn keep_statistics(
    meeting: Arc<Meeting>,
    counters: Arc<Counters>,
    recorder: usage::Recorder,
) {
    let mut ticks = tokio::time::interval(STATISTICS_PERIOD);
    loop {
        ticks.tick().await;
        recorder.statistics(counters.statistics(meeting.waiting()));
    }
}

/// How often the `current` row is rewritten, as in the reference.
const STATISTICS_PERIOD: Duration = Duration::from_secs(300);
