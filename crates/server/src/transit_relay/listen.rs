//! The listeners of the relay: plain TCP links, and WebSockets after TLS and HTTP. Each link is admitted if the limits
//! of its client address allow it.
//!
//! [`super::attend`] takes over an admitted link.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attend;
use super::link::{self, Link};
use super::pairing::Pairing;
use super::pump::Tools;
use crate::host::{self, Admission, Candidate};
use crate::http::{self, NoRequest, Request, websocket};
use crate::limits::{Limits, Pass};
use crate::metrics::Metrics;
use crate::net::{Stream, Tls};

/// The listener for plain links, and what every link needs.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) limits: Arc<Limits>,
    pub(super) pairing: Arc<Pairing>,
    pub(super) tools: Arc<Tools>,
    /// The tasks of all links.
    pub(super) tasks: TaskTracker,
}

impl Listener {
    /// Accepts plain links until draining begins.
    pub(super) async fn accept(&self, listener: TcpListener, draining: CancellationToken) {
        let serve = |stream: TcpStream, address: SocketAddr| {
            let pass = self.admit(address.ip())?;
            link::keep_alive(&stream);
            Some(attend(Link::Tcp(stream), pass, self.clone()))
        };
        host::accept(listener, draining, self.tasks.clone(), serve).await;
    }

    /// Admits a link by its address, or counts it as refused.
    fn admit(&self, address: IpAddr) -> Option<Pass> {
        let pass = self.limits.admit(address, Instant::now());
        if pass.is_none() {
            self.tools.counters.refused();
        }
        pass
    }
}

/// The listener for WebSockets.
#[derive(Debug)]
pub(super) struct WebListener {
    pub(super) listener: Listener,
    pub(super) tls: Option<Tls>,
    pub(super) admission: Admission,
    pub(super) metrics: Arc<Metrics>,
}

impl WebListener {
    /// Accepts WebSockets, if there is a socket for them, until draining begins.
    pub(super) async fn accept(self, listener: Option<TcpListener>, draining: CancellationToken) {
        let Some(listener) = listener else { return };
        let tasks = self.listener.tasks.clone();
        let web = Arc::new(self);
        let serve = |stream: TcpStream, address| {
            let Some(candidate) = web.admission.accept(address, Instant::now()) else {
                web.listener.tools.counters.refused();
                return None;
            };
            link::keep_alive(&stream);
            let web = Arc::clone(&web);
            Some(async move {
                // Boxed: its state is large, and the link would keep that memory as long as it lives.
                if let Some((link, pass)) = Box::pin(web.open(stream, address, candidate)).await {
                    web.listener.tasks.spawn(attend(link, pass, web.listener.clone()));
                }
            })
        };
        host::accept(listener, draining, tasks, serve).await;
    }

    /// Speaks TLS and HTTP with a new client until it is a WebSocket, on any path as in the
    /// reference. Everything else that HTTP can be used for here is answered and over.
    async fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        candidate: Candidate,
    ) -> Option<(Link, Pass)> {
        let mut stream = match &self.tls {
            Some(tls) => tls.accept(stream).await.ok()?,
            None => Stream::Plain(stream),
        };
        let mut with_page = true;
        let (status, page) = match Request::read(&mut stream).await {
            Ok((request, early)) => match &request.websocket_key {
                Some(key) => match self.admit(candidate, &request, address) {
                    Some(pass) => {
                        let answer = websocket::handshake(key, SERVER);
                        return Some((Link::web(stream, answer, early), pass));
                    }
                    None => ("429 Too Many Requests", "too many connections\n".into()),
                },
                None => {
                    with_page = !request.is_head;
                    self.page(&request)
                }
            },
            Err(NoRequest::Gone) => return None,
            Err(error) => ("400 Bad Request", format!("{error}\n")),
        };
        // The client may be gone already.
        let _ = http::respond(&mut stream, status, &page, with_page).await;
        None
    }

    /// What a browser or a monitor gets.
    fn page(&self, request: &Request) -> (&'static str, String) {
        if let Some(bad) = request.bad_upgrade {
            return (bad.status(), format!("{bad}\n"));
        }
        match request.path.as_str() {
            _ if !request.is_get => ("405 Method Not Allowed", "only GET\n".into()),
            "/" => ("200 OK", "Wormhole transit relay: for WebSocket clients\n".into()),
            "/health" => ("200 OK", "ok\n".into()),
            "/metrics" => self.metrics.page(),
            _ => ("404 Not Found", "not found\n".into()),
        }
    }

    /// Admits a WebSocket client, or counts it as refused.
    fn admit(&self, candidate: Candidate, request: &Request, link: SocketAddr) -> Option<Pass> {
        let client = self.admission.client_address(request, link);
        let pass = self.admission.admit(candidate, client, Instant::now());
        if pass.is_none() {
            self.listener.tools.counters.refused();
        }
        pass
    }
}

/// What the relay calls itself.
const SERVER: &str = concat!("Wormhole Transit Relay ", env!("CARGO_PKG_VERSION"));
