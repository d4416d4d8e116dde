//! Notices a connection on which nothing arrives any more.
//!
//! Any received bytes prove that the connection works. If no bytes arrive for a while, we ask with a `Ping`; if there are
//! still none, the connection is lost. While we do not read ourselves, nothing can be concluded.

use std::time::Duration;

use wormhole_kit::Instant;

/// Watches one connection after another.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    /// How many intervals without bytes end a connection.
    patience: u32,
    heard: Instant,
    asked: bool,
    paused: bool,
}

/// The action that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// Send a `Ping`.
    Ask,
    /// The connection is lost.
    Lost,
}

impl Keepalive {
    pub(super) const fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, patience: MIN_PATIENCE, heard: now, asked: false, paused: false }
    }

    /// A new connection.
    pub(super) const fn restart(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
        self.paused = false;
    }

    /// Bytes arrived.
    pub(super) const fn on_bytes(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
    }

    /// When bytes last arrived.
    pub(super) const fn heard(&self) -> Instant {
        self.heard
    }

    /// The peer acknowledged something: the connection is useful.
    pub(super) const fn on_progress(&mut self) {
        self.patience = MIN_PATIENCE;
    }

    /// Whether we read from the connection.
    pub(super) const fn set_paused(&mut self, now: Instant, paused: bool) {
        if self.paused && !paused {
            self.on_bytes(now);
        }
        self.paused = paused;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = if self.asked { self.interval * self.patience } else { self.interval };
        (!self.paused).then(|| self.heard + wait)
    }

    /// The action that is due now. A connection that was lost in this way makes us wait longer the next time: a peer that does not
    /// read for a while, because its application is busy, is silent as well.
    pub(super) fn on_timeout(&mut self, now: Instant) -> Option<Silence> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        if !std::mem::replace(&mut self.asked, true) {
            return Some(Silence::Ask);
        }
        self.patience = (self.patience * 2).min(MAX_PATIENCE);
        self.paused = true;
        Some(Silence::Lost)
    }
}

/// The usual number of silent intervals that end a connection.
const MIN_PATIENCE: u32 = 2;

/// The maximum number of silent intervals.
const MAX_PATIENCE: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the start of the time in this test")]
    fn a_silent_connection_is_asked_and_then_lost_unless_we_do_not_read() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(SECOND, start);
        assert_eq!(keepalive.on_timeout(start), None);
        assert_eq!(keepalive.on_timeout(start + SECOND), Some(Silence::Ask));
        assert_eq!(keepalive.on_timeout(start + SECOND), None);
        keepalive.on_bytes(start + SECOND);
        assert_eq!(keepalive.on_timeout(start + 2 * SECOND), Some(Silence::Ask));
        keepalive.set_paused(start, true);
        assert_eq!(keepalive.deadline(), None);
        keepalive.set_paused(start + 100 * SECOND, false);
        assert_eq!(keepalive.deadline(), Some(start + 101 * SECOND));
        assert_eq!(keepalive.on_timeout(start + 101 * SECOND), Some(Silence::Ask));
        assert_eq!(keepalive.on_timeout(start + 102 * SECOND), Some(Silence::Lost));
        keepalive.restart(start);
        assert_eq!(keepalive.on_timeout(start + SECOND), Some(Silence::Ask));
        assert_eq!(keepalive.on_timeout(start + 3 * SECOND), None);
        assert_eq!(keepalive.on_timeout(start + 4 * SECOND), Some(Silence::Lost));
        keepalive.on_progress();
        keepalive.restart(start);
        keepalive.on_timeout(start + SECOND);
        assert_eq!(keepalive.on_timeout(start + 2 * SECOND), Some(Silence::Lost));
    }
}
