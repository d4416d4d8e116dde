//! Writes keys and messages as JSON.

use serde_json::{Value, json};
use wormhole_kit::Secret;
use wormhole_whisper::shh::filter::Received;

use crate::hex;

/// The bytes of a key.
pub(super) fn key(secret: &Secret<32>) -> Value {
    hex(secret.expose()).into()
}

/// A message of a filter.
pub(super) fn message(received: &Received) -> Value {
    let mut value = json!({
        "ttl": received.ttl,
        "timestamp": received.sent,
        "topic": received.topic.to_string(),
        "payload": hex(&received.message.payload),
        "padding": hex(&received.message.padding),
        "pow": received.work.as_f64(),
        "hash": hex(&received.hash.0),
    });
    let signer = received.message.signer.as_ref().map(|key| ("sig", key));
    let recipient = received.recipient.as_ref().map(|key| ("recipientPublicKey", key));
    if let Value::Object(fields) = &mut value {
        for (name, key) in signer.into_iter().chain(recipient) {
            fields.insert(name.into(), hex(&key.to_uncompressed()).into());
        }
    }
    value
}
