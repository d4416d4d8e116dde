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

/// What the system asks of the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// SIGHUP: certificates are to be read again.
    Reload,
    /// SIGTERM or an interrupt: stop.
    Stop,
}

/// Listens for signals from its making on, so that none is missed between two looks.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
        }
    }
}

/// Listens for signals; where there is only one, for that.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        // Without a handler there is nothing to wait for, and the system ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop
    }
}
