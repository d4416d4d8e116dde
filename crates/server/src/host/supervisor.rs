//! Runs the services from their start to their end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::signals::{Signal, Signals};
use super::{Host, Prepared};
use crate::ServerError;
use crate::config::Settings;
use crate::http::Monitor;
use crate::service::AnyConfig;

/// Runs the services until a signal stops them, and drains them.
///
/// # Errors
/// A service could not start, or ended with an error.
pub(crate) fn serve(settings: Settings) -> Result<(), ServerError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if settings.common.threads > 0 {
        builder.worker_threads(settings.common.threads);
    }
    let runtime = builder.enable_all().build().map_err(|e| ServerError::System(e.to_string()))?;
    let result = runtime.block_on(run(settings));
    // Aborts everything that exceeds the drain time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn run(settings: Settings) -> Result<(), ServerError> {
    let mut signals = Signals::listen().map_err(|error| ServerError::System(error.to_string()))?;
    let host = Host::new(&settings.common)?;
    let monitor = settings.common.metrics_listen;
    let monitor =
        monitor.map(|address| Monitor::listen(address, Arc::clone(&host.metrics))).transpose()?;
    let _monitor = monitor.map(|monitor| tokio::spawn(monitor.run()));
    let preparing = prepare(settings.services, &host);
    let mut preparing = std::pin::pin!(preparing);
    let mut services = loop {
        tokio::select! {
            prepared = &mut preparing => break Services::start(prepared?),
            signal = signals.next() => match signal {
                Signal::Reload => reload_certificate(&host),
                // No connection has been accepted yet, so there is nothing to drain.
                Signal::Stop => return Ok(()),
            },
        }
    };
    loop {
        let deadline = services.deadline;
        tokio::select! {
            ended = services.join_next() => match ended {
                Some(result) => result?,
                None => return Ok(()),
            },
            signal = signals.next() => match signal {
                Signal::Reload => reload_certificate(&host),
                // A second signal stops at once.
                Signal::Stop if services.deadline.is_some() => return Ok(()),
                Signal::Stop => {
                    tracing::info!("stopping: no new connections are accepted");
                    services.deadline = Some(Instant::now() + host.drain_time);
                    host.draining.cancel();
                }
            },
            () = expired(deadline) => if services.on_deadline() == DrainDeadline::Last {
                return Ok(());
            },
        }
    }
}

/// Prepares all services, one after the other.
async fn prepare(
    configs: Vec<Box<dyn AnyConfig>>,
    host: &Host,
) -> Result<Vec<Prepared>, ServerError> {
    let mut prepared = Vec::new();
    for config in configs {
        prepared.push(config.prepare(host.clone()).await?);
    }
    Ok(prepared)
}

/// The running services and their drain deadline.
struct Services {
    running: JoinSet<Result<(), ServerError>>,
    /// Services that may be aborted after the deadline.
    abortable: Vec<AbortHandle>,
    /// The log messages of the other services, which get additional time to write their data.
    unwritten: Vec<&'static str>,
    deadline: Option<Instant>,
    first_deadline_passed: bool,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DrainDeadline {
    /// Some services have additional time.
    First,
    /// All services must stop.
    Last,
}

impl Services {
    fn start(prepared: Vec<Prepared>) -> Self {
        let mut services = Self {
            running: JoinSet::new(),
            abortable: Vec::new(),
            unwritten: Vec::new(),
            deadline: None,
            first_deadline_passed: false,
        };
        for Prepared { listening, run, unwritten } in prepared {
            listening.iter().for_each(super::Listening::announce);
            let handle = services.running.spawn(run);
            match unwritten {
                Some(what) => services.unwritten.push(what),
                None => services.abortable.push(handle),
            }
        }
        services
    }

    /// How the next service ended; `None` if no service is left.
    async fn join_next(&mut self) -> Option<Result<(), ServerError>> {
        Some(match self.running.join_next().await? {
            Ok(result) => result,
            Err(aborted) if aborted.is_cancelled() => Ok(()),
            Err(bug) => Err(ServerError::System(bug.to_string())),
        })
    }

    /// Handles a deadline. The first one aborts services, except for those that get additional time.
    fn on_deadline(&mut self) -> DrainDeadline {
        if std::mem::replace(&mut self.first_deadline_passed, true) {
            self.unwritten.iter().for_each(|message| tracing::warn!("{message}"));
            return DrainDeadline::Last;
        }
        self.abortable.drain(..).for_each(|service| service.abort());
        self.deadline = self.deadline.map(|deadline| deadline + WRITE_TIME);
        DrainDeadline::First
    }
}

/// Waits until the deadline; waits indefinitely without one.
async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Reloads the certificate; keeps the old one if the new one is invalid.
fn reload_certificate(host: &Host) {
    match host.tls.as_ref().map(crate::net::Tls::reload) {
        Some(Ok(())) => tracing::info!("certificate reloaded"),
        Some(Err(error)) => tracing::warn!(%error, "certificate not reloaded"),
        None => {}
    }
}

/// Additional time after the drain time for a service that must still write.
const WRITE_TIME: Duration = Duration::from_secs(15);
