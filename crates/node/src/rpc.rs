//! A JSON-RPC server through which other programs use the node: `shh_*` and related methods.
//!
//! Methods, results and errors are those of go-ethereum (whisper/whisperv6/api.go), so that clients written
//! for it work. Every admitted client can use and read every key of the [`Messenger`]; [`AccessRules`]
//! decides who is admitted.
//!
//! ```text
//!  http ──► AccessRules ──┬──────────────────────────────┐
//!                         └──► web_socket ──┐            ▼
//!  unix_socket ──► json_stream ─────────────┴─► connection ──► session ──► RpcServer::answer ──► Messenger, Node
//! ```
//!
//! A node, and a client of it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokio::{net::TcpListener, sync::oneshot};
//! use wormhole_node::messaging::{Messenger, MessengerSettings};
//! use wormhole_node::remote::{RemoteNode, RemoteUrl};
//! use wormhole_node::rpc::{RpcServer, RpcServerSettings};
//! use wormhole_node::{Node, Settings};
//!
//! let messenger = Messenger::new(Node::start(Settings::loopback()).await?, &MessengerSettings::default());
//! let server = RpcServer::new(messenger, RpcServerSettings::default());
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let url = RemoteUrl::parse(&format!("ws://{}", listener.local_addr()?))?;
//! let (stop, stopped) = oneshot::channel::<()>();
//! let serving = tokio::spawn(async move {
//!     server.serve(listener, async { drop(stopped.await) }).await;
//! });
//!
//! assert_eq!(RemoteNode::connect(&url, None).await?.version().await?, "6.0");
//! drop(stop);
//! serving.await?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use wormhole_whisper::shh::filter::{FilterId, MAX_FILTERS};

use super::messaging::{KeyId, MAX_KEYS, Messenger};
use super::scheduler::Requester;

mod access;
pub(crate) mod arguments;
mod connection;
mod connection_slots;
mod filters;
mod format;
mod http;
#[cfg(unix)]
pub(crate) mod json_stream;
pub(crate) mod jsonrpc;
mod keys;
mod node;
mod post;
mod quotas;
pub(crate) mod requests;
mod session;
mod subscribe;
#[cfg(unix)]
mod unix_socket;
mod web_socket;

pub use access::AccessRules;
use jsonrpc::{FAILED, METHOD_NOT_FOUND, RpcError};
use quotas::Quotas;

/// A JSON-RPC server for a messenger. Clones share its limits.
#[derive(Clone, Debug)]
pub struct RpcServer {
    messenger: Messenger,
    settings: Arc<RpcServerSettings>,
    key_pair_quotas: Quotas<KeyId>,
    symmetric_key_quotas: Quotas<KeyId>,
    filter_quotas: Quotas<FilterId>,
}

/// The settings of a server.
#[derive(Debug)]
pub struct RpcServerSettings {
    /// Rules for admitting requests over HTTP and WebSocket.
    pub access: AccessRules,
    /// Maximum number of open connections of admitted clients, per listener. Connections without an admitted
    /// request have a separate limit: when there are too many, the oldest one is closed.
    pub max_connections: usize,
    /// Maximum number of bytes of a request.
    pub max_request_bytes: u32,
    /// Time that running calls get when the server stops.
    pub drain: Duration,
    /// The page at `/metrics`, if there should be one.
    pub metrics: Option<Metrics>,
}

/// Creates a page of metrics, in the text format of Prometheus.
pub struct Metrics(Box<dyn Fn() -> String + Send + Sync>);

impl Metrics {
    /// Calls `page` for each request.
    pub fn new(page: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Box::new(page))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for RpcServerSettings {
    fn default() -> Self {
        let (max_connections, max_request_bytes) = (128, 4 * 1024 * 1024);
        let access = AccessRules::default();
        Self { access, max_connections, max_request_bytes, drain: DEFAULT_DRAIN, metrics: None }
    }
}

impl RpcServer {
    /// A server for this messenger.
    pub fn new(messenger: Messenger, settings: RpcServerSettings) -> Self {
        Self {
            messenger,
            settings: Arc::new(settings),
            key_pair_quotas: Quotas::of(MAX_KEYS),
            symmetric_key_quotas: Quotas::of(MAX_KEYS),
            filter_quotas: Quotas::of(MAX_FILTERS),
        }
    }

    /// Executes a method. Its work is scheduled as work of the client. `params` is JSON text.
    async fn answer(&self, requester: Requester, method: &str, params: Option<&str>) -> RpcResult {
        if let Some(answer) = keys::answer(self, requester, method, params).await {
            return answer;
        }
        if let Some(answer) = node::answer(&self.messenger, method, params).await {
            return answer;
        }
        match method {
            "shh_newMessageFilter" => filters::new(self, requester, params).await,
            "shh_getFilterMessages" => filters::poll(&self.messenger, params).await,
            "shh_deleteMessageFilter" => filters::delete(&self.messenger, params).await,
            "shh_post" => post::post(&self.messenger, requester, params).await,
            _ => Err(unknown(method)),
        }
    }
}

/// The result of a call.
type RpcResult = Result<Value, RpcError>;

/// The method failed for this reason.
fn refused(why: impl Into<String>) -> RpcError {
    RpcError::new(FAILED, why)
}

/// The method does not exist.
fn unknown(method: &str) -> RpcError {
    // The error contains the name, but at most this much of it.
    let name: String = method.chars().take(MAX_NAME).collect();
    RpcError::new(METHOD_NOT_FOUND, format!("the method {name} does not exist/is not available"))
}

/// Default for the time of running calls when the server stops.
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// Characters of an unknown method that are repeated.
const MAX_NAME: usize = 64;
