//! The application identifier: which application a nameplate belongs to (server-protocol.md "bind").

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Names an application towards the mailbox server and the key exchange. Two sides only meet, and
/// only agree on a key, under the same identifier. By custom a domain name and a path.
///
/// ```
/// use wormhole_magic::AppId;
///
/// assert_eq!(AppId::new("example.com/demo").as_str(), "example.com/demo");
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AppId(String);

impl AppId {
    /// The identifier under which every file-transfer client meets.
    pub const FILE_TRANSFER: &'static str = "lothar.com/wormhole/text-or-file-xfer";
    /// The identifier under which SSH public keys are exchanged.
    pub const SSH_KEYS: &'static str = "lothar.com/wormhole/ssh-add";

    /// Takes any string, as the protocol does.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The identifier as it goes into `bind`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes that enter the key exchange: NFC, then UTF-8 (client-protocol.md).
    pub(crate) fn normalized(&self) -> String {
        self.0.nfc().collect()
    }
}

/// [`AppId::FILE_TRANSFER`].
impl Default for AppId {
    fn default() -> Self {
        Self::new(Self::FILE_TRANSFER)
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
