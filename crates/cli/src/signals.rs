//! Signals that ask the program to stop.
//!
//! They do not end the process at once, so that it can notify the other side first.

use std::io;

/// A signal to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// The terminal was closed.
    #[cfg(unix)]
    Hangup,
    /// Ctrl-C.
    Interrupt,
    /// `kill`, or the system shutting down.
    #[cfg(unix)]
    Terminate,
}

impl Signal {
    /// The number that shells add to 128.
    pub(crate) const fn number(self) -> u8 {
        match self {
            #[cfg(unix)]
            Self::Hangup => 1,
            Self::Interrupt => 2,
            #[cfg(unix)]
            Self::Terminate => 15,
        }
    }

    /// The message for the user.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            #[cfg(unix)]
            Self::Hangup => "stopped: the terminal was closed",
            Self::Interrupt => "interrupted",
            #[cfg(unix)]
            Self::Terminate => "terminated",
        }
    }
}

/// Receives signals.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Starts to receive signals.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn watch() -> io::Result<Self> {
        use rustix::process::Signal as Number;
        use tokio::signal::unix::{SignalKind, signal};

        // The system sends this signal if a file grows beyond `ulimit -f`. Handled, the write fails with an error
        // that can be reported.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Receives signals: only Ctrl-C on this system.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Starts to receive signals.
    ///
    /// # Errors
    /// Never here.
    #[expect(clippy::unnecessary_wraps, reason = "other systems may refuse")]
    pub(crate) fn watch() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "other systems need it")]
    pub(crate) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
