//! Two dilated sides: over good and bad networks nothing is lost, duplicated or reordered; and a hostile peer, which has the
//! key, cannot break the rules without consequences.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod hostile;
mod limits;
mod node;
mod pair;
mod rescue;
mod simulation;
