//! One entry of the log of a group: encrypted, signed, and chained to the one before it.

use prost::Message;
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::proto::{EntryProto, Malformed, SignedProto, StateProto, account, key};
use super::secret::OVERHEAD;
use super::{Author, ChangeError, GroupChange, GroupId, GroupState, ReadingKey};
use crate::key::{KeyPair, Signature};

/// The SHA-256 of an entry as the server has it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EntryHash(pub [u8; 32]);

impl EntryHash {
    /// The hash of an entry.
    pub fn of(entry: &[u8]) -> Self {
        Self(Sha256::digest(entry).into())
    }
}

/// The contents of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupEntry {
    /// The group.
    pub group: GroupId,
    /// The place in the log, from 0.
    pub revision: u64,
    /// The last valid entry before this one; `None` for the first.
    pub previous: Option<EntryHash>,
    /// The author.
    pub author: Author,
    /// The change.
    pub change: GroupChange,
    /// The whole state after the change.
    pub state: GroupState,
}

impl GroupEntry {
    /// Signs and encrypts the entry. `pair` is the identity key of the author.
    ///
    /// # Errors
    /// The entry is too long for the server.
    pub fn seal(
        &self,
        key: &ReadingKey,
        pair: &KeyPair,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, EntryError> {
        let content = self.encode();
        let signature = pair.sign(&signed(&content), rng);
        let proto =
            SignedProto { content: Some(content.to_vec()), signature: Some(signature.0.to_vec()) };
        let plaintext = Zeroizing::new(proto.encode_to_vec());
        if plaintext.len() + OVERHEAD > MAX_ENTRY - 1 {
            return Err(EntryError::TooLong);
        }
        let sealed = key.seal(self.group, self.revision, &plaintext, rng);
        Ok([&[VERSION][..], &sealed].concat())
    }

    /// Decrypts an entry, and checks that the named author has signed it. Whether that person may make the change is
    /// for the state before it to say.
    ///
    /// # Errors
    /// It is not a valid entry of this group at this place.
    pub fn open(
        bytes: &[u8],
        group: GroupId,
        revision: u64,
        key: &ReadingKey,
    ) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLong);
        }
        let (version, sealed) = bytes.split_first().ok_or(EntryError::Malformed)?;
        if *version != VERSION {
            return Err(EntryError::UnknownVersion(*version));
        }
        let plaintext = key.open(group, revision, sealed).ok_or(EntryError::NotAuthentic)?;
        let proto = SignedProto::decode(&**plaintext).map_err(|_| EntryError::Malformed)?;
        let content = Zeroizing::new(proto.content.ok_or(EntryError::Malformed)?);
        let signature = proto.signature.ok_or(EntryError::Malformed)?;
        let signature = signature.as_slice().try_into().map_err(|_| EntryError::Malformed)?;
        let entry = Self::decode(&content)?;
        if !entry.author.identity.verify(&signed(&content), &Signature(signature)) {
            return Err(EntryError::BadSignature);
        }
        if entry.group != group || entry.revision != revision || entry.state.revision != revision {
            return Err(EntryError::OtherPlace);
        }
        Ok(entry)
    }

    /// Encodes the entry, without its signature.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let proto = EntryProto {
            group: Some(self.group.as_bytes().to_vec()),
            revision: Some(self.revision),
            previous: self.previous.map(|hash| hash.0.to_vec()),
            author: Some(self.author.account.as_bytes().to_vec()),
            identity: Some(self.author.identity.encode().to_vec()),
            change: Some((&self.change).into()),
            state: Some(StateProto::from(&self.state)),
        };
        Zeroizing::new(proto.encode_to_vec())
    }

    /// Decodes an entry without its signature. Nothing in it is verified.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let proto = EntryProto::decode(bytes).map_err(|_| EntryError::Malformed)?;
        let missing = EntryError::Malformed;
        let group = proto.group.ok_or(missing)?;
        let previous = proto.previous.map(|hash| hash.try_into().map(EntryHash)).transpose();
        Ok(Self {
            group: GroupId::from_bytes(group.try_into().map_err(|_| missing)?),
            revision: proto.revision.ok_or(missing)?,
            previous: previous.map_err(|_| missing)?,
            author: Author {
                account: account(proto.author)?,
                identity: key(proto.identity)?.ok_or(missing)?,
            },
            change: proto.change.ok_or(missing)?.try_into()?,
            state: proto.state.ok_or(missing)?.try_into()?,
        })
    }
}

/// The bytes that the author signs.
fn signed(content: &[u8]) -> Vec<u8> {
    [SIGNED, content].concat()
}

/// Why an entry was refused. The state of the group has not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// The author did not sign it.
    #[error("the signature of the group change is invalid")]
    BadSignature,
    /// It does not follow the last entry that we know: the server hides entries, or shows different ones to different members.
    #[error("the group change does not follow the last one")]
    Forked,
    /// A field is missing or invalid.
    #[error("the group change is malformed")]
    Malformed,
    /// It was not encrypted with the secret that we have.
    #[error("the group change cannot be decrypted")]
    NotAuthentic,
    /// The author may not make this change.
    #[error("the group change is not permitted: {0}")]
    NotPermitted(#[from] ChangeError),
    /// It belongs to another group, or to another place in the log.
    #[error("the group change belongs to another place")]
    OtherPlace,
    /// We have read it already, or a later one.
    #[error("the group change is a duplicate")]
    Replayed,
    /// It is longer than the server accepts.
    #[error("the group is too large for one entry")]
    TooLong,
    /// The format of the entry is newer than this program.
    #[error("unknown version {0} of group changes")]
    UnknownVersion(u8),
    /// The state that it claims is not the one that the change leads to.
    #[error("the group change claims another state than it leads to")]
    WrongState,
}

impl From<Malformed> for EntryError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The version of entries.
const VERSION: u8 = 1;

/// The beginning of the signed bytes, so that a signature is valid for nothing else.
const SIGNED: &[u8] = b"wormhole group change 1";

/// Maximum length of an entry in bytes: what the server accepts.
pub const MAX_ENTRY: usize = 256 * 1024;
