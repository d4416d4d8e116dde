//! The results for the files of a message. The store keeps it until the message is done, so that a command that is
//! killed neither loses a file nor saves it twice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The result for a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::chat) enum FileState {
    /// It is not saved yet.
    Waiting,
    /// It is being saved under this name, which was free before.
    Saving(StoredPath),
    /// It is saved.
    Saved,
    /// It can never be saved.
    Failed,
}

impl FileState {
    /// Whether there is nothing left to do.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Saved | Self::Failed)
    }

    /// Where it was being saved.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Saving(path) => path.path(),
            Self::Failed | Self::Saved | Self::Waiting => None,
        }
    }
}

/// A path in a note: its bytes as hexadecimal digits, because a path need not be Unicode.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::chat) struct StoredPath(String);

impl StoredPath {
    pub(super) fn new(path: &Path) -> Self {
        Self(HEXLOWER.encode(path.as_os_str().as_encoded_bytes()))
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        let bytes = HEXLOWER.decode(self.0.as_bytes()).ok()?;
        Some(os_string(bytes)?.into())
    }
}

/// Encodes the note about a message.
pub(in crate::chat) fn encode(files: &[FileState]) -> Vec<u8> {
    // Such values can always be encoded. An empty note would be read as no note.
    serde_json::to_vec(files).unwrap_or_default()
}

/// Decodes the note about a message with `count` files. `None` if it is not such a note.
pub(super) fn decode(note: &[u8], count: usize) -> Option<Vec<FileState>> {
    let files: Vec<FileState> = serde_json::from_slice(note).ok()?;
    (files.len() == count).then_some(files)
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    Some(OsString::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_keeps_what_it_was_told_about_each_file() {
        let files = [
            FileState::Waiting,
            FileState::Saving(StoredPath::new(Path::new("/tmp/größe.txt"))),
            FileState::Saved,
            FileState::Failed,
        ];
        let note = encode(&files);
        assert_eq!(decode(&note, 4).as_deref(), Some(&files[..]));
        assert_eq!(decode(&note, 3), None);
        assert_eq!(decode(b"", 0), None);
        let FileState::Saving(path) = &files[1] else { panic!("not a path") };
        assert_eq!(path.path(), Some("/tmp/größe.txt".into()));
    }
}
