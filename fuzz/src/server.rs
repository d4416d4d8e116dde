//! The fuzz targets of the server.
//!
//! The server's library has them, so that its own tests can replay the corpus.

pub use wormhole_server::fuzzing::{BODIES, headers, websocket};
