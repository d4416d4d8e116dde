//! The fuzz targets of the server.
//!
//! The library contains them, because the decoders are not part of its interface.

pub use wormhole_server::fuzzing::{BODIES, headers, json, websocket};
