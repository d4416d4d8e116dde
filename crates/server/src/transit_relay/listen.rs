//! The listeners of the relay: plain TCP links, and WebSockets. Each link is admitted if the limits of its client address
//! allow it.
//!
//! [`super::serve_link`] then handles the link.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::{self, RelayLink};
use super::pairing::Pairing;
use super::pump::PumpContext;
use super::serve_link;
use crate::host;
use crate::http::{AcceptedWebSocket, WebSocketAcceptor};
use crate::limits::{Limits, LinkPermit};

/// The listener for plain links, and the state that all links share.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) limits: Arc<Limits>,
    pub(super) pairing: Arc<Pairing>,
    pub(super) context: Arc<PumpContext>,
    /// The tasks of all links.
    pub(super) tasks: TaskTracker,
}

impl Listener {
    /// Accepts plain links until draining begins.
    pub(super) async fn accept(&self, listener: TcpListener, draining: CancellationToken) {
        let serve = |stream: TcpStream, address: SocketAddr| {
            let permit = self.admit(address.ip())?;
            link::keep_alive(&stream);
            Some(serve_link(RelayLink::Tcp(stream), permit, self.clone()))
        };
        host::accept(listener, draining, self.tasks.clone(), serve).await;
    }

    /// Admits a link by its address, or counts it as refused.
    fn admit(&self, address: IpAddr) -> Option<LinkPermit> {
        let permit = self.limits.admit(address, Instant::now());
        if permit.is_none() {
            self.context.counters.refused();
        }
        permit
    }
}

/// The listener for WebSockets.
#[derive(Debug)]
pub(super) struct WebListener {
    pub(super) listener: Listener,
    pub(super) acceptor: WebSocketAcceptor,
}

impl WebListener {
    /// Accepts WebSockets, if there is a socket for them, until draining begins.
    pub(super) async fn accept(self, listener: Option<TcpListener>, draining: CancellationToken) {
        let Some(listener) = listener else { return };
        let tasks = self.listener.tasks.clone();
        let web = Arc::new(self);
        let serve = |stream: TcpStream, address| {
            let candidate = web.acceptor.candidate(address)?;
            link::keep_alive(&stream);
            let web = Arc::clone(&web);
            Some(async move {
                // Boxed: opening a link needs more memory than serving it.
                let opened = Box::pin(web.acceptor.open(stream, address, candidate)).await;
                if let Some(AcceptedWebSocket { upgraded, permit, .. }) = opened {
                    let listener = &web.listener;
                    listener.tasks.spawn(serve_link(
                        RelayLink::web(upgraded),
                        permit,
                        listener.clone(),
                    ));
                }
            })
        };
        host::accept(listener, draining, tasks, serve).await;
    }
}

/// The pages of the relay, in addition to those for monitors.
pub(super) fn pages() -> Router {
    Router::new().route("/", get("Wormhole transit relay: for WebSocket clients\n"))
}

/// The value of the `Server` header.
pub(super) const SERVER: &str = concat!("Wormhole Transit Relay ", env!("CARGO_PKG_VERSION"));
