//! Closes the wormhole, at the request of the application or after an error.

use rand_core::{CryptoRng, RngCore};
use wormhole_kit::{Instant, Output};

use super::{
    CLOSE_TIMEOUT, CLOSE_TIMEOUT_UNDELIVERED, Closed, Ending, Event, Wormhole, WormholeError,
};
use crate::mailbox::Mood;

impl<R: RngCore + CryptoRng> Wormhole<R> {
    pub(super) fn close(&mut self, now: Instant, mood: Option<Mood>) {
        if !matches!(self.ending, Ending::Running) {
            return;
        }
        let confirmed = self.outgoing.is_confirmed();
        let mood = mood.unwrap_or(if confirmed { Mood::Happy } else { Mood::Lonely });
        let undelivered = confirmed && self.mailbox.unconfirmed_bytes() > 0;
        let timeout = if undelivered { CLOSE_TIMEOUT_UNDELIVERED } else { CLOSE_TIMEOUT };
        self.ending = Ending::Closing { mood, give_up: now + timeout };
        self.leave_mailbox(mood, confirmed);
        self.link.hurry(now);
    }

    /// Closes the nameplate and the mailbox at the server.
    fn leave_mailbox(&mut self, mood: Mood, deliver: bool) {
        let release = self.nameplate.close(self.link.was_welcomed());
        self.send_all(release);
        let close = self.mailbox.close(mood, deliver);
        self.send_all(close);
    }

    /// Ends when the server has confirmed everything, or after a timeout.
    fn end_if_done(&mut self, now: Instant) {
        let Ending::Closing { mood, give_up } = self.ending else { return };
        let confirmed =
            self.nameplate.is_done() && self.mailbox.is_closed() && !self.nameplate.is_pending();
        if confirmed || now >= give_up {
            self.close_link();
            self.emit(Event::Closed(Closed { mood, confirmed }));
        }
    }

    fn close_link(&mut self) {
        self.ending = Ending::Ended;
        self.outputs.extend(self.link.end().map(Output::Close));
    }

    /// Ends after an error; closes nameplate and mailbox if that is possible at once.
    fn fail(&mut self, error: WormholeError) -> Result<(), WormholeError> {
        if let Ending::Closing { mood, .. } = self.ending {
            // The application has already closed the wormhole, so it needs no error.
            self.close_link();
            self.emit(Event::Closed(Closed { mood, confirmed: false }));
            return Ok(());
        }
        self.leave_mailbox(error.mood(), false);
        self.close_link();
        Err(error)
    }

    pub(super) fn settle(
        &mut self,
        now: Instant,
        result: Result<(), WormholeError>,
    ) -> Result<(), WormholeError> {
        match result {
            Ok(()) => {
                self.end_if_done(now);
                Ok(())
            }
            Err(error) => self.fail(error),
        }
    }
}
