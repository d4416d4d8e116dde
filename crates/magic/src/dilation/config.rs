//! Settings of a dilated connection.

use std::time::Duration;

use super::keys::{DilationKey, DilationSide};
use super::version::DilationVersion;
use crate::transit::{RelayHint, RelayPolicy};

/// Settings of a dilated connection.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the caller that starts a session sets all of it")]
pub struct DilationConfig {
    /// The key of both sides.
    pub key: DilationKey,
    /// Our side; random.
    pub side: DilationSide,
    /// The version that both sides have announced, see [`DilationVersion::choose`].
    pub version: DilationVersion,
    /// Whether to use AES-256-GCM if both sides can: on processors with instructions for it, it is faster than
    /// ChaCha20-Poly1305. Has no effect without [`aes_is_available`](super::aes_is_available).
    pub aes: bool,
    /// Our own relays, in addition to the peer's.
    pub relays: Vec<RelayHint>,
    /// Whether to use relays.
    pub policy: RelayPolicy,
    /// Whether all connections use Tor.
    pub tor: bool,
    /// The subprotocols that the peer may open. Others are closed at once. `None` allows all; then their data waits for
    /// the application.
    pub expected_subprotocols: Option<Vec<String>>,
    /// After this time without received bytes the peer is asked for an answer, and after twice this time the connection is
    /// lost.
    pub keepalive: Duration,
    /// How long to try to connect; `None` for no limit.
    pub patience: Option<Duration>,
    /// How long to try if the peer closed the connection and is not heard through the mailbox either: its program has probably
    /// ended. Counts only while the mailbox can be reached. `None`: as long as `patience`.
    pub closed_patience: Option<Duration>,
}

impl DilationConfig {
    /// A connection with this key, with defaults for everything else: version `ged`, without AES.
    pub const fn new(key: DilationKey, side: DilationSide) -> Self {
        Self {
            key,
            side,
            version: DilationVersion::Ged,
            aes: false,
            relays: Vec::new(),
            policy: RelayPolicy::Auto,
            tor: false,
            expected_subprotocols: None,
            keepalive: KEEPALIVE,
            patience: None,
            closed_patience: None,
        }
    }
}

/// The usual [`DilationConfig::keepalive`]: an interrupted path is noticed after twice this time.
pub const KEEPALIVE: Duration = Duration::from_secs(2);
