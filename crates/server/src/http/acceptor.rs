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
use crate::host::{Admission, Candidate, PendingSlot};
use crate::limits::LinkPermit;
use crate::net::{Stream, Tls};

/// Opens the WebSockets of one service.
#[derive(Debug)]
pub(crate) struct WebSocketAcceptor {
    /// The value of the `Server` header.
    pub(crate) server: &'static str,
    /// The path of WebSockets; `None` means every path.
    pub(crate) path: Option<&'static str>,
    /// The certificate; without one, connections do not use TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) admission: Admission,
    /// The pages for browsers and monitors.
    pub(crate) pages: Pages,
}

/// A WebSocket whose handshake is complete.
#[derive(Debug)]
pub(crate) struct AcceptedWebSocket {
    pub(crate) upgraded: Upgraded,
    pub(crate) permit: LinkPermit,
    /// Address of the client: the one that a trusted proxy has reported, or that of the connection.
    pub(crate) client: SocketAddr,
}

/// A connection until its request is answered.
#[derive(Debug)]
struct PendingConnection {
    peer: SocketAddr,
    candidate: Mutex<Option<Candidate>>,
    admitted: OnceLock<(LinkPermit, SocketAddr)>,
    /// Of a refused connection, until it is closed.
    refused: OnceLock<PendingSlot>,
}

impl WebSocketAcceptor {
    /// Decides about a new connection; `None` if it should be closed at once.
    pub(crate) fn candidate(&self, peer: SocketAddr) -> Option<Candidate> {
        self.admission.accept(peer, Instant::now())
    }

    /// Serves a connection until it is a WebSocket. `None` if it does not become one; then it was closed after the
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
        let (admitted, refused) = (OnceLock::new(), OnceLock::new());
        let connection = PendingConnection { peer, candidate, admitted, refused };
        // Draining does not interrupt the request, because its time is limited anyway.
        let answer = |request| self.answer(request, &connection);
        let upgraded = wormhole_http::serve(stream, &SETTINGS, pending(), answer).await?;
        let (permit, client) = connection.admitted.into_inner()?;
        Some(AcceptedWebSocket { upgraded, permit, client })
    }

    async fn answer(&self, request: Request, connection: &PendingConnection) -> Response {
        match handshake::check(&request) {
            Err(bad) => bad.into_response(),
            Ok(Some(accept)) if self.path.is_none_or(|path| path == request.uri().path()) => {
                self.admit(&request, accept, connection)
            }
            Ok(_) => {
                if pages::is_for_monitors(request.uri().path()) {
                    connection.refund_link();
                }
                self.pages.answer(request).await
            }
        }
    }

    /// Accepts a handshake, if the limits allow it.
    fn admit(
        &self,
        request: &Request,
        accept: AcceptKey,
        connection: &PendingConnection,
    ) -> Response {
        let client = self.admission.client_address(request.headers(), connection.peer);
        let candidate = connection.candidate.lock().unwrap_or_else(PoisonError::into_inner).take();
        let admitted =
            candidate.map(|candidate| self.admission.admit(candidate, client, Instant::now()));
        // A connection has only one request, so each of these is set only once.
        match admitted {
            Some(Ok(permit)) => {
                let _first = connection.admitted.set((permit, client));
                let mut response = accept.into_response();
                let server = HeaderValue::from_static(self.server);
                response.headers_mut().insert(SERVER, server);
                response
            }
            refused => {
                if let Some(Err(slot)) = refused {
                    let _first = connection.refused.set(slot);
                }
                (StatusCode::TOO_MANY_REQUESTS, "too many connections\n").into_response()
            }
        }
    }
}

impl PendingConnection {
    /// Does not count this connection towards `links_per_minute`.
    fn refund_link(&self) {
        let candidate = self.candidate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Candidate::Admitted(permit)) = &*candidate {
            permit.refund_link();
        }
    }
}
