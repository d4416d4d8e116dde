//! What a world needs of its server.

use wormhole_kit::Instant;

/// A server: many links, one state.
pub trait Server {
    /// A client opened a link.
    fn opened(&mut self, now: Instant, link: u64);

    /// A message of a client.
    fn received(&mut self, now: Instant, link: u64, message: &[u8]);

    /// The link is gone.
    fn closed(&mut self, now: Instant, link: u64);

    /// The server is killed and started again: it keeps what it has made durable. All links are
    /// gone, and are reported one by one as closed before this.
    fn restarted(&mut self, now: Instant);

    /// Hands out the next thing the server wants done.
    fn poll(&mut self) -> Option<Reply>;
}

/// What a server wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Send this on that link.
    Send(u64, Vec<u8>),
    /// Close that link, once everything sent before has arrived.
    Close(u64),
}
