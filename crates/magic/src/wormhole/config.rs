//! Settings of a wormhole.

use serde_json::{Map, Value};
use wormhole_kit::UnixTime;

use crate::AppId;
use crate::mailbox::MailboxUrl;

/// Settings of a wormhole.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a list of settings, made by its users")]
pub struct Config {
    /// The application.
    pub app_id: AppId,
    /// The URLs of one server, in the order in which to try them. The first one that answers is
    /// kept.
    pub servers: Vec<MailboxUrl>,
    /// The announcement of this application for the peer: any JSON object.
    pub app_versions: Value,
    /// Whether to announce that this side can dilate ([`crate::dilation`]).
    pub can_dilate: bool,
    /// Name and version of this program, for the server's statistics.
    pub client_version: (String, String),
    /// The current time, for proofs of work.
    pub today: UnixTime,
}

impl Default for Config {
    /// File transfer through the public server.
    fn default() -> Self {
        Self {
            app_id: AppId::default(),
            servers: MailboxUrl::public(),
            app_versions: Value::Object(Map::new()),
            can_dilate: false,
            client_version: ("wormhole".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            today: UnixTime::from_secs(0),
        }
    }
}
