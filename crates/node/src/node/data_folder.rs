//! The data folder: the node's key, the pool, and the hashes of envelopes seen before, so that they survive
//! a restart.
//!
//! ```text
//! nodekey   64 hexadecimal digits, readable by its owner only (as go-ethereum's)
//! pool      MAGIC, then records: 0, length (4, big-endian), envelope
//!                              | 1, hash (32), expiry (4, big-endian)
//!                              | 2, length (4, big-endian), own envelope that is not sent yet
//! lock      held while a node runs
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rand_core::OsRng;
use wormhole_disk::private;
use wormhole_whisper::{
    devp2p::key::PrivateKey,
    shh::{Envelope, EnvelopeHash, pool::Record, requirements::MAX_SIZE_LIMIT},
};
use zeroize::Zeroizing;

use super::StartError;
use crate::private_key;

/// The data folder, locked against other nodes while this exists.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Locks a folder, and creates it if needed.
    pub(super) fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |error: io::Error| StartError::Data(error.kind());
        private::create_directory(path).map_err(failed)?;
        let lock =
            private::options().write(true).create(true).truncate(false).open(path.join("lock"));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::DataInUse),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Creates the file of the archive if needed, readable by its owner only, and returns its path.
    pub(super) fn create_archive_file(&self) -> Result<PathBuf, StartError> {
        let path = self.path.join("archive.sqlite");
        let created = private::create_if_missing(&path);
        created.map(|()| path).map_err(|error| StartError::Data(error.kind()))
    }

    /// The node's key. Creates one if it does not exist.
    pub(super) fn node_key(&self) -> Result<PrivateKey, StartError> {
        let path = self.path.join("nodekey");
        match fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(text) => private_key(text.trim()).ok_or(StartError::NodeKey),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = PrivateKey::random(&mut OsRng);
                let text = Zeroizing::new(HEXLOWER.encode(key.to_secret().expose()));
                let written = private::replace(&path, |file| file.write_all(text.as_bytes()));
                written.map(|()| key).map_err(|error| StartError::Data(error.kind()))
            }
            Err(error) => Err(StartError::Data(error.kind())),
        }
    }

    /// The saved records, up to the first one that cannot be read.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let mut file = File::open(self.path.join("pool")).ok().map(BufReader::new);
        let magic = file.as_mut().and_then(|file| read::<{ MAGIC.len() }>(file).ok());
        file = file.filter(|_| magic == Some(*MAGIC));
        std::iter::from_fn(move || record(file.as_mut()?))
    }

    /// Saves the pool and the own envelopes that are not sent yet.
    pub(super) fn save(&self, mut records: impl Iterator<Item = Record>) -> io::Result<()> {
        private::replace(&self.path.join("pool"), |file| {
            file.write_all(MAGIC)?;
            records.try_for_each(|record| match record {
                Record::Kept(envelope) => write_envelope(file, KEPT, &envelope),
                Record::Own(envelope) => write_envelope(file, OWN, &envelope),
                Record::Seen { hash, expiry } => {
                    file.write_all(&[SEEN])?;
                    file.write_all(&hash.0)?;
                    file.write_all(&expiry.to_be_bytes())
                }
            })
        })
    }
}

fn record(file: &mut impl Read) -> Option<Record> {
    match read(file).ok()? {
        [KEPT] => envelope(file).map(Record::Kept),
        [OWN] => envelope(file).map(Record::Own),
        [SEEN] => {
            let (hash, expiry) = (EnvelopeHash(read(file).ok()?), read(file).ok()?);
            Some(Record::Seen { hash, expiry: u32::from_be_bytes(expiry) })
        }
        _ => None,
    }
}

fn envelope(file: &mut impl Read) -> Option<Envelope> {
    let length = usize::try_from(u32::from_be_bytes(read(file).ok()?)).ok()?;
    let mut encoded = vec![0; Some(length).filter(|length| *length <= MAX_RECORD)?];
    file.read_exact(&mut encoded).ok()?;
    Envelope::parse(&encoded).ok()
}

fn write_envelope(file: &mut impl Write, kind: u8, envelope: &Envelope) -> io::Result<()> {
    let encoded = envelope.encoded();
    let length = u32::try_from(encoded.len()).map_err(io::Error::other)?;
    file.write_all(&[kind])?;
    file.write_all(&length.to_be_bytes())?;
    file.write_all(encoded)
}

fn read<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map(|()| bytes)
}

/// The first bytes of a pool file.
const MAGIC: &[u8; 24] = b"wormhole whisper pool 1\n";

/// Type of a record with an envelope of the pool.
const KEPT: u8 = 0;

/// Type of a record with the hash of an envelope that was seen before.
const SEEN: u8 = 1;

/// Type of a record with an own envelope that is not sent yet.
const OWN: u8 = 2;

/// Maximum number of bytes of an envelope in the file: the largest that can be configured, and its fields.
const MAX_RECORD: usize = MAX_SIZE_LIMIT + 64;

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_not_written_into_a_file_that_somebody_else_has_put_there() {
        let path = std::env::temp_dir().join(format!("wormhole-{}-nodekey", std::process::id()));
        let folder = DataFolder::open(&path).unwrap();
        fs::write(path.join("theirs"), "precious").unwrap();
        std::os::unix::fs::symlink("theirs", path.join("nodekey.part")).unwrap();
        folder.node_key().unwrap();
        assert_eq!(fs::read(path.join("theirs")).unwrap(), b"precious");
        let metadata = fs::symlink_metadata(path.join("nodekey")).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (64, 0o600));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_new_archive_is_readable_by_its_owner_only() {
        let path = std::env::temp_dir().join(format!("wormhole-{}-memory", std::process::id()));
        let archive = DataFolder::open(&path).unwrap().create_archive_file().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&archive)), (0o700, 0o600));
        fs::remove_dir_all(&path).unwrap();
    }
}
