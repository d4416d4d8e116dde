//! The objects that clients send: messages to post, and criteria of filters.
//!
//! The fields are as the client wrote them. The methods look up the keys that they name.

use wormhole_whisper::shh::Topic;
use zeroize::Zeroizing;

use super::arguments::{Argument, Fault, Fields, Hex, elements, fixed};

/// The criteria of a filter or subscription.
pub(crate) struct Criteria {
    /// The id of a symmetric key; empty for none.
    pub(crate) sym_key_id: Zeroizing<String>,
    /// The id of a key pair; empty for none.
    pub(crate) private_key_id: Zeroizing<String>,
    /// The public key of the signer; empty for anyone.
    pub(crate) sig: Hex,
    /// The proof of work that messages must have.
    pub(crate) min_pow: f64,
    /// Topics; none for all topics.
    pub(crate) topics: Vec<Topic>,
    /// Whether direct messages of trusted peers match.
    pub(crate) allow_p2p: bool,
    /// Whether to start with the messages in the pool. go-ethereum ignores it.
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
    /// The id of a symmetric key; empty for none.
    pub(crate) sym_key_id: Zeroizing<String>,
    /// The public key of the recipient; empty for none.
    pub(crate) public_key: Hex,
    /// The id of the key pair that signs; empty for none.
    pub(crate) sig: Zeroizing<String>,
    /// TTL in seconds; 0 for the default.
    pub(crate) ttl: u32,
    /// The topic.
    pub(crate) topic: Topic,
    /// The content.
    pub(crate) payload: Hex,
    /// The padding; empty for the default.
    pub(crate) padding: Hex,
    /// Seconds that the proof of work may take.
    pub(crate) pow_time: u32,
    /// The proof of work; negative for the best that can be found in the time.
    pub(crate) pow_target: f64,
    /// The enode of the peer to send it to directly; empty for the network.
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
    fn missing_fields_are_empty() {
        let message = NewMessage::read("{}").unwrap();
        assert!(message.sym_key_id.is_empty() && message.public_key.0.is_empty());
        assert_eq!((message.ttl, message.pow_time, message.topic), (0, 0, Topic::default()));
        assert!(Criteria::read("null").unwrap().topics.is_empty());
    }

    #[test]
    fn errors_name_the_field() {
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
