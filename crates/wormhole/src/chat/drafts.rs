//! Messages whose files are not with the service or the recipient yet. They are in the store, so that they are sent also if the
//! program is killed meanwhile.

use std::io;
use std::path::PathBuf;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use wormhole_chat::{Content, DataMessage, Timestamp};
use zeroize::{Zeroize, Zeroizing};

use super::Conversation;
use super::error::QueueError;
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

/// Stores a draft, and returns it. If one says the same, that one: an application that was killed perhaps sends the same again. An
/// error inside means that it cannot be stored: there are too many, or the name of a file is no UTF-8.
///
/// # Errors
/// The store cannot be written.
pub(super) fn add(
    store: &mut Store,
    draft: Draft,
) -> Result<Result<Draft, QueueError>, StoreError> {
    let mut drafts = all(store)?;
    if let Some(known) = drafts.iter().find(|known| known.is_same(&draft)) {
        return Ok(Ok(known.clone()));
    }
    if let Some(path) = draft.files.iter().find(|path| path.to_str().is_none()) {
        return Ok(Err(QueueError::File(path.clone(), io::ErrorKind::InvalidFilename)));
    }
    if drafts.len() >= MAX_DRAFTS {
        return Ok(Err(QueueError::OutboxFull));
    }
    drafts.push(draft.clone());
    store.set_setting(SETTING, encode(&drafts).as_deref().map(Vec::as_slice))?;
    Ok(Ok(draft))
}

/// Removes a draft. Returns false if no draft has this id.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn remove(store: &mut Store, id: Timestamp) -> Result<bool, StoreError> {
    let Some(left) = without(store, id)? else { return Ok(false) };
    store.set_setting(SETTING, left.as_deref().map(Vec::as_slice))?;
    Ok(true)
}

/// The setting without this draft. `None` if there is no such draft.
///
/// # Errors
/// The store cannot be read.
pub(super) fn without(store: &Store, id: Timestamp) -> Result<Option<Setting>, StoreError> {
    let mut drafts = all(store)?;
    let before = drafts.len();
    drafts.retain(|known| known.id != id);
    Ok((drafts.len() < before).then(|| encode(&drafts)))
}

/// The drafts as they are stored. `None` if no draft is left.
type Setting = Option<Zeroizing<Vec<u8>>>;

fn encode(drafts: &[Draft]) -> Setting {
    let rows: Vec<_> = drafts.iter().filter_map(Draft::row).collect();
    let encoded = serde_json::to_vec(&rows).ok().map(Zeroizing::new);
    encoded.filter(|_| !rows.is_empty())
}

/// The setting with the drafts. Settings of applications have other names.
pub(super) const SETTING: &str = "wormhole.drafts";

/// Maximum number of drafts.
const MAX_DRAFTS: usize = 64;

#[cfg(test)]
mod tests {
    use wormhole_chat::AccountId;

    use super::*;
    use crate::chat::store::Protection;

    fn draft(id: u64, file: impl Into<PathBuf>) -> Draft {
        let to = Conversation::Account(AccountId::from_bytes([1; 16]));
        let data = DataMessage { body: Some(format!("text {id}")), ..DataMessage::default() };
        Draft::new(Timestamp(id), to, data, vec![file.into()])
    }

    #[test]
    fn a_draft_that_cannot_be_stored_is_an_error_and_displaces_none() {
        let name = format!("wormhole-drafts-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _left = std::fs::remove_dir_all(&folder);
        let mut store = Store::create(&folder, &Protection::KeyFile).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt as _;
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"/\xff"));
            let refused = add(&mut store, draft(1, path.clone())).unwrap();
            assert_eq!(refused, Err(QueueError::File(path, io::ErrorKind::InvalidFilename)));
        }
        for id in 1..=64 {
            assert_eq!(add(&mut store, draft(id, "/a")).unwrap(), Ok(draft(id, "/a")));
        }
        assert_eq!(add(&mut store, draft(65, "/a")).unwrap(), Err(QueueError::OutboxFull));
        assert_eq!(add(&mut store, draft(3, "/a")).unwrap(), Ok(draft(3, "/a")), "it is the same");
        assert_eq!(all(&store).unwrap().len(), 64);
        assert_eq!(remove(&mut store, Timestamp(1)), Ok(true));
        assert!(without(&store, Timestamp(1)).unwrap().is_none(), "it is gone");
        drop(store);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
