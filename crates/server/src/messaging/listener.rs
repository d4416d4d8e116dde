//! The listener: HTTP connections with many requests each, of which some become WebSockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use wormhole_http::handshake;
use wormhole_http::{Request, Requests, Response, Settings, WriteTimeout};

use super::api::{self, ApiError, AppProof, BaseUrl, ClientAddress, Credentials, Principal};
use super::context::{Api, Service};
use super::rate_limits::Action;
use super::request_memory::RequestMemory;
use super::socket::{DeviceSocket, Opener};
use crate::host::{Admission, Candidate, accept};
use crate::http::Upgraded;
use crate::limits::{AddressUsage, LinkPermit};
use crate::memory::Share;
use crate::net::{Stream, Tls};

/// The service behind its listener.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) api: Arc<Api>,
    pub(super) admission: Admission,
    pub(super) tls: Option<Tls>,
}

/// A connection until it ends or becomes a WebSocket.
struct Arrival {
    peer: SocketAddr,
    counted: Mutex<Counted>,
    /// Set by the request that opens a WebSocket.
    socket: OnceLock<Opener>,
}

/// The limit that a connection counts towards.
#[derive(Debug)]
enum Counted {
    /// That of the client that has sent the latest request. A proxy sends requests of several clients on one connection.
    Client(IpAddr, LinkPermit),
    /// Refused: closes after this response. It counts as a new connection until then.
    Refused(
        #[expect(dead_code, reason = "one of the connections until it is dropped")]
        Option<Candidate>,
    ),
    /// No request yet.
    Unknown(Candidate),
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
        let (draining, tasks) = (self.api.service.host.draining.clone(), TaskTracker::new());
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
        let counted = Mutex::new(Counted::Unknown(candidate));
        let arrival = Arrival { peer, counted, socket: OnceLock::new() };
        let answer = |request| self.answer(request, &arrival);
        let stop = self.api.service.host.draining.cancelled();
        let stream = WriteTimeout::new(stream, WRITE_TIME);
        let upgraded = wormhole_http::serve(stream, &SETTINGS, stop, answer).await?;
        let opener = arrival.socket.into_inner()?;
        let counted = arrival.counted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Counted::Client(_, permit) = counted else { return None };
        // A WebSocket has limits of its own.
        let upgraded = Upgraded { stream: upgraded.stream.into_inner(), early: upgraded.early };
        Some(DeviceSocket::new(Arc::clone(&self.api), opener, permit, upgraded))
    }

    async fn answer(&self, mut request: Request, arrival: &Arrival) -> Response {
        let client = self.admission.client_address(request.headers(), arrival.peer);
        let Some(usage) = arrival.admit(&self.admission, client) else {
            return too_many_connections();
        };
        let address = ClientAddress(client.ip());
        let base = self.base_url(&request);
        api::remove_trailing_slash(request.uri_mut());
        match handshake::check(&request) {
            Err(bad) => api::with_json_error(bad.into_response()).await,
            Ok(Some(accept)) if request.uri().path().starts_with("/v1/websocket") => {
                match self.opener(&request, address, base).await {
                    Ok(opener) => {
                        // The connection carries no request after this one, so nothing else sets it.
                        let _first = arrival.socket.set(opener);
                        accept.into_response()
                    }
                    Err(error) => error.into_response(),
                }
            }
            Ok(_) => {
                request.extensions_mut().insert(address);
                request.extensions_mut().insert(base);
                let memory = RequestMemory::new(Share::new(Arc::clone(&self.api.budget), usage));
                request.extensions_mut().insert(memory.clone());
                memory.count_answer(self.api.routes.answer(request).await)
            }
        }
    }

    /// How the client has reached the service. Ignores a malformed `Host` header.
    fn base_url(&self, request: &Request) -> BaseUrl {
        let headers = request.headers();
        let is_secure = self.tls.is_some() || self.admission.is_forwarded_https(headers);
        let scheme = if is_secure { "https" } else { "http" };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.filter(|host| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte);
            !host.is_empty() && host.bytes().all(is_allowed)
        });
        BaseUrl(format!("{scheme}://{}", host.unwrap_or("localhost")).into())
    }

    /// The client that opens a WebSocket.
    async fn opener(
        &self,
        request: &Request,
        address: ClientAddress,
        base: BaseUrl,
    ) -> Result<Opener, ApiError> {
        match request.uri().path() {
            "/v1/websocket" => {
                let (principal, app) = self.principal(request, address).await?;
                Ok(Opener { principal, is_provisioning: false, app, address, base })
            }
            "/v1/websocket/provisioning" => {
                self.limit_provisioning(address.0).map_err(ApiError::too_many)?;
                let (principal, app) = (Principal::Nobody, Arc::new(AppProof::NotNeeded));
                Ok(Opener { principal, is_provisioning: true, app, address, base })
            }
            _ => Err(ApiError::not_found("no such path")),
        }
    }

    /// Counts a device that begins to wait to be linked. Each of them is a row in the database, so there is a limit for all
    /// networks together.
    fn limit_provisioning(&self, client: IpAddr) -> Result<(), Duration> {
        let Service { sockets, .. } = &*self.api.service;
        let budget = self.api.service.budget();
        budget.spend_of_network(Action::ProvisioningAddress, client, 1)?;
        if sockets.count_addresses() >= MAX_ADDRESSES {
            return Err(ADDRESS_PAUSE);
        }
        budget.spend(Action::ProvisioningPerNode, (), 1)
    }

    /// Authenticates the client that opens a WebSocket: credentials are in the address or in a header. Without credentials: [`Principal::Nobody`].
    async fn principal(
        &self,
        request: &Request,
        ClientAddress(client): ClientAddress,
    ) -> Result<(Principal, Arc<AppProof>), ApiError> {
        let query = axum::extract::Query::<SocketQuery>::try_from_uri(request.uri());
        let axum::extract::Query(query) = query.map_err(|_| ApiError::bad_credentials())?;
        let headers = request.headers();
        // Some clients cannot send the headers of an app here.
        let app = Arc::new(AppProof::from_headers(headers, AppProof::NotNeeded)?);
        let credentials = match (query.login, query.password) {
            (Some(login), Some(password)) => {
                let restore = |text: &str| text.replace(' ', "+");
                Credentials::parse(&restore(&login), &restore(&password))
            }
            (None, None) if !headers.contains_key(hyper::header::AUTHORIZATION) => {
                return Ok((Principal::Nobody, app));
            }
            (None, None) => Credentials::from_headers(headers),
            _ => None,
        };
        let credentials = credentials.ok_or_else(ApiError::bad_credentials)?;
        let found = self.api.service.authenticate(credentials, &app, client).await?;
        Ok((Principal::Device(found), app))
    }
}

impl Arrival {
    /// Counts the connection for this client, and returns what the client's address uses. `None` if the limits do not
    /// allow another connection.
    fn admit(&self, admission: &Admission, client: SocketAddr) -> Option<Arc<AddressUsage>> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = match std::mem::replace(&mut *counted, Counted::Refused(None)) {
            Counted::Client(address, permit) if address == client.ip() => {
                Counted::Client(address, permit)
            }
            Counted::Client(_, earlier) => match admission.admit_another(client, now) {
                Some(permit) => Counted::Client(client.ip(), permit),
                None => Counted::Refused(Some(Candidate::Admitted(earlier))),
            },
            Counted::Unknown(candidate) => match admission.admit(candidate, client, now) {
                Ok(permit) => Counted::Client(client.ip(), permit),
                Err(slot) => Counted::Refused(Some(Candidate::Pending(slot))),
            },
            refused @ Counted::Refused(_) => refused,
        };
        *counted = next;
        match &*counted {
            Counted::Client(_, permit) => Some(Arc::clone(permit.usage())),
            Counted::Refused(_) | Counted::Unknown(_) => None,
        }
    }
}

/// The last answer on a connection: if it stayed open, it would be one that is not counted.
fn too_many_connections() -> Response {
    let message = "too many connections from this address";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", message);
    ([(CONNECTION, HeaderValue::from_static("close"))], error).into_response()
}

/// Many requests on each connection, which may be idle for a minute.
const SETTINGS: Settings =
    Settings { head_time: Duration::from_secs(60), requests: Requests::Many };

/// Maximum number of devices that wait to be linked.
const MAX_ADDRESSES: usize = 2000;

/// When to try again if too many wait.
const ADDRESS_PAUSE: Duration = Duration::from_secs(30);

/// How far a client may be behind with reading.
const WRITE_TIME: Duration = Duration::from_secs(60);
