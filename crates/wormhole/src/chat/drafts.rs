//! Messages whose files are not with the service or the recipient yet. They are in the store, so that they are sent also if the
//! program is killed meanwhile.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use wormhole_chat::{Content, DataMessage, Timestamp};
use zeroize::{Zeroize, Zeroizing};

use super::Conversation;
use super::store::{Store, StoreError};

/// A message that waits for its files. `Debug` does not print the text.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Draft {
    /// When it was written, which identifies it.
    pub id: Timestamp,
    /// Where it was written.
    pub to: Conversation,
    /// The text.
    pub text: Option<String>,
    /// The files.
    pub files: Vec<PathBuf>,
    pub(super) data: DataMessage,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("id", &self.id).field("to", &self.to).finish_non_exhaustive()
    }
}

#[derive(Deserialize, Serialize)]
struct Row {
    id: u64,
    /// The id of the account or the group.
    to: String,
    is_to_group: bool,
    /// The message without its files, in base64.
    content: String,
    files: Vec<String>,
}

impl Drop for Row {
    fn drop(&mut self) {
        self.content.zeroize();
    }
}

impl Draft {
    pub(super) fn new(
        id: Timestamp,
        to: Conversation,
        data: DataMessage,
        files: Vec<PathBuf>,
    ) -> Self {
        Self { id, to, text: data.body.clone(), files, data }
    }

    /// Whether it says the same in the same conversation.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.to, &self.data, &self.files) == (other.to, &other.data, &other.files)
    }

    /// `None` if the name of a file cannot be stored.
    fn row(&self) -> Option<Row> {
        let content = Content::Data(Box::new(self.data.clone())).encode();
        let files = self.files.iter().map(|path| path.to_str().map(str::to_owned));
        let (to, is_to_group) = match self.to {
            Conversation::Account(account) => (account.to_string(), false),
            Conversation::Group(group) => (group.to_string(), true),
        };
        Some(Row {
            id: self.id.0,
            to,
            is_to_group,
            content: BASE64.encode(&content),
            files: files.collect::<Option<_>>()?,
        })
    }

    fn from_row(row: &Row) -> Option<Self> {
        let content = Zeroizing::new(BASE64.decode(row.content.as_bytes()).ok()?);
        let Ok(Content::Data(data)) = Content::decode_stored(&content) else { return None };
        let files = row.files.iter().map(PathBuf::from).collect();
        let to = if row.is_to_group {
            Conversation::Group(row.to.parse().ok()?)
        } else {
            Conversation::Account(row.to.parse().ok()?)
        };
        Some(Self::new(Timestamp(row.id), to, *data, files))
    }
}

/// All drafts, oldest first. Damaged ones are left out.
///
/// # Errors
/// The store cannot be read.
pub(super) fn all(store: &Store) -> Result<Vec<Draft>, StoreError> {
    let rows = store.setting(SETTING)?;
    let rows: Vec<Row> =
        rows.and_then(|rows| serde_json::from_slice(rows.as_slice()).ok()).unwrap_or_default();
    Ok(rows.iter().filter_map(Draft::from_row).collect())
}

/// Stores a draft.
///
/// # Errors
/// The store cannot be written.
pub(super) fn add(store: &mut Store, draft: Draft) -> Result<(), StoreError> {
    let mut drafts = all(store)?;
    drafts.retain(|known| known.id != draft.id);
    drafts.push(draft);
    let surplus = drafts.len().saturating_sub(MAX_DRAFTS);
    drafts.drain(..surplus);
    store.set_setting(SETTING, encode(&drafts).as_deref().map(Vec::as_slice))
}

/// Removes a draft. False if there is none.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn remove(store: &mut Store, id: Timestamp) -> Result<bool, StoreError> {
    if !all(store)?.iter().any(|draft| draft.id == id) {
        return Ok(false);
    }
    let left = without(store, id)?;
    store.set_setting(SETTING, left.as_deref().map(Vec::as_slice))?;
    Ok(true)
}

/// The setting without this draft.
///
/// # Errors
/// The store cannot be read.
pub(super) fn without(
    store: &Store,
    id: Timestamp,
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let mut drafts = all(store)?;
    drafts.retain(|known| known.id != id);
    Ok(encode(&drafts))
}

fn encode(drafts: &[Draft]) -> Option<Zeroizing<Vec<u8>>> {
    let rows: Vec<_> = drafts.iter().filter_map(Draft::row).collect();
    let encoded = serde_json::to_vec(&rows).ok().map(Zeroizing::new);
    encoded.filter(|_| !rows.is_empty())
}

/// The setting with the drafts. Settings of applications have other names.
pub(super) const SETTING: &str = "wormhole.drafts";

/// Maximum number of drafts. The oldest ones make room.
const MAX_DRAFTS: usize = 64;
