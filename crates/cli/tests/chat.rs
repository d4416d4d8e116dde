//! The commands of `chat` as people run them: processes, a real server, and a client that nobody here wrote.
//!
//! What is printed before a server is asked is in `cmd.rs`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "tests may panic")]

#[expect(dead_code, reason = "the tests of transfers use more of it")]
#[path = "transfers/world.rs"]
mod world;

#[path = "chat/advice.rs"]
mod advice;
#[path = "chat/changes.rs"]
mod changes;
#[path = "chat/commands.rs"]
mod commands;
#[path = "chat/devices.rs"]
mod devices;
#[path = "chat/files.rs"]
mod files;
#[path = "chat/groups.rs"]
mod groups;
#[path = "chat/history.rs"]
mod history;
#[path = "chat/identity.rs"]
mod identity;
#[path = "chat/introduce.rs"]
mod introduce;
#[cfg(all(feature = "keyring", target_os = "linux"))]
#[path = "chat/keyring.rs"]
mod keyring;
#[path = "chat/kills.rs"]
mod kills;
#[path = "chat/npm_client.rs"]
mod npm_client;
#[path = "chat/outbox.rs"]
mod outbox;
#[path = "chat/profiles.rs"]
mod profiles;
#[path = "chat/requests.rs"]
mod requests;
#[cfg(unix)]
#[path = "chat/secrets.rs"]
mod secrets;
#[path = "chat/service.rs"]
mod service;
#[path = "chat/talk.rs"]
mod talk;
#[path = "chat/unreadable.rs"]
mod unreadable;
