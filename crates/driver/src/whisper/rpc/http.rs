//! The listener: HTTP/1, links that become WebSockets, and their limits.
//!
//! A link has no place of its own before one of its requests has passed the gate. Until then it can
//! be sent away for the sake of a newer one, so that those who are not let in keep nobody out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee_server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee_server::ws::is_upgrade_request;
use jsonrpsee_server::{
    BatchRequestConfig, HttpBody, HttpRequest, HttpResponse, PingConfig, ServerBuilder,
    ServerConfig, StopHandle, stop_channel,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tower_service::Service as Tower;

use super::super::pending::{self, Pending};
use super::gate::{Page, Refusal};
use super::link::{Cut, Link};
use super::methods::{MAX_RESPONSE, Methods, Stays};
use super::{Service, ServiceSettings, subscribe};

impl Service {
    /// Serves HTTP and WebSocket until told to stop, and what is under way then for as long as the
    /// settings say. Whoever drops the future cuts all links.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let (stopping, switch) = stop_channel();
        let service = self.clone();
        let layer = RpcServiceBuilder::new()
            .layer_fn(move |subscriptions| Methods { subscriptions, service: service.clone() });
        let server = ServerBuilder::default()
            .set_config(self.settings.config())
            .set_rpc_middleware(layer)
            .to_service_builder();
        let methods = subscribe::module(self);
        let pending = Pending::default();
        let places = Arc::new(Semaphore::new(self.settings.max_links));
        let (alive, mut over) = mpsc::channel::<()>(1);
        let (patient, impatient) = oneshot::channel::<()>();
        let cut = impatient.shared();
        tokio::pin!(stop);
        loop {
            let (stream, address) = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener) => accepted,
            };
            let waiting = pending.enter(address.ip());
            let seat = Arc::new(Seat::new(Arc::clone(&places), alive.clone()));
            let tower = server.clone().build(methods.clone(), stopping.clone());
            let visit =
                Visit { seat, settings: Arc::clone(&self.settings), stopping: stopping.clone() };
            tokio::spawn(visit.attend(stream, waiting, tower, cut.clone()));
        }
        // It fails only if there is nobody to be told.
        let _unheard = switch.stop();
        drop(alive);
        if timeout(self.settings.drain, over.recv()).await.is_err() {
            drop(patient);
            let _all_gone = over.recv().await;
        }
    }
}

impl ServiceSettings {
    fn config(&self) -> ServerConfig {
        let links = u32::try_from(self.max_links).unwrap_or(u32::MAX);
        ServerConfig::builder()
            .max_request_body_size(self.max_request_bytes)
            .max_response_body_size(u32::try_from(MAX_RESPONSE).unwrap_or(u32::MAX))
            .max_connections(links)
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
            .set_message_buffer_capacity(MAX_WAITING)
            .set_id_provider(subscribe::Names)
            .enable_ws_ping(PingConfig::new())
            .build()
    }
}

/// A link, and its place among those that were let in.
#[derive(Debug)]
struct Seat {
    places: Arc<Semaphore>,
    place: OnceLock<OwnedSemaphorePermit>,
    taken: Notify,
    _alive: mpsc::Sender<()>,
}

impl Seat {
    fn new(places: Arc<Semaphore>, alive: mpsc::Sender<()>) -> Self {
        Self { places, place: OnceLock::new(), taken: Notify::new(), _alive: alive }
    }

    /// Takes a place, if the link has none yet. Returns whether it has one now.
    fn take(&self) -> bool {
        if self.place.get().is_some() {
            return true;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return false };
        // The requests of a link come one by one: nobody else sets it.
        let _first = self.place.set(place);
        self.taken.notify_one();
        true
    }
}

/// What a link has to do with the service.
struct Visit {
    seat: Arc<Seat>,
    settings: Arc<ServiceSettings>,
    stopping: StopHandle,
}

impl Visit {
    /// Lives with a link until it is closed, or becomes a WebSocket.
    async fn attend<T>(self, stream: TcpStream, mut waiting: pending::Place, tower: T, cut: Cut)
    where
        T: Tower<HttpRequest, Response = HttpResponse> + Clone + Send + 'static,
        T::Future: Send,
    {
        let Self { seat, settings, stopping } = self;
        let asked = Arc::clone(&seat);
        let answer = service_fn(move |request| {
            let (tower, settings, seat) =
                (tower.clone(), Arc::clone(&settings), Arc::clone(&asked));
            async move { Ok::<_, Infallible>(answer(request, tower, &settings, seat).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
        let link = TokioIo::new(Link::new(stream, &cut));
        let link = http.serve_connection(link, answer).with_upgrades();
        tokio::pin!(link);
        tokio::select! {
            // However it ends, it ends.
            _ = &mut link => return,
            () = waiting.evicted() => return,
            // Nothing is under way for those who were not let in.
            () = stopping.clone().shutdown() => return,
            () = seat.taken.notified() => drop(waiting),
        }
        tokio::select! {
            _ = &mut link => return,
            () = stopping.shutdown() => link.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = link => {}
            _ = cut => {}
        }
    }
}

/// Answers one request.
async fn answer<T>(
    request: hyper::Request<Incoming>,
    mut tower: T,
    settings: &ServiceSettings,
    seat: Arc<Seat>,
) -> HttpResponse
where
    T: Tower<HttpRequest, Response = HttpResponse>,
{
    // It says nothing about the node, so a monitor needs no token.
    if request.uri().path() == "/health" && matches!(*request.method(), Method::GET | Method::HEAD)
    {
        return plain(StatusCode::OK, "ok\n");
    }
    let preflight = request.method() == Method::OPTIONS;
    let Page(page) = match settings.gate.admit(request.headers(), preflight) {
        Ok(page) => page,
        Err(refusal) => return turn_away(refusal),
    };
    // Whoever asks for permission alone has shown no token yet.
    if !preflight && !seat.take() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many links\n");
    }
    let metrics = settings.metrics.as_ref().filter(|_| request.uri().path() == "/metrics");
    let mut response = if preflight {
        permission(page.is_some())
    } else if let Some(metrics) = metrics {
        plain(StatusCode::OK, metrics.0())
    } else {
        match whole(request, settings).await {
            Ok(request) => tower
                .call(marked(request, seat))
                .await
                .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "")),
            Err(response) => response,
        }
    };
    if let Some(page) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// Reads all of a request, if that is not too much and does not take for ever.
async fn whole(
    request: hyper::Request<Incoming>,
    settings: &ServiceSettings,
) -> Result<HttpRequest, HttpResponse> {
    let (mut parts, body) = request.into_parts();
    // It has served, and is in no log then.
    parts.headers.remove(header::AUTHORIZATION);
    let limit = usize::try_from(settings.max_request_bytes).unwrap_or(usize::MAX);
    let too_large = || plain(StatusCode::PAYLOAD_TOO_LARGE, "request is too large\n");
    // Nobody has to send what will not be read.
    if body.size_hint().lower() > u64::from(settings.max_request_bytes) {
        return Err(too_large());
    }
    let body = match timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(plain(StatusCode::BAD_REQUEST, "")),
        Err(_) => return Err(plain(StatusCode::REQUEST_TIMEOUT, "")),
    };
    Ok(HttpRequest::from_parts(parts, HttpBody::from(Vec::from(body))))
}

/// Lets a WebSocket keep the place of its link, and have subscriptions.
fn marked(mut request: HttpRequest, seat: Arc<Seat>) -> HttpRequest {
    if is_upgrade_request(&request) {
        request.extensions_mut().insert(Stays);
        request.extensions_mut().insert(seat);
    }
    request
}

fn turn_away(refusal: Refusal) -> HttpResponse {
    let mut response = plain(refusal.status(), refusal.to_string());
    if refusal == Refusal::Token {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// What a browser asks before it lets a page send.
fn permission(to_a_page: bool) -> HttpResponse {
    let mut response = plain(StatusCode::NO_CONTENT, "");
    if to_a_page {
        let headers = response.headers_mut();
        let (methods, names) = ("POST", "authorization, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

fn plain(status: StatusCode, text: impl Into<String>) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(text.into()));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// Takes the next link, whatever happens to single ones.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small answers go out at once; failing that, they are only slower.
                let _slower = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Time for the head of a request, and between two requests of a link.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Time for the rest of a request.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Requests that may come together.
pub(super) const MAX_BATCH: u32 = 100;

/// Messages that may wait to be sent over a WebSocket.
const MAX_WAITING: u32 = 16;

/// How long accepting pauses when the system is out of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
