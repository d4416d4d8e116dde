//! Seals rows: hides their keys and values, and binds each value to its row.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand_core::{OsRng, RngCore as _};
use sha2::Sha256;
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::StoreError;
use super::master::MasterKey;

type HmacSha256 = Hmac<Sha256>;

/// The purpose of a row. Its number is part of the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Table {
    /// A row of [`wormhole_chat::Client`].
    Client,
    /// The registration; its key is empty.
    Registration,
    /// A contact.
    Contact,
    /// A received message that the application has not taken.
    Received,
    /// The id of the last received message; its key is empty.
    LastReceived,
    /// A setting.
    Setting,
    /// The digest of all other rows; its key is empty.
    Digest,
    /// A message that cannot be sent, until the application has taken it.
    Failed,
    /// The messages that a device has sent us.
    Seen,
    /// An account that we have written to.
    WrittenTo,
    /// A note of the application about a received message.
    Note,
    /// When a received message disappears that the application has not taken.
    ReceivedEnd,
    /// A message of somebody about whom the user has not decided.
    Request,
    /// A decision about an account that the server must still learn.
    Decision,
    /// An account that is blocked.
    Blocked,
    /// Proofs for the server that it has delivered messages of an account.
    Evidence,
    /// The limits of the message history, and its counters; its key is empty.
    History,
    /// A segment of the message history.
    HistorySegment,
    /// A conversation in the message history.
    HistoryConversation,
    /// Something that has arrived before its message.
    HistoryEarly,
    /// A message of the history: in a table of its own, by number.
    HistoryMessage,
    /// The words of a segment: in a table of its own, by number.
    HistoryWords,
}

impl Table {
    /// The number of the table.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Client => 1,
            Self::Registration => 2,
            Self::Contact => 3,
            Self::Received => 4,
            Self::LastReceived => 5,
            Self::Setting => 6,
            Self::Digest => 7,
            Self::Failed => 8,
            Self::Seen => 9,
            Self::WrittenTo => 10,
            Self::Note => 11,
            Self::ReceivedEnd => 12,
            Self::Request => 20,
            Self::Decision => 21,
            Self::Blocked => 22,
            Self::Evidence => 23,
            Self::History => 30,
            Self::HistorySegment => 31,
            Self::HistoryConversation => 32,
            Self::HistoryEarly => 35,
            Self::HistoryMessage => 33,
            Self::HistoryWords => 34,
        }
    }
}

/// Identifies a row without showing its key.
pub(super) type RowId = [u8; 32];

/// A keyed hash of a message that has arrived.
pub(super) type Fingerprint = [u8; 8];

/// The key and the value of a row.
pub(super) type OpenRow = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// The keys for rows, derived from the master key.
pub(super) struct RowKeys {
    ids: Secret<32>,
    values: XChaCha20Poly1305,
    digests: Secret<32>,
    messages: Secret<32>,
    history: Secret<32>,
}

impl fmt::Debug for RowKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKeys(…)")
    }
}

impl RowKeys {
    pub(super) fn derive(master: &MasterKey) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, master.secret().expose());
        let derive = |info: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            // The output is far shorter than the maximum of HKDF, so this cannot fail.
            let _ = hkdf.expand(info, &mut *key);
            key
        };
        Self {
            ids: Secret::new(*derive(b"wormhole chat store: row ids")),
            values: XChaCha20Poly1305::new((&*derive(b"wormhole chat store: values")).into()),
            digests: Secret::new(*derive(b"wormhole chat store: digests")),
            messages: Secret::new(*derive(b"wormhole chat store: messages")),
            history: Secret::new(*derive(b"wormhole chat store: history")),
        }
    }

    /// The id of the row with this key: a keyed hash, so that it does not show the key.
    pub(super) fn row_id(&self, table: Table, key: &[u8]) -> RowId {
        mac(&self.ids, &[&[table.number()], key])
    }

    /// A keyed hash of a sealed row. The digest of the store is the XOR of those of all rows.
    pub(super) fn digest(&self, table: u8, id: &RowId, sealed: &[u8]) -> [u8; 32] {
        mac(&self.digests, &[id, &[table], sealed])
    }

    /// Identifies a message that has arrived, without showing it.
    pub(super) fn fingerprint(&self, message: &[&[u8]]) -> Fingerprint {
        let [a, b, c, d, e, f, g, h, ..] = mac(&self.messages, message);
        [a, b, c, d, e, f, g, h]
    }

    /// Seals a row, with a random nonce. The key must have at most 255 bytes.
    pub(super) fn seal(
        &self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(RowId, Vec<u8>), StoreError> {
        let id = self.row_id(table, key);
        let length = u8::try_from(key.len()).map_err(|_| StoreError::Damaged)?;
        let plaintext = Zeroizing::new([&[length], key, value].concat());
        let mut nonce = [0; NONCE];
        OsRng.fill_bytes(&mut nonce);
        let aad = associated_data(table, &id);
        let payload = Payload { msg: &plaintext, aad: &aad };
        let sealed = self.values.encrypt(XNonce::from_slice(&nonce), payload);
        // Fails only for more than 256 GiB.
        let sealed = sealed.map_err(|_| StoreError::Damaged)?;
        Ok((id, [&[FORMAT], &nonce[..], &sealed].concat()))
    }

    /// Opens a sealed row: its key and its value.
    ///
    /// # Errors
    /// The row was changed, or belongs to another place.
    pub(super) fn open(
        &self,
        table: Table,
        id: &RowId,
        sealed: &[u8],
    ) -> Result<OpenRow, StoreError> {
        let mut reader = Reader::new(sealed);
        if reader.u8()? != FORMAT {
            return Err(StoreError::UnknownFormat);
        }
        let nonce: [u8; NONCE] = reader.array()?;
        let aad = associated_data(table, id);
        let payload = Payload { msg: reader.rest(), aad: &aad };
        let plaintext = self.values.decrypt(XNonce::from_slice(&nonce), payload);
        let plaintext = Zeroizing::new(plaintext.map_err(|_| StoreError::Damaged)?);
        let mut reader = Reader::new(&plaintext);
        let length = usize::from(reader.u8()?);
        let key = Zeroizing::new(reader.take(length)?.to_vec());
        Ok((key, Zeroizing::new(reader.rest().to_vec())))
    }
}

/// Rows that have a number instead of a key. The number is visible in the file.
impl RowKeys {
    /// Seals a value for the row with this number, with a random nonce.
    pub(super) fn seal_numbered(
        &self,
        table: Table,
        number: i64,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE];
        OsRng.fill_bytes(&mut nonce);
        let aad = numbered_data(table, number);
        let payload = Payload { msg: value, aad: &aad };
        let sealed = self.values.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| StoreError::Damaged)?;
        Ok([&[FORMAT], &nonce[..], &sealed].concat())
    }

    /// Opens a sealed value.
    ///
    /// # Errors
    /// The row was changed, or belongs to another place.
    pub(super) fn open_numbered(
        &self,
        table: Table,
        number: i64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let nonce = version(sealed)?;
        let aad = numbered_data(table, number);
        let payload = Payload { msg: sealed.get(1 + NONCE..).unwrap_or_default(), aad: &aad };
        let value = self.values.decrypt(XNonce::from_slice(&nonce), payload);
        value.map(Zeroizing::new).map_err(|_| StoreError::Damaged)
    }

    /// A keyed hash of a version of a row. The digest of a segment is the XOR of those of its messages.
    pub(super) fn numbered_digest(&self, number: i64, version: &RowVersion) -> [u8; 32] {
        mac(&self.digests, &[b"history", &number.to_be_bytes(), version])
    }

    /// Finds messages of the history by author and timestamp, without showing them.
    pub(super) fn history_name(&self, author: &[u8], timestamp: u64) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = mac(&self.history, &[author, &timestamp.to_be_bytes()]);
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Tells the versions of one numbered row apart: its random nonce.
pub(super) type RowVersion = [u8; NONCE];

/// The version of a sealed row.
pub(super) fn version(sealed: &[u8]) -> Result<RowVersion, StoreError> {
    let mut reader = Reader::new(sealed);
    if reader.u8()? != FORMAT {
        return Err(StoreError::UnknownFormat);
    }
    Ok(reader.array()?)
}

fn numbered_data(table: Table, number: i64) -> Vec<u8> {
    [b"wormhole chat numbered row", &[FORMAT, table.number()][..], &number.to_be_bytes()].concat()
}

/// The data that a sealed value is bound to.
fn associated_data(table: Table, id: &RowId) -> Vec<u8> {
    [b"wormhole chat row", &[FORMAT, table.number()][..], id].concat()
}

fn mac(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = <HmacSha256 as Mac>::new_from_slice(key.expose()) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// First byte of a sealed row.
const FORMAT: u8 = 1;

/// Length of a nonce. Random ones of this length do not repeat.
pub(super) const NONCE: usize = 24;
