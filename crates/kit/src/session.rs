//! The interface of protocol sessions: they handle inputs, outputs are polled, and the next deadline is a value.
//!
//! It uses no executor and no sockets. `wormhole::drive` runs sessions on tokio, `wormhole-sim` runs them on a virtual
//! network.

use std::convert::Infallible;

use crate::Instant;

/// A stream of bytes (or of messages) of a session. The session allocates ids of outgoing links, and the driver those
/// of accepted links.
///
/// Ids of outgoing links are even and ids of accepted links are odd, so they never
/// collide.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// Allocates link ids.
///
/// ```
/// use wormhole_kit::{LinkId, LinkIds};
///
/// let (mut outgoing, mut incoming) = (LinkIds::outgoing(), LinkIds::incoming());
/// assert_eq!((outgoing.allocate(), outgoing.allocate()), (LinkId(0), LinkId(2)));
/// assert_eq!((incoming.allocate(), incoming.allocate()), (LinkId(1), LinkId(3)));
/// ```
#[derive(Debug)]
pub struct LinkIds {
    next: LinkId,
}

impl LinkIds {
    /// For a session, which allocates outgoing links.
    pub const fn outgoing() -> Self {
        Self { next: LinkId(0) }
    }

    /// For a driver, which allocates accepted links.
    pub const fn incoming() -> Self {
        Self { next: LinkId(1) }
    }

    /// The next id. There are 2^63 of each kind.
    pub const fn allocate(&mut self) -> LinkId {
        let id = self.next;
        self.next = LinkId(id.0.wrapping_add(2));
        id
    }
}

/// An input of a session.
#[derive(Debug)]
pub enum Input<'a, C> {
    /// The link is open.
    Opened(LinkId),
    /// Bytes arrived (for a message link: one whole message).
    Bytes(LinkId, &'a [u8]),
    /// The link was closed, or could not be opened. It has no further inputs.
    Closed(LinkId),
    /// A command of the application.
    Command(C),
    /// The oldest unconfirmed changes of [`Output::Commit`] are now
    /// durable.
    Committed,
}

/// An output of a session. Execute outputs in the order in which `poll` returns them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output<A, E, C = Infallible> {
    /// Open a link to this address; answered by `Opened` or `Closed`.
    Connect(LinkId, A),
    /// Write these bytes (for a message link: one whole message).
    Send(LinkId, Vec<u8>),
    /// Flush what was sent, then close the link. No `Closed` is reported back.
    Close(LinkId),
    /// An event for the application.
    Event(E),
    /// Make these changes durable, all or none, after all earlier ones; answered by
    /// [`Input::Committed`]. If that fails, drop the session and restore it from the durable state.
    Commit(C),
}

/// A protocol session.
///
/// A session with durable state delays everything that depends on changes (messages, acknowledgements, events) until
/// they are committed. So the session guarantees "durable before sent", not its driver.
///
/// Methods may be called in any order. After an `Err` the session has ended: `poll` may still return the last outputs,
/// and all further inputs are ignored.
pub trait Session {
    /// The address of an outgoing link.
    type Address;
    /// Commands of the application.
    type Command;
    /// Events for the application.
    type Event;
    /// Changes of durable state; [`Infallible`] for a session without durable state.
    type Changes;
    /// Why the session ended with an error.
    type Error;

    /// Handles an input at time `now`.
    ///
    /// # Errors
    /// The session has ended; drain [`Session::poll`] and notify the application.
    fn handle(&mut self, now: Instant, input: Input<'_, Self::Command>) -> Result<(), Self::Error>;

    /// The next output, in wire order.
    fn poll(&mut self) -> Option<Output<Self::Address, Self::Event, Self::Changes>>;

    /// When to call [`Session::handle_timeout`].
    fn deadline(&self) -> Option<Instant>;

    /// Handles the passing of time. Does nothing before the deadline.
    ///
    /// # Errors
    /// See [`Session::handle`].
    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Whether the session accepts more application data now.
    fn wants_input(&self) -> bool {
        true
    }
}
