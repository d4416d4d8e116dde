//! Starts the configured services, and stops them when a signal asks to.
//!
//! Every service gets a [`Host`]. The mailbox and the relay accept connections through [`accept`] and limit them with
//! [`Admission`]; the Whisper node has its own listeners and limits, in `wormhole-node`. All services are
//! [prepared](Prepared) before the first one accepts connections, so that the mailbox and the relay have not accepted a
//! connection when a service cannot start.

mod accept;
mod admission;
mod prepared;
mod signals;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(crate) use accept::accept;
pub(crate) use admission::{Admission, Candidate, PendingSlot, ProxyHeader};
pub(crate) use prepared::{Listening, Prepared};
pub(crate) use supervisor::serve;

use crate::ServerError;
use crate::config::Common;
use crate::metrics::Metrics;
use crate::net::Tls;

/// The process's resources for each service.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Cancelled when draining begins: no new connections are accepted, and existing ones may finish.
    pub(crate) draining: CancellationToken,
    /// How long draining may take.
    pub(crate) drain_time: Duration,
    /// Where a service registers its metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// The certificate for WebSocket listeners; without one they are plain.
    pub(crate) tls: Option<Tls>,
}

impl Host {
    /// A host with these settings of the process.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub(crate) fn new(common: &Common) -> Result<Self, ServerError> {
        Ok(Self {
            draining: CancellationToken::new(),
            drain_time: Duration::from_secs(common.drain_seconds),
            metrics: Arc::new(Metrics::new(common.metrics_listen.is_some())),
            tls: Tls::from_settings(common)?,
        })
    }
}

/// A host for tests of one service.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn host(tls: Option<Tls>) -> Host {
        let drain_time = Duration::from_secs(10);
        Host { draining: CancellationToken::new(), drain_time, metrics: Arc::default(), tls }
    }
}
