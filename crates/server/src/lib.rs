//! The Wormhole servers as a library: a mailbox server, a transit relay and a Whisper node, alone or together in one
//! process.
//!
//! The binary `wormhole-server` only calls [`run`] with its arguments. `service` is the table of services, `host` starts
//! and stops them, `config` reads their configuration, and each service has its own folder: `mailbox`, `transit_relay`
//! and `whisper`.
//!
//! The feature `fuzzing` makes the decoders of client data public for the fuzz targets. They are not part of the public
//! interface and may change at any time. The feature `testing` adds servers for the tests of other crates.

mod allocator;
mod backup;
mod command;
mod config;
mod console;
mod database;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod http;
mod limits;
mod logging;
mod mailbox;
mod memory;
mod messaging;
mod metrics;
mod net;
mod service;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod transit_relay;
mod whisper;

pub use command::run;
pub(crate) use error::ServerError;
