//! The fuzz targets of the SDK.
//!
//! The library contains them, because the decoders are not part of its interface.

pub use wormhole::chat::store::fuzzing::sdk_chat_store;
pub use wormhole::chat::{sdk_chat_copy, sdk_chat_response};
pub use wormhole::fuzzing::sdk_unpack;

use crate::Body;

/// Every body with the name of its target and of its corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("sdk_chat_copy", sdk_chat_copy),
    ("sdk_chat_response", sdk_chat_response),
    ("sdk_chat_store", sdk_chat_store),
    ("sdk_unpack", sdk_unpack),
];
