//! A node in another process, and the keys that it has been lent: we take them back when we leave.

use std::time::Duration;

use anyhow::Result;
use tokio::time::timeout;
use wormhole::whisper::devp2p::key::PrivateKey;
use wormhole::whisper::remote::{
    MessageKey, Remote, RemoteError, RemoteKeyId, RemoteUrl, Unreachable,
};
use wormhole::whisper::shh::{SymmetricKey, Work};

use super::secret;
use crate::args::RpcArgs;
use crate::failure::Failure;
use crate::{environment, printable};

/// A node, and what it has been lent.
#[derive(Debug)]
pub(super) struct Lender {
    remote: Remote,
    shown: String,
    lent: Vec<MessageKey>,
}

impl Lender {
    /// Reaches the node.
    ///
    /// # Errors
    /// It cannot be reached, or must not be given keys.
    pub(super) async fn connect(args: &RpcArgs) -> Result<Self> {
        let (option, place) = match (&args.rpc, environment::text(VARIABLE)?) {
            (Some(place), _) => ("--rpc", place.clone()),
            (None, Some(place)) => (VARIABLE, place),
            (None, None) => ("--rpc", DEFAULT.to_owned()),
        };
        let url = RemoteUrl::parse(&place).map_err(|error| {
            Failure::usage(format!("{option} {:?}: {error}", printable::line(&place)))
                .hint("a node's JSON-RPC looks like http://127.0.0.1:8545 or ws://127.0.0.1:8546")
        })?;
        if !url.is_private() && !args.allow_plain {
            return Err(Failure::usage(format!("keys would travel to {url} for all to read"))
                .hint("use https:// or wss://, a tunnel, or --allow-plain if the network is yours")
                .into());
        }
        let token = secret::token(args.token_file.as_deref())?;
        let shown = url.to_string();
        let remote = Remote::connect(&url, token.as_ref().map(|token| token.as_str())).await;
        let remote = remote.map_err(|error| explain(&error, &shown))?;
        Ok(Self { remote, shown, lent: Vec::new() })
    }

    /// The node itself.
    pub(super) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Puts an error of the node into words.
    pub(super) fn explain(&self, error: &RemoteError) -> Failure {
        explain(error, &self.shown)
    }

    /// Lends a shared key.
    ///
    /// # Errors
    /// The node does not take it.
    pub(super) async fn lend_shared(&mut self, key: &SymmetricKey) -> Result<MessageKey> {
        let id = self.remote.add_symmetric_key(key).await;
        let key = MessageKey::Symmetric(id.map_err(|error| self.explain(&error))?);
        self.lent.push(key.clone());
        Ok(key)
    }

    /// Lends a private key.
    ///
    /// # Errors
    /// The node does not take it.
    pub(super) async fn lend_private(&mut self, key: &PrivateKey) -> Result<RemoteKeyId> {
        let id = self.remote.add_private_key(key).await;
        let id = id.map_err(|error| self.explain(&error))?;
        self.lent.push(MessageKey::Private(id.clone()));
        Ok(id)
    }

    /// The work that was asked for, or else what the node asks for.
    ///
    /// # Errors
    /// The node does not say.
    pub(super) async fn work(&self, asked: Option<f64>) -> Result<Work> {
        if let Some(amount) = asked {
            return Ok(super::work(amount, "--pow")?);
        }
        let info = self.remote.info().await.map_err(|error| self.explain(&error))?;
        Ok(Work::new(info.min_pow).unwrap_or(Work::DEFAULT_MINIMUM))
    }

    /// Whether it says that it has no peers. Not every node says.
    pub(super) async fn is_alone(&self) -> bool {
        self.remote.peers().await.is_ok_and(|peers| peers.is_empty())
    }

    /// Takes the keys back, whatever has happened. A node that is gone has lost them anyway.
    pub(super) async fn leave(self) {
        let forget = async {
            for key in &self.lent {
                let _gone = self.remote.forget(key).await;
            }
        };
        let _too_slow = timeout(PATIENCE, forget).await;
    }
}

/// Puts an error of the node at `shown` into words.
fn explain(error: &RemoteError, shown: &str) -> Failure {
    match error {
        RemoteError::Unreachable(why) => {
            let hint = match why {
                Unreachable::Tls => {
                    "is the certificate for this name, and this computer's clock right?"
                }
                Unreachable::Io(_) | Unreachable::NotHttp | _ => {
                    "start one with `wormhole whisper node --rpc 127.0.0.1:8545` or \
                     `wormhole-server whisper --rpc 127.0.0.1:8545`, or name another with --rpc"
                }
            };
            Failure::new(format!("the node at {shown} cannot be reached: {why}")).hint(hint)
        }
        RemoteError::Rejected(401 | 403) => {
            Failure::new(format!("the node at {shown} does not let us in"))
                .hint("give its token with --token-file or WORMHOLE_WHISPER_TOKEN")
        }
        RemoteError::Rejected(503) => {
            Failure::new(format!("the node at {shown} has as many clients as it takes"))
                .hint("try again later")
        }
        RemoteError::Rejected(status) => {
            Failure::new(format!("what answers at {shown} is no node: HTTP status {status}"))
                .hint("is the port right? The RPC of a node is usually at 8545 (http) or 8546 (ws)")
        }
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
        | RemoteError::Malformed
        | _ => Failure::new(format!("the node at {shown}: {error}")),
    }
}

/// Where the node is, if no option says so.
const VARIABLE: &str = "WORMHOLE_WHISPER_RPC";

/// Where the node is, if nothing says so.
const DEFAULT: &str = "http://127.0.0.1:8545";

/// Time for a node to take back what it was lent.
const PATIENCE: Duration = Duration::from_secs(2);
