//! Dilation: many streams between two sides over one connection that is replaced when it is lost.
//!
//! This is what Python 0.24 speaks (version `ged`); where its code and the specification differ, the code decides. The
//! application exchanges the mailbox messages of this protocol through [`crate::wormhole`], and opens the connections.
//! (dilation-protocol.md; docs/dilation.md)
//!
//! ```text
//!  mailbox messages ─► generation ─► links: relay, prologue, Noise, KCM ─► one link ─► records ─► subchannels
//! ```

pub mod frame;
mod keys;
mod message;
pub mod noise;
pub mod record;

pub use keys::{DilationKey, DilationRole, DilationSide};
pub use message::{DilationMessage, MalformedDilationMessage};
pub use record::{BadDilationRecord, DilationRecord};
