//! Transit without I/O: how two sides that share a key find one TCP connection between them,
//! direct or through a relay, and carry sealed records over it (transit.rst; spec section 6).
//!
//! Not the exchange of the hints (they travel in messages of the application) and not the relay
//! itself.
//!
//! ```text
//!  hints ──► race ──► handshake on each link ──► one link ──► records
//! ```

pub mod helper;
pub mod hint;
pub mod keys;

pub use helper::HelperError;
pub use hint::{Ability, Endpoint, Hint, Priority, RelayAddress, RelayHint, TcpHint};
pub use keys::{RelaySide, Role, TransitKey};

/// Whether a relay may be used. One that is can see both addresses and the amount, no contents.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RelayPolicy {
    /// A direct connection if there is one in two seconds, else a relay.
    #[default]
    Auto,
    /// A direct connection or none.
    Never,
    /// A relay and nothing else, so that the peer does not learn our address.
    Only,
}
