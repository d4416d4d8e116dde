//! A JSON-RPC client for a Whisper node in another process: the node of this package, go-ethereum, or any other with
//! the `shh_*` methods (go-ethereum's whisper/whisperv6/api.go).
//!
//! That node encrypts, signs and mines for us, so it learns our keys and messages: use your own node, on this machine
//! or over TLS. A [`Node`](super::Node) in this process needs no such trust.
//!
//! ```no_run
//! # async fn example() -> Result<(), wormhole_node::remote::RemoteError> {
//! use wormhole_node::remote::{MessageKey, PostRequest, RemoteNode, RemoteUrl, MessageFilter};
//! use wormhole_node::shh::{SymmetricKey, Topic};
//!
//! let node = RemoteNode::connect(&RemoteUrl::parse("ws://127.0.0.1:8546")?, None).await?;
//! let key = node.add_symmetric_key(&SymmetricKey::from_password("hush")).await?;
//! let room = Topic::of_word("room");
//! let wanted = MessageFilter::under(room);
//! let mut watch = node.watch(&MessageKey::Symmetric(key.clone()), &wanted).await?;
//! node.post(&PostRequest::new(MessageKey::Symmetric(key), room, b"hello".to_vec())).await?;
//! let heard = watch.next().await?;
//! # let _ = heard; Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee_core::client::ClientT as _;
use jsonrpsee_core::params::ArrayParams;
use jsonrpsee_http_client::{HeaderMap, HeaderValue, HttpBackend, HttpClient, HttpClientBuilder};
use jsonrpsee_ws_client::{PingConfig, RpcServiceBuilder, WsClient, WsClientBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use wormhole_whisper::devp2p::{enode::Enode, key::PrivateKey};
use wormhole_whisper::shh::{SymmetricKey, Work};
use zeroize::Zeroizing;

use super::{PostState, hex};

mod error;
mod message;
mod message_stream;
mod url;

pub use error::{RemoteError, Unreachable};
pub use message::{MessageFilter, MessageKey, PostRequest, RemoteKeyId, RemoteMessage};
pub use message_stream::MessageStream;
pub use url::RemoteUrl;

/// A node in another process. Calls may run concurrently. Clones share the same transport.
#[derive(Clone, Debug)]
pub struct RemoteNode {
    transport: Arc<Transport>,
}

/// The connection to the node.
#[derive(Debug)]
enum Transport {
    /// One request at a time; messages must be polled.
    Http(HttpClient<jsonrpsee_http_client::RpcService<HttpBackend>>),
    /// A permanent connection; the node sends messages as they arrive.
    WebSocket(WsClient<jsonrpsee_ws_client::RpcService>),
}

impl RemoteNode {
    /// Connects to a node, with `token` if it requires one. Over HTTP, nothing is sent before the first call.
    ///
    /// # Errors
    /// The node is unreachable, or denies access.
    pub async fn connect(url: &RemoteUrl, token: Option<&str>) -> Result<Self, RemoteError> {
        let headers = headers(token)?;
        // Without the default middleware, which would log our keys.
        let transport = if url.is_web_socket() {
            let builder = WsClientBuilder::default()
                .set_headers(headers)
                .connection_timeout(CONNECT_TIMEOUT)
                .request_timeout(CALL_TIMEOUT)
                .max_buffer_capacity_per_subscription(MAX_WAITING)
                .enable_ws_ping(PingConfig::default())
                .set_rpc_middleware(RpcServiceBuilder::new());
            Transport::WebSocket(builder.build(url.as_str()).await.map_err(error::of_client)?)
        } else {
            let builder = HttpClientBuilder::default()
                .set_headers(headers)
                .connect_timeout(CONNECT_TIMEOUT)
                .request_timeout(CALL_TIMEOUT)
                .set_rpc_middleware(RpcServiceBuilder::new());
            Transport::Http(builder.build(url.as_str()).map_err(error::of_client)?)
        };
        Ok(Self { transport: transport.into() })
    }

    /// The version of its Whisper interface: `6.0`.
    ///
    /// # Errors
    /// As for all calls: the node is unreachable, or rejects the call.
    pub async fn version(&self) -> Result<String, RemoteError> {
        self.call("shh_version", []).await
    }

    /// Its requirements and usage.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn info(&self) -> Result<RemoteInfo, RemoteError> {
        self.call("shh_info", []).await
    }

    /// Its connected peers.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn peers(&self) -> Result<Vec<RemotePeer>, RemoteError> {
        self.call("admin_peers", []).await
    }

    /// Its enode address, as the node reports it.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn enode(&self) -> Result<String, RemoteError> {
        let own: NodeInfo = self.call("admin_nodeInfo", []).await?;
        Ok(own.enode)
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn add_peer(&self, enode: &Enode) -> Result<bool, RemoteError> {
        self.call("admin_addPeer", [Value::from(enode.to_string())]).await
    }

    /// Adds a shared key.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn add_symmetric_key(&self, key: &SymmetricKey) -> Result<RemoteKeyId, RemoteError> {
        self.add_key("shh_addSymKey", key.secret().expose()).await
    }

    /// Adds a private key.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn add_private_key(&self, key: &PrivateKey) -> Result<RemoteKeyId, RemoteError> {
        self.add_key("shh_addPrivateKey", key.to_secret().expose()).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn forget(&self, key: &MessageKey) -> Result<(), RemoteError> {
        let (method, id) = match key {
            MessageKey::Private(id) => ("shh_deleteKeyPair", id),
            MessageKey::Public(_) => return Ok(()),
            MessageKey::Symmetric(id) => ("shh_deleteSymKey", id),
        };
        let _forgotten: bool = self.call(method, [Value::from(id.0.as_str())]).await?;
        Ok(())
    }

    /// Posts a message. Returns the hash of its envelope when the proof of work is done.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn post(&self, posting: &PostRequest) -> Result<String, RemoteError> {
        self.call("shh_post", [posting.to_json()]).await
    }

    /// The state of a posted message. `None` if the node does not know it, for example because it expired after it
    /// was sent.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call. Only our own node has this method.
    pub async fn post_state(&self, hash: &str) -> Result<Option<PostState>, RemoteError> {
        let state: Option<String> = self.call("wormhole_postState", [Value::from(hash)]).await?;
        match state.as_deref() {
            None => Ok(None),
            Some("expired") => Ok(Some(PostState::Expired)),
            Some("sent") => Ok(Some(PostState::Sent)),
            Some("waiting") => Ok(Some(PostState::Waiting)),
            Some(_) => Err(RemoteError::Malformed),
        }
    }

    /// All future messages that `key` decrypts.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn watch(
        &self,
        key: &MessageKey,
        wanted: &MessageFilter,
    ) -> Result<MessageStream, RemoteError> {
        MessageStream::start(self, wanted.to_json(key)).await
    }

    /// The stored messages that `key` decrypts. Other nodes, such as go-ethereum, return none.
    ///
    /// # Errors
    /// The node is unreachable, or rejects the call.
    pub async fn stored_messages(
        &self,
        key: &MessageKey,
        wanted: &MessageFilter,
    ) -> Result<Vec<RemoteMessage>, RemoteError> {
        let mut criteria = wanted.to_json(key);
        if let Some(fields) = criteria.as_object_mut() {
            fields.insert("includePool".into(), true.into());
        }
        let filter: String = self.call("shh_newMessageFilter", [criteria]).await?;
        let mut held = Vec::new();
        loop {
            let arguments = [Value::from(filter.as_str())];
            let more: Vec<Value> = self.call("shh_getFilterMessages", arguments).await?;
            if more.is_empty() {
                break;
            }
            for message in &more {
                held.push(RemoteMessage::from_json(message)?);
            }
        }
        let _deleted: bool = self.call("shh_deleteMessageFilter", [Value::from(filter)]).await?;
        Ok(held)
    }

    async fn add_key(
        &self,
        method: &'static str,
        key: &[u8; 32],
    ) -> Result<RemoteKeyId, RemoteError> {
        let text = Zeroizing::new(hex(key));
        self.call(method, [Value::from(text.as_str())]).await.map(RemoteKeyId)
    }

    async fn call<T: DeserializeOwned, const N: usize>(
        &self,
        method: &'static str,
        arguments: [Value; N],
    ) -> Result<T, RemoteError> {
        let mut params = ArrayParams::new();
        for argument in arguments {
            params.insert(argument).map_err(|_| RemoteError::Malformed)?;
        }
        let answer = match &*self.transport {
            Transport::Http(client) => client.request(method, params).await,
            Transport::WebSocket(client) => client.request(method, params).await,
        };
        answer.map_err(error::of_client)
    }
}

/// Information about a node.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemoteInfo {
    /// Memory of its envelopes in bytes.
    pub memory: u64,
    /// Messages in its queues.
    pub messages: u64,
    /// The minimum work that it requires.
    pub min_pow: f64,
    /// Maximum size of an envelope in bytes.
    pub max_message_size: u64,
}

/// A peer of a node. All of it is untrusted: escape it before printing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct RemotePeer {
    /// Its id or address, in one of several forms.
    #[serde(default)]
    pub enode: String,
    /// Name of its software.
    #[serde(default)]
    pub name: String,
    /// Its capabilities.
    #[serde(default)]
    pub caps: Vec<String>,
    /// The connection to it.
    #[serde(default)]
    pub network: RemoteLink,
    /// The minimum work that it requires, if known.
    #[serde(default, rename = "protocols", deserialize_with = "wanted_work")]
    pub min_work: Option<Work>,
}

/// Reads the minimum work from the `protocols` of a peer. Not every node reports it: go-ethereum may report a
/// word instead.
fn wanted_work<'de, D: Deserializer<'de>>(protocols: D) -> Result<Option<Work>, D::Error> {
    let protocols = Value::deserialize(protocols)?;
    let work = protocols.pointer("/shh/minimumPoW").and_then(Value::as_f64);
    Ok(work.and_then(Work::new))
}

/// The connection of a node to its peer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemoteLink {
    /// Address of the peer.
    #[serde(default)]
    pub remote_address: String,
    /// Whether the peer opened it.
    #[serde(default)]
    pub inbound: bool,
}

#[derive(Deserialize)]
struct NodeInfo {
    enode: String,
}

/// The headers of every request.
fn headers(token: Option<&str>) -> Result<HeaderMap, RemoteError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let bearer = Zeroizing::new(format!("Bearer {token}"));
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| RemoteError::BadToken)?;
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    Ok(headers)
}

/// Time limit to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for a call; the longest is a post with much work.
const CALL_TIMEOUT: Duration = Duration::from_secs(180);

/// Maximum number of waiting messages of a subscription.
const MAX_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_no_part_of_what_is_printed() {
        let headers = headers(Some("hush")).unwrap();
        assert!(!format!("{headers:?}").contains("hush"));
        assert_eq!(super::headers(Some("a\nb")).unwrap_err(), RemoteError::BadToken);
    }

    #[test]
    fn what_another_node_adds_to_its_answers_is_passed_over() {
        let info = r#"{"memory":304,"messages":0,"minPow":0.2,"maxMessageSize":1048576,"x":1}"#;
        let info: RemoteInfo = serde_json::from_str(info).unwrap();
        assert_eq!((info.memory, info.min_pow), (304, 0.2));
        let peer: RemotePeer = serde_json::from_str(r#"{"id":"ab","caps":["shh/6"]}"#).unwrap();
        assert_eq!((peer.caps, peer.network.inbound), (vec!["shh/6".to_owned()], false));
    }

    #[test]
    fn the_work_that_a_peer_asks_for_is_known_only_if_its_node_says_so() {
        for (protocols, work) in [
            (r#"{"shh":{"version":6,"minimumPoW":0.5}}"#, Work::new(0.5)),
            (r#"{"shh":{"minimumPoW":-1}}"#, None),
            (r#"{"shh":"unknown"}"#, None),
            ("null", None),
        ] {
            let peer = format!(r#"{{"protocols":{protocols}}}"#);
            let peer: RemotePeer = serde_json::from_str(&peer).unwrap();
            assert_eq!(peer.min_work, work, "{protocols}");
        }
    }
}
