//! The mailbox server's protocol, as both ends see it: messages, limits and proof of work.
//!
//! The client's side of it lives in [`crate::wormhole`]. No sockets: a WebSocket text frame is a
//! `&str` here (server-protocol.md).

pub mod hashcash;
pub mod message;
pub mod server;
mod url;

pub use message::{ClientMessage, MalformedMessage, Mood, PeerMessage, ServerMessage, Welcome};
pub use url::{MailboxUrl, MailboxUrlError};
