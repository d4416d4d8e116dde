//! Lets links in: plain ones as they come, WebSockets after TLS and HTTP, each if its address has
//! room for it.
//!
//! What a link does then is [`super::attend`]'s business.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::attend;
use super::link::{self, Link};
use super::meeting::Meeting;
use super::pump::Tools;
use crate::drain::Drain;
use crate::entrance::{Entrance, Visitor};
use crate::http::{self, NoRequest, Request, websocket};
use crate::limits::{Limits, Pass};
use crate::metrics::Metrics;
use crate::net::{Stream, Tls};

/// What a listener needs to let a link in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) limits: Arc<Limits>,
    pub(super) meeting: Arc<Meeting>,
    pub(super) tools: Arc<Tools>,
    #[expect(dead_code, reason = "dropped with the last task that can still be doing something")]
    pub(super) alive: mpsc::Sender<()>,
}

impl Door {
    /// Admits a link by its address, or counts it as refused.
    fn admit(&self, address: IpAddr) -> Option<Pass> {
        let pass = self.limits.admit(address, Instant::now());
        if pass.is_none() {
            self.tools.counters.refused();
        }
        pass
    }
}

/// Lets plain links in until drained.
pub(super) async fn accept_plain(listener: TcpListener, door: Door, mut drain: Drain) {
    loop {
        let (stream, address) = tokio::select! {
            () = drain.begun() => return,
            accepted = crate::net::accept(&listener) => accepted,
        };
        let Some(pass) = door.admit(address.ip()) else { continue };
        link::keep_alive(&stream);
        tokio::spawn(attend(Link::Tcp(stream), pass, door.clone()));
    }
}

/// Lets WebSockets in until drained.
pub(super) async fn accept_web(listener: Option<TcpListener>, web: WebDoor, mut drain: Drain) {
    let Some(listener) = listener else { return };
    let web = Arc::new(web);
    loop {
        let (stream, address) = tokio::select! {
            () = drain.begun() => return,
            accepted = crate::net::accept(&listener) => accepted,
        };
        let Some(visitor) = web.entrance.enter(address, Instant::now()) else {
            web.door.tools.counters.refused();
            continue;
        };
        link::keep_alive(&stream);
        let web = Arc::clone(&web);
        tokio::spawn(async move {
            // Boxed: its state is large, and would weigh on the link as long as it lives.
            if let Some((link, pass)) = Box::pin(web.open(stream, address, visitor)).await {
                tokio::spawn(attend(link, pass, web.door.clone()));
            }
        });
    }
}

/// What the WebSocket listener needs to let a link in.
#[derive(Debug)]
pub(super) struct WebDoor {
    pub(super) door: Door,
    pub(super) tls: Option<Tls>,
    pub(super) entrance: Entrance,
    pub(super) metrics: Arc<Metrics>,
}

impl WebDoor {
    /// Speaks TLS and HTTP with a new client until it is a WebSocket, on any path as in the
    /// reference. Everything else that HTTP can be used for here is answered and over.
    async fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        visitor: Visitor,
    ) -> Option<(Link, Pass)> {
        let mut stream = match &self.tls {
            Some(tls) => tls.accept(stream).await.ok()?,
            None => Stream::Plain(stream),
        };
        let mut with_page = true;
        let (status, page) = match Request::read(&mut stream).await {
            Ok((request, early)) => match &request.websocket_key {
                Some(key) => match self.admit(visitor, &request, address) {
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
    fn admit(&self, visitor: Visitor, request: &Request, link: SocketAddr) -> Option<Pass> {
        let client = self.entrance.client(request, link);
        let pass = self.entrance.admit(visitor, client, Instant::now());
        if pass.is_none() {
            self.door.tools.counters.refused();
        }
        pass
    }
}

/// What the relay calls itself.
const SERVER: &str = concat!("Wormhole Transit Relay ", env!("CARGO_PKG_VERSION"));
