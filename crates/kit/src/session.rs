//! The shape of every protocol that lives in time: inputs go in, outputs are polled, the next
//! deadline is a value.
//!
//! This is not an executor and knows no socket. `wormhole::drive` runs sessions on tokio,
//! `wormhole-sim` runs them on a virtual network.

use std::convert::Infallible;

use crate::Instant;

/// One byte pipe (or message pipe) of a session, named by the session that asked for it or by the
/// driver that accepted it.
///
/// Ids of outgoing links are even, ids of accepted links are odd, so the two sides that name links
/// never collide.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// Names links one after the other, each with an id of its own.
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
    /// For a session, which names the links that it asks for.
    pub const fn outgoing() -> Self {
        Self { next: LinkId(0) }
    }

    /// For a driver, which names the links that it accepts.
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

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a, C> {
    /// The link is ready to carry bytes.
    Opened(LinkId),
    /// Bytes (for a message link: one whole message) arrived.
    Bytes(LinkId, &'a [u8]),
    /// The link is gone, or could not be opened at all. Nothing more will come from it.
    Closed(LinkId),
    /// The application asks for something.
    Command(C),
    /// The oldest changes that were handed out with [`Output::Commit`] and not confirmed yet are
    /// durable now.
    Committed,
}

/// What a session wants done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output<A, E, C = Infallible> {
    /// Open a link to this address; answered by `Opened` or `Closed`.
    Connect(LinkId, A),
    /// Write these bytes (for a message link: one whole message).
    Send(LinkId, Vec<u8>),
    /// Flush what was sent, then close the link. No `Closed` is reported back.
    Close(LinkId),
    /// Tell the application.
    Event(E),
    /// Make these changes durable, all or none, after all earlier ones; answered by
    /// [`Input::Committed`]. If that fails, drop the session and restore it from what is durable.
    Commit(C),
}

/// A protocol that lives in time.
///
/// A session with durable state holds back everything that depends on changes (what it sends,
/// acknowledges or reports) until they are committed. So "durable before sent" is a property of the
/// session, not of its driver.
///
/// Any order of calls is safe. After an `Err` the session has ended: `poll` may still hand out what
/// it wanted to say last, and every later input is ignored.
pub trait Session {
    /// Where an outgoing link leads.
    type Address;
    /// What the application may ask for.
    type Command;
    /// What the application is told.
    type Event;
    /// What must survive a crash; [`Infallible`] for a session without durable state.
    type Changes;
    /// Why the session ended badly.
    type Error;

    /// Takes one input in at time `now`.
    ///
    /// # Errors
    /// The session has ended; drain [`Session::poll`] and tell the application.
    fn handle(&mut self, now: Instant, input: Input<'_, Self::Command>) -> Result<(), Self::Error>;

    /// Hands out the next thing to do, in wire order.
    fn poll(&mut self) -> Option<Output<Self::Address, Self::Event, Self::Changes>>;

    /// When [`Session::handle_timeout`] wants to be called, if nothing happens before.
    fn deadline(&self) -> Option<Instant>;

    /// Lets time pass. Calling it before the deadline does nothing.
    ///
    /// # Errors
    /// As for [`Session::handle`].
    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Whether more application data may be handed in now.
    fn wants_input(&self) -> bool {
        true
    }
}
