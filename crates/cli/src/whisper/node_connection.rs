//! A node in another process, and the keys that it has been lent: we take them back when we leave.

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

/// The address of a node, and the token that it asks for.
#[derive(Debug)]
pub(super) struct NodeAddress {
    url: RemoteUrl,
    token: Option<Zeroizing<String>>,
}

impl NodeAddress {
    /// Reads the options.
    ///
    /// # Errors
    /// The address is not valid, or keys would travel there without encryption.
    pub(super) fn new(args: &RpcArgs) -> Result<Self> {
        let (option, address) = match (&args.rpc, environment::text(VARIABLE)?) {
            (Some(address), _) => ("--rpc", address.clone()),
            (None, Some(address)) => (VARIABLE, address),
            (None, None) => ("--rpc", DEFAULT.to_owned()),
        };
        let url = RemoteUrl::parse(&address).map_err(|error| {
            Failure::usage(format!("{option} {:?}: {error}", printable::line(&address)))
                .hint("a node's JSON-RPC looks like http://127.0.0.1:8545 or ws://127.0.0.1:8546")
        })?;
        if !url.is_private() && !args.allow_plain {
            return Err(Failure::usage(format!("keys would travel to {url} for all to read"))
                .hint("use https:// or wss://, a tunnel, or --allow-plain if the network is yours")
                .into());
        }
        Ok(Self { url, token: secret::token(args.token_file.as_deref())? })
    }

    /// Puts an error of the node into words.
    pub(super) fn explain(&self, error: &RemoteError) -> Failure {
        explain(error, &self.to_string())
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// A node, and what it has been lent.
#[derive(Debug)]
pub(super) struct NodeConnection {
    remote: RemoteNode,
    lent: Arc<Mutex<Vec<MessageKey>>>,
    /// Held for options by every request that hands over a key. Such a request is completed even if its
    /// caller is cancelled, so that we know which keys to take back.
    lending: Arc<RwLock<()>>,
}

impl NodeConnection {
    /// Connects to the node.
    ///
    /// # Errors
    /// It cannot be reached, or refuses us.
    pub(super) async fn connect(address: &NodeAddress) -> Result<Self, RemoteError> {
        let token = address.token.as_ref().map(|token| token.as_str());
        Ok(Self::new(RemoteNode::connect(&address.url, token).await?))
    }

    /// Checks that there is a node at this address.
    ///
    /// # Errors
    /// It cannot be reached, or refuses us.
    pub(super) async fn check(address: &NodeAddress) -> Result<(), RemoteError> {
        Self::connect(address).await?.remote.version().await.map(drop)
    }

    /// A node that has none of our keys yet.
    fn new(remote: RemoteNode) -> Self {
        Self { remote, lent: Arc::default(), lending: Arc::default() }
    }

    /// The node itself.
    pub(super) const fn remote(&self) -> &RemoteNode {
        &self.remote
    }

    /// Lends a shared key.
    ///
    /// # Errors
    /// The node does not take it.
    pub(super) async fn add_symmetric_key(
        &self,
        key: &SymmetricKey,
    ) -> Result<MessageKey, RemoteError> {
        let (remote, key) = (self.remote.clone(), key.clone());
        let lending = async move { remote.add_symmetric_key(&key).await };
        self.lend(lending, MessageKey::Symmetric).await.map(MessageKey::Symmetric)
    }

    /// Lends a private key.
    ///
    /// # Errors
    /// The node does not take it.
    pub(super) async fn add_private_key(
        &self,
        key: &PrivateKey,
    ) -> Result<RemoteKeyId, RemoteError> {
        let (remote, key) = (self.remote.clone(), key.clone());
        let lending = async move { remote.add_private_key(&key).await };
        self.lend(lending, MessageKey::Private).await
    }

    async fn lend(
        &self,
        lending: impl Future<Output = Result<RemoteKeyId, RemoteError>> + Send + 'static,
        kind: fn(RemoteKeyId) -> MessageKey,
    ) -> Result<RemoteKeyId, RemoteError> {
        let under_way = Arc::clone(&self.lending).read_owned().await;
        let lent = Arc::clone(&self.lent);
        let lending = tokio::spawn(async move {
            let id = lending.await?;
            lock(&lent).push(kind(id.clone()));
            drop(under_way);
            Ok(id)
        });
        // A task fails only by a panic, which has been reported.
        lending.await.unwrap_or(Err(RemoteError::Closed))
    }

    /// Asks the node to forget the keys of an earlier connection, if it still has them.
    pub(super) async fn delete_keys_of(&self, earlier: &Self) {
        let _all = earlier.lending.write().await;
        let mut keys = std::mem::take(&mut *lock(&earlier.lent));
        while let Some(key) = keys.pop() {
            match self.remote.forget(&key).await {
                Ok(()) | Err(RemoteError::Refused { .. }) => {}
                Err(_) => lock(&self.lent).push(key),
            }
        }
    }

    /// Posts a message, with the work that the user asked for, or else as much as the node and its
    /// peers ask for. Answers with the name of its envelope.
    ///
    /// # Errors
    /// It was not posted.
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
        // Not every node tells of its peers.
        let peers = self.remote.peers().await.unwrap_or_default();
        let of_peers = peers.iter().filter_map(|peer| peer.min_work);
        Ok(recommended_work(Work::new(info.min_pow).unwrap_or(Work::NONE), of_peers))
    }

    /// Whether it says that it has no peers. Not every node says.
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
                "The node has no peers yet: until it has one, only messages posted at this node arrive.",
            );
        }
        Ok(())
    }

    /// Asks the node to forget our keys. A node that is gone has lost them anyway.
    pub(super) async fn leave(&self) {
        let forget = async {
            let _all = self.lending.write().await;
            let lent = std::mem::take(&mut *lock(&self.lent));
            for key in &lent {
                let _gone = self.remote.forget(key).await;
            }
        };
        let _too_slow = timeout(PATIENCE, forget).await;
    }
}

fn lock(keys: &Mutex<Vec<MessageKey>>) -> MutexGuard<'_, Vec<MessageKey>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts an error of the node at `shown` into words.
fn explain(error: &RemoteError, shown: &str) -> Failure {
    match error {
        RemoteError::Unreachable(why) => {
            let hint = match why {
                Unreachable::Tls => {
                    "is the certificate for this name, and this computer's clock right?"
                }
                Unreachable::Io(_) | Unreachable::NotHttp => {
                    "start one with `wormhole whisper node --rpc 127.0.0.1:8545` or \
                     `wormhole-server whisper --rpc 127.0.0.1:8545`, or name another with --rpc"
                }
            };
            Failure::new(format!("the node at {shown} cannot be reached: {why}")).hint(hint)
        }
        RemoteError::Rejected(401) => {
            Failure::new(format!("the node at {shown} does not let us in"))
                .hint("give its token with --token-file or WORMHOLE_WHISPER_TOKEN")
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
            Failure::new(format!("the node at {shown} does not offer this"))
                .hint("it has to speak shh over JSON-RPC; peers needs admin, too")
        }
        RemoteError::Refused { message, .. } => {
            Failure::new(format!("the node says: {}", printable::line(message)))
        }
        RemoteError::TimedOut => Failure::new(format!("the node at {shown} does not answer")),
        RemoteError::BadToken
        | RemoteError::BadUrl
        | RemoteError::Closed
        | RemoteError::Lagged
        | RemoteError::Malformed => Failure::new(format!("the node at {shown}: {error}")),
    }
}

/// Where the node is, if no option says so.
const VARIABLE: &str = "WORMHOLE_WHISPER_RPC";

/// Where the node is, if nothing says so.
const DEFAULT: &str = "http://127.0.0.1:8545";

/// Time for a node to take back what it was lent.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Waits for a call at a node that is none.
    async fn call(node: &TcpListener) -> (TcpStream, Value) {
        let (mut link, _) = node.accept().await.unwrap();
        let mut heard = Vec::new();
        loop {
            link.read_buf(&mut heard).await.unwrap();
            let text = String::from_utf8_lossy(&heard);
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
    async fn a_key_that_was_on_its_way_when_we_gave_up_is_taken_back() {
        let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = RemoteUrl::parse(&format!("http://{}", node.local_addr().unwrap())).unwrap();
        let remote = RemoteNode::connect(&url, None).await.unwrap();
        let connection = NodeConnection::new(remote);
        let key = SymmetricKey::from_password("hush");
        let lending = tokio::select! {
            _ = connection.add_symmetric_key(&key) => panic!("nobody has answered"),
            called = call(&node) => called,
        };
        assert_eq!(lending.1["method"], "shh_addSymKey");
        let answering = async {
            answer(lending, json!("its name")).await;
            let forgetting = call(&node).await;
            assert_eq!(forgetting.1["method"], "shh_deleteSymKey");
            assert_eq!(forgetting.1["params"], json!(["its name"]));
            answer(forgetting, json!(true)).await;
        };
        let both = async { tokio::join!(connection.leave(), answering) };
        timeout(Duration::from_secs(60), both).await.expect("in time");
    }
}
