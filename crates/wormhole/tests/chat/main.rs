//! The chat client against the real messaging service.

#![cfg(feature = "chat")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

mod cancel;
mod conversation;
mod failures;
mod files;
mod identity;
mod kills;
mod limits;
mod losses;
mod proxy;
mod registration;
mod world;
