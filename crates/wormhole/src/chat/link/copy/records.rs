//! The records on the connection: each has one kind of items, compressed.
//!
//! | first byte | the rest, compressed with deflate |
//! |---|---|
//! | 1 | contacts: for each its length (4), the account, whether the user wants its messages (1), whether an identity key follows (1), the key and the time of the decision about it (8), the contact as in the store |
//! | 2 | messages of the history, the newest first: for each its length (4), and the message as in the store |
//! | 3 | the end: number of contacts (8) and of messages (8) |
//! | 4 | the answer: number of new messages (8) |

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use wormhole_chat::{AccountId, PublicKey, Timestamp};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use crate::chat::store::{Contact, HistoryRow, StoreError};

/// A record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Record {
    Contacts(Vec<CopiedContact>),
    Messages(Vec<HistoryRow>),
    End { contacts: u64, messages: u64 },
    Answer { messages: u64 },
}

/// A contact with what the user has decided about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CopiedContact {
    pub(super) contact: Contact,
    /// Whether the user wants its messages. Those of others wait as requests.
    pub(super) is_accepted: bool,
    /// The accepted identity key, and when the user has decided about it: 0 if never.
    pub(super) identity: Option<(PublicKey, Timestamp)>,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Zeroizing::new(Vec::new());
        let kind = match self {
            Self::Contacts(contacts) => {
                contacts.iter().for_each(|it| put_item(&mut body, &it.encode()));
                CONTACTS
            }
            Self::Messages(rows) => {
                rows.iter().for_each(|row| put_item(&mut body, &row.encode()));
                MESSAGES
            }
            Self::End { contacts, messages } => {
                body.extend(contacts.to_be_bytes());
                body.extend(messages.to_be_bytes());
                END
            }
            Self::Answer { messages } => {
                body.extend(messages.to_be_bytes());
                ANSWER
            }
        };
        let mut record = vec![kind];
        record.extend(compress_to_vec(&body, LEVEL));
        record
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// It is malformed, or longer than ours are.
    pub(super) fn decode(record: &[u8]) -> Result<Self, StoreError> {
        let (kind, compressed) = record.split_first().ok_or(StoreError::Damaged)?;
        let body = decompress_to_vec_with_limit(compressed, MAX_BODY);
        let body = Zeroizing::new(body.map_err(|_| StoreError::Damaged)?);
        let mut reader = Reader::new(&body);
        match *kind {
            CONTACTS => items(&mut reader, CopiedContact::decode).map(Self::Contacts),
            MESSAGES => items(&mut reader, HistoryRow::decode).map(Self::Messages),
            END => {
                let (contacts, messages) = (number(&mut reader)?, number(&mut reader)?);
                Ok(Self::End { contacts, messages })
            }
            ANSWER => Ok(Self::Answer { messages: number(&mut reader)? }),
            _ => Err(StoreError::UnknownFormat),
        }
    }
}

impl CopiedContact {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut item = Zeroizing::new(self.contact.account.as_bytes().to_vec());
        item.push(self.is_accepted.into());
        item.push(self.identity.is_some().into());
        if let Some((key, decided)) = &self.identity {
            item.extend(key.as_u());
            item.extend(decided.0.to_be_bytes());
        }
        item.extend(self.contact.encode().iter());
        item
    }

    fn decode(item: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(item);
        let account = AccountId::from_bytes(reader.array()?);
        let is_accepted = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(StoreError::Damaged),
        };
        let identity = match reader.u8()? {
            0 => None,
            1 => {
                let key = PublicKey::from_u(reader.array()?).map_err(|_| StoreError::Damaged)?;
                Some((key, Timestamp(number(&mut reader)?)))
            }
            _ => return Err(StoreError::Damaged),
        };
        let contact = Contact::decode(account.as_bytes(), reader.rest())?;
        Ok(Self { contact, is_accepted, identity })
    }
}

fn put_item(body: &mut Vec<u8>, item: &[u8]) {
    // Far shorter than 4 GiB.
    body.extend(u32::try_from(item.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend(item);
}

fn items<T>(
    reader: &mut Reader<'_>,
    decode: impl Fn(&[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut items = Vec::new();
    while !reader.is_empty() {
        if items.len() >= MAX_ITEMS {
            return Err(StoreError::Damaged);
        }
        let length = usize::try_from(reader.u32_be()?).map_err(|_| StoreError::Damaged)?;
        items.push(decode(reader.take(length)?)?);
    }
    Ok(items)
}

fn number(reader: &mut Reader<'_>) -> Result<u64, StoreError> {
    Ok(u64::from_be_bytes(reader.array()?))
}

/// Decodes a record of a device that lies.
#[cfg(feature = "fuzzing")]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
}

const CONTACTS: u8 = 1;
const MESSAGES: u8 = 2;
const END: u8 = 3;
const ANSWER: u8 = 4;

/// Maximum number of items of a record.
pub(super) const MAX_ITEMS: usize = 4096;

/// Longest record before it is compressed. A message with its earlier versions has at most 3 MiB.
const MAX_BODY: usize = 8 << 20;

/// How well the records are compressed: fast.
const LEVEL: u8 = 3;

#[cfg(test)]
mod tests {
    use rand_core::OsRng;
    use wormhole_chat::KeyPair;

    use super::*;

    #[test]
    fn each_record_is_read_as_it_was_written_and_longer_ones_are_refused() {
        let account = AccountId::from_bytes([7; 16]);
        let key = *KeyPair::random(&mut OsRng).public();
        let contact = Contact { verified: Some(key), ..crate::chat::contact(account) };
        let contacts =
            [(false, None), (true, Some((key, Timestamp(5))))].map(|(is_accepted, identity)| {
                CopiedContact { contact: contact.clone(), is_accepted, identity }
            });
        let records = [
            Record::Contacts(contacts.to_vec()),
            Record::Messages(Vec::new()),
            Record::End { contacts: 2, messages: 3 },
            Record::Answer { messages: 4 },
        ];
        for record in records {
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
        let bomb = [&[MESSAGES][..], &compress_to_vec(&vec![0; MAX_BODY + 1], 9)].concat();
        assert_eq!(Record::decode(&bomb), Err(StoreError::Damaged));
        for malformed in [&b""[..], &[MESSAGES], &[MESSAGES, 0xff], &[3, 3, 0]] {
            assert_eq!(Record::decode(malformed), Err(StoreError::Damaged), "{malformed:?}");
        }
        assert_eq!(
            Record::decode(&Record::End { contacts: 1, messages: 1 }.encode()[..3]),
            Err(StoreError::Damaged)
        );
    }
}
