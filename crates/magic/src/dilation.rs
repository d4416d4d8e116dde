//! Dilation: many streams between two sides over one connection that is replaced when it is lost.
//!
//! This is what Python 0.24 speaks (version `ged`); where its code and the specification differ, the code decides. Between two
//! sides of this project, it is `ged-credit`, where a subchannel that nobody reads does not hold up others. The application exchanges the mailbox messages of this protocol through [`crate::wormhole`], and opens the connections.
//! (dilation-protocol.md; docs/dilation.md)
//!
//! ```text
//!  mailbox messages ─► generation ─► links: relay, prologue, Noise, KCM ─► one link ─► records ─► subchannels
//! ```

mod config;
mod dialler;
mod error;
mod event;
pub mod frame;
mod inbound;
mod inflow;
mod keepalive;
mod keys;
mod link;
mod message;
pub mod noise;
mod outbound;
pub mod record;
mod session;
mod subchannels;
mod version;

pub use config::{DilationConfig, KEEPALIVE};
pub use dialler::{MAX_DIALS, MAX_NEW_ADDRESSES};
pub use error::{DilationError, DilationViolation};
pub use event::{DilationCommand, DilationEvent, SubchannelId};
pub use keys::{DilationKey, DilationRole, DilationSide};
pub use message::{DilationMessage, MalformedDilationMessage, Please};
pub use noise::aes_is_available;
pub use outbound::MAX_UNACKNOWLEDGED;
pub use record::{BadDilationRecord, DilationRecord};
pub use session::{Dilation, MAX_DATA};
pub use subchannels::{INITIAL_CREDIT, MAX_THEIRS, MAX_UNPROCESSED};
pub use version::{DilationVersion, VERSIONS};
