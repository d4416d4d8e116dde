//! Listening for clients, and everything that their links share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use rand_core::{OsRng, RngCore};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use wormhole_magic::mailbox::message::{HashcashDemand, PermissionRequired, Welcome, YourAddress};

use super::counters::Counters;
use super::hub::Hub;
use super::inbox::Inbox;
use super::link::{Link, LinkTimeouts};
use crate::host::{Host, accept};
use crate::http::{AcceptedWebSocket, WebSocketAcceptor};
use crate::limits::LinkPermit;
use crate::memory::{MemoryBudget, Share};

/// One running mailbox server.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) hub: Hub,
    pub(super) counters: Arc<Counters>,
    pub(super) acceptor: WebSocketAcceptor,
    pub(super) settings: Settings,
    /// The memory limits for client data.
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) host: Host,
    pub(super) links: AtomicU64,
}

/// The part of the configuration that links use.
#[derive(Debug)]
pub(super) struct Settings {
    /// The welcome message, without the fields that differ between clients: the client's address and the proof of
    /// work.
    pub(super) welcome: Welcome,
    /// Proof of work in bits that a client must provide before `bind`; 0 means none.
    pub(super) hashcash_bits: u32,
    /// Maximum length of a message, in bytes.
    pub(super) max_frame: usize,
    /// Maximum number of bytes of new messages that wait for one client.
    pub(super) outgoing: usize,
    pub(super) timeouts: LinkTimeouts,
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

    pub(super) const fn timeouts(&self) -> LinkTimeouts {
        self.settings.timeouts
    }

    /// An inbox for a new link.
    pub(super) fn new_inbox(&self, share: Share) -> Inbox {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        Inbox::new(number, self.settings.outgoing, share)
    }

    /// An empty memory share for the address of a new link.
    pub(super) fn new_share(&self, permit: &LinkPermit) -> Share {
        Share::new(Arc::clone(&self.budget), Arc::clone(permit.usage()))
    }

    /// Accepts connections until draining begins, then waits until all links have ended.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let (draining, tasks) = (self.host.draining.clone(), TaskTracker::new());
        let serve = |stream, address| {
            let candidate = self.acceptor.candidate(address)?;
            let service = Arc::clone(&self);
            Some(async move {
                // Boxed: opening a link needs more memory than serving it.
                let opened = Box::pin(service.acceptor.open(stream, address, candidate)).await;
                let Some(AcceptedWebSocket { upgraded, permit, client }) = opened else { return };
                service.counters.opened();
                let welcome = service.welcome(client);
                let link = Link::new(Arc::clone(&service), permit, upgraded.stream, &welcome);
                link.serve(upgraded.early, &service.host.draining).await;
            })
        };
        accept(listener, draining, tasks.clone(), serve).await;
        tasks.close();
        tasks.wait().await;
    }

    fn welcome(&self, client: SocketAddr) -> Welcome {
        let mut welcome = self.settings.welcome.clone();
        welcome.your_address = Some(YourAddress::new(client.ip(), client.port()));
        if self.settings.hashcash_bits > 0 {
            // Each link gets a different resource, so no stamp can be used twice or computed in advance.
            let resource = format!("wormhole-{:016x}", OsRng.next_u64());
            let mut ways = PermissionRequired::default();
            ways.hashcash = Some(HashcashDemand::new(self.settings.hashcash_bits, resource));
            welcome.permission_required = Some(ways);
        }
        welcome
    }
}

/// The pages of the mailbox server, in addition to those for monitors.
pub(super) fn pages() -> Router {
    Router::new()
        .route("/", get("Wormhole Relay\n"))
        .route("/v1", get("Wormhole mailbox: this address is for WebSocket clients\n"))
}

/// The value of the `Server` header.
pub(super) const SERVER: &str = concat!("Wormhole Mailbox ", env!("CARGO_PKG_VERSION"));
