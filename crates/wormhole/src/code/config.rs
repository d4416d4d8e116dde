//! Settings of a wormhole.

use serde_json::{Map, Value};
use wormhole_magic::AppId;
use wormhole_magic::mailbox::MailboxUrl;

use crate::net::tor::Tor;

/// Settings of a wormhole. The default is file transfer through the public
/// servers.
///
/// ```
/// use serde_json::json;
/// use wormhole::code::{AppId, Config};
///
/// let config = Config {
///     app_id: AppId::new("example.com/demo"),
///     app_versions: json!({ "my-app": { "version": 1 } }),
///     ..Config::default()
/// };
/// assert!(config.tor.is_none());
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a list of settings, made by its users")]
pub struct Config {
    /// The application. Two sides can only connect with the same identifier.
    pub app_id: AppId,
    /// The URLs of one mailbox server, in the order in which to try them.
    pub servers: Vec<MailboxUrl>,
    /// The announcement of this application for the peer: any JSON object of up to
    /// [`Wormhole::MAX_MESSAGE`](super::Wormhole::MAX_MESSAGE) bytes.
    pub app_versions: Value,
    /// Use Tor for all connections, and hide our address.
    pub tor: Option<Tor>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            app_id: AppId::default(),
            servers: MailboxUrl::public(),
            app_versions: Value::Object(Map::new()),
            tor: None,
        }
    }
}
