//! The mailbox server: hands out nameplates and passes messages between the sides of a mailbox.
//!
//! The protocol rules for one client are in [`wormhole_magic::mailbox::server`], without I/O. This module adds a
//! [`link`] for each client, one thread (the [`hub`]) that owns the [`store`] and stores many requests in one
//! transaction, and [limits](crate::limits) that protect clients from each other.
//!
//! ```text
//! socket ⇄ link ⇄ magic::mailbox::server::Client
//!           │ requests                ▲ answers and messages, once durable
//!           ▼                         │
//!          hub: batch ─► store ─► commit ─► inboxes of the affected links
//! ```

mod actions;
mod counters;
mod hub;
mod inbox;
mod link;
mod memory;
mod service;
mod store;
mod usage;
mod wake;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use wormhole_magic::mailbox::hashcash;
use wormhole_magic::mailbox::message::Welcome;

use crate::ServerError;
use crate::database::Database;
use crate::database::notifications::{Listener, NodeId, NotificationMethod, Publisher};
use crate::host::{Admission, Host, Listening, Prepared, ProxyHeader};
use crate::http::{Pages, WebSocketAcceptor};
use crate::limits::{Allowance, Limits};
use crate::memory::MemoryBudget;
use crate::service::{About, ServiceConfig, StoredFile};
use counters::Counters;
use hub::{Failed, Hub, Parts};
use link::LinkTimeouts;
use service::{Service, Settings};
pub(crate) use store::Imported;
use store::{PostgresStore, Quota, SqliteStore, Store, StoreLimits};
use usage::UsageLog;

/// The configuration of the mailbox server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:4000")]
    pub(crate) listen: SocketAddr,

    /// Database for nameplates, mailboxes and messages: an SQLite file, or the address of a
    /// PostgreSQL database that several mailbox servers can share, as `postgresql://USER:PASSWORD@HOST/DATABASE`
    #[arg(long, value_name = "FILE|URL", default_value = "mailbox.sqlite")]
    pub(crate) db: Database,

    /// How mailbox servers that share a PostgreSQL database notify each other of new messages: `postgres`, or
    /// the address of a NATS server, as `nats://HOST:PORT`; all of them need the same value
    #[arg(long, value_name = "postgres|URL", default_value = "postgres")]
    pub(crate) wake: NotificationMethod,

    /// SQLite file for usage statistics; without it, none are stored
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_db: Option<PathBuf>,

    /// Maximum size of the usage database in bytes; the oldest records are removed first; 0 means unlimited
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) usage_bytes: u64,

    /// Round recorded times down to a multiple of this many seconds; 0 records exact times
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) blur_usage: u64,

    /// Message of the day, which every client shows to its user
    #[arg(long, value_name = "TEXT")]
    pub(crate) motd: Option<String>,

    /// Make every client fail with this message
    #[arg(long, value_name = "TEXT")]
    pub(crate) signal_error: Option<String>,

    /// Current version of the command line client, as the server announces it to clients
    #[arg(long, value_name = "VERSION")]
    pub(crate) advertise_version: Option<String>,

    /// Do not tell clients which nameplates are in use
    #[arg(long)]
    pub(crate) disallow_list: bool,

    /// Bits of proof of work (hashcash) that a client must compute before `bind`; 0 means none
    #[arg(long, value_name = "BITS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(hashcash::MAX_BITS)))]
    pub(crate) hashcash_bits: u32,

    /// Header that contains the client's address; the proxy must set it on every request
    #[arg(long, value_name = "HEADER", value_enum, default_value_t = ProxyHeader::Off)]
    pub(crate) trust_proxy: ProxyHeader,

    /// Maximum number of open connections; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_links: u32,

    /// Maximum number of open connections of one address (IPv6: one /64 network); 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) links_per_address: u32,

    /// Maximum number of new connections of one address per minute; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub(crate) links_per_minute: u32,

    /// Maximum number of nameplates that one address may allocate or claim per minute; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub(crate) claims_per_minute: u32,

    /// Maximum number of messages that one address may add per minute; each full 64 KiB of a message counts as one more message; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 2400)]
    pub(crate) messages_per_minute: u32,

    /// Also apply the limits per address to loopback addresses
    #[arg(long)]
    pub(crate) limit_loopback: bool,

    /// Maximum length of a message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = max_frame)]
    pub(crate) max_frame: usize,

    /// Maximum memory in bytes for the clients of one address: messages that the server is reading, and data
    /// that waits for a client to read it
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    pub(crate) memory_per_address: usize,

    /// Maximum memory in bytes for all clients together
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    pub(crate) memory_bytes: usize,

    /// Maximum number of messages in a mailbox; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) mailbox_messages: u64,

    /// Maximum size of a mailbox in bytes; 0 means unlimited
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub(crate) mailbox_bytes: u64,

    /// Maximum stored bytes of one address; 0 means unlimited
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) stored_per_address: u64,

    /// Maximum stored bytes in total; 0 means unlimited
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) stored_bytes: u64,

    /// Maximum bytes queued for a client that reads too slowly; beyond that, the client is disconnected
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20)]
    pub(crate) outgoing_bytes: usize,

    /// Seconds of silence before the server sends a ping
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ping_seconds: u64,

    /// Disconnect a client that does not answer a ping within this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) pong_seconds: u64,

    /// Disconnect a new client that does not send `bind` within this many seconds; 0 means unlimited
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) bind_seconds: u64,

    /// Disconnect a client that has not sent a message for this many seconds; 0 means unlimited
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60)]
    pub(crate) idle_seconds: u64,

    /// Seconds between two removals of unused mailboxes
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) prune_seconds: u64,

    /// Seconds after which an unused mailbox is removed
    #[arg(long, value_name = "SECONDS", default_value_t = 660)]
    pub(crate) expiry_seconds: u64,
}

/// Parses `max-frame`. A shorter limit would reject the first messages of every client.
fn max_frame(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if bytes >= MIN_MAX_FRAME => Ok(bytes),
        _ => Err(format!("expected a whole number, at least {MIN_MAX_FRAME}")),
    }
}

/// Minimum value of `max-frame`, in bytes: enough for every message of a key exchange.
const MIN_MAX_FRAME: usize = 4096;

/// Minimum value of `expiry-seconds` if several nodes share the database. Each node has a quarter of this time to mark
/// its open mailboxes as used.
const MIN_SHARED_EXPIRY: u64 = 30;

impl ServiceConfig for Config {
    const ABOUT: About = About {
        name: "mailbox",
        noun: "the mailbox server",
        is_default: true,
        help: include_str!("mailbox/help.txt"),
        addresses: "  --mailbox-listen ADDRESS           [default: [::]:4000]\n",
        hidden: &[],
    };

    fn place_files(&mut self, data: &Path) {
        self.db.place(data);
        self.usage_db = self.usage_db.as_ref().map(|path| data.join(path));
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        self.db.check().map_err(|reason| ("db", reason.to_owned()))?;
        self.wake.check(&self.db).map_err(|reason| ("wake", reason.to_owned()))?;
        if self.db.file().is_none() && self.expiry_seconds < MIN_SHARED_EXPIRY {
            let reason = format!(
                "must be at least {MIN_SHARED_EXPIRY} with PostgreSQL: otherwise another mailbox server may \
                 remove mailboxes that clients of this one have open"
            );
            return Err(("expiry-seconds", reason));
        }
        Ok(())
    }

    fn files(&self) -> Vec<StoredFile> {
        let paths = self.db.file().into_iter().chain(self.usage_db.as_deref());
        paths.map(|path| StoredFile { path: path.to_owned(), is_database: true }).collect()
    }

    async fn prepare(self, host: Host) -> Result<Prepared, ServerError> {
        let listener = crate::net::listen(self.listen)?;
        let url = if host.tls.is_some() { "wss://{}/v1" } else { "ws://{}/v1" };
        let listening = Listening::new("mailbox", url, &listener);
        // Opening a database may take seconds. If the task panics, the process ends anyway.
        let mailbox = tokio::task::spawn_blocking(move || Mailbox::start(&self, host))
            .await
            .map_err(|error| ServerError::System(error.to_string()))??;
        Ok(Prepared::new(vec![listening], mailbox.run(listener)))
    }
}

/// Imports a database of the Python mailbox server into the one that is configured, and returns its path.
pub(crate) fn import<'a>(
    config: &'a Config,
    source: &Path,
) -> Result<(Imported, &'a Path), ServerError> {
    let Some(target) = config.db.file() else {
        return Err(ServerError::Database {
            path: "of PostgreSQL".into(),
            reason: "an import needs an SQLite file as its target; set it with --mailbox-db".into(),
        });
    };
    Ok((store::import(source, target, hub::unix_now())?, target))
}

/// An open database, and the notifications between the nodes that share it.
struct OpenedStore {
    store: Box<dyn Store>,
    /// Notifies other nodes, if the store does not do it with its commits.
    publisher: Option<Publisher>,
    /// `None`: there are no other nodes.
    listener: Option<Listener>,
}

/// A mailbox server with its storage, before it accepts clients.
#[derive(Debug)]
struct Mailbox {
    service: Arc<Service>,
    /// The thread that owns the database.
    storage: JoinHandle<()>,
    failed: Failed,
    listener: Option<Listener>,
}

impl Mailbox {
    /// Opens the database and starts the thread that owns it. Blocks until then.
    fn start(config: &Config, host: Host) -> Result<Self, ServerError> {
        let counters = Arc::new(Counters::default());
        let (parts, listener) = config.parts(&counters)?;
        let (hub, storage, failed) =
            Hub::start(parts).map_err(|error| ServerError::System(error.to_string()))?;
        host.metrics.register("mailbox", |registry| counters.register(registry));
        let limits = Arc::new(config.limits());
        let acceptor = WebSocketAcceptor {
            server: service::SERVER,
            path: Some("/v1"),
            tls: host.tls.clone(),
            admission: Admission::new(limits, config.trust_proxy, counters.refused.clone()),
            pages: Pages::of_service(service::pages(), Arc::clone(&host.metrics)),
        };
        let service = Arc::new(Service {
            hub,
            counters,
            acceptor,
            settings: config.settings(),
            budget: Arc::new(config.budget()),
            host,
            links: AtomicU64::new(0),
        });
        Ok(Self { service, storage, failed, listener })
    }

    /// Serves until the server drains. Then it accepts no new clients, but stores and answers all received requests.
    async fn run(self, listener: TcpListener) -> Result<(), ServerError> {
        let Self { service, storage, failed, listener: wake } = self;
        let (hub, counters) = (service.hub.clone(), Arc::clone(&service.counters));
        let budget = Arc::clone(&service.budget);
        tokio::select! {
            () = service.run(listener) => {}
            error = failure(failed) => return Err(error),
            () = memory::release_after_peaks(&budget, &counters, &hub) => {}
            () = listen(wake, hub.clone()) => {}
        }
        hub.close();
        // Nothing is left to store, so this takes at most a second or two, even if PostgreSQL does not answer.
        let _ = tokio::task::spawn_blocking(move || storage.join()).await;
        Ok(())
    }
}

/// Forwards the notifications of other nodes to the store's thread. Never ends.
async fn listen(listener: Option<Listener>, hub: Hub) {
    match listener {
        Some(listener) => listener.run(hub).await,
        None => std::future::pending().await,
    }
}

/// Waits until the database is lost, and returns the reason. If it is never lost, this never returns.
async fn failure(failed: Failed) -> ServerError {
    match failed.await {
        Ok(error) => error,
        Err(_) => std::future::pending().await,
    }
}

impl Config {
    fn parts(&self, counters: &Arc<Counters>) -> Result<(Parts, Option<Listener>), ServerError> {
        let blur = Duration::from_secs(self.blur_usage);
        let log = |path: &PathBuf| UsageLog::open(path, blur, self.usage_bytes);
        let OpenedStore { store, publisher, listener } = self.open_store()?;
        let parts = Parts {
            store,
            usage: self.usage_db.as_ref().map(log).transpose()?,
            publisher,
            counters: Arc::clone(counters),
            prune_period: Duration::from_secs(self.prune_seconds),
            expiry: Duration::from_secs(self.expiry_seconds),
        };
        Ok((parts, listener))
    }

    fn store_limits(&self) -> StoreLimits {
        let quota = Quota { per_address: self.stored_per_address, database: self.stored_bytes };
        StoreLimits {
            messages: self.mailbox_messages,
            bytes: self.mailbox_bytes,
            quota,
            hide_nameplates: self.disallow_list,
        }
    }

    /// Opens the configured database, and prepares notifications between nodes.
    fn open_store(&self) -> Result<OpenedStore, ServerError> {
        let limits = self.store_limits();
        let url = match &self.db {
            Database::File(path) => {
                let store = Box::new(SqliteStore::open(path, limits)?);
                return Ok(OpenedStore { store, publisher: None, listener: None });
            }
            Database::Postgres(url) => url,
        };
        let node = NodeId::random();
        let (publisher, listener) = self.wake.prepare(url, node, wake::CHANNEL)?;
        // With PostgreSQL, notifications are a part of the store's commits.
        let publisher = (self.wake != NotificationMethod::Postgres).then_some(publisher);
        let store = Box::new(PostgresStore::open(url, limits, node, publisher.is_none())?);
        Ok(OpenedStore { store, publisher, listener: Some(listener) })
    }

    /// The memory limits for clients. One address gets at least enough to send the longest message and to read a full
    /// mailbox, and all addresses together at least twice as much.
    fn budget(&self) -> MemoryBudget {
        let replay = self.mailbox_bytes.saturating_add(self.mailbox_messages.saturating_mul(256));
        let replay = usize::try_from(replay).unwrap_or(usize::MAX).min(MAX_REPLAY);
        let longest = self.max_frame.saturating_mul(2);
        let per_address = self.memory_per_address.max(longest.max(replay));
        MemoryBudget::new(per_address, self.memory_bytes.max(per_address.saturating_mul(2)))
    }

    fn limits(&self) -> Limits {
        let allowance = Allowance {
            links: self.links_per_address,
            links_per_minute: self.links_per_minute,
            per_minute: actions::per_minute(self.claims_per_minute, self.messages_per_minute),
        };
        Limits::new(allowance, self.max_links, self.limit_loopback, Instant::now())
    }

    fn settings(&self) -> Settings {
        let mut welcome = Welcome::default();
        welcome.motd.clone_from(&self.motd);
        welcome.current_cli_version.clone_from(&self.advertise_version);
        welcome.error.clone_from(&self.signal_error);
        Settings {
            welcome,
            hashcash_bits: self.hashcash_bits,
            max_frame: self.max_frame,
            outgoing: self.outgoing_bytes,
            timeouts: LinkTimeouts {
                ping: Duration::from_secs(self.ping_seconds),
                pong: Duration::from_secs(self.pong_seconds),
                bind: Duration::from_secs(self.bind_seconds),
                idle: Duration::from_secs(self.idle_seconds),
            },
        }
    }
}

/// Maximum size of a full mailbox, in bytes, for which the memory limits are raised automatically.
const MAX_REPLAY: usize = 64 << 20;

#[cfg(test)]
mod tests;
