//! What every Wormhole core shares: the shape of a session, bounded reading of bytes,
//! secrets that do not print, text of others that cannot be shown, wall-clock time, and what an
//! address tells about who is there.
//!
//! There is no cryptography and no I/O here. A core is driven like this, whatever its protocol:
//!
//! ```
//! use wormhole_kit::{Input, Instant, Output, Session};
//!
//! /// Hands one input to a session and collects what it wants done.
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
