//! The messaging service: the real binary, asked over HTTP and WebSocket as clients do it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "JSON values do not panic")]

mod accounts;
mod attachments;
mod client;
mod compat;
mod connections;
mod device_lists;
mod faults;
mod groups;
mod hostile;
mod keys;
mod logs;
mod messages;
mod monitoring;
mod npm_client;
mod openapi;
mod profiles;
mod requests;
mod resumable;
mod schemathesis;
mod sealed;
mod server;
mod socket;
mod takeover;
