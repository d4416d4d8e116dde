//! Requests to stop, from the keyboard or the system.
//!
//! While these are watched the process does not die of them: whoever watches tells the other side
//! first.

use std::io;

/// Who asks us to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// The terminal is gone.
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

    /// What happened, as a sentence.
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

/// The signals from now on.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Starts to watch.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn watch() -> io::Result<Self> {
        use rustix::process::Signal as Number;
        use tokio::signal::unix::{SignalKind, signal};

        // Beyond `ulimit -f` the system sends this before it lets a write fail. Whoever handles it
        // lives to report the failure.
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

/// The signals from now on: only Ctrl-C exists here.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Starts to watch.
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
