//! Messages in JSON-RPC (go-ethereum's whisper/whisperv6/api.go).

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use rand_core::OsRng;
use serde_json::{Value, json};
use wormhole_whisper::devp2p::{
    enode::Enode,
    key::{PrivateKey, PublicKey},
};
use wormhole_whisper::shh::{
    DEFAULT_TTL, Message, Topic, Work,
    message::{Padding, Sealing, compose},
};

use super::{RemoteError, hex};

/// The id that a node has given to a key. Everyone who knows it can use the key on that node.
#[derive(Clone, Eq, PartialEq)]
pub struct RemoteKeyId(pub(super) String);

impl fmt::Debug for RemoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteKeyId(…)")
    }
}

/// A key that encrypts, decrypts or signs a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MessageKey {
    /// A private key: decrypts and signs.
    Private(RemoteKeyId),
    /// The public key of a recipient: encrypts.
    Public(PublicKey),
    /// A shared key: encrypts and decrypts.
    Symmetric(RemoteKeyId),
}

/// A message to post.
#[derive(Clone, Debug)]
pub struct PostRequest {
    /// The key that encrypts it.
    pub to: MessageKey,
    /// The key that signs it, if any.
    pub signer: Option<RemoteKeyId>,
    /// Topic.
    pub topic: Topic,
    /// Content.
    pub payload: Vec<u8>,
    /// Padding, which hides the length.
    pub padding: Padding,
    /// Lifetime in seconds.
    pub ttl: u32,
    /// Target proof of work.
    pub work: Work,
    /// Time limit for the proof of work, in whole seconds and at least one.
    pub work_time: Duration,
    /// The only recipient, which must trust the node; sent as a direct message.
    pub only_to: Option<Enode>,
}

impl PostRequest {
    /// A message with a TTL of 50 seconds and the usual work.
    pub const fn new(to: MessageKey, topic: Topic, payload: Vec<u8>) -> Self {
        Self {
            to,
            signer: None,
            topic,
            payload,
            padding: Padding::Block,
            ttl: DEFAULT_TTL,
            work: Work::DEFAULT_MINIMUM,
            work_time: Duration::from_secs(10),
            only_to: None,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut post = json!({
            "topic": self.topic.to_string(),
            "payload": hex(&self.payload),
            "ttl": self.ttl,
            "powTarget": self.work.as_f64(),
            "powTime": self.work_time.as_secs().max(1),
        });
        put_key(&mut post, &self.to);
        if let Some(RemoteKeyId(signer)) = &self.signer {
            put(&mut post, "sig", signer);
        }
        if let Some(peer) = &self.only_to {
            put(&mut post, "targetPeer", &peer.to_string());
        }
        if let Some(padding) = self.exact_padding() {
            put(&mut post, "padding", &hex(&padding));
        }
        post
    }

    /// The exact padding, unless it is the default one that the node adds.
    fn exact_padding(&self) -> Option<Vec<u8>> {
        let sealing = match self.to {
            MessageKey::Private(_) | MessageKey::Public(_) => Sealing::Asymmetric,
            MessageKey::Symmetric(_) => Sealing::Symmetric,
        };
        if self.padding == Padding::Block {
            return None;
        }
        // The length does not depend on the signer.
        let signer = self.signer.as_ref().map(|_| PrivateKey::random(&mut OsRng));
        let (payload, signer) = (&self.payload, signer.as_ref());
        // Only fails for messages that the node rejects as well.
        let composed = compose(payload, &self.padding, sealing, signer, &mut OsRng).ok()?;
        Message::parse(&composed).ok().map(|message| message.padding)
    }
}

/// Criteria for a subscription.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageFilter {
    /// Required signer, if any.
    pub signer: Option<PublicKey>,
    /// Topics; an empty list means all topics.
    pub topics: Vec<Topic>,
    /// Whether direct messages from trusted peers are accepted.
    pub direct: bool,
}

impl MessageFilter {
    /// All messages with this topic.
    pub fn under(topic: Topic) -> Self {
        Self { topics: vec![topic], ..Self::default() }
    }

    pub(super) fn to_json(&self, key: &MessageKey) -> Value {
        let topics: Vec<_> = self.topics.iter().map(Topic::to_string).collect();
        let mut criteria = json!({ "topics": topics, "allowP2P": self.direct });
        put_key(&mut criteria, key);
        if let Some(signer) = &self.signer {
            put(&mut criteria, "sig", &hex(&signer.to_uncompressed()));
        }
        criteria
    }
}

fn put_key(object: &mut Value, key: &MessageKey) {
    match key {
        MessageKey::Private(RemoteKeyId(id)) => put(object, "privateKeyID", id),
        MessageKey::Public(key) => put(object, "pubKey", &hex(&key.to_uncompressed())),
        MessageKey::Symmetric(RemoteKeyId(id)) => put(object, "symKeyID", id),
    }
}

fn put(object: &mut Value, name: &str, text: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), text.into());
    }
}

/// A message that a node has decrypted.
#[derive(Clone, Eq, PartialEq)]
pub struct RemoteMessage {
    /// Content. Untrusted: escape it before printing.
    pub payload: Vec<u8>,
    /// The key that signed it, if it is signed. Verified by the node.
    pub signer: Option<PublicKey>,
    /// Topic.
    pub topic: Topic,
    /// Sent time in seconds since 1970, as the sender claims.
    pub sent: u32,
    /// Lifetime in seconds.
    pub ttl: u32,
    /// The hash of its envelope: `0x` and 64 digits.
    pub hash: String,
}

impl RemoteMessage {
    pub(crate) fn from_json(value: &Value) -> Result<Self, RemoteError> {
        let bytes = |name| optional_hex(value, name);
        let number = |name| value.get(name)?.as_u64().and_then(|n| u32::try_from(n).ok());
        let signer = match bytes("sig")? {
            key if key.is_empty() => None,
            key => Some(PublicKey::from_sec1(&key).map_err(|_| RemoteError::Malformed)?),
        };
        let topic = bytes("topic")?.try_into().map_err(|_| RemoteError::Malformed)?;
        let hash: [u8; 32] = bytes("hash")?.try_into().map_err(|_| RemoteError::Malformed)?;
        Ok(Self {
            payload: bytes("payload")?,
            signer,
            topic: Topic(topic),
            sent: number("timestamp").ok_or(RemoteError::Malformed)?,
            ttl: number("ttl").ok_or(RemoteError::Malformed)?,
            hash: hex(&hash),
        })
    }
}

/// Prints only sizes, because the payload is private.
impl fmt::Debug for RemoteMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteMessage({}, {} bytes)", self.hash, self.payload.len())
    }
}

/// Parses `0x` and digits; a missing value means no bytes.
fn optional_hex(value: &Value, name: &str) -> Result<Vec<u8>, RemoteError> {
    let text = match value.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_str().and_then(|text| text.strip_prefix("0x")),
    };
    let bytes = text.and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
    bytes.ok_or(RemoteError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Topic {
        Topic([1, 2, 3, 4])
    }

    #[test]
    fn a_posting_names_one_key_and_says_all_that_the_node_needs() {
        let key = MessageKey::Symmetric(RemoteKeyId("ab".into()));
        let json = PostRequest::new(key, topic(), b"hi".to_vec()).to_json();
        let expected = json!({
            "symKeyID": "ab", "topic": "0x01020304", "payload": "0x6869", "ttl": 50,
            "powTarget": 0.2, "powTime": 10,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn uniform_padding_is_said_to_the_node_byte_for_byte() {
        let reader = PrivateKey::random(&mut OsRng).public_key();
        for (payload, signed, expected) in [(2, false, 256 - 85 - 4), (2, true, 256 - 85 - 65 - 4)]
        {
            let mut posting =
                PostRequest::new(MessageKey::Public(reader), topic(), vec![7; payload]);
            posting.signer = signed.then(|| RemoteKeyId("ab".into()));
            assert_eq!(posting.to_json()["padding"], Value::Null);
            posting.padding = Padding::Uniform;
            let padding = posting.to_json()["padding"].as_str().unwrap().len();
            assert_eq!(padding, 2 + 2 * expected, "{signed}");
        }
    }

    #[test]
    fn a_message_is_read_as_nodes_write_it() {
        let hash = format!("0x{}", "ab".repeat(32));
        let value = json!({
            "ttl": 50, "timestamp": 1_575_000_000, "topic": "0x01020304", "payload": "0x6869",
            "padding": "0x00", "pow": 0.3, "hash": hash,
        });
        let message = RemoteMessage::from_json(&value).unwrap();
        assert_eq!((message.payload.as_slice(), message.topic), (b"hi".as_slice(), topic()));
        assert_eq!((message.sent, message.signer, message.hash), (1_575_000_000, None, hash));
    }

    #[test]
    fn an_invalid_message_is_rejected() {
        let hash = format!("0x{}", "ab".repeat(32));
        for value in [
            json!(null),
            json!({}),
            json!({"ttl": 1, "timestamp": 1, "topic": "0x0102", "hash": hash}),
            json!({"ttl": -1, "timestamp": 1, "topic": "0x01020304", "hash": hash}),
            json!({"ttl": 1, "timestamp": 1, "topic": "0x01020304", "hash": hash, "sig": "0x04"}),
            json!({"ttl": 1, "timestamp": 1, "topic": "0x01020304", "hash": hash, "payload": 1}),
        ] {
            assert_eq!(RemoteMessage::from_json(&value), Err(RemoteError::Malformed), "{value}");
        }
    }

    #[test]
    fn neither_keys_nor_words_print() {
        let key = MessageKey::Private(RemoteKeyId("secret".into()));
        assert!(!format!("{key:?}").contains("secret"));
    }
}
