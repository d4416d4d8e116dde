//! Saves the files of received messages, within limits that the user sets.
//!
//! No file stops the command: one that cannot be saved is reported, and the next one is tried.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use wormhole::chat::{AccountId, Attachment, AttachmentError, Client, RequestError};
use wormhole::transfer::OnExists;

use super::left::{LeftCount, LeftFiles, LeftReason};
use super::note::{FileState, StoredPath};
use super::queue::Pending;
use crate::request::free_space;
use crate::{printable, units};

/// Saves files.
#[derive(Debug)]
pub(super) struct FileSaver<'a> {
    client: &'a Client,
    directory: PathBuf,
    limits: FileLimits,
    /// How many bytes may still be downloaded.
    budget: u64,
    /// When `budget` was full.
    since: Instant,
    /// No file is requested before this time: the server could not be reached.
    retry_at: Option<(Instant, String)>,
}

/// The limits for files that are saved without asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileLimits {
    /// Maximum number of files of one message.
    pub(super) files: usize,
    /// Maximum number of bytes in one run, or in one day.
    pub(super) bytes: u64,
    pub(super) drops: Drops,
}

/// The senders whose files are given up instead of saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Drops {
    Nobody,
    Everybody,
    One(AccountId),
}

/// The result for a file.
#[derive(Debug)]
pub(super) enum Outcome {
    Saved(PathBuf),
    Failed(String),
    Left(LeftReason),
}

/// The decision about the next file of a message.
pub(super) enum Start {
    /// The file with this position is not downloaded.
    Known(usize, Outcome),
    Download(Work),
    /// There is no other file.
    NoFile,
}

/// A file that is being downloaded.
pub(super) struct Work {
    /// Its position in the message.
    pub(super) index: usize,
    pub(super) download: Download,
    /// The notice to show at this time.
    pub(super) notice: Option<(Instant, String)>,
    /// Bytes that were taken from the budget.
    charged: u64,
    /// A file that a killed command has perhaps saved for the same attachment.
    found: Option<PathBuf>,
}

/// A running download.
pub(super) type Download = Pin<Box<dyn Future<Output = Result<PathBuf, AttachmentError>> + Send>>;

impl<'a> FileSaver<'a> {
    pub(super) fn new(client: &'a Client, directory: PathBuf, limits: FileLimits) -> Self {
        let (budget, since) = (limits.bytes, Instant::now());
        Self { client, directory, limits, budget, since, retry_at: None }
    }

    /// Tries files again: the server can be reached.
    pub(super) fn retry(&mut self) {
        self.retry_at = None;
    }

    /// Looks at the next file of a message that is not saved yet, and downloads it if the limits permit that. The states must
    /// be stored before the download is awaited.
    pub(super) fn start(&mut self, pending: &mut Pending) -> Start {
        loop {
            let index = pending.next;
            let state = pending.states.get(index);
            let (Some(file), Some(state)) = (pending.message.files.get(index), state) else {
                return Start::NoFile;
            };
            pending.next += 1;
            if state.is_final() {
                continue;
            }
            let (sender, file) = (pending.sender(), file.clone());
            let found = state.path().filter(|path| may_be_complete(path, file.size()));
            let outcome = match self.target(sender, index, &file) {
                Ok(target) => {
                    let noted = found.clone().unwrap_or_else(|| absolute(&target));
                    set_state(pending, index, FileState::Saving(StoredPath::new(&noted)));
                    return Start::Download(self.download(index, file, target, found));
                }
                Err(outcome) => outcome.or_found(found),
            };
            return Start::Known(index, outcome);
        }
    }

    /// Where to save a file, or why it is not saved.
    fn target(
        &mut self,
        sender: AccountId,
        index: usize,
        file: &Attachment,
    ) -> Result<PathBuf, Outcome> {
        if self.limits.drops.contains(sender) {
            return Err(Outcome::Failed("discarded with --drop-files".to_owned()));
        }
        if let Some(why) = self.reason_to_wait(index, file) {
            return Err(Outcome::Left(why));
        }
        free_name(&self.directory, &file.file_name()).ok_or_else(|| {
            let why = "there are too many files with this name".to_owned();
            Outcome::Left(LeftReason::Other(why))
        })
    }

    fn download(
        &mut self,
        index: usize,
        file: Attachment,
        target: PathBuf,
        found: Option<PathBuf>,
    ) -> Work {
        let charged = claimed(&file);
        self.budget = self.budget.saturating_sub(charged);
        let notice = format!("Saving {}...", printable::line(&file.file_name()));
        let client = self.client.clone();
        let download =
            Box::pin(async move { client.download(&file, &target, OnExists::KeepBoth).await });
        Work { index, download, notice: Some((Instant::now() + SLOW, notice)), charged, found }
    }

    /// Handles the result of a download. Bytes that were transferred count for the limit, also if they are useless.
    pub(super) async fn finish(
        &mut self,
        work: Work,
        downloaded: Result<PathBuf, AttachmentError>,
    ) -> Outcome {
        let Work { charged, found, .. } = work;
        match downloaded {
            Ok(path) => {
                let size = path.symlink_metadata().map_or(charged, |metadata| metadata.len());
                self.budget = self.budget.saturating_add(charged).saturating_sub(size);
                Outcome::Saved(unless_saved_before(path, found).await)
            }
            Err(error) => {
                if is_without_bytes(&error) {
                    self.budget = self.budget.saturating_add(charged);
                }
                let found = found.filter(|_| error == AttachmentError::Expired);
                self.failed(&error).or_found(found)
            }
        }
    }

    fn failed(&mut self, error: &AttachmentError) -> Outcome {
        let why = printable::line(&error.to_string());
        match error {
            AttachmentError::Expired
            | AttachmentError::NotAuthentic
            | AttachmentError::Request(RequestError::Invalid(_) | RequestError::NotFound)
            | AttachmentError::TooLarge => Outcome::Failed(why),
            // The server answers this for a number that it has never given out, or not to this app.
            AttachmentError::Request(RequestError::Refused(400 | 403 | 410)) => {
                Outcome::Failed(format!("{why}: the file may have expired"))
            }
            AttachmentError::Request(error) => {
                if error.may_retry() {
                    self.retry_at = Some((Instant::now() + RETRY, why.clone()));
                }
                Outcome::Left(LeftReason::Other(why))
            }
            AttachmentError::Exists(_) | AttachmentError::WriteFailed(..) => {
                Outcome::Left(LeftReason::Other(why))
            }
            // Later errors of the SDK.
            _ => Outcome::Left(LeftReason::Other(why)),
        }
    }

    fn reason_to_wait(&mut self, index: usize, file: &Attachment) -> Option<LeftReason> {
        if index >= self.limits.files {
            return Some(LeftReason::TooMany);
        }
        if self.since.elapsed() >= DAY {
            (self.budget, self.since) = (self.limits.bytes, Instant::now());
        }
        let size = file.size().unwrap_or(LARGEST);
        if size > self.budget {
            return Some(LeftReason::TooLarge);
        }
        if let Some(free) = free_space(&self.directory).filter(|free| *free < size + RESERVE) {
            let (free, directory) = (units::size(free), printable::path(&self.directory));
            let reserve = units::size(RESERVE);
            return Some(LeftReason::NoSpace(format!(
                "only {free} are free in '{directory}', and {reserve} of the disk must stay free"
            )));
        }
        let (at, why) = self.retry_at.as_ref()?;
        (*at > Instant::now()).then(|| LeftReason::Other(why.clone()))
    }

    /// Why a file waits, in words.
    pub(super) fn words(&self, why: &LeftReason) -> String {
        match why {
            LeftReason::TooMany => {
                format!("the message has more than {} files", self.limits.files)
            }
            LeftReason::TooLarge => {
                format!("files of at most {} are saved in one run", units::size(self.limits.bytes))
            }
            LeftReason::NoSpace(why) | LeftReason::Other(why) => why.clone(),
        }
    }

    /// The reasons why files wait, in one sentence.
    pub(super) fn reasons(&self, left: &LeftFiles) -> String {
        let words = left.reasons.keys().map(|why| self.words(why));
        words.collect::<Vec<_>>().join("; ")
    }

    /// One line for each reason why files of a message wait.
    pub(super) fn lines(&self, left: &LeftFiles) -> String {
        let line = |(why, count): (&LeftReason, &LeftCount)| {
            format!("    not saved yet: {}: {}\n", count.words(), self.words(why))
        };
        left.reasons.iter().map(line).collect()
    }
}

impl Drops {
    fn contains(self, sender: AccountId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::One(account) => account == sender,
        }
    }
}

impl Outcome {
    /// A file that can never be saved again was perhaps saved by a killed command.
    fn or_found(self, found: Option<PathBuf>) -> Self {
        match (self, found) {
            (Self::Failed(_), Some(path)) => Self::Saved(path),
            (outcome, _) => outcome,
        }
    }
}

/// Changes the state of a file.
pub(super) fn set_state(pending: &mut Pending, index: usize, state: FileState) {
    if let Some(place) = pending.states.get_mut(index) {
        *place = state;
    }
}

/// The bytes that a download may cost.
fn claimed(file: &Attachment) -> u64 {
    file.size().unwrap_or(LARGEST).min(LARGEST)
}

/// Whether an attempt has failed before the server sent anything of the file.
fn is_without_bytes(error: &AttachmentError) -> bool {
    match error {
        AttachmentError::Exists(_) | AttachmentError::Expired => true,
        AttachmentError::Request(error) => !matches!(error, RequestError::Connection(_)),
        AttachmentError::NotAuthentic
        | AttachmentError::TooLarge
        | AttachmentError::WriteFailed(..) => false,
        // Later errors of the SDK.
        _ => false,
    }
}

/// Whether a file may be the one that a killed command was saving: a file gets its name only when it is complete. It can also
/// be another one, which got the name later.
fn may_be_complete(path: &Path, size: Option<u64>) -> bool {
    let found = path.symlink_metadata();
    found.is_ok_and(|found| found.is_file() && size.is_none_or(|size| size == found.len()))
}

/// Removes a new file if a killed command has saved the same before. Returns the path of the file that stays.
async fn unless_saved_before(path: PathBuf, found: Option<PathBuf>) -> PathBuf {
    let Some(found) = found else { return path };
    let new = path.clone();
    let compared = spawn_blocking(move || {
        let is_same = have_same_content(&new, &found)?;
        if is_same {
            std::fs::remove_file(&new)?;
        }
        io::Result::Ok(is_same.then_some(found))
    });
    // If they cannot be compared, both stay.
    compared.await.ok().and_then(Result::ok).flatten().unwrap_or(path)
}

fn have_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let open = |path| io::Result::Ok(BufReader::new(File::open(path)?).bytes());
    let (mut one, mut other) = (open(one)?, open(other)?);
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (one, other) if one != other => return Ok(false),
            _ => {}
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The first free path of `name`, `name (1)`, and so on. `None` if too many are taken.
fn free_name(directory: &Path, name: &str) -> Option<PathBuf> {
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let numbered = (1..MAX_NUMBER).map(|number| {
        let end = format!(" ({number}){extension}");
        let length = stem.floor_char_boundary(MAX_NAME.saturating_sub(end.len()));
        stem.get(..length).unwrap_or_default().to_owned() + &end
    });
    let names = std::iter::once(name.to_owned()).chain(numbered);
    names.map(|name| directory.join(name)).find(|path| path.symlink_metadata().is_err())
}

/// Bytes in a megabyte.
pub(super) const MEGABYTE: u64 = 1_000_000;

/// The size of a file whose sender does not say it: the largest that the server accepts.
pub(super) const LARGEST: u64 = 100 << 20;

/// Bytes that stay free on the disk.
const RESERVE: u64 = 64 << 20;

/// How long no file is requested after the server could not be reached.
const RETRY: Duration = Duration::from_secs(60);

/// Time after which a download is announced.
const SLOW: Duration = Duration::from_secs(1);

/// Time after which a command that runs for long may save as much again.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest name of a file in bytes.
const MAX_NAME: usize = 255;

/// Maximum number of files with the same name.
const MAX_NUMBER: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_and_stays_short_enough() {
        let directory = std::env::temp_dir().join(format!("wormhole-{}-names", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let free = |name: &str| free_name(&directory, name).unwrap();
        assert_eq!(free("a.txt"), directory.join("a.txt"));
        let long = format!("{}.txt", "é".repeat(125));
        for name in ["a.txt", ".hidden", &long] {
            std::fs::write(directory.join(name), "abc").unwrap();
        }
        assert_eq!(free("a.txt"), directory.join("a (1).txt"));
        assert_eq!(free(".hidden"), directory.join(".hidden (1)"));
        let numbered = free(&long);
        std::fs::write(&numbered, "").unwrap();
        assert!(numbered.to_str().unwrap().ends_with("é (1).txt"));
        assert!(may_be_complete(&directory.join("a.txt"), Some(3)));
        assert!(!may_be_complete(&directory.join("a.txt"), Some(4)));
        assert!(!may_be_complete(&directory, None));
        std::fs::remove_dir_all(&directory).unwrap();
    }
    #[tokio::test]
    async fn a_file_of_the_same_name_and_size_does_not_replace_a_download() {
        let directory = std::env::temp_dir().join(format!("wormhole-{}-same", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let [other, same, new] = ["other", "same", "new"].map(|name| directory.join(name));
        std::fs::write(&other, "abc").unwrap();
        for path in [&same, &new] {
            std::fs::write(path, "def").unwrap();
        }
        assert_eq!(unless_saved_before(new.clone(), Some(other)).await, new);
        assert_eq!(unless_saved_before(new.clone(), None).await, new);
        assert_eq!(unless_saved_before(new.clone(), Some(same.clone())).await, same);
        assert!(!new.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
