//! The mailbox protocol, for clients and servers: messages, server rules and proof of work.
//!
//! The client session is in [`crate::wormhole`]. A WebSocket text frame is a `&str` here
//! (server-protocol.md).

pub mod hashcash;
pub mod message;
pub mod server;
mod url;

pub use message::{ClientMessage, MalformedMessage, Mood, PeerMessage, ServerMessage, Welcome};
pub use url::{MailboxUrl, MailboxUrlError};
