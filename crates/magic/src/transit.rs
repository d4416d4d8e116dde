//! Transit without I/O: how two sides with a shared key establish a TCP connection, direct or through a relay, and
//! send encrypted records over it (transit.rst).
//!
//! The application exchanges the hints. The relay is in [`crate::relay`].
//!
//! ```text
//!  hints ──► race ──► handshake on each link ──► one link ──► records
//! ```

mod handshake;
pub mod helper;
pub mod hint;
pub mod keys;
pub(crate) mod plan;
pub mod race;
pub mod record;

pub use helper::HelperError;
pub use hint::{Ability, Endpoint, Hint, Priority, RelayAddress, RelayHint, TcpHint, TransitInfo};
pub use keys::{RelaySide, Role, TransitKey};
pub use plan::NAME_ADDRESSES;
pub use race::{Address, Permit, Race, RaceError, RaceSettings, RelayPolicy, Route, Target};
pub use record::{BadRecord, Opener, Sealer};
