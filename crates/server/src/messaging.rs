//! The messaging service: accounts, keys and message queues for the users of many apps. (docs/chat-service.md)
//!
//! A client registers a phone number in an app and publishes keys. Other clients take the keys, start a session with
//! them, and send encrypted messages, which wait in the queue of each device until that device has received them.
//!
//! `api` has the paths and the JSON, `server` the listener and `socket` the WebSockets; all of them ask `storage`, whose
//! threads own the database.

mod api;
mod apps;
mod base64;
mod blobs;
mod code_requests;
mod codes;
mod context;
mod gauges;
mod listener;
mod login_attempt;
mod presence;
mod random;
mod rate_limits;
mod reports;
mod request_memory;
mod signed_url;
mod socket;
mod store;
mod store_thread;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use wormhole_chat::service::AppName;
use wormhole_http::Routes;

use crate::ServerError;
use crate::database::notifications::{Listener, NodeId, NotificationMethod, Publisher};
use crate::database::{Database, is_in_memory};
use crate::host::{Admission, Host, Listening, Prepared, ProxyHeader};
use crate::limits::{Allowance, Limits, PerMinute};
use crate::memory::MemoryBudget;
use crate::service::{About, ServiceConfig, StoredFile};
use api::Fetching;
#[cfg(feature = "fuzzing")]
pub(crate) use api::fuzzing::json as decode_json;
pub(crate) use apps::{AppCommand, run as run_app_command};
use blobs::Blobs;
#[cfg(feature = "testing")]
pub(crate) use codes::sent_code;
use codes::{CodeProvider, CodeSender};
use context::{Api, Service, Settings};
use gauges::Gauges;
use listener::Front;
use presence::{CHANNEL, Sockets};
use rate_limits::RateLimits;
pub(crate) use reports::{ReportCommand, run as run_report_command};
use store::{Expiry, PostgresStore, SqliteStore, Store};
use store_thread::{Storage, StoreThreads, StoreWriter};

/// The configuration of the messaging service.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address for clients
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:4080")]
    pub(crate) listen: SocketAddr,

    /// Database for accounts, keys and messages: an SQLite file, or the address of a PostgreSQL database that several
    /// messaging servers can share, as `postgresql://USER:PASSWORD@HOST/DATABASE`
    #[arg(long, value_name = "FILE|URL", default_value = "messaging.sqlite")]
    pub(crate) db: Database,

    /// How messaging servers that share a PostgreSQL database notify each other of new messages: `postgres`, or
    /// the address of a NATS server, as `nats://HOST:PORT`; all of them need the same value
    #[arg(long, value_name = "postgres|URL", default_value = "postgres")]
    pub(crate) wake: NotificationMethod,

    /// Directory for attachments; servers that share a database need a directory that they share, too
    #[arg(long, value_name = "DIR", default_value = "blobs")]
    pub(crate) blobs: PathBuf,

    /// Maximum size of all attachments in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30)]
    pub(crate) blob_bytes: u64,

    /// Days after which an attachment is removed
    #[arg(long, value_name = "DAYS", default_value_t = 45,
          value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) blob_days: u64,

    /// Address of the service for clients, such as `https://example.org`, if it is behind a proxy
    #[arg(long, value_name = "URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,

    /// How verification codes are sent
    #[arg(long, value_name = "PROVIDER", value_enum, default_value_t = CodeProvider::Console)]
    pub(crate) sms: CodeProvider,

    /// App of clients that send no app name; without it, they cannot register
    #[arg(long, value_name = "APP")]
    pub(crate) default_app: Option<AppName>,

    /// Answer 417 if a registered number is registered again, instead of replacing its devices
    #[arg(long)]
    pub(crate) reject_registered: bool,

    /// Header that contains the client's address; the proxy must set it on every request
    #[arg(long, value_name = "HEADER", value_enum, default_value_t = ProxyHeader::Off)]
    pub(crate) trust_proxy: ProxyHeader,

    /// Maximum number of open connections; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_links: u32,

    /// Maximum number of open connections of one address (IPv6: one /64 network); 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) links_per_address: u32,

    /// Maximum number of new connections of one address per minute; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 6000)]
    pub(crate) links_per_minute: u32,

    /// Also apply the limits per address to loopback addresses
    #[arg(long)]
    pub(crate) limit_loopback: bool,

    /// Maximum memory in bytes for the clients of one address: requests that the server is reading, and answers that wait
    /// for a client to read them
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) memory_per_address: usize,

    /// Maximum memory in bytes for all clients together
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    pub(crate) memory_bytes: usize,

    /// Days after which a message that its device has not fetched is removed
    #[arg(long, value_name = "DAYS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) message_days: u64,
}

/// Parses `public-url`, and removes a slash at its end.
fn public_url(text: &str) -> Result<String, String> {
    let is_url = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    let url = text.trim_end_matches('/');
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#']);
    if is_url && is_plain {
        Ok(url.to_owned())
    } else {
        Err("expected http:// or https:// and the name of a host".to_owned())
    }
}

impl ServiceConfig for Config {
    const ABOUT: About = About {
        name: "messaging",
        noun: "a messaging service",
        is_default: false,
        help: include_str!("messaging/help.txt"),
        addresses: "  --messaging-listen ADDRESS         [default: [::]:4080]\n",
        hidden: &[],
    };

    fn place_files(&mut self, data: &Path) {
        self.db.place(data);
        self.blobs = data.join(&self.blobs);
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        self.db.check().map_err(|reason| ("db", reason.to_owned()))?;
        self.wake.check(&self.db).map_err(|reason| ("wake", reason.to_owned()))
    }

    fn files(&self) -> Vec<StoredFile> {
        let file = |path: &Path| StoredFile { path: path.to_owned(), is_database: true };
        self.db.file().map(file).into_iter().collect()
    }

    async fn prepare(self, host: Host) -> Result<Prepared, ServerError> {
        let listener = crate::net::listen(self.listen)?;
        let url = if host.tls.is_some() { "https://{}" } else { "http://{}" };
        let listening = Listening::new("messaging", url, &listener);
        // Opening a database may take seconds. If the task panics, the process ends anyway.
        let messaging = tokio::task::spawn_blocking(move || Messaging::start(&self, host))
            .await
            .map_err(|error| ServerError::System(error.to_string()))??;
        Ok(Prepared::new(vec![listening], messaging.run(listener)))
    }
}

/// An open database, and the notifications between the nodes that share it, if there can be several.
struct OpenedStore {
    store: Box<dyn Store>,
    /// Another access to the same database, which only reads.
    reader: Box<dyn Store>,
    publisher: Option<Publisher>,
    listener: Option<Listener>,
}

/// A messaging service with its storage, before it accepts clients.
#[derive(Debug)]
struct Messaging {
    front: Arc<Front>,
    /// The threads that own the database.
    threads: StoreThreads,
    listener: Option<Listener>,
    /// How long attachments are kept.
    blob_age: Duration,
}

impl Messaging {
    /// Opens the database and starts the threads that own it. Blocks meanwhile.
    fn start(config: &Config, host: Host) -> Result<Self, ServerError> {
        let OpenedStore { store, reader, publisher, listener } = config.open_store()?;
        let sockets = Arc::new(Sockets::with_publisher(publisher));
        let limits = Arc::new(RateLimits::new(config.limit_loopback));
        let (woken, gauges) = (Arc::clone(&sockets), Gauges::default());
        let writer = StoreWriter {
            store,
            expiry: config.expiry(),
            notify: Box::new(move |changes| {
                woken.notify(&changes.new_messages);
                woken.close(&changes.removed);
            }),
            gauges: gauges.clone(),
            limits: Arc::clone(&limits),
        };
        let (storage, threads) = Storage::start(writer, reader).map_err(system)?;
        let (refused, tls) = (Counter::default(), host.tls.clone());
        host.metrics.register("messaging", |registry| {
            registry.register("refused_links", "Connections refused by limits", refused.clone());
            gauges.register(registry, Arc::clone(&sockets));
        });
        let api = Arc::new(config.api(storage, sockets, limits, host)?);
        let admission = Admission::new(config.limits(), config.trust_proxy, refused);
        let front = Arc::new(Front { api, admission, tls });
        let blob_age = Duration::from_secs(config.blob_days * 24 * 60 * 60);
        Ok(Self { front, threads, listener, blob_age })
    }

    /// Serves until drained.
    async fn run(self, listener: TcpListener) -> Result<(), ServerError> {
        let Self { front, mut threads, listener: other_nodes, blob_age } = self;
        let sockets = Arc::clone(&front.api.service.sockets);
        let handle = front.api.service.storage.clone();
        let blobs = Arc::clone(&front.api.service.blobs);
        tokio::select! {
            () = front.run(listener) => {}
            error = threads.failed() => return Err(error),
            () = blobs::expire(Arc::clone(&blobs), blob_age) => {}
            () = blobs::expire_avatars(blobs, handle.clone()) => {}
            () = listen(other_nodes, sockets) => {}
        }
        handle.close();
        // Every request has been answered, so the threads end at once.
        let _ended = tokio::task::spawn_blocking(move || threads.join()).await;
        Ok(())
    }
}

fn in_memory(path: &Path) -> ServerError {
    let reason = "accounts and messages need a file, or they are lost with the process".to_owned();
    ServerError::Database { path: path.display().to_string(), reason }
}

fn system(error: std::io::Error) -> ServerError {
    ServerError::System(error.to_string())
}

/// Forwards the notifications of other nodes to the sockets of this one. Never ends.
async fn listen(listener: Option<Listener>, sockets: Arc<Sockets>) {
    match listener {
        Some(listener) => listener.run(sockets).await,
        None => std::future::pending().await,
    }
}

impl Config {
    /// Opens the configured database, and prepares notifications between nodes.
    fn open_store(&self) -> Result<OpenedStore, ServerError> {
        let url = match &self.db {
            Database::File(path) if is_in_memory(path) => return Err(in_memory(path)),
            Database::File(path) => {
                let store = Box::new(SqliteStore::open(path)?);
                let reader = Box::new(SqliteStore::open_reader(path)?);
                return Ok(OpenedStore { store, reader, publisher: None, listener: None });
            }
            Database::Postgres(url) => url,
        };
        let (publisher, listener) = self.wake.prepare(url, NodeId::random(), CHANNEL)?;
        let store = Box::new(PostgresStore::open(url)?);
        let reader = Box::new(PostgresStore::open(url)?);
        Ok(OpenedStore { store, reader, publisher: Some(publisher), listener: Some(listener) })
    }

    /// Opens the directory of attachments, and prepares what requests need.
    fn api(
        &self,
        storage: Storage,
        sockets: Arc<Sockets>,
        limits: Arc<RateLimits>,
        host: Host,
    ) -> Result<Api, ServerError> {
        let blobs = Blobs::open(&self.blobs, self.blob_bytes).map_err(|error| {
            ServerError::System(format!("directory {}: {error}", self.blobs.display()))
        })?;
        let service = Arc::new(Service {
            storage,
            sockets,
            limits,
            blobs: Arc::new(blobs),
            codes: CodeSender::start(self.sms).map_err(system)?,
            fetching: Fetching::default(),
            issuer: tokio::sync::OnceCell::new(),
            settings: Settings {
                default_app: self.default_app.clone(),
                public_url: self.public_url.clone(),
                rejects_registered: self.reject_registered,
            },
            host,
        });
        let routes = Routes::new(api::router(Arc::clone(&service)));
        Ok(Api { routes, budget: Arc::new(self.budget()), service })
    }

    const fn expiry(&self) -> Expiry {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let days = Duration::from_secs(self.message_days * 24 * 60 * 60);
        // Ten times as long as a code is valid.
        let codes = Duration::from_secs(100 * 60);
        Expiry { messages: days, sent: DAY, codes }
    }

    /// One address gets at least enough for some of the longest requests, and all addresses together twice as much.
    fn budget(&self) -> MemoryBudget {
        let per_address = self.memory_per_address.max(MIN_MEMORY);
        MemoryBudget::new(per_address, self.memory_bytes.max(per_address.saturating_mul(2)))
    }

    fn limits(&self) -> Arc<Limits> {
        let allowance = Allowance {
            links: self.links_per_address,
            links_per_minute: self.links_per_minute,
            per_minute: PerMinute::default(),
        };
        Arc::new(Limits::new(allowance, self.max_links, self.limit_loopback, Instant::now()))
    }
}

/// The least memory for one address, in bytes: four of the longest requests.
const MIN_MEMORY: usize = 4 << 20;
