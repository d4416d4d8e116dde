//! Shared parts of all Wormhole protocols: the session interface, bounded reading of bytes, secrets that are not
//! printed, checks of untrusted text, wall-clock time, and properties of IP addresses.
//!
//! No cryptography and no I/O. Every session is driven in the same way, whatever its protocol:
//!
//! ```
//! use wormhole_kit::{Input, Instant, Output, Session};
//! /// Passes one input to a session and collects its outputs.
//! fn step<S: Session>(
//!     session: &mut S,
//!     now: Instant,
//!     input: Input<'_, S::Command>,
//! ) -> Result<Vec<Output<S::Address, S::Event, S::Changes>>, S::Error> {
//!     session.handle(now, input)?;
//!     Ok(std::iter::from_fn(|| session.poll()).collect())
//! }
//! ```

mod bytes;
mod network;
mod secret;
mod session;
mod text;
mod time;

pub use bytes::{Reader, TooShort};
pub use network::{Scope, network, scope, wider_network};
pub use secret::Secret;
pub use session::{Input, LinkId, LinkIds, Output, Session};
pub use text::{is_bidi_control, is_deceptive};
pub use time::{UnixTime, Utc};
pub use web_time::Instant;
