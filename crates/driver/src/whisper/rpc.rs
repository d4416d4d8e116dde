//! A service at which others use our node: `shh_*` and what else clients ask for, over JSON-RPC.
//!
//! Methods, results and errors are those of go-ethereum, in its words (whisper/whisperv6/api.go), so that
//! clients written for it find what they expect. Whoever may call may use, and read, every key that
//! the [`Desk`] was lent: see [`Gate`] for who may.
//!
//! ```text
//!  http: a task per link ──► Gate ──► jsonrpsee ──┐
//!  socket: a task per link ──► frames ─────────────┴──► Methods ──► Service::answer ──► Desk, Node
//! ```
//!
//! A node, and a client of it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokio::{net::TcpListener, sync::oneshot};
//! use wormhole::whisper::desk::{Desk, DeskSettings};
//! use wormhole::whisper::remote::{Remote, RemoteUrl};
//! use wormhole::whisper::rpc::{Service, ServiceSettings};
//! use wormhole::whisper::{Node, Settings};
//!
//! let desk = Desk::new(Node::start(Settings::loopback()).await?, &DeskSettings::default());
//! let service = Service::new(desk, ServiceSettings::default());
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let url = RemoteUrl::parse(&format!("ws://{}", listener.local_addr()?))?;
//! let (stop, stopped) = oneshot::channel::<()>();
//! let serving = tokio::spawn(async move {
//!     service.serve(listener, async { drop(stopped.await) }).await;
//! });
//!
//! assert_eq!(Remote::connect(&url, None).await?.version().await?, "6.0");
//! drop(stop);
//! serving.await?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee_server::types::ErrorObjectOwned;
use jsonrpsee_server::types::error::{CALL_EXECUTION_FAILED_CODE, METHOD_NOT_FOUND_CODE};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::desk::Desk;

mod arguments;
mod filters;
#[cfg(unix)]
mod frames;
mod gate;
mod http;
mod keys;
mod link;
mod methods;
mod node;
mod post;
mod reply;
mod requests;
#[cfg(unix)]
mod socket;
mod subscribe;

pub use gate::Gate;

/// Serves the desk at a node. Clones serve the same one.
#[derive(Clone, Debug)]
pub struct Service {
    desk: Desk,
    settings: Arc<ServiceSettings>,
    /// Calls that may be under way.
    turns: Arc<Semaphore>,
}

/// What its owner decides about a service.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServiceSettings {
    /// Who may come in over HTTP and WebSocket.
    pub gate: Gate,
    /// Links of those who were let in that may be open at the same time, per listener. Others wait
    /// apart, and the oldest of them goes when there are many.
    pub max_links: usize,
    /// Bytes that a request may have.
    pub max_request_bytes: u32,
    /// Time for what is under way when the service is told to stop.
    pub drain: Duration,
    /// What to show to those who ask for `/metrics`, if anything.
    pub metrics: Option<Metrics>,
}

/// Makes a page of metrics, in the text format of Prometheus.
pub struct Metrics(Box<dyn Fn() -> String + Send + Sync>);

impl Metrics {
    /// Asks `page` whenever somebody wants to see it.
    pub fn new(page: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Box::new(page))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for ServiceSettings {
    fn default() -> Self {
        let (max_links, max_request_bytes) = (128, 4 * 1024 * 1024);
        let gate = Gate::default();
        Self { gate, max_links, max_request_bytes, drain: DEFAULT_DRAIN, metrics: None }
    }
}

impl Service {
    /// A service for those who use this desk.
    pub fn new(desk: Desk, settings: ServiceSettings) -> Self {
        Self { desk, settings: Arc::new(settings), turns: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    /// Does what a method says. `params` is JSON text.
    async fn answer(&self, method: &str, params: Option<&str>) -> Answer {
        let Ok(_turn) = self.turns.try_acquire() else {
            return Err(refused("too many calls are under way"));
        };
        if let Some(answer) = keys::answer(&self.desk, method, params).await {
            return answer;
        }
        if let Some(answer) = node::answer(&self.desk, method, params).await {
            return answer;
        }
        match method {
            "shh_newMessageFilter" => filters::new(&self.desk, params).await,
            "shh_getFilterMessages" => filters::poll(&self.desk, params).await,
            "shh_deleteMessageFilter" => filters::delete(&self.desk, params).await,
            "shh_post" => post::post(&self.desk, params).await,
            _ => Err(unknown(method)),
        }
    }
}

/// What comes of a call.
type Answer = Result<Value, ErrorObjectOwned>;

/// The method could not do it.
fn refused(why: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(CALL_EXECUTION_FAILED_CODE, why, None::<()>)
}

/// There is no such method.
fn unknown(method: &str) -> ErrorObjectOwned {
    // Whatever was asked for comes back, but not at any length.
    let name: String = method.chars().take(MAX_NAME).collect();
    let text = format!("the method {name} does not exist/is not available");
    ErrorObjectOwned::owned(METHOD_NOT_FOUND_CODE, text, None::<()>)
}

/// Time for what is under way unless told otherwise.
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// Calls that may be under way at the same time, of all clients together.
const MAX_CALLS: usize = 1024;

/// Characters of an unknown method that are repeated.
const MAX_NAME: usize = 64;
