//! Encodes the server's frames.
//!
//! The same messages as `message::ServerMessage`, but borrowed: a body is not copied for each recipient, and a
//! client's values are returned unchanged.

use serde::Serialize;
use serde_json::value::RawValue;
use wormhole_kit::UnixTime;

use super::StoredMessage;
use crate::mailbox::message::Welcome;

/// A frame for the client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Reply<'a> {
    Ack { id: &'a RawValue },
    Allocated { nameplate: &'a str },
    Claimed { mailbox: &'a str },
    Closed,
    Error { error: &'a str, orig: &'a RawValue },
    Message(Message<'a>),
    Nameplates { nameplates: Vec<Listed<'a>> },
    Pong { pong: &'a RawValue },
    Released,
    Welcome { welcome: &'a Welcome },
}

/// A stored message.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    side: &'a str,
    phase: &'a str,
    body: &'a str,
    server_rx: UnixTime,
    id: &'a RawValue,
}

/// A nameplate in use.
#[derive(Debug, Serialize)]
pub(super) struct Listed<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Stamped<'a> {
    #[serde(flatten)]
    reply: &'a Reply<'a>,
    server_tx: UnixTime,
}

impl<'a> Reply<'a> {
    /// Encodes a stored message.
    pub(super) fn message(stored: &'a StoredMessage) -> Self {
        // Ids were parsed as JSON before they were stored.
        let id = serde_json::from_str(&stored.message.id).unwrap_or(RawValue::NULL);
        Self::Message(Message {
            side: &stored.side,
            phase: &stored.message.phase,
            body: &stored.message.body,
            server_rx: stored.server_rx,
            id,
        })
    }

    /// The list of nameplates.
    pub(super) fn nameplates(names: &'a [String]) -> Self {
        Self::Nameplates { nameplates: names.iter().map(|id| Listed { id }).collect() }
    }

    /// Encodes the frame with the time of sending.
    pub(super) fn encode(&self, server_tx: UnixTime) -> String {
        // Strings, JSON and finite numbers only, which JSON can always represent.
        serde_json::to_string(&Stamped { reply: self, server_tx }).unwrap_or_default()
    }
}
