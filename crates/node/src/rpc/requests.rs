//! What clients ask for: messages to send, and which messages to receive.
//!
//! These are the fields as they were written. What they name, such as a key, is looked up by the
//! methods.

use wormhole_whisper::shh::Topic;
use zeroize::Zeroizing;

use super::arguments::{Argument, Fault, Fields, Hex, elements, fixed};

/// Which messages a filter or subscription is for.
pub(crate) struct Criteria {
    /// The id of a shared key; empty for none.
    pub(crate) sym_key_id: Zeroizing<String>,
    /// The id of a key pair; empty for none.
    pub(crate) private_key_id: Zeroizing<String>,
    /// The public key of the signer; empty for anyone.
    pub(crate) sig: Hex,
    /// The work that the messages must have.
    pub(crate) min_pow: f64,
    /// Their topics; none for any.
    pub(crate) topics: Vec<Topic>,
    /// Whether they may come directly from a trusted peer.
    pub(crate) allow_p2p: bool,
    /// Whether to start with the messages that the node already holds. go-ethereum ignores it.
    pub(crate) include_pool: bool,
}

impl Argument for Criteria {
    fn read(json: &str) -> Result<Self, Fault> {
        let fields = Fields::read(json, "Criteria", "whisperv6.Criteria")?;
        let topics = |json: &str| elements(json, "[]whisperv6.TopicType", topic);
        Ok(Self {
            sym_key_id: fields.find("symKeyID", Argument::read)?.unwrap_or_default(),
            private_key_id: fields.find("privateKeyID", Argument::read)?.unwrap_or_default(),
            sig: fields.find("sig", Hex::read)?.unwrap_or_default(),
            min_pow: fields.find("minPow", f64::read)?.unwrap_or_default(),
            topics: fields.find("topics", topics)?.unwrap_or_default(),
            allow_p2p: fields.find("allowP2P", bool::read)?.unwrap_or_default(),
            include_pool: fields.find("includePool", bool::read)?.unwrap_or_default(),
        })
    }
}

/// A message to send.
pub(crate) struct NewMessage {
    /// The id of a shared key; empty for none.
    pub(crate) sym_key_id: Zeroizing<String>,
    /// The public key of the recipient; empty for none.
    pub(crate) public_key: Hex,
    /// The id of the key pair that signs; empty for none.
    pub(crate) sig: Zeroizing<String>,
    /// Seconds to live; 0 for the usual time.
    pub(crate) ttl: u32,
    /// How readers find it.
    pub(crate) topic: Topic,
    /// What is said.
    pub(crate) payload: Hex,
    /// What hides how much is said; empty for the usual.
    pub(crate) padding: Hex,
    /// Seconds that the work may take.
    pub(crate) pow_time: u32,
    /// How much work; negative for as much as there is time.
    pub(crate) pow_target: f64,
    /// The only peer to send it to; empty for all.
    pub(crate) target_peer: Zeroizing<String>,
}

impl Argument for NewMessage {
    fn read(json: &str) -> Result<Self, Fault> {
        let fields = Fields::read(json, "NewMessage", "whisperv6.NewMessage")?;
        Ok(Self {
            sym_key_id: fields.find("symKeyID", Argument::read)?.unwrap_or_default(),
            public_key: fields.find("pubKey", Hex::read)?.unwrap_or_default(),
            sig: fields.find("sig", Argument::read)?.unwrap_or_default(),
            ttl: fields.find("ttl", u32::read)?.unwrap_or_default(),
            topic: fields.find("topic", topic)?.unwrap_or_default(),
            payload: fields.find("payload", Hex::read)?.unwrap_or_default(),
            padding: fields.find("padding", Hex::read)?.unwrap_or_default(),
            pow_time: fields.find("powTime", u32::read)?.unwrap_or_default(),
            pow_target: fields.find("powTarget", f64::read)?.unwrap_or_default(),
            target_peer: fields.find("targetPeer", Argument::read)?.unwrap_or_default(),
        })
    }
}

/// A topic, exactly 4 bytes. `null` is the topic of zeros.
fn topic(json: &str) -> Result<Topic, Fault> {
    if json.trim() == "null" {
        return Ok(Topic::default());
    }
    fixed(json, "Topic", "whisperv6.TopicType").map(Topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_empty() {
        let message = NewMessage::read("{}").unwrap();
        assert!(message.sym_key_id.is_empty() && message.public_key.0.is_empty());
        assert_eq!((message.ttl, message.pow_time, message.topic), (0, 0, Topic::default()));
        assert!(Criteria::read("null").unwrap().topics.is_empty());
    }

    #[test]
    fn faults_name_the_field() {
        let said = |json: &str| NewMessage::read(json).err().unwrap().to_string();
        assert_eq!(
            said(r#"{"payload":"6869"}"#),
            "json: cannot unmarshal hex string without 0x prefix into Go struct field \
             NewMessage.payload of type hexutil.Bytes"
        );
        assert_eq!(said(r#"{"topic":"0x01"}"#), "hex string has length 2, want 8 for Topic");
        assert_eq!(
            said(r#"{"ttl":"10"}"#),
            "json: cannot unmarshal string into Go struct field NewMessage.ttl of type uint32"
        );
        let fault = Criteria::read(r#"{"topics":["0x01020304",7]}"#).err().unwrap();
        assert_eq!(
            fault.to_string(),
            "json: cannot unmarshal number into Go struct field Criteria.topics of type \
             whisperv6.TopicType"
        );
    }

    #[test]
    fn topics_are_read_in_order() {
        let criteria = Criteria::read(r#"{"topics":["0x01020304","0xdeadbeef"]}"#).unwrap();
        assert_eq!(criteria.topics, [Topic([1, 2, 3, 4]), Topic([0xde, 0xad, 0xbe, 0xef])]);
    }
}
