//! The interface of a simulated server.

use wormhole_kit::Instant;

/// A server with many links.
pub trait Server {
    /// A client opened a link.
    fn opened(&mut self, now: Instant, link: u64);

    /// A client sent a message.
    fn received(&mut self, now: Instant, link: u64, message: &[u8]);

    /// The link was closed.
    fn closed(&mut self, now: Instant, link: u64);

    /// The server is killed and restarted with its durable state. All its links are closed before, one by
    /// one.
    fn restarted(&mut self, now: Instant);

    /// The next output.
    fn poll(&mut self) -> Option<Reply>;
}

/// An output of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Send this on that link.
    Send(u64, Vec<u8>),
    /// Close that link, once everything sent before has arrived.
    Close(u64),
}
