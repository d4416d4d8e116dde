//! A connection to a node in another process. Sends keys to it, and asks it to delete them at the end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::RwLock;
use tokio::time::timeout;
use wormhole_node::devp2p::key::PrivateKey;
use wormhole_node::recommended_work;
use wormhole_node::remote::{
    MessageKey, PostRequest, RemoteError, RemoteKeyId, RemoteNode, RemoteUrl, Unreachable,
};
use wormhole_node::shh::{SymmetricKey, Work};
use zeroize::Zeroizing;

use super::secret;
use crate::args::RpcArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::{environment, printable};

/// The address of a node, and the token for it.
#[derive(Debug)]
pub(super) struct NodeAddress {
    url: RemoteUrl,
    token: Option<Zeroizing<String>>,
}

impl NodeAddress {
    /// Reads the options.
    ///
    /// # Errors
    /// The address is invalid, or keys would be sent without encryption.
    pub(super) fn new(args: &RpcArgs) -> Result<Self> {
        let (option, address) = match (&args.rpc, environment::text(VARIABLE)?) {
            (Some(address), _) => ("--rpc", address.clone()),
            (None, Some(address)) => (VARIABLE, address),
            (None, None) => ("--rpc", DEFAULT.to_owned()),
        };
        let url = RemoteUrl::parse(&address).map_err(|error| {
            Failure::usage(format!("{option} {:?}: {error}", printable::line(&address)))
                .hint("the JSON-RPC address of a node looks like http://127.0.0.1:8545 or ws://127.0.0.1:8546")
        })?;
        if !url.is_private() && !args.allow_plain {
            return Err(Failure::usage(format!(
                "the connection to {url} is not encrypted: others could read what is sent"
            ))
            .hint("use https:// or wss:// or a tunnel; or --allow-plain, if you trust the network")
            .into());
        }
        Ok(Self { url, token: secret::token(args.token_file.as_deref())? })
    }

    /// Explains an error of the node.
    pub(super) fn explain(&self, error: &RemoteError) -> Failure {
        explain(error, &self.to_string())
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// A node, and our keys that it has.
#[derive(Debug)]
pub(super) struct NodeConnection {
    remote: RemoteNode,
    keys: Arc<Mutex<Vec<MessageKey>>>,
    /// Locked for reading by every request that sends a key. Such a request is completed even if its caller is
    /// cancelled, so that we know which keys to delete.
    sending: Arc<RwLock<()>>,
}

impl NodeConnection {
    /// Connects to the node.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses the connection.
    pub(super) async fn connect(address: &NodeAddress) -> Result<Self, RemoteError> {
        let token = address.token.as_ref().map(|token| token.as_str());
        Ok(Self::new(RemoteNode::connect(&address.url, token).await?))
    }

    /// Checks that there is a node at this address.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses the connection.
    pub(super) async fn check(address: &NodeAddress) -> Result<(), RemoteError> {
        Self::connect(address).await?.remote.version().await.map(drop)
    }

    /// A node that does not have our keys yet.
    fn new(remote: RemoteNode) -> Self {
        Self { remote, keys: Arc::default(), sending: Arc::default() }
    }

    /// The node itself.
    pub(super) const fn remote(&self) -> &RemoteNode {
        &self.remote
    }

    /// Sends a symmetric key to the node.
    ///
    /// # Errors
    /// The node does not accept it.
    pub(super) async fn add_symmetric_key(
        &self,
        key: &SymmetricKey,
    ) -> Result<MessageKey, RemoteError> {
        let (remote, key) = (self.remote.clone(), key.clone());
        let sending = async move { remote.add_symmetric_key(&key).await };
        self.send_key(sending, MessageKey::Symmetric).await.map(MessageKey::Symmetric)
    }

    /// Sends a private key to the node.
    ///
    /// # Errors
    /// The node does not accept it.
    pub(super) async fn add_private_key(
        &self,
        key: &PrivateKey,
    ) -> Result<RemoteKeyId, RemoteError> {
        let (remote, key) = (self.remote.clone(), key.clone());
        let sending = async move { remote.add_private_key(&key).await };
        self.send_key(sending, MessageKey::Private).await
    }

    async fn send_key(
        &self,
        sending: impl Future<Output = Result<RemoteKeyId, RemoteError>> + Send + 'static,
        kind: fn(RemoteKeyId) -> MessageKey,
    ) -> Result<RemoteKeyId, RemoteError> {
        let guard = Arc::clone(&self.sending).read_owned().await;
        let keys = Arc::clone(&self.keys);
        let sending = tokio::spawn(async move {
            let id = sending.await?;
            lock(&keys).push(kind(id.clone()));
            drop(guard);
            Ok(id)
        });
        // A task fails only by a panic, which has been reported.
        sending.await.unwrap_or(Err(RemoteError::Closed))
    }

    /// Asks the node to delete the keys of an earlier connection.
    pub(super) async fn delete_keys_of(&self, earlier: &Self) {
        let _all = earlier.sending.write().await;
        let mut keys = std::mem::take(&mut *lock(&earlier.keys));
        while let Some(key) = keys.pop() {
            match self.remote.forget(&key).await {
                Ok(()) | Err(RemoteError::Refused { .. }) => {}
                Err(_) => lock(&self.keys).push(key),
            }
        }
    }

    /// Posts a message, with the proof of work that the user has set, or else as much as the node and its peers
    /// require. Returns the hash of the message.
    ///
    /// # Errors
    /// The message was not posted.
    pub(super) async fn post(
        &self,
        posting: &mut PostRequest,
        asked: Option<Work>,
    ) -> Result<String, RemoteError> {
        posting.work = match asked {
            Some(work) => work,
            None => self.recommended_work().await?,
        };
        self.remote.post(posting).await
    }

    async fn recommended_work(&self) -> Result<Work, RemoteError> {
        let info = self.remote.info().await?;
        // Not every node lists its peers.
        let peers = self.remote.peers().await.unwrap_or_default();
        let of_peers = peers.iter().filter_map(|peer| peer.min_work);
        Ok(recommended_work(Work::new(info.min_pow).unwrap_or(Work::NONE), of_peers))
    }

    /// Whether the node reports that it has no peers. Not every node lists them.
    pub(super) async fn is_alone(&self) -> bool {
        self.remote.peers().await.is_ok_and(|peers| peers.is_empty())
    }

    /// Warns if the node has no peers.
    ///
    /// # Errors
    /// A signal came.
    pub(super) async fn warn_if_alone(&self, console: &mut Console) -> Result<()> {
        if console.unless_interrupted(self.is_alone()).await? {
            console.screen.show(
                "The node has no peers yet: until it has one, you only get messages that are posted at this node.",
            );
        }
        Ok(())
    }

    /// Asks the node to delete our keys. A node that was stopped has lost them anyway.
    pub(super) async fn leave(&self) {
        let forget = async {
            let _all = self.sending.write().await;
            let keys = std::mem::take(&mut *lock(&self.keys));
            for key in &keys {
                let _gone = self.remote.forget(key).await;
            }
        };
        let _too_slow = timeout(PATIENCE, forget).await;
    }
}

fn lock(keys: &Mutex<Vec<MessageKey>>) -> MutexGuard<'_, Vec<MessageKey>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Explains an error of the node at `shown`.
fn explain(error: &RemoteError, shown: &str) -> Failure {
    match error {
        RemoteError::Unreachable(why) => {
            let hint = match why {
                Unreachable::Tls => {
                    "is the certificate for this name, and is this computer's clock right?"
                }
                Unreachable::Io(_) | Unreachable::NotHttp => {
                    "start one with `wormhole whisper node --rpc 127.0.0.1:8545` or \
                     `wormhole-server whisper --rpc 127.0.0.1:8545`, or choose another node with --rpc"
                }
            };
            Failure::new(format!("the node at {shown} cannot be reached: {why}")).hint(hint)
        }
        RemoteError::Rejected(401) => {
            Failure::new(format!("the node at {shown} requires a token: none was set, or the token is wrong"))
                .hint("set the right token with --token-file or WORMHOLE_WHISPER_TOKEN")
        }
        RemoteError::Rejected(403) => {
            Failure::new(format!("the node at {shown} does not accept this host name"))
                .hint("add this name to rpc-host on the node, or use its IP address")
        }
        RemoteError::Rejected(503) => {
            Failure::new(format!("the node at {shown} has reached its limit of clients"))
                .hint("try again later")
        }
        RemoteError::Rejected(status) => Failure::new(format!(
            "the server at {shown} is not a Whisper node: HTTP status {status}"
        ))
        .hint("is the port right? The RPC of a node is usually at 8545 (http) or 8546 (ws)"),
        _ if error.is_unknown_method() => {
            Failure::new(format!("the node at {shown} does not support this method"))
                .hint("its JSON-RPC must offer the Whisper methods (shh); `peers` also needs the admin methods")
        }
        RemoteError::Refused { message, .. } => {
            let failure = Failure::new(format!("the node says: {}", printable::line(message)));
            match message {
                text if text.contains("PoW too low") => failure.hint("use a larger --pow, or omit it"),
                text if text.contains("more than the limit of") => failure.hint("use a smaller --ttl"),
                _ => failure,
            }
        }
        RemoteError::TimedOut => Failure::new(format!("the node at {shown} does not answer")),
        RemoteError::BadToken
        | RemoteError::BadUrl
        | RemoteError::Closed
        | RemoteError::Lagged
        | RemoteError::Malformed => Failure::new(format!("the node at {shown}: {error}")),
    }
}

/// The variable with the address of the node.
const VARIABLE: &str = "WORMHOLE_WHISPER_RPC";

/// The default address of the node.
const DEFAULT: &str = "http://127.0.0.1:8545";

/// Time for a node to delete our keys.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Waits for a call, in place of a node.
    async fn call(node: &TcpListener) -> (TcpStream, Value) {
        let (mut link, _) = node.accept().await.unwrap();
        let mut received = Vec::new();
        loop {
            link.read_buf(&mut received).await.unwrap();
            let text = String::from_utf8_lossy(&received);
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            if let Ok(call) = serde_json::from_str(body) {
                return (link, call);
            }
        }
    }

    async fn answer((mut link, call): (TcpStream, Value), result: Value) {
        let body = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
        let length = body.len();
        let text = format!("{head}content-length: {length}\r\n\r\n{body}");
        link.write_all(text.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_key_whose_sending_was_cancelled_is_deleted() {
        let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = RemoteUrl::parse(&format!("http://{}", node.local_addr().unwrap())).unwrap();
        let remote = RemoteNode::connect(&url, None).await.unwrap();
        let connection = NodeConnection::new(remote);
        let key = SymmetricKey::from_password("hush");
        let adding = tokio::select! {
            _ = connection.add_symmetric_key(&key) => panic!("nobody has answered"),
            called = call(&node) => called,
        };
        assert_eq!(adding.1["method"], "shh_addSymKey");
        let answering = async {
            answer(adding, json!("its name")).await;
            let deleting = call(&node).await;
            assert_eq!(deleting.1["method"], "shh_deleteSymKey");
            assert_eq!(deleting.1["params"], json!(["its name"]));
            answer(deleting, json!(true)).await;
        };
        let both = async { tokio::join!(connection.leave(), answering) };
        timeout(Duration::from_secs(60), both).await.expect("in time");
    }
}
