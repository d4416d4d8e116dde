//! The stored form of a record (docs/chat-protocol.md "Stored records").
//!
//! Do not send it: the bytes are secret. Encrypt them before storing them.

use std::collections::VecDeque;
use std::iter::once;

use wormhole_kit::{Reader, TooShort};
use zeroize::Zeroizing;

use super::archive::MAX_ARCHIVED;
use super::fields::{CHAIN, SEED, Writer, chain, key, receiver, secret};
use super::{SessionRecord, SpqrPin};
use crate::kem::{KemCiphertext, KemError};
use crate::key::{KeyError, KeyPair, PrivateKey, PublicKey};
use crate::ratchet::{MAX_RECEIVERS, Ratchet, RootKey};
use crate::session::{Pending, Session};
use crate::spqr::{DamagedSpqr, Spqr};
use crate::time::Timestamp;
use crate::x3dh::Version;

impl SessionRecord {
    /// Encodes the record for storage. The same record always gives the same bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        encode(self.flags(), self.current.iter().chain(&self.archived), self.had_spqr)
    }

    /// Encodes the record without its archived sessions, which have rows of their own.
    pub(crate) fn encode_current(&self) -> Zeroizing<Vec<u8>> {
        encode(self.flags(), self.current.iter(), self.had_spqr)
    }

    fn flags(&self) -> u8 {
        let had_spqr = match self.had_spqr {
            Some(SpqrPin::Device(_)) => HAD_SPQR | SPQR_DEVICE,
            Some(SpqrPin::Unknown) => HAD_SPQR,
            None => 0,
        };
        u8::from(self.current.is_some()) | u8::from(self.had_post_quantum) << 1 | had_spqr
    }

    /// Updates the rows of the archived sessions. Reports each changed row with its new value, and `None` for a row to
    /// delete. Rows of newer sessions have greater numbers.
    pub(crate) fn update_rows(
        &self,
        rows: &mut Vec<ArchivedRow>,
        mut report: impl FnMut(u64, Option<Zeroizing<Vec<u8>>>),
    ) {
        let mut unused = rows.iter().map(|row| row.number).max().map_or(0, |number| number + 1);
        let mut kept: Vec<ArchivedRow> = Vec::with_capacity(self.archived.len());
        for session in self.archived.iter().rev() {
            let after = kept.last().map(|row| row.number);
            let stored = rows.iter().find(|row| row.is_of(session) && Some(row.number) > after);
            let number = stored.map_or(unused, |row| row.number);
            let row = ArchivedRow::new(number, session);
            if stored != Some(&row) {
                report(number, Some(encode(0, once(session), None)));
            }
            unused = unused.max(number + 1);
            kept.push(row);
        }
        for old in rows.iter().filter(|old| !kept.iter().any(|row| row.number == old.number)) {
            report(old.number, None);
        }
        *rows = kept;
    }

    /// Adds an archived session from its row, which has this number. It is newer than all that were added before.
    ///
    /// # Errors
    /// The bytes are damaged, or the record has too many sessions.
    pub(crate) fn add_archived(
        &mut self,
        number: u64,
        bytes: &[u8],
    ) -> Result<ArchivedRow, StoredRecordError> {
        let mut row = Self::decode(bytes)?;
        let session = row.archived.pop_front().filter(|_| row == Self::default());
        let session = session.ok_or(StoredRecordError::Damaged)?;
        if self.archived.len() > MAX_ARCHIVED {
            return Err(StoredRecordError::Damaged);
        }
        let row = ArchivedRow::new(number, &session);
        self.archived.push_front(session);
        Ok(row)
    }

    /// Decodes stored bytes.
    ///
    /// # Errors
    /// They are damaged, or were written by a newer version of this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredRecordError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(StoredRecordError::UnknownFormat(format));
        }
        let flags = reader.u8()?;
        let count = usize::from(reader.u8()?);
        let mut archived = VecDeque::new();
        for _ in 0..count {
            archived.push_back(session(&mut reader, flags)?);
        }
        let current = if flags & 1 == 1 { archived.pop_front() } else { None };
        let lacks_current = flags & 1 == 1 && current.is_none();
        let had_spqr = match flags & (HAD_SPQR | SPQR_DEVICE) {
            0 => None,
            HAD_SPQR => Some(SpqrPin::Unknown),
            SPQR_DEVICE => return Err(StoredRecordError::Damaged),
            _ => Some(SpqrPin::Device(reader.u32_be()?)),
        };
        if flags > ALL_FLAGS
            || lacks_current
            || archived.len() > MAX_ARCHIVED + 1
            || !reader.is_empty()
        {
            return Err(StoredRecordError::Damaged);
        }
        Ok(Self { current, archived, had_post_quantum: flags & 2 == 2, had_spqr })
    }
}

/// Why stored bytes are not a valid record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoredRecordError {
    /// They were modified or truncated.
    #[error("damaged record")]
    Damaged,
    /// A newer version of this program wrote them.
    #[error("unknown record format {0}")]
    UnknownFormat(u8),
}

impl From<TooShort> for StoredRecordError {
    fn from(_: TooShort) -> Self {
        Self::Damaged
    }
}

impl From<KeyError> for StoredRecordError {
    fn from(_: KeyError) -> Self {
        Self::Damaged
    }
}

impl From<DamagedSpqr> for StoredRecordError {
    fn from(_: DamagedSpqr) -> Self {
        Self::Damaged
    }
}

impl From<KemError> for StoredRecordError {
    fn from(_: KemError) -> Self {
        Self::Damaged
    }
}

/// The stored form of an archived session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ArchivedRow {
    number: u64,
    /// Our ratchet key. It is random, so it identifies the session, and changes with each Diffie-Hellman step.
    ratchet_key: PublicKey,
    /// Each message that was decrypted since changes one of these two.
    counters: u64,
    skipped: usize,
    /// Each message that shows that the post-quantum exchange cannot be completed changes it.
    failures: usize,
}

impl ArchivedRow {
    fn new(number: u64, session: &Session) -> Self {
        let ratchet = &session.ratchet;
        let counters = ratchet.receivers.iter().map(|receiver| u64::from(receiver.chain.index));
        Self {
            number,
            ratchet_key: *ratchet.ours.public(),
            counters: counters.sum(),
            // Both, because either may change alone.
            skipped: ratchet.skipped_len() + session.spqr.as_ref().map_or(0, Spqr::skipped_len),
            failures: session.failed_exchanges(),
        }
    }

    fn is_of(&self, session: &Session) -> bool {
        self.ratchet_key == *session.ratchet.ours.public()
    }
}

fn encode<'a>(
    flags: u8,
    sessions: impl Iterator<Item = &'a Session> + Clone,
    had_spqr: Option<SpqrPin>,
) -> Zeroizing<Vec<u8>> {
    let room = sessions.clone().map(size).sum::<usize>() + 7;
    let mut out = Writer::with_room(room);
    let has_deleted = sessions.clone().any(|session| {
        session.ratchet.receivers.iter().any(|receiver| receiver.deleted_before > 0)
    });
    out.u8(FORMAT);
    let has_spqr = sessions.clone().any(|session| session.spqr.is_some());
    let deleted = if has_deleted { DELETED_SEEDS } else { 0 };
    let flags = flags | deleted | if has_spqr { HAS_SPQR } else { 0 };
    out.u8(flags);
    out.count(sessions.clone().count());
    sessions.for_each(|session| out.session(session, flags));
    if let Some(SpqrPin::Device(registration_id)) = had_spqr {
        out.u32(registration_id);
    }
    out.finish()
}

/// An upper bound for the encoded size of a session.
fn size(session: &Session) -> usize {
    let ratchet = &session.ratchet;
    let spqr = session.spqr.as_ref().map_or(0, Spqr::stored_size);
    FIXED + ratchet.receivers.len() * CHAIN + ratchet.skipped_len() * SEED + spqr
}

impl Writer {
    fn optional_id(&mut self, id: Option<u32>) {
        self.u8(id.is_some().into());
        self.u32(id.unwrap_or_default());
    }

    fn session(&mut self, session: &Session, flags: u8) {
        self.u8(session.version.number());
        self.key(&session.our_identity);
        self.key(&session.their_identity);
        self.u32(session.their_registration_id);
        self.key(&session.base_key);
        self.ratchet(&session.ratchet, flags & DELETED_SEEDS != 0);
        self.u8(session.pending.is_some().into());
        if let Some(pending) = &session.pending {
            self.pending(pending);
        }
        if flags & HAS_SPQR != 0 {
            self.u8(session.spqr.is_some().into());
            if let Some(spqr) = &session.spqr {
                spqr.write(self.raw());
            }
        }
    }

    fn ratchet(&mut self, ratchet: &Ratchet, has_deleted: bool) {
        self.secret(&ratchet.root.0);
        self.secret(ratchet.ours.private().as_secret());
        self.key(ratchet.ours.public());
        self.chain(&ratchet.sender);
        self.u32(ratchet.previous_counter);
        self.count(ratchet.receivers.len());
        for receiver in &ratchet.receivers {
            self.receiver(receiver, has_deleted);
        }
    }

    fn pending(&mut self, pending: &Pending) {
        self.bytes(&pending.since.0.to_be_bytes());
        self.optional_id(pending.pre_key_id);
        self.u32(pending.signed_pre_key_id);
        self.optional_id(pending.kem.as_ref().map(|(id, _)| *id));
        if let Some((_, ciphertext)) = &pending.kem {
            self.bytes(&ciphertext.encode());
        }
    }
}

fn optional_id(reader: &mut Reader<'_>) -> Result<Option<u32>, StoredRecordError> {
    match (reader.u8()?, reader.u32_be()?) {
        (0, 0) => Ok(None),
        (1, id) => Ok(Some(id)),
        _ => Err(StoredRecordError::Damaged),
    }
}

fn session(reader: &mut Reader<'_>, flags: u8) -> Result<Session, StoredRecordError> {
    let version = Version::from_number(reader.u8()?).ok_or(StoredRecordError::Damaged)?;
    let mut session = Session {
        version,
        our_identity: key(reader)?,
        their_identity: key(reader)?,
        their_registration_id: reader.u32_be()?,
        base_key: key(reader)?,
        ratchet: ratchet(reader, flags & DELETED_SEEDS != 0)?,
        pending: match reader.u8()? {
            0 => None,
            1 => Some(pending(reader)?),
            _ => return Err(StoredRecordError::Damaged),
        },
        spqr: None,
    };
    if flags & HAS_SPQR != 0 {
        session.spqr = match reader.u8()? {
            0 => None,
            1 => Some(Spqr::read(reader)?),
            _ => return Err(StoredRecordError::Damaged),
        };
    }
    Ok(session)
}

fn ratchet(reader: &mut Reader<'_>, has_deleted: bool) -> Result<Ratchet, StoredRecordError> {
    let root = RootKey(secret(reader)?);
    let private = PrivateKey::from_secret(&secret(reader)?);
    let ours = KeyPair::from_stored(private, key(reader)?);
    let sender = chain(reader)?;
    let previous_counter = reader.u32_be()?;
    let count = usize::from(reader.u8()?);
    if count > MAX_RECEIVERS {
        return Err(StoredRecordError::Damaged);
    }
    let receivers = (0..count).map(|_| receiver(reader, has_deleted)).collect::<Result<_, _>>()?;
    Ok(Ratchet { root, ours, sender, receivers, previous_counter })
}

fn pending(reader: &mut Reader<'_>) -> Result<Pending, StoredRecordError> {
    let since = Timestamp(u64::from_be_bytes(reader.array()?));
    let pre_key_id = optional_id(reader)?;
    let signed_pre_key_id = reader.u32_be()?;
    let kem = match optional_id(reader)? {
        None => None,
        Some(id) => Some((id, KemCiphertext::decode(reader.take(CIPHERTEXT)?)?)),
    };
    Ok(Pending { pre_key_id, signed_pre_key_id, kem, since })
}

/// The format that we write.
const FORMAT: u8 = 1;

/// A flag: each receiving chain says which seeds of skipped messages were deleted.
const DELETED_SEEDS: u8 = 4;

/// A flag: after each session, it says whether there is a post-quantum ratchet, and which.
const HAS_SPQR: u8 = 8;

/// A flag: the device has used the post-quantum ratchet.
const HAD_SPQR: u8 = 16;

/// A flag: the registration id of the device that has used the post-quantum ratchet follows after the sessions.
const SPQR_DEVICE: u8 = 32;

/// All flags that we know.
const ALL_FLAGS: u8 = 63;

/// An upper bound for the size of a session without its receiving chains.
const FIXED: usize = 2048;

/// Size of an encoded post-quantum ciphertext.
const CIPHERTEXT: usize = 1569;
