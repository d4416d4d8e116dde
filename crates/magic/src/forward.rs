//! The messages of port forwarding, as fowl 26.8 sends them (docs/forward.md "Protocol").
//!
//! Both sides dilate. A side that offers a service asks the other one, on a stream of [`COMMANDS`], to listen for it. For each
//! connection that arrives there, the listening side opens a stream of [`CONNECTIONS`]. A message is a 2-byte big-endian length
//! and a MessagePack map, and must be a dilation record of its own.

mod message;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

pub use message::{
    ConnectReply, ConnectRequest, ListenReply, ListenRequest, MAX_MESSAGE, Malformed, PREFIX,
    message_length,
};

/// The application id of port forwarding.
pub const APP_ID: &str = "meejah.ca/wormhole/forward";

/// The subprotocol on which one side asks the other one to listen.
pub const COMMANDS: &str = "fowl-commands";

/// The subprotocol whose streams each carry one connection.
pub const CONNECTIONS: &str = "fowl";

/// The application versions that a peer expects.
pub fn app_versions() -> Value {
    json!({ "fowl": { "features": ["core-v1"] } })
}

/// Whether these application versions of a peer name the protocol of this module.
pub fn peer_can_forward(versions: &Value) -> bool {
    let features = versions.get("fowl").and_then(|fowl| fowl.get("features"));
    let features = features.and_then(Value::as_array);
    features.is_some_and(|features| features.iter().any(|feature| feature == "core-v1"))
}

/// The mailbox message with which a side ends the session. The other side answers with its own, and then both close.
pub fn closing() -> Vec<u8> {
    // The number of our next message in the mailbox. We send no other message there.
    json!({ "closing": 0 }).to_string().into_bytes()
}

/// Whether a mailbox message ends the session.
pub fn is_closing(message: &[u8]) -> bool {
    serde_json::from_slice::<Value>(message).is_ok_and(|value| value.get("closing").is_some())
}

/// The name of a service, by which both sides mean the same one: 1 to 255 bytes without control characters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceName(String);

impl ServiceName {
    /// Checks a name.
    ///
    /// # Errors
    /// It is empty or too long, or has a control character.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidServiceName> {
        let name = name.into();
        let fits = (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        if fits { Ok(Self(name)) } else { Err(InvalidServiceName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(name: &str) -> Result<Self, InvalidServiceName> {
        Self::new(name)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is not the name of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the name of a service has 1 to {MAX_NAME} bytes and no control characters")]
pub struct InvalidServiceName;

/// Maximum length of the name of a service, in bytes.
const MAX_NAME: usize = 255;
