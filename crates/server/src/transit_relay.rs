//! The transit relay: pairs connections by token and forwards data between them.
//!
//! The pairing rules are in `wormhole_magic::relay`; this module adds sockets. [`serve_link`] handles a connection until
//! [`Pairing`] finds its partner. Then the task of the later connection passes its connection to the task of the earlier
//! one, which [forwards](pump) data until one side closes. Spec: transit.rst "Relay"; behaviour of
//! magic-wormhole-transit-relay 0.5.0.

mod counters;
mod link;
mod listen;
mod pairing;
mod pump;
mod rate;
mod usage;
mod websocket;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use wormhole_magic::relay::Timeouts;

use crate::ServerError;
use crate::host::{Admission, Host, Listening, Prepared, ProxyHeader};
use crate::http::{Pages, WebSocketAcceptor};
use crate::limits::{Allowance, Limits, LinkPermit};
use crate::service::{About, ServiceConfig, StoredFile};
use counters::Counters;
use link::RelayLink;
use listen::{Listener, WebListener};
use pairing::{Paired, Pairing, Verdict};
use pump::PumpContext;
use usage::UsageLog;

/// Configuration of the transit relay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:4001")]
    pub(crate) listen: SocketAddr,

    /// Address to listen on for WebSocket clients
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen_ws: Option<SocketAddr>,

    /// SQLite file for usage statistics; without it, none are stored
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_db: Option<PathBuf>,

    /// File to which usage records are appended, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_log: Option<PathBuf>,

    /// Maximum size in bytes of the usage database and of the usage log, each; the oldest records are removed first; 0 means unlimited
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) usage_bytes: u64,

    /// Round recorded times down to a multiple of this many seconds; if it is not 0, also round recorded sizes up: to a multiple of 10 kB below 1 MB, of 1 MB below 1 GB, and of 100 MB above
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) blur_usage: u64,

    /// Seconds that a client may wait for the other client; 0 means unlimited
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) waiting_limit: u64,

    /// Maximum number of open connections of one address (IPv6: one /64 network); 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) links_per_address: u32,

    /// Maximum number of open connections; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_links: u32,

    /// Also apply the limit per address to loopback addresses
    #[arg(long)]
    pub(crate) limit_loopback: bool,

    /// Header that contains a WebSocket client's address; the proxy must set it on every request
    #[arg(long, value_name = "HEADER", value_enum, default_value_t = ProxyHeader::Off)]
    pub(crate) trust_proxy: ProxyHeader,

    /// Maximum bytes per second between two connected clients, both directions together; 0 means unlimited
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) bytes_per_second: u64,
}

impl ServiceConfig for Config {
    const ABOUT: About = About {
        name: "transit-relay",
        noun: "the transit relay",
        is_default: true,
        help: include_str!("transit_relay/help.txt"),
        addresses: "  --transit-relay-listen ADDRESS     [default: [::]:4001]\n",
        hidden: &[],
    };

    fn place_files(&mut self, data: &Path) {
        self.usage_db = self.usage_db.as_ref().map(|path| data.join(path));
    }

    fn files(&self) -> Vec<StoredFile> {
        let databases = self.usage_db.iter();
        databases.map(|path| StoredFile { path: path.clone(), is_database: true }).collect()
    }

    async fn prepare(self, host: Host) -> Result<Prepared, ServerError> {
        let tcp = crate::net::listen(self.listen)?;
        let web = self.listen_ws.map(crate::net::listen).transpose()?;
        let waiting = (self.waiting_limit > 0).then(|| Duration::from_secs(self.waiting_limit));
        let timeouts = Timeouts { waiting, ..Timeouts::default() };
        let url = if host.tls.is_some() { "wss://{}" } else { "ws://{}" };
        let mut listening = vec![Listening::new("transit relay", "tcp:{}", &tcp)];
        listening.extend(web.iter().map(|web| Listening::new("transit relay", url, web)));
        let service = Service::start(&self, timeouts, host)?;
        Ok(Prepared::new(listening, async move {
            service.run(tcp, web).await;
            Ok(())
        }))
    }
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
    pairing: Arc<Pairing>,
    context: Arc<PumpContext>,
    usage: UsageLog,
}

impl Service {
    fn start(config: &Config, timeouts: Timeouts, host: Host) -> Result<Self, ServerError> {
        let counters = Arc::new(Counters::default());
        let blur = Duration::from_secs(config.blur_usage);
        let db = config.usage_db.as_deref();
        let log = config.usage_log.as_deref();
        let usage = UsageLog::open(db, log, blur, config.usage_bytes)?;
        let pairing = Arc::new(Pairing::new(timeouts, Arc::clone(&counters), usage.recorder()));
        let observed = Arc::clone(&pairing);
        host.metrics.register("transit_relay", |registry| {
            counters.register(registry, move || observed.waiting());
        });
        Ok(Self {
            limits: Arc::new(config.limits()),
            trust_proxy: config.trust_proxy,
            context: Arc::new(PumpContext::new(config.bytes_per_second, counters)),
            host,
            pairing,
            usage,
        })
    }

    /// Runs until the server drains. Then it closes waiting connections, and waits until all pairs have ended.
    async fn run(self, tcp: TcpListener, web: Option<TcpListener>) {
        let tasks = TaskTracker::new();
        let listener = Listener {
            limits: Arc::clone(&self.limits),
            pairing: Arc::clone(&self.pairing),
            context: Arc::clone(&self.context),
            tasks: tasks.clone(),
        };
        let refused = self.context.counters.refused.clone();
        let acceptor = WebSocketAcceptor {
            server: listen::SERVER,
            // As in the Python relay.
            path: None,
            tls: self.host.tls,
            admission: Admission::new(Arc::clone(&self.limits), self.trust_proxy, refused),
            pages: Pages::of_service(listen::pages(), self.host.metrics),
        };
        let web_listener = WebListener { listener: listener.clone(), acceptor };
        let statistics = tokio::spawn(record_statistics(
            Arc::clone(&self.pairing),
            Arc::clone(&self.context.counters),
            self.usage.recorder(),
        ));
        let clock = tokio::spawn(Arc::clone(&self.pairing).run_deadlines());
        let draining = self.host.draining;
        tokio::join!(
            listener.accept(tcp, draining.clone()),
            web_listener.accept(web, draining.clone()),
            async {
                draining.cancelled().await;
                self.pairing.drain();
            },
        );
        tasks.close();
        tasks.wait().await;
        clock.abort();
        statistics.abort();
        self.usage.recorder().statistics(self.context.counters.statistics(0));
        self.usage.close().await;
    }
}

/// Handles a connection until it has closed or joined its partner's task.
async fn serve_link(mut link: RelayLink, permit: LinkPermit, listener: Listener) {
    let (id, mut verdict) = listener.pairing.add_link();
    let mut early = Vec::new();
    let decided = loop {
        tokio::select! {
            biased;
            verdict = &mut verdict => break verdict,
            read = link.read_early() => {
                if let Err(AlreadyDecided(bytes)) = listener.pairing.handle_read(id, read) {
                    early = bytes;
                    break verdict.await;
                }
            }
        }
    };
    match decided {
        Ok(Verdict::Close { last_messages }) => Box::pin(link.finish(last_messages)).await,
        Ok(Verdict::Second { greeting, first }) => {
            // The partner's task waits for this.
            let _ = first.send(Paired { id, link, greeting, early, permit });
        }
        Ok(Verdict::First { greeting, second }) => {
            let Ok(second) = second.await else { return };
            let first = Paired { id, link, greeting, early, permit };
            // In a new task, because a silent pair must not keep the memory of this one.
            listener.tasks.clone().spawn(relay(first, second, listener));
        }
        // The connection closed, and the pairing has removed it.
        Err(_) => {}
    }
}

/// Handles a pair.
async fn relay(mut first: Paired, mut second: Paired, listener: Listener) {
    let finished = pump::forward(&mut first, &mut second, &listener.context).await;
    listener.pairing.handle_end(first.id, second.id, finished.forwarded);
    Box::pin(pump::close_pair(first, second, finished.ending)).await;
}

/// The verdict on a connection was already sent; these bytes are for its partner.
#[derive(Debug)]
struct AlreadyDecided(Vec<u8>);

/// Updates the `current` row periodically.
async fn record_statistics(
    pairing: Arc<Pairing>,
    counters: Arc<Counters>,
    recorder: usage::Recorder,
) {
    let mut ticks = tokio::time::interval(STATISTICS_PERIOD);
    loop {
        ticks.tick().await;
        recorder.statistics(counters.statistics(pairing.waiting()));
    }
}

/// Time between two updates of the `current` row, as in the Python relay.
const STATISTICS_PERIOD: Duration = Duration::from_secs(300);
