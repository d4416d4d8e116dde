//! Addresses that allow one thing until a certain time: to upload or to download one attachment.

use std::io;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wormhole_chat::Timestamp;
use wormhole_disk::private;
use zeroize::Zeroizing;

use super::secrets;

/// Signs addresses. All nodes that share the directory of attachments use the same key.
pub(super) struct UrlKey(Zeroizing<[u8; KEY]>);

/// What an address allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Permission {
    Download,
    Upload,
}

impl UrlKey {
    /// Reads the key, or creates it.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        match private::write_new(path, &secrets::random::<KEY>()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let key = Zeroizing::new(std::fs::read(path)?);
        let key = key.as_slice().try_into().map_err(|_| {
            let reason = format!("{} does not have {KEY} bytes", path.display());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// The signature of an address.
    pub(super) fn sign(&self, permission: Permission, name: &str, expires: Timestamp) -> String {
        let tag = self.mac(permission, name, expires).finalize().into_bytes();
        BASE64URL_NOPAD.encode(&tag)
    }

    /// Whether a signature belongs to this address, and the address has not expired.
    pub(super) fn allows(
        &self,
        permission: Permission,
        name: &str,
        expires: Timestamp,
        signature: &str,
        now: Timestamp,
    ) -> bool {
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
        // In constant time.
        now < expires && self.mac(permission, name, expires).verify_slice(&signature).is_ok()
    }

    fn mac(&self, permission: Permission, name: &str, expires: Timestamp) -> Hmac<Sha256> {
        let permission = match permission {
            Permission::Download => "download",
            Permission::Upload => "upload",
        };
        // A name has no line breaks, so no two addresses have the same text.
        let text = format!("{permission}\n{name}\n{}", expires.0);
        <Hmac<Sha256> as KeyInit>::new((&*self.0).into()).chain_update(text)
    }
}

impl std::fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlKey(…)")
    }
}

/// Length of the key, in bytes: a block of SHA-256.
const KEY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_permission_name_and_time() {
        let key = UrlKey(Zeroizing::new([7; KEY]));
        let signature = key.sign(Permission::Upload, "name", Timestamp(1000));
        let allows = |permission, name, expires, now| {
            key.allows(permission, name, Timestamp(expires), &signature, Timestamp(now))
        };
        assert!(allows(Permission::Upload, "name", 1000, 999));
        assert!(!allows(Permission::Upload, "name", 1000, 1000));
        assert!(!allows(Permission::Download, "name", 1000, 999));
        assert!(!allows(Permission::Upload, "other", 1000, 999));
        assert!(!allows(Permission::Upload, "name", 2000, 999));
        assert!(!key.allows(Permission::Upload, "name", Timestamp(1000), "", Timestamp(1)));
    }
}
