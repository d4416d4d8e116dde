//! The application identifier: which application a nameplate belongs to (server-protocol.md "bind").

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Identifies an application to the mailbox server and in the key exchange. Two sides can only connect, and only
/// agree on a key, with the same identifier. By convention a domain name and a path.
///
/// ```
/// use wormhole_magic::AppId;
///
/// assert_eq!(AppId::new("example.com/demo").as_str(), "example.com/demo");
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AppId(String);

impl AppId {
    /// The identifier of all file-transfer clients.
    pub const FILE_TRANSFER: &'static str = "lothar.com/wormhole/text-or-file-xfer";
    /// The identifier for the exchange of SSH public keys.
    pub const SSH_KEYS: &'static str = "lothar.com/wormhole/ssh-add";

    /// Creates an identifier from any string.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The identifier for `bind`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The input of the key exchange: NFC, then UTF-8 (client-protocol.md).
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
