//! The messages that two sides exchange through the mailbox, in the phases `dilate-0`, `dilate-1`, ... (dilation-protocol.md
//! "L1").

use serde_json::{Value, json};

use super::keys::DilationSide;
use super::version::DilationVersion;
use crate::transit::hint::Hint;

/// A mailbox message about the dilated connection: a JSON object with a `type`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DilationMessage {
    /// Starts: announces the sender.
    Please(Please),
    /// Where the sender can be reached. A list adds to earlier lists of the same generation.
    Hints(Vec<Hint>),
    /// From the leader: the connection is lost, start the next generation.
    Reconnect,
    /// From the follower: the next generation has started.
    Reconnecting,
    /// From a follower to a leader of this project: the connection is lost, and the leader may not know that.
    Lost,
    /// To a peer of this project: the sender leaves, and needs no further connection.
    Leaving,
    /// Another type, which is ignored.
    Unknown,
}

/// The announcement of a side. The last three fields are specific to this project; other clients ignore them.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of a message, which its sender sets")]
pub struct Please {
    /// The side, which decides who leads.
    pub side: DilationSide,
    /// The version. Both sides choose the same one from their lists.
    pub version: DilationVersion,
    /// Whether the sender understands [`DilationMessage::Lost`] and [`DilationMessage::Leaving`], and may be told to
    /// reconnect at any time.
    pub extended: bool,
    /// Whether the sender can use AES-256-GCM. It is used if both can.
    pub aes: bool,
}

impl Please {
    fn decode(value: &Value) -> Result<Self, MalformedDilationMessage> {
        let text = |key| value.get(key).and_then(Value::as_str);
        let flag = |key| value.get(key).and_then(Value::as_bool).unwrap_or(false);
        let side = text("side").and_then(DilationSide::parse).ok_or(MALFORMED)?;
        // Python leaves it out if no version suits.
        let version = text("use-version").and_then(DilationVersion::parse);
        let version = version.unwrap_or(DilationVersion::Ged);
        Ok(Self { side, version, extended: flag(EXTENDED), aes: flag(AES) })
    }

    fn encode(&self) -> Value {
        let (side, version) = (self.side.as_str(), self.version.name());
        let mut value = json!({ "type": "please", "side": side, "use-version": version });
        for (key, is_set) in [(EXTENDED, self.extended), (AES, self.aes)] {
            if let (true, Some(object)) = (is_set, value.as_object_mut()) {
                object.insert(key.to_owned(), Value::Bool(true));
            }
        }
        value
    }
}

impl DilationMessage {
    /// Decodes a message.
    ///
    /// # Errors
    /// It is not a JSON object with a `type`, or a `please` without a usable side.
    pub fn decode(plaintext: &[u8]) -> Result<Self, MalformedDilationMessage> {
        let value: Value = serde_json::from_slice(plaintext).map_err(|_| MALFORMED)?;
        let kind = value.get("type").and_then(Value::as_str).ok_or(MALFORMED)?;
        Ok(match kind {
            "please" => Self::Please(Please::decode(&value)?),
            "connection-hints" => {
                Self::Hints(Hint::parse_list(value.get("hints").unwrap_or(&Value::Null)))
            }
            "reconnect" => Self::Reconnect,
            "reconnecting" => Self::Reconnecting,
            LOST => Self::Lost,
            LEAVING => Self::Leaving,
            _ => Self::Unknown,
        })
    }

    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        let value = match self {
            Self::Please(please) => please.encode(),
            Self::Hints(hints) => {
                json!({ "type": "connection-hints", "hints": Hint::encode_list(hints) })
            }
            Self::Reconnect => json!({ "type": "reconnect" }),
            Self::Reconnecting => json!({ "type": "reconnecting" }),
            Self::Lost => json!({ "type": LOST }),
            Self::Leaving => json!({ "type": LEAVING }),
            Self::Unknown => json!({ "type": "unknown" }),
        };
        value.to_string().into_bytes()
    }
}

/// A mailbox message that cannot be decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the peer sent a malformed message about the dilated connection")]
pub struct MalformedDilationMessage;

const MALFORMED: MalformedDilationMessage = MalformedDilationMessage;

/// Keys of `please` that other clients ignore.
const EXTENDED: &str = "wormhole-extensions";
const AES: &str = "wormhole-aes-gcm";

const LOST: &str = "connection-lost";
const LEAVING: &str = "leaving";

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::transit::hint::TcpHint;

    #[test]
    fn messages_survive_encoding_and_decoding() {
        let side = DilationSide::leading(&mut ChaCha8Rng::seed_from_u64(1));
        let please = |version, extended, aes| {
            DilationMessage::Please(Please { side: side.clone(), version, extended, aes })
        };
        for message in [
            please(DilationVersion::Ged, false, false),
            please(DilationVersion::Ged, true, false),
            please(DilationVersion::GedCredit, true, true),
            DilationMessage::Hints(vec![Hint::Direct(TcpHint::new("192.0.2.7", 4000))]),
            DilationMessage::Reconnect,
            DilationMessage::Reconnecting,
            DilationMessage::Lost,
            DilationMessage::Leaving,
            DilationMessage::Unknown,
        ] {
            assert_eq!(DilationMessage::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn malformed_messages_are_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"please"}"#,
            r#"{"type":"please","side":7}"#,
            r#"{"type":"please","side":""}"#,
        ] {
            assert_eq!(DilationMessage::decode(text.as_bytes()), Err(MALFORMED), "{text}");
        }
        let hints = DilationMessage::decode(br#"{"type":"connection-hints"}"#);
        assert_eq!(hints, Ok(DilationMessage::Hints(vec![])));
    }
}
