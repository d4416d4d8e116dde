//! Whether the server accepts the account. Commands remember it for `chat config`, which asks no server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use wormhole::chat::store::{Store, StoreError};
use wormhole::chat::{Client, Connection, RequestError};

/// Why and since when the server does not accept the account.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// Seconds since 1970.
    pub(super) since: u64,
    why: Why,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Why {
    App,
    Credentials,
}

impl Refusal {
    /// Loads the result of an earlier command.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn stored(store: &Store) -> Result<Option<Self>, StoreError> {
        let stored = store.setting(SETTING)?;
        Ok(stored.and_then(|stored| Self::decode(&stored)))
    }

    /// Reads a stored refusal. `None` if a later version has stored something else.
    fn decode(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok()
    }

    /// Forgets it, after something has changed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn forget(store: &mut Store) -> Result<(), StoreError> {
        store.set_setting(SETTING, None)
    }

    /// The answer of the server.
    pub(super) const fn error(&self) -> RequestError {
        match self.why {
            Why::App => RequestError::AppRefused,
            Why::Credentials => RequestError::CredentialsRefused,
        }
    }
}

/// Remembers whether the server accepts the account, as far as this command has learned it.
pub(super) async fn record_refusal(client: &Client, has_failed: bool) {
    if has_failed {
        wait_for_first_answer(client).await;
    }
    let why = match client.connection() {
        Connection::Disconnected(RequestError::AppRefused) => Some(Why::App),
        Connection::Disconnected(RequestError::CredentialsRefused) => Some(Why::Credentials),
        Connection::Connected | Connection::UpToDate => None,
        Connection::Connecting | Connection::Disconnected(_) => return,
        // Later states of the SDK.
        _ => return,
    };
    let Ok(stored) = client.setting(SETTING).await else { return };
    let known = stored.and_then(|stored| Refusal::decode(&stored));
    if known.as_ref().map(|known| known.why) == why {
        return;
    }
    let refusal = why.map(|why| Refusal { since: now(), why });
    let value = refusal.map(|refusal| serde_json::to_vec(&refusal).unwrap_or_default());
    // If the store has failed, the command has reported that, or the next one does.
    let _failed = client.set_setting(SETTING, value.as_deref()).await;
}

/// Waits a moment for the answer to the first attempt to connect: a request can be refused before that.
async fn wait_for_first_answer(client: &Client) {
    let (mut events, end) = (client.events(), Instant::now() + PATIENCE);
    while client.connection() == Connection::Connecting {
        let Ok(Ok(_)) = timeout_at(end, events.next()).await else { return };
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Name of the setting in the store.
const SETTING: &str = "refusal";

/// How long a failed command waits for the connection.
const PATIENCE: Duration = Duration::from_secs(1);
