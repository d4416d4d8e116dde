//! The chat client against the real messaging service.

#![cfg(feature = "chat")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

mod backups;
mod cancel;
mod changes;
mod conversation;
mod devices;
mod direct;
mod failures;
mod files;
mod groups;
mod history;
mod identity;
mod introduce;
mod kills;
mod limits;
mod link;
mod losses;
mod mailbox;
mod profiles;
mod proxy;
mod qr;
mod registration;
mod requests;
mod shared;
mod sync;
mod withdrawal;
mod world;
