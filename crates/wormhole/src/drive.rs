//! The loop that runs any session on tokio: outputs go to the network; events of the network, the clock and the
//! application become inputs.
//!
//! It is independent of the protocol, has no database, and runs only sessions without durable state. It spawns no
//! tasks: dropping the [`Driver`] drops all links.

use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Instant;

use tokio::time::sleep_until;
use wormhole_kit::{Input, LinkId, Output, Session};

use crate::net::addresses::addresses;
use crate::net::{Dialing, LinkEvent, LinkFailure, Links, NetLink};

/// A session with its links.
pub(crate) struct Driver<S: Session, D> {
    session: S,
    dial: D,
    links: Links,
    /// The error that ended the session, until all earlier outputs have been handled.
    ended: Option<S::Error>,
    last_failure: Option<LinkFailure>,
}

impl<S: Session<Changes = Infallible>, D: FnMut(S::Address) -> Dialing> Driver<S, D> {
    /// Starts a session; `dial` opens links to its addresses.
    pub(crate) fn new(session: S, dial: D) -> Self {
        Self { session, dial, links: Links::default(), ended: None, last_failure: None }
    }

    /// The session, for reading.
    pub(crate) const fn session(&self) -> &S {
        &self.session
    }

    /// Why a link was last lost or could not be opened. The session does not know the reason, but the user needs
    /// it.
    pub(crate) const fn last_failure(&self) -> Option<&LinkFailure> {
        self.last_failure.as_ref()
    }

    /// Passes a command to the session. Its results are returned by [`Self::next`].
    pub(crate) fn command(&mut self, command: S::Command) {
        self.handle(|session, now| session.handle(now, Input::Command(command)));
    }

    /// Ends the links whose address this computer has lost: the system would keep them, and nothing would arrive.
    pub(crate) fn drop_links_without_address(&mut self) {
        let Some(addresses) = addresses() else { return };
        for id in self.links.without_address(&addresses) {
            self.links.reset(id);
            self.last_failure = Some(LinkFailure::Closed);
            self.handle(|session, now| session.handle(now, Input::Closed(id)));
        }
    }

    /// Adds an incoming link.
    pub(crate) fn accept(&mut self, id: LinkId, link: NetLink) {
        self.links.insert(id, link);
        self.handle(|session, now| session.handle(now, Input::Opened(id)));
    }

    /// Takes a link out of the session, after everything that the session sent on it has been
    /// written.
    ///
    /// # Errors
    /// The link is closed.
    pub(crate) async fn take(&mut self, id: LinkId) -> Result<NetLink, LinkFailure> {
        let (mut link, mut outbox) = self.links.take(id).ok_or(LinkFailure::Closed)?;
        poll_fn(|cx| link.poll_send(cx, &mut outbox)).await?;
        Ok(link)
    }

    /// Runs until the session has an event. Cancelling loses nothing.
    ///
    /// # Errors
    /// The session has ended; call [`Self::finish`] to send its last outputs.
    pub(crate) async fn next(&mut self) -> Result<S::Event, S::Error> {
        loop {
            if let Some(event) = self.carry_out() {
                return Ok(event);
            }
            if let Some(error) = self.ended.take() {
                return Err(error);
            }
            self.wait().await;
        }
    }

    /// Closes all links, and waits briefly until everything is flushed.
    pub(crate) async fn finish(mut self) {
        // An ended session may still have outputs.
        while self.carry_out().is_some() {}
        self.links.finish().await;
    }

    /// Handles outputs up to the next event.
    fn carry_out(&mut self) -> Option<S::Event> {
        loop {
            match self.session.poll()? {
                Output::Connect(id, address) => self.links.dial(id, (self.dial)(address)),
                Output::Send(id, bytes) => self.links.send(id, bytes),
                Output::Close(id) => self.links.close(id),
                Output::Event(event) => return Some(event),
            }
        }
    }

    /// Waits for the network or the clock, and passes the input to the session.
    async fn wait(&mut self) {
        let deadline = self.session.deadline();
        let links = &mut self.links;
        let event = tokio::select! {
            event = poll_fn(|cx| links.poll_next(cx, true)) => event,
            () = until(deadline) => return self.handle(S::handle_timeout),
        };
        match event {
            LinkEvent::Opened(id) => self.handle(|s, now| s.handle(now, Input::Opened(id))),
            LinkEvent::Received(id, bytes) => {
                self.handle(|session, now| session.handle(now, Input::Bytes(id, &bytes)));
                self.links.recycle(bytes);
            }
            LinkEvent::Lost(id, failure) => {
                self.last_failure = Some(failure);
                self.handle(|session, now| session.handle(now, Input::Closed(id)));
            }
        }
    }

    fn handle(&mut self, input: impl FnOnce(&mut S, Instant) -> Result<(), S::Error>) {
        // The clock of tokio, which also measures the deadlines; tests can pause it.
        let now = tokio::time::Instant::now().into_std();
        if let Err(error) = input(&mut self.session, now) {
            self.ended = Some(error);
        }
    }
}

/// Sleeps until the deadline; indefinitely without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
