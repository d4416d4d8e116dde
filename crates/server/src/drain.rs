//! Stopping without dropping anything: the signals, and the word that reaches every service.
//!
//! What draining means is each service's own business.

use std::io;

use tokio::sync::watch;

/// Tells when draining begins. Every service and every link holds one.
#[derive(Clone, Debug)]
pub(crate) struct Drain(watch::Receiver<bool>);

/// Begins the draining, once. Dropping it begins it too.
#[derive(Debug)]
pub(crate) struct DrainSwitch(watch::Sender<bool>);

impl Drain {
    /// A switch and what it switches.
    pub(crate) fn new() -> (DrainSwitch, Self) {
        let (sender, receiver) = watch::channel(false);
        (DrainSwitch(sender), Self(receiver))
    }

    /// Waits until draining begins; returns at once if it has.
    pub(crate) async fn begun(&mut self) {
        // An error means that the switch is gone, and the process with it.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}

impl DrainSwitch {
    /// Begins the draining.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }
}

/// Waits for SIGTERM or an interrupt.
#[cfg(unix)]
pub(crate) async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// Waits for an interrupt.
#[cfg(not(unix))]
pub(crate) async fn stop_signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Waits for SIGHUP: certificates are to be read again. Never comes where there is no such signal.
pub(crate) async fn reload_signal() {
    #[cfg(unix)]
    if let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        hangup.recv().await;
        return;
    }
    std::future::pending::<()>().await;
}
