//! Starts the configured services, and stops them when a signal asks to.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use crate::config::Settings;
use crate::drain::{Drain, Signal, Signals};
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::net::Tls;
use crate::{ServerError, mailbox, transit_relay, whisper};

/// What every service gets from the process it runs in.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Says when to stop accepting and to finish what is under way.
    pub(crate) drain: Drain,
    /// Where a service shows its counters.
    pub(crate) metrics: Arc<Metrics>,
    /// The certificate for WebSocket listeners; plain if absent.
    pub(crate) tls: Option<Tls>,
}

/// Runs the services until a signal asks to stop, then lets them drain.
pub(crate) fn serve(settings: Settings) -> Result<(), ServerError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if settings.common.threads > 0 {
        builder.worker_threads(settings.common.threads);
    }
    let runtime = builder.enable_all().build().map_err(|e| ServerError::System(e.to_string()))?;
    let result = runtime.block_on(run_services(settings));
    // Whatever outlived its grace time is cut here.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn run_services(settings: Settings) -> Result<(), ServerError> {
    let mut signals = Signals::listen().map_err(|error| ServerError::System(error.to_string()))?;
    let (switch, drain) = Drain::new();
    let tls = Tls::from_settings(&settings.common)?;
    let metrics = Arc::new(Metrics::new(settings.common.metrics_listen.is_some()));
    let monitor = settings.common.metrics_listen;
    let monitor =
        monitor.map(|address| Monitor::listen(address, Arc::clone(&metrics))).transpose()?;
    let _monitor = monitor.map(|monitor| tokio::spawn(monitor.run()));
    let host = Host { drain, metrics, tls: tls.clone() };
    let grace = Duration::from_secs(settings.common.drain_seconds);
    let mut services = JoinSet::new();
    let mut brief = start(settings, &host, grace, &mut services);
    let (mut last_moment, mut overtime) = (None, false);
    loop {
        let over = async {
            match last_moment {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = services.join_next() => match ended {
                Some(Ok(result)) => result?,
                Some(Err(cut)) if cut.is_cancelled() => {}
                Some(Err(bug)) => return Err(ServerError::System(bug.to_string())),
                None => return Ok(()),
            },
            signal = signals.next() => match signal {
                Signal::Reload => reload(tls.as_ref()),
                // Whoever asks twice does not want to wait.
                Signal::Stop if last_moment.is_some() => return Ok(()),
                Signal::Stop => {
                    tracing::info!("draining");
                    last_moment = Some(tokio::time::Instant::now() + grace);
                    switch.begin();
                }
            },
            () = over => match std::mem::replace(&mut overtime, true) {
                true => {
                    tracing::warn!("whisper node has not written all that it holds");
                    return Ok(());
                }
                false => {
                    brief.drain(..).for_each(|service| service.abort());
                    last_moment = last_moment.map(|moment| moment + OVERTIME);
                }
            },
        }
    }
}

/// Starts what is configured. Returns those that have nothing to write when they end, and may be cut.
fn start(
    settings: Settings,
    host: &Host,
    grace: Duration,
    services: &mut JoinSet<Result<(), ServerError>>,
) -> Vec<AbortHandle> {
    let mut brief = Vec::new();
    if let Some(config) = settings.mailbox {
        brief.push(services.spawn(mailbox::serve(config, host.clone())));
    }
    if let Some(config) = settings.transit_relay {
        brief.push(services.spawn(transit_relay::serve(config, host.clone())));
    }
    if let Some(config) = settings.whisper {
        services.spawn(whisper::serve(config, host.clone(), grace));
    }
    brief
}

/// Reads the certificate again; the old one stays if the new one is unusable.
fn reload(tls: Option<&Tls>) {
    match tls.map(Tls::reload) {
        Some(Ok(())) => tracing::info!("certificate reloaded"),
        Some(Err(error)) => tracing::warn!(%error, "certificate not reloaded"),
        None => {}
    }
}

/// How long after the drain a Whisper node may still write down what it holds.
const OVERTIME: Duration = Duration::from_secs(15);
