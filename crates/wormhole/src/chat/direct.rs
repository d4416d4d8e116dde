//! Files that go directly from one person to the other, while both are online. (docs/chat-protocol.md "Direct files")
//!
//! The sender offers a file in the encrypted session, with a fresh secret and its addresses; the receiver answers with its own.
//! Then the encrypted file goes through a transit connection, and is on the receiver's disk, checked and complete, before the
//! message about it is sent. So the message never names a file that the receiver does not have.

mod receive;
mod send;
mod storage;

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use wormhole_chat::{AttachmentKey, AttachmentPlace};

use crate::transit;

pub(super) use receive::{Accepted, receive};
pub(super) use send::{Attempt, Direct};
pub(super) use storage::{FOLDER, make_space, open_whole};

/// How files may go directly from one person to the other. Each learns the network address of the other, unless both use Tor or
/// only a relay.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DirectFiles {
    /// Files of at least so many bytes are offered directly. The default is 16 MiB: for shorter ones, finding a connection takes
    /// longer than it saves.
    pub min_bytes: u64,
    /// Maximum number of bytes of one file that is accepted. The default is 2 GiB.
    pub max_bytes: u64,
    /// Maximum number of bytes that received files may have which the application has not saved yet. The default is 4 GiB.
    pub max_waiting: u64,
    /// How the connection may be made.
    pub transit: transit::Settings,
}

impl Default for DirectFiles {
    fn default() -> Self {
        Self {
            min_bytes: 16 << 20,
            max_bytes: 2 << 30,
            max_waiting: 4 << 30,
            transit: transit::Settings::default(),
        }
    }
}

/// The name of a file, which only those who have its key can know.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct FileName(pub(super) [u8; 16]);

impl FileName {
    pub(super) fn from_key(key: &AttachmentKey) -> Self {
        let hash = Sha256::new_with_prefix("wormhole direct file").chain_update(key.expose());
        let mut name = [0; 16];
        name.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self(name)
    }

    pub(super) fn to_text(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Where the message says that the file is.
    pub(super) fn place(self) -> AttachmentPlace {
        AttachmentPlace::Key(STORE, self.to_text())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileName(…)")
    }
}

/// Whether a file came, or was to come, directly.
pub(super) const fn is_direct(place: &AttachmentPlace) -> bool {
    matches!(place, AttachmentPlace::Key(STORE, _))
}

/// The number of the store that means: on the receiver's own disk.
const STORE: u32 = 103;

/// How long the sender waits for an answer: the offer and the answer each go through the service once, and the receiver looks for
/// its addresses, which takes well under a second. After that the other person is probably not online.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How long both sides try to connect: the first attempts through a relay begin some seconds after the direct ones.
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Confirmation of the receiver that the file is whole, checked and on its disk.
const WHOLE: &[u8] = b"whole";
