//! Everything that requests share.

use std::sync::Arc;
use std::time::Instant;

use wormhole_chat::service::AppName;
use wormhole_http::Routes;

use super::api::{Fetching, Issuer};
use super::blobs::Blobs;
use super::codes::CodeSender;
use super::presence::Sockets;
use super::rate_limits::{Budget, RateLimits};
use super::store_thread::Storage;
use crate::host::Host;
use crate::memory::MemoryBudget;

/// The running service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) storage: Storage,
    /// Devices that are connected to this node.
    pub(super) sockets: Arc<Sockets>,
    pub(super) limits: Arc<RateLimits>,
    pub(super) blobs: Arc<Blobs>,
    /// Sends verification codes.
    pub(super) codes: CodeSender,
    pub(super) fetching: Fetching,
    /// Certifies senders, once it is needed.
    pub(super) issuer: tokio::sync::OnceCell<Issuer>,
    pub(super) settings: Settings,
    pub(super) host: Host,
}

impl Service {
    /// The limits of those who ask now.
    pub(super) fn budget(&self) -> Budget {
        Budget { limits: Arc::clone(&self.limits), now: Instant::now() }
    }
}

/// The service with the paths of its API, for connections of any kind.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) service: Arc<Service>,
    /// Every path.
    pub(super) routes: Routes,
    /// Limits the memory of clients.
    pub(super) budget: Arc<MemoryBudget>,
}

/// The configuration by the operator.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The app of clients that send no headers.
    pub(super) default_app: Option<AppName>,
    /// Where clients reach the service, without a slash at the end. `None`: at the host that they name.
    pub(super) public_url: Option<String>,
    /// Whether a number that is registered in an app cannot be registered there again.
    pub(super) rejects_registered: bool,
}
