//! The mailbox server's protocol, as both ends see it: messages, limits and proof of work.
//!
//! The client's side of it lives in [`crate::wormhole`]. No sockets: a WebSocket text frame is a
//! `&str` here (mailbox spec section 3, "Mailbox protocol").

pub mod hashcash;
pub mod message;

pub use message::{ClientMessage, MalformedMessage, Mood, PeerMessage, ServerMessage, Welcome};
