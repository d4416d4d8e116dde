//! The Wormhole servers as a library: a mailbox server, a transit relay and a Whisper node, alone or together in one
//! process.
//!
//! The binary `wormhole-server` calls [`run`] with its arguments; everything else is inside. `host` starts and stops
//! the services; what each of them does is in `mailbox`, `transit_relay` and `whisper`, what can be configured in
//! `config`.
//!
//! The feature `fuzzing` makes the decoders of what clients send public, for the fuzz targets alone. They are no part
//! of the interface and may change at any time.

mod backup;
mod command;
mod config;
mod drain;
mod entrance;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod heap;
mod host;
mod http;
mod limits;
mod logging;
mod mailbox;
mod metrics;
mod monitor;
mod net;
mod private;
mod transit_relay;
mod whisper;

pub use command::run;
pub(crate) use error::ServerError;
pub(crate) use host::Host;
