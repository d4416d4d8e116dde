//! Transit without I/O: how two sides that share a key find one TCP connection between them,
//! direct or through a relay, and carry sealed records over it (transit.rst).
//!
//! Not the exchange of the hints (they travel in messages of the application) and not the relay
//! itself.
//!
//! ```text
//!  hints ──► race ──► handshake on each link ──► one link ──► records
//! ```

mod handshake;
pub mod helper;
pub mod hint;
pub mod keys;
mod plan;
pub mod race;
pub mod record;

pub use helper::HelperError;
pub use hint::{Ability, Endpoint, Hint, Priority, RelayAddress, RelayHint, TcpHint, TransitInfo};
pub use keys::{RelaySide, Role, TransitKey};
pub use race::{Address, Permit, Race, RaceError, RaceSettings, RelayPolicy, Route, Target};
pub use record::{BadRecord, Opener, Sealer};
