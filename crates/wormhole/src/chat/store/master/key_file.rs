//! Key files: a random key in a private file next to the database.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rand_core::CryptoRngCore;
use wormhole_disk::private;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::super::StoreError;
use super::random_secret;

/// The name of a key file. Each new file has another one, so a new file never replaces one that is still needed.
pub(in super::super) type KeyFileId = [u8; 8];

/// A key file.
#[derive(Debug)]
pub(in super::super) struct KeyFile {
    pub(super) id: KeyFileId,
    pub(super) key: Secret<32>,
}

impl KeyFile {
    /// Writes a new key file. When this returns, it is on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in super::super) fn create(
        directory: &Path,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, StoreError> {
        let mut id = [0; 8];
        rng.fill_bytes(&mut id);
        let file = Self::random(id, rng);
        let text = Zeroizing::new(HEXLOWER.encode(file.key.expose()) + "\n");
        private::write_new(&path(directory, &id), text.as_bytes())?;
        Ok(file)
    }

    /// A random key for a file with this name.
    pub(in super::super) fn random(id: KeyFileId, rng: &mut impl CryptoRngCore) -> Self {
        Self { id, key: random_secret(rng) }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `KeyFileMissing` if it does not exist or does not contain a key.
    pub(in super::super) fn read(directory: &Path, id: KeyFileId) -> Result<Self, StoreError> {
        let text = match fs::read(path(directory, &id)) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::KeyFileMissing);
            }
            Err(error) => return Err(error.into()),
        };
        let key = HEXLOWER.decode(text.trim_ascii()).map(Zeroizing::new);
        let key = key.ok().and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
        let key = Zeroizing::new(key.ok_or(StoreError::KeyFileMissing)?);
        Ok(Self { id, key: Secret::new(*key) })
    }

    /// Removes all key files except for this one.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub(in super::super) fn remove_others(
        directory: &Path,
        kept: Option<KeyFileId>,
    ) -> Result<(), StoreError> {
        let kept = kept.map(|id| path(directory, &id));
        for entry in fs::read_dir(directory)? {
            let file = entry?.path();
            if Some(&file) != kept.as_ref() && is_key_file(&file) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

/// Whether a file is one of ours: the directory may contain other keys, such as that of a TLS certificate.
fn is_key_file(file: &Path) -> bool {
    let has_extension = file.extension().is_some_and(|extension| extension == EXTENSION);
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let is_id = HEXLOWER.decode(name.as_bytes()).is_ok_and(|id| id.len() == size_of::<KeyFileId>());
    if !has_extension || !is_id {
        return false;
    }
    // A file that was being written when the program ended is shorter.
    fs::read(file).map(Zeroizing::new).is_ok_and(|text| {
        let text = text.trim_ascii();
        text.len() <= 64 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn path(directory: &Path, id: &KeyFileId) -> PathBuf {
    directory.join(format!("{}.{EXTENSION}", HEXLOWER.encode(id)))
}

/// The end of the names of key files.
const EXTENSION: &str = "key";
