//! Listening for clients, and everything that their links share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rand_core::{OsRng, RngCore};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use wormhole_magic::mailbox::message::{HashcashDemand, PermissionRequired, Welcome, YourAddress};

use super::counters::Counters;
use super::hub::Hub;
use super::inbox::Inbox;
use super::link::{Link, Patience};
use super::memory::{Budget, Share};
use crate::host::{Admission, Candidate, Host, accept};
use crate::http::{self, Request, websocket};
use crate::limits::Pass;
use crate::net::Stream;

/// One running mailbox server.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) hub: Hub,
    pub(super) counters: Arc<Counters>,
    pub(super) admission: Admission,
    pub(super) settings: Settings,
    /// Memory for everything that is held for clients.
    pub(super) budget: Arc<Budget>,
    pub(super) host: Host,
    pub(super) links: AtomicU64,
}

/// What links need to know of the configuration.
#[derive(Debug)]
pub(super) struct Settings {
    /// What every client is told, apart from what concerns it alone.
    pub(super) welcome: Welcome,
    /// Bits of work to show before binding; 0 is none.
    pub(super) hashcash_bits: u32,
    /// Longest message, in bytes.
    pub(super) max_frame: usize,
    /// Bytes of messages that may wait for a client to read them.
    pub(super) outgoing: usize,
    pub(super) patience: Patience,
}

impl Service {
    pub(super) const fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) const fn max_frame(&self) -> usize {
        self.settings.max_frame
    }

    pub(super) const fn patience(&self) -> Patience {
        self.settings.patience
    }

    /// An inbox for a new link.
    pub(super) fn new_inbox(&self, share: Share) -> Inbox {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        Inbox::new(number, self.settings.outgoing, share)
    }

    /// A share, of nothing yet, of the memory for a link's address.
    pub(super) fn new_share(&self, pass: &Pass) -> Share {
        Share::new(Arc::clone(&self.budget), Arc::clone(pass.held()))
    }

    /// Accepts connections until draining begins, then waits until all links have ended.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let (draining, tasks) = (self.host.draining.clone(), TaskTracker::new());
        let serve = |stream, address| {
            let Some(candidate) = self.admission.accept(address, Instant::now()) else {
                self.counters.refused();
                return None;
            };
            let service = Arc::clone(&self);
            Some(async move {
                // Boxed: opening a link needs more memory than the rest of its life.
                let opened = Box::pin(service.open(stream, address, candidate)).await;
                if let Some((link, early)) = opened {
                    link.serve(early, &service.host.draining).await;
                }
            })
        };
        accept(listener, draining, tasks.clone(), serve).await;
        tasks.close();
        tasks.wait().await;
    }

    /// Speaks TLS and HTTP with a new client until it is a WebSocket. Everything else that HTTP
    /// can be used for here is answered and over.
    async fn open(
        self: &Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        candidate: Candidate,
    ) -> Option<(Link, Vec<u8>)> {
        let mut stream = match &self.host.tls {
            Some(tls) => tls.accept(stream).await.ok()?,
            None => Stream::Plain(stream),
        };
        let (request, early) = match Request::read(&mut stream).await {
            Ok(read) => read,
            Err(http::NoRequest::Gone) => return None,
            Err(error) => {
                let page = format!("{error}\n");
                // The client may be gone already.
                let _ = http::respond(&mut stream, "400 Bad Request", &page, true).await;
                return None;
            }
        };
        let Some(key) = request.websocket_key.as_ref().filter(|_| request.path == "/v1") else {
            if let Candidate::Admitted(pass) = &candidate
                && is_for_monitors(&request.path)
            {
                pass.forgive_entry();
            }
            let (status, page) = self.page(&request);
            let _ = http::respond(&mut stream, status, &page, !request.is_head).await;
            return None;
        };
        let client = self.admission.client_address(&request, address);
        let Some(pass) = self.admission.admit(candidate, client, Instant::now()) else {
            self.counters.refused();
            let page = "too many connections\n";
            let _ = http::respond(&mut stream, "429 Too Many Requests", page, true).await;
            return None;
        };
        self.counters.opened();
        let opening = websocket::handshake(key, SERVER);
        let welcome = self.welcome(client);
        Some((Link::new(Arc::clone(self), pass, stream, &welcome, opening), early))
    }

    /// What a browser or a monitor gets.
    fn page(&self, request: &Request) -> (&'static str, String) {
        if let Some(bad) = request.bad_upgrade {
            return (bad.status(), format!("{bad}\n"));
        }
        if !request.is_get {
            return ("405 Method Not Allowed\r\nAllow: GET, HEAD", "only GET\n".into());
        }
        match request.path.as_str() {
            "/" => ("200 OK", "Wormhole Relay\n".into()),
            "/health" => ("200 OK", "ok\n".into()),
            "/metrics" => self.host.metrics.page(),
            "/v1" => ("200 OK", "Wormhole mailbox: this address is for WebSocket clients\n".into()),
            _ => ("404 Not Found", "not found\n".into()),
        }
    }

    fn welcome(&self, client: SocketAddr) -> Welcome {
        let mut welcome = self.settings.welcome.clone();
        welcome.your_address = Some(YourAddress::new(client.ip(), client.port()));
        if self.settings.hashcash_bits > 0 {
            // A resource of its own for every link: no stamp can be used twice or made in advance.
            let resource = format!("wormhole-{:016x}", OsRng.next_u64());
            let mut ways = PermissionRequired::default();
            ways.hashcash = Some(HashcashDemand::new(self.settings.hashcash_bits, resource));
            welcome.permission_required = Some(ways);
        }
        welcome
    }
}

/// Whether this is what monitors ask for, every few seconds and for ever. It must not take away from
/// what an address has for its clients.
fn is_for_monitors(path: &str) -> bool {
    matches!(path, "/health" | "/metrics")
}

/// What the server calls itself.
const SERVER: &str = concat!("Wormhole Mailbox ", env!("CARGO_PKG_VERSION"));
