//! Addresses that allow one thing until a certain time: to upload or to download one attachment.

use std::io;
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wormhole_chat::Timestamp;
use wormhole_disk::{durable, private};
use zeroize::Zeroizing;

use super::random;

/// Signs addresses. All nodes that share the directory of attachments use the same key.
pub(super) struct UrlKey(Zeroizing<[u8; KEY]>);

/// The request that an address allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Permission {
    Download,
    /// To upload in several parts.
    Resume,
    Upload,
}

impl UrlKey {
    /// Reads the key, or creates it. Nodes that do this at the same time get the same key.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        if !path.exists() {
            create(path)?;
        }
        let key = Zeroizing::new(std::fs::read(path)?);
        let key = key.as_slice().try_into().map_err(|_| {
            let reason = format!("{} does not have {KEY} bytes", path.display());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// The signature of an address. An upload is counted for its owner.
    pub(super) fn sign(
        &self,
        permission: Permission,
        name: &str,
        expires: Timestamp,
        owner: &str,
    ) -> String {
        let tag = self.mac(permission, name, expires, owner).finalize().into_bytes();
        BASE64URL_NOPAD.encode(&tag)
    }

    /// Whether a signature belongs to this address.
    pub(super) fn allows(
        &self,
        permission: Permission,
        name: &str,
        expires: Timestamp,
        owner: &str,
        signature: &str,
    ) -> bool {
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
        // In constant time.
        self.mac(permission, name, expires, owner).verify_slice(&signature).is_ok()
    }

    /// A name of an account from which nobody else can find the account.
    pub(super) fn pseudonym(&self, account: &[u8]) -> String {
        let mac = self.keyed().chain_update("account\n").chain_update(account);
        let tag = mac.finalize().into_bytes();
        HEXLOWER.encode(tag.get(..PSEUDONYM).unwrap_or_default())
    }

    fn mac(
        &self,
        permission: Permission,
        name: &str,
        expires: Timestamp,
        owner: &str,
    ) -> Hmac<Sha256> {
        let permission = match permission {
            Permission::Download => "download",
            Permission::Resume => "resume",
            Permission::Upload => "upload",
        };
        // A name has no line breaks, so no two addresses have the same text.
        self.keyed().chain_update(format!("{permission}\n{name}\n{}\n{owner}", expires.0))
    }

    fn keyed(&self) -> Hmac<Sha256> {
        <Hmac<Sha256> as KeyInit>::new((&*self.0).into())
    }
}

/// Creates the file of the key, complete or not at all, unless there is one.
fn create(path: &Path) -> io::Result<()> {
    let suffix = HEXLOWER.encode(&random::bytes::<8>());
    let part = path.with_extension(suffix);
    private::write_new(&part, &random::bytes::<KEY>())?;
    let linked = match std::fs::hard_link(&part, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no links.
        Err(_) if !path.exists() => std::fs::rename(&part, path),
        Err(_) | Ok(()) => Ok(()),
    };
    // It has another name now, or is useless.
    let _removed = std::fs::remove_file(&part);
    linked.and_then(|()| durable::sync_parent(path))
}

impl std::fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlKey(…)")
    }
}

/// Length of the key, in bytes: a block of SHA-256.
const KEY: usize = 64;

/// Length of a pseudonym, in bytes.
const PSEUDONYM: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_permission_name_time_and_owner() {
        let key = UrlKey(Zeroizing::new([7; KEY]));
        let signature = key.sign(Permission::Upload, "name", Timestamp(1000), "owner");
        let allows = |permission, name, expires, owner| {
            key.allows(permission, name, Timestamp(expires), owner, &signature)
        };
        assert!(allows(Permission::Upload, "name", 1000, "owner"));
        assert!(!allows(Permission::Download, "name", 1000, "owner"));
        assert!(!allows(Permission::Upload, "other", 1000, "owner"));
        assert!(!allows(Permission::Upload, "name", 2000, "owner"));
        assert!(!allows(Permission::Upload, "name", 1000, ""));
        assert!(!key.allows(Permission::Upload, "name", Timestamp(1000), "owner", ""));
        assert_ne!(key.pseudonym(b"one"), key.pseudonym(b"two"));
    }

    #[test]
    fn a_key_is_created_once() {
        let folder = std::env::temp_dir().join(format!("wormhole-key-{}", std::process::id()));
        let _left = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("signing-key");
        let [one, two] = [(); 2].map(|()| UrlKey::load(&path).unwrap().pseudonym(b"one"));
        assert_eq!((one, std::fs::read_dir(&folder).unwrap().count()), (two, 1));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
