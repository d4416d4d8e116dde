//! The network stack under Whisper (devp2p specifications, spec section 2): encoding, keys, the
//! encrypted transport, the base protocol that capabilities share, and discovery.
//!
//! Nothing here knows what a capability says: `shh` stands on this, never the other way round.

pub mod base;
pub mod capability;
pub mod discovery;
pub mod ecies;
pub mod enode;
pub mod enr;
pub mod key;
pub mod peer;
pub mod rlp;
pub mod rlpx;
pub mod snappy;
