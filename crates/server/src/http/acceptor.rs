//! Opens WebSockets: speaks TLS and HTTP with new clients, and admits those that the limits allow.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::{HeaderValue, SERVER};
use tokio::net::TcpStream;
use wormhole_http::handshake::{self, AcceptKey};
use wormhole_http::{Request, Response};

use super::{Pages, SETTINGS, Upgraded, pages};
use crate::host::{Admission, Candidate};
use crate::limits::Pass;
use crate::net::{Stream, Tls};

/// Opens the WebSockets of one service.
#[derive(Debug)]
pub(crate) struct WebSocketAcceptor {
    /// What the server calls itself.
    pub(crate) server: &'static str,
    /// The path of WebSockets; `None` is every path.
    pub(crate) path: Option<&'static str>,
    /// The certificate; without one the listener is plain.
    pub(crate) tls: Option<Tls>,
    pub(crate) admission: Admission,
    /// What a browser or a monitor gets.
    pub(crate) pages: Pages,
}

/// A WebSocket whose handshake is complete.
#[derive(Debug)]
pub(crate) struct AcceptedWebSocket {
    pub(crate) upgraded: Upgraded,
    pub(crate) pass: Pass,
    /// Address of the client, perhaps as a proxy reported it.
    pub(crate) client: SocketAddr,
}

/// A connection until its request is answered.
#[derive(Debug)]
struct Arrival {
    peer: SocketAddr,
    candidate: Mutex<Option<Candidate>>,
    admitted: OnceLock<(Pass, SocketAddr)>,
}

impl WebSocketAcceptor {
    /// Decides about a new connection; `None` if it should be closed at once.
    pub(crate) fn candidate(&self, peer: SocketAddr) -> Option<Candidate> {
        self.admission.accept(peer, Instant::now())
    }

    /// Serves a connection until it is a WebSocket. `None` if it never becomes one: then it is closed after the
    /// response.
    pub(crate) async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        candidate: Candidate,
    ) -> Option<AcceptedWebSocket> {
        let stream = match &self.tls {
            Some(tls) => tls.accept(stream).await.ok()?,
            None => Stream::Plain(stream),
        };
        let candidate = Mutex::new(Some(candidate));
        let arrival = Arrival { peer, candidate, admitted: OnceLock::new() };
        // Draining does not end it early: the time of a request is limited anyway.
        let answer = |request| self.answer(request, &arrival);
        let upgraded = wormhole_http::serve(stream, &SETTINGS, pending(), answer).await?;
        let (pass, client) = arrival.admitted.into_inner()?;
        Some(AcceptedWebSocket { upgraded, pass, client })
    }

    async fn answer(&self, request: Request, arrival: &Arrival) -> Response {
        match handshake::check(&request) {
            Err(bad) => bad.into_response(),
            Ok(Some(accept)) if self.path.is_none_or(|path| path == request.uri().path()) => {
                self.admit(&request, accept, arrival)
            }
            Ok(_) => {
                if pages::is_for_monitors(request.uri().path()) {
                    arrival.forgive_entry();
                }
                self.pages.answer(request).await
            }
        }
    }

    /// Accepts a handshake, if there is room for the client.
    fn admit(&self, request: &Request, accept: AcceptKey, arrival: &Arrival) -> Response {
        let client = self.admission.client_address(request.headers(), arrival.peer);
        let candidate = arrival.candidate.lock().unwrap_or_else(PoisonError::into_inner).take();
        let pass =
            candidate.and_then(|candidate| self.admission.admit(candidate, client, Instant::now()));
        match pass {
            Some(pass) => {
                // A connection carries one request, so nothing else sets it.
                let _first = arrival.admitted.set((pass, client));
                let mut response = accept.into_response();
                let server = HeaderValue::from_static(self.server);
                response.headers_mut().insert(SERVER, server);
                response
            }
            None => (StatusCode::TOO_MANY_REQUESTS, "too many connections\n").into_response(),
        }
    }
}

impl Arrival {
    /// Does not count the connection as one of those per minute.
    fn forgive_entry(&self) {
        let candidate = self.candidate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Candidate::Admitted(pass)) = &*candidate {
            pass.forgive_entry();
        }
    }
}
