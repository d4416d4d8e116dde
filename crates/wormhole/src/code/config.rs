//! What a wormhole has to know from the start.

use serde_json::{Map, Value};
use wormhole_magic::AppId;
use wormhole_magic::mailbox::MailboxUrl;

use crate::net::tor::Tor;

/// What a wormhole has to know from the start. The default is file transfer over the public
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
    /// The application. Two sides only meet under the same identifier.
    pub app_id: AppId,
    /// The addresses of one mailbox server, in the order in which to try them.
    pub servers: Vec<MailboxUrl>,
    /// What the peer is told about this application: any JSON object.
    pub app_versions: Value,
    /// Goes through Tor, and tells nobody our address.
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
