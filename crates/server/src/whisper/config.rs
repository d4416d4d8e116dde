//! Configuration of the node.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wormhole_node::devp2p::enode::Enode;
use wormhole_node::messaging::MessengerSettings;
use wormhole_node::rpc::{AccessRules, RpcServerSettings};
use wormhole_node::shh::node::{DEFAULT_POOL_BYTES, Limits};
use wormhole_node::shh::rate::Rate;
use wormhole_node::shh::requirements::{DEFAULT_MAX_SIZE, MAX_SIZE_LIMIT};
use wormhole_node::shh::{SymmetricKey, Work};
use wormhole_node::{ArchiveSettings, Cover, Settings, secret_line};
use zeroize::Zeroizing;

use crate::ServerError;

/// Configuration of the node.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address to listen on for other nodes
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:30303")]
    pub(crate) listen: SocketAddr,

    /// Address for JSON-RPC over HTTP and WebSocket
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) rpc: Option<SocketAddr>,

    /// A second address for JSON-RPC, for clients that expect WebSocket on a separate port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ws: Option<SocketAddr>,

    /// Unix socket for JSON-RPC; only the user of the server can open it
    #[cfg(unix)]
    #[arg(long, value_name = "FILE")]
    pub(crate) ipc: Option<PathBuf>,

    /// Host name that clients may use, in addition to addresses and localhost; may be repeated
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(crate) rpc_host: Vec<String>,

    /// Origin of web pages that may use JSON-RPC (scheme, host and port, as browsers send it); may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(crate) rpc_origin: Vec<String>,

    /// File whose first line is the token that clients must send (Authorization: Bearer); without it, everyone has access
    #[arg(long, value_name = "FILE")]
    pub(crate) rpc_token_file: Option<PathBuf>,

    /// Maximum number of open connections of clients, for each listening address
    #[arg(long, value_name = "N", default_value_t = RpcServerSettings::default().max_connections)]
    pub(crate) rpc_links: usize,

    /// Seconds before an unpolled filter expires
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) filter_seconds: u64,

    /// Node at which the search for other nodes starts; turns discovery on; may be repeated
    #[arg(long, value_name = "ENODE", value_parser = node)]
    pub(crate) bootnode: Vec<Enode>,

    /// Node to stay connected to; may be repeated
    #[arg(long, value_name = "ENODE", value_parser = node)]
    pub(crate) peer: Vec<Enode>,

    /// Node that may send peer-to-peer messages, which are only for this node and are not forwarded; may be repeated
    #[arg(long, value_name = "ENODE", value_parser = node)]
    pub(crate) trusted: Vec<Enode>,

    /// Search for other nodes over UDP
    #[arg(long)]
    pub(crate) discovery: bool,

    /// Address at which others can reach this node, if it is behind a router
    #[arg(long, value_name = "IP")]
    pub(crate) advertise: Option<IpAddr>,

    /// Maximum number of connected nodes
    #[arg(long, value_name = "N", default_value_t = Settings::DEFAULT_MAX_PEERS)]
    pub(crate) max_peers: usize,

    /// Number of connected peers that the node needs before it sends messages of its clients
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min_peers: usize,

    /// Minimum proof of work of messages
    #[arg(long, value_name = "POW", default_value_t = Work::DEFAULT_MINIMUM.as_f64())]
    pub(crate) min_pow: f64,

    /// Maximum size of a message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_SIZE)]
    pub(crate) max_message_bytes: usize,

    /// Maximum bytes of messages in memory
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_POOL_BYTES)]
    pub(crate) pool_bytes: usize,

    /// Maximum number of messages per second from one peer. All peers at one address together may send twice as many. The
    /// node itself sends at most 90 % of this to each peer
    #[arg(long, value_name = "N", default_value_t = 2_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) peer_messages_per_second: u32,

    /// Maximum bytes of messages per second from one peer. All peers at one address together may send twice as much. The
    /// node itself sends at most 90 % of this to each peer
    #[arg(long, value_name = "BYTES", default_value_t = 4_194_304,
          value_parser = clap::value_parser!(u32).range(65_536..))]
    pub(crate) peer_bytes_per_second: u32,

    /// Average seconds between dummy messages, which hide when real ones are sent; 0 means no dummy
    /// messages
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) cover: u64,

    /// File whose first line is the password of the archive; without it, there is no archive
    #[arg(long, value_name = "FILE")]
    pub(crate) archive_password_file: Option<PathBuf>,

    /// Days that the archive keeps messages
    #[arg(long, value_name = "DAYS", default_value_t = ArchiveSettings::DEFAULT_MAX_AGE.as_secs() / DAY)]
    pub(crate) archive_days: u64,

    /// Maximum size of the archive in bytes; the oldest messages are removed first
    #[arg(long, value_name = "BYTES", default_value_t = ArchiveSettings::DEFAULT_MAX_BYTES)]
    pub(crate) archive_bytes: u64,

    /// Send only messages of clients, and do not forward messages of other nodes
    #[arg(long)]
    pub(crate) light: bool,

    /// Directory in which the node stores its key and its messages
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl Config {
    /// Checks combinations of keys. Returns the key that is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if Work::new(self.min_pow).is_none() {
            return Err(("min-pow", "expected a number that is not negative, such as 0.2".into()));
        }
        if self.max_message_bytes > MAX_SIZE_LIMIT {
            return Err(("max-message-bytes", format!("the maximum is {MAX_SIZE_LIMIT}")));
        }
        let addresses = [("rpc", self.rpc), ("ws", self.ws)];
        let mut open = addresses.into_iter().filter_map(|(key, address)| Some((key, address?)));
        match open.find(|(_, address)| !address.ip().to_canonical().is_loopback()) {
            Some((key, address)) if self.rpc_token_file.is_none() => Err((
                key,
                format!(
                    "anyone who can reach {address} could use the keys of all clients: set rpc-token-file, or listen on 127.0.0.1"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether there is a Unix socket for clients.
    pub(super) const fn has_ipc(&self) -> bool {
        #[cfg(unix)]
        return self.ipc.is_some();
        #[cfg(not(unix))]
        false
    }

    /// The settings of the node.
    pub(super) fn node(&self) -> Result<Settings, ServerError> {
        let mut settings = Settings::default();
        settings.listen = Some(self.listen);
        settings.discovery = self.discovery;
        settings.advertise = self.advertise;
        settings.bootnodes.clone_from(&self.bootnode);
        settings.static_peers.clone_from(&self.peer);
        settings.trusted = self.trusted.iter().map(|node| node.id).collect();
        settings.max_peers = self.max_peers;
        settings.privacy.min_peers = self.min_peers;
        settings.min_work = Work::new(self.min_pow)
            .ok_or_else(|| ServerError::Whisper("min-pow is not a number".into()))?;
        settings.max_envelope_bytes = self.max_message_bytes;
        settings.pool_bytes = self.pool_bytes;
        settings.limits = self.limits();
        settings.light = self.light;
        settings.data.clone_from(&self.data);
        settings.cover = (self.cover > 0).then_some(Cover::every(Duration::from_secs(self.cover)));
        if let Some(path) = &self.archive_password_file {
            let mut archive = ArchiveSettings::new(SymmetricKey::from_password(&read_secret(
                "archive-password-file",
                path,
            )?));
            archive.max_age = Duration::from_secs(self.archive_days.saturating_mul(DAY));
            archive.max_bytes = self.archive_bytes;
            archive.min_work = settings.min_work;
            settings.archive = Some(archive);
        }
        Ok(settings)
    }

    /// The limits for other nodes. The burst is at least the default, because nodes send all messages of their pool when
    /// they connect.
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let (messages, bytes) = (self.peer_messages_per_second, self.peer_bytes_per_second);
        for (rate, per_second) in [
            (&mut limits.envelopes_per_peer, f64::from(messages)),
            (&mut limits.envelopes_per_address, 2.0 * f64::from(messages)),
            (&mut limits.bytes_per_peer, f64::from(bytes)),
            (&mut limits.bytes_per_address, 2.0 * f64::from(bytes)),
        ] {
            *rate = Rate { per_second, burst: rate.burst.max(per_second) };
        }
        limits
    }

    /// The settings of the messenger.
    pub(super) fn messenger(&self) -> MessengerSettings {
        let mut settings = MessengerSettings::default();
        settings.filter_timeout = Duration::from_secs(self.filter_seconds);
        settings
    }

    /// The settings of the JSON-RPC server.
    pub(super) fn service(&self) -> Result<RpcServerSettings, ServerError> {
        let mut access = AccessRules::default();
        for host in &self.rpc_host {
            access = access.with_host(host);
        }
        for origin in &self.rpc_origin {
            access = access.with_origin(origin);
        }
        if let Some(path) = &self.rpc_token_file {
            access = access.with_token(&read_secret("rpc-token-file", path)?);
        }
        let mut settings = RpcServerSettings::default();
        settings.access = access;
        settings.max_connections = self.rpc_links;
        // Hexadecimal needs twice the size.
        let message = u32::try_from(2 * self.max_message_bytes).unwrap_or(u32::MAX);
        settings.max_request_bytes = settings.max_request_bytes.max(message.saturating_add(65_536));
        Ok(settings)
    }
}

/// Reads the secret from the first line of a file.
fn read_secret(key: &str, path: &Path) -> Result<Zeroizing<String>, ServerError> {
    let refused = |why: &str| ServerError::Whisper(format!("{key} {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refused(&error.to_string()))?;
    let text = Zeroizing::new(text);
    match secret_line(&text) {
        Some(read_secret) => Ok(Zeroizing::new(read_secret.to_owned())),
        None => Err(refused("the first line is empty")),
    }
}

/// Parses a name for `rpc-host`.
fn host_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !text.is_empty() && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("expected a host name without scheme and port, such as node.example.org".to_owned())
}

/// Parses an origin for `rpc-origin`, exactly as browsers send it.
fn origin(text: &str) -> Result<String, String> {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])
    });
    if is_origin || matches!(text, "*" | "null") {
        return Ok(text.to_owned());
    }
    Err("expected scheme and host, such as https://app.example.org, or * for every page".to_owned())
}

/// Parses the address of a node.
fn node(text: &str) -> Result<Enode, String> {
    Enode::parse(text).map_err(|error| error.to_string())
}

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn config(arguments: &[&str]) -> Config {
        let command = Config::augment_args(Command::new("whisper").no_binary_name(true));
        Config::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    #[test]
    fn an_address_may_send_twice_as_much_as_a_node() {
        assert_eq!(config(&[]).limits(), Limits::default());
        let messages = ["--peer-messages-per-second", "150000"];
        let bytes = ["--peer-bytes-per-second", "1000000"];
        let node = config(&[messages, bytes].concat()).node().unwrap();
        let mut expected = Limits::default();
        expected.envelopes_per_peer = Rate { per_second: 150_000.0, burst: 150_000.0 };
        expected.envelopes_per_address = Rate { per_second: 300_000.0, burst: 300_000.0 };
        expected.bytes_per_peer.per_second = 1_000_000.0;
        expected.bytes_per_address.per_second = 2_000_000.0;
        assert_eq!(node.limits, expected);
    }

    #[test]
    fn the_password_is_the_first_line_of_the_file_including_spaces() {
        let path = std::env::temp_dir().join(format!("wormhole-password-{}", std::process::id()));
        std::fs::write(&path, " let me in \nand nobody else\n").unwrap();
        let node = config(&["--archive-password-file", path.to_str().unwrap()]).node();
        std::fs::remove_file(&path).unwrap();
        let expected = SymmetricKey::from_password(" let me in ");
        assert_eq!(node.unwrap().archive.unwrap().key.fingerprint(), expected.fingerprint());
    }
}
