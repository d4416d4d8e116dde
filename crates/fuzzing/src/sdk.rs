//! The fuzz target of the SDK.
//!
//! The library contains it, because the decoder is not part of its interface.

pub use wormhole::fuzzing::{BODIES, sdk_unpack};
