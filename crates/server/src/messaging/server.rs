//! The listener: HTTP connections with many requests each, of which some become WebSockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use hyper::StatusCode;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use wormhole_http::handshake;
use wormhole_http::{Request, Requests, Response, Routes, Settings};

use super::api::{self, ApiError, AppCredentials, BaseUrl, ClientAddress, Credentials, Principal};
use super::service::Service;
use super::socket::DeviceSocket;
use crate::host::{Admission, Candidate, accept};
use crate::http::Upgraded;
use crate::limits::LinkPermit;
use crate::net::{Stream, Tls};

/// The service behind its listener.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) service: Arc<Service>,
    /// Every path of the API.
    pub(super) routes: Routes,
    pub(super) admission: Admission,
    pub(super) tls: Option<Tls>,
}

/// A connection until it ends or becomes a WebSocket.
struct Arrival {
    peer: SocketAddr,
    candidate: Mutex<Option<Candidate>>,
    /// Set by the first request.
    permit: OnceLock<Option<LinkPermit>>,
    /// Set by the request that opens a WebSocket.
    socket: OnceLock<Opener>,
}

/// The client that opens a WebSocket.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) principal: Principal,
    pub(super) address: ClientAddress,
    pub(super) base: BaseUrl,
}

/// Credentials in the address of a WebSocket. Clients write the plus sign of a number as it is, which means a space.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SocketQuery {
    login: Option<String>,
    password: Option<String>,
}

impl Front {
    /// Accepts connections until draining begins, then waits until all of them have ended.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let (draining, tasks) = (self.service.host.draining.clone(), TaskTracker::new());
        let serve = |stream, peer| {
            let candidate = self.admission.accept(peer, Instant::now())?;
            let front = Arc::clone(&self);
            Some(async move {
                // Boxed: HTTP needs more memory than a WebSocket, whose life is longer.
                if let Some(socket) = Box::pin(front.open(stream, peer, candidate)).await {
                    socket.serve().await;
                }
            })
        };
        accept(listener, draining, tasks.clone(), serve).await;
        tasks.close();
        tasks.wait().await;
    }

    /// Serves a connection until it is a WebSocket. `None` if it never becomes one.
    async fn open(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        candidate: Candidate,
    ) -> Option<DeviceSocket> {
        let stream = match &self.tls {
            Some(tls) => tls.accept(stream).await.ok()?,
            None => Stream::Plain(stream),
        };
        let candidate = Mutex::new(Some(candidate));
        let arrival = Arrival { peer, candidate, permit: OnceLock::new(), socket: OnceLock::new() };
        let answer = |request| self.answer(request, &arrival);
        let stop = self.service.host.draining.cancelled();
        let upgraded = wormhole_http::serve(stream, &SETTINGS, stop, answer).await?;
        let opener = arrival.socket.into_inner()?;
        let permit = arrival.permit.into_inner().flatten()?;
        let upgraded = Upgraded { stream: upgraded.stream, early: upgraded.early };
        Some(DeviceSocket::new(Arc::clone(self), opener, permit, upgraded))
    }

    async fn answer(&self, mut request: Request, arrival: &Arrival) -> Response {
        let client = self.admission.client_address(request.headers(), arrival.peer);
        if !arrival.admit(&self.admission, client) {
            return (StatusCode::TOO_MANY_REQUESTS, "too many connections\n").into_response();
        }
        let address = ClientAddress(client.ip());
        let base = self.base_url(&request);
        api::remove_trailing_slash(request.uri_mut());
        match handshake::check(&request) {
            Err(bad) => bad.into_response(),
            Ok(Some(accept)) if request.uri().path() == "/v1/websocket" => {
                match self.principal(&request).await {
                    Ok(principal) => {
                        // The connection carries no request after this one, so nothing else sets it.
                        let _first = arrival.socket.set(Opener { principal, address, base });
                        accept.into_response()
                    }
                    Err(error) => error.into_response(),
                }
            }
            Ok(_) => {
                request.extensions_mut().insert(address);
                request.extensions_mut().insert(base);
                self.routes.answer(request).await
            }
        }
    }

    fn base_url(&self, request: &Request) -> BaseUrl {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = request.headers().get(hyper::header::HOST).and_then(|host| host.to_str().ok());
        BaseUrl(format!("{scheme}://{}", host.unwrap_or("localhost")).into())
    }

    /// Who opens a WebSocket: credentials are in the address or in a header. Without any, it is nobody.
    async fn principal(&self, request: &Request) -> Result<Principal, ApiError> {
        let query = request.uri().query().unwrap_or_default();
        let query: SocketQuery = axum::extract::Query::try_from_uri(request.uri())
            .map(|axum::extract::Query(query)| query)
            .map_err(|_| ApiError::bad_credentials())
            .or_else(
                |error| if query.is_empty() { Ok(SocketQuery::default()) } else { Err(error) },
            )?;
        let headers = request.headers();
        let credentials = match (query.login, query.password) {
            (Some(login), Some(password)) => {
                let restore = |text: &str| text.replace(' ', "+");
                Credentials::parse(&restore(&login), &restore(&password))
            }
            (None, None) if !headers.contains_key(hyper::header::AUTHORIZATION) => {
                return Ok(Principal::Nobody);
            }
            (None, None) => Credentials::from_headers(headers),
            _ => None,
        };
        let credentials = credentials.ok_or_else(ApiError::bad_credentials)?;
        let app = AppCredentials::from_headers(headers)?;
        self.service.authenticate(credentials, app).await.map(Principal::Device)
    }
}

impl Arrival {
    /// Counts the connection under the client's address, at its first request.
    fn admit(&self, admission: &Admission, client: SocketAddr) -> bool {
        let permit = self.permit.get_or_init(|| {
            let candidate = self.candidate.lock().unwrap_or_else(PoisonError::into_inner).take();
            admission.admit(candidate?, client, Instant::now())
        });
        permit.is_some()
    }
}

/// Many requests on each connection, which may be idle for a minute.
const SETTINGS: Settings =
    Settings { head_time: Duration::from_secs(60), requests: Requests::Many };
