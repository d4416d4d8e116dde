//! Dilation: many streams between two sides over one connection that is replaced when it is lost.
//!
//! This is what Python 0.24 speaks (version `ged`); where its code and the specification differ, the code decides. The
//! application exchanges the mailbox messages of this protocol through [`crate::wormhole`], and opens the connections.
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
mod keepalive;
mod keys;
mod link;
mod message;
pub mod noise;
mod outbound;
pub mod record;
mod session;
mod subchannels;

pub use config::{DilationConfig, KEEPALIVE};
pub use error::{DilationError, DilationViolation};
pub use event::{DilationCommand, DilationEvent, SubchannelId};
pub use keys::{DilationKey, DilationRole, DilationSide};
pub use message::{DilationMessage, MalformedDilationMessage};
pub use outbound::MAX_UNACKNOWLEDGED;
pub use record::{BadDilationRecord, DilationRecord};
pub use session::Dilation;
pub use subchannels::{MAX_THEIRS, MAX_UNPROCESSED};

use crate::wormhole::PeerVersion;

/// The versions of the protocol that we speak, as announced in `can-dilate` of the version message.
pub const VERSIONS: [&str; 1] = [message::VERSION];

/// Whether the peer can dilate, according to its version message. Otherwise [`Dilation`] would wait for ever.
pub fn peer_can_dilate(peer: &PeerVersion) -> bool {
    let versions = peer.get("can-dilate").and_then(serde_json::Value::as_array);
    versions.is_some_and(|versions| versions.iter().any(|version| version == message::VERSION))
}
