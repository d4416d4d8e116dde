//! Saves the files of received messages, within limits that the user sets.
//!
//! No file stops the command: one that cannot be saved is reported, and the next one is tried.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use wormhole::chat::{Attachment, AttachmentError, Client, ReceivedMessage, RequestError};
use wormhole::transfer::OnExists;

use super::left::{LeftCount, LeftFiles, LeftReason};
use super::note::{self, FileState, StoredPath};
use crate::chat::explain;
use crate::chat::show::{self, FileResult};
use crate::console::Console;
use crate::request::free_space;
use crate::{printable, units};

/// Saves files.
#[derive(Debug)]
pub(super) struct FileSaver<'a> {
    client: &'a Client,
    directory: PathBuf,
    limits: FileLimits,
    /// How many bytes may still be saved.
    budget: u64,
    /// When `budget` was full.
    since: Instant,
    /// No file is requested before this time: the server could not be reached.
    retry_at: Option<(Instant, String)>,
}

/// What is saved without asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileLimits {
    /// Most files of one message.
    pub(super) files: usize,
    /// Most bytes in one run, or in one day.
    pub(super) bytes: u64,
    /// Whether files are given up instead of saved.
    pub(super) drops: bool,
}

/// What has become of a file.
#[derive(Debug)]
enum Outcome {
    Saved(PathBuf),
    Failed(String),
    Left(LeftReason),
}

impl<'a> FileSaver<'a> {
    pub(super) fn new(client: &'a Client, directory: PathBuf, limits: FileLimits) -> Self {
        let (budget, since) = (limits.bytes, Instant::now());
        Self { client, directory, limits, budget, since, retry_at: None }
    }

    /// The server can be reached again.
    pub(super) fn retry(&mut self) {
        self.retry_at = None;
    }

    /// Saves those files of a message that are not saved yet, and reports each of them with `report`. Returns those that
    /// wait.
    ///
    /// # Errors
    /// The client has ended, standard output cannot be written, or a signal came.
    pub(super) async fn save(
        &mut self,
        message: &ReceivedMessage,
        states: &mut [FileState],
        mut report: impl FnMut(&FileResult<'_>, &Console) -> Result<()>,
        console: &mut Console,
    ) -> Result<LeftFiles> {
        let mut left = LeftFiles { largest: message.files.len(), ..LeftFiles::default() };
        for (index, file) in message.files.iter().enumerate() {
            if states.get(index).is_none_or(FileState::is_final) {
                continue;
            }
            let outcome = self.save_one(message, index, states, console).await?;
            let state = match &outcome {
                Outcome::Saved(_) => FileState::Saved,
                Outcome::Failed(_) => FileState::Failed,
                Outcome::Left(_) => FileState::Waiting,
            };
            if let Some(place) = states.get_mut(index) {
                *place = state;
            }
            let saved = match outcome {
                Outcome::Saved(path) => Ok(path),
                Outcome::Failed(why) => Err((show::NotSaved::Failed, why)),
                Outcome::Left(why) => {
                    let words = self.words(&why);
                    left.add(why, file.size());
                    Err((show::NotSaved::Left, words))
                }
            };
            report(&FileResult { file, index, saved }, console)?;
        }
        left.messages = usize::from(!left.is_empty());
        Ok(left)
    }

    async fn save_one(
        &mut self,
        message: &ReceivedMessage,
        index: usize,
        states: &mut [FileState],
        console: &mut Console,
    ) -> Result<Outcome> {
        let (Some(file), Some(state)) = (message.files.get(index), states.get_mut(index)) else {
            return Ok(Outcome::Failed("there is no such file".to_owned()));
        };
        if let FileState::Saving(path) = state
            && let Some(path) = path.path().filter(|path| is_complete(path, file.size()))
        {
            return Ok(Outcome::Saved(path));
        }
        if self.limits.drops {
            return Ok(Outcome::Failed("given up with --drop-files".to_owned()));
        }
        if let Some(why) = self.reason_to_wait(index, file) {
            return Ok(Outcome::Left(why));
        }
        let Some(target) = free_name(&self.directory, &file.file_name()) else {
            let why = "there are too many files with this name".to_owned();
            return Ok(Outcome::Left(LeftReason::Other(why)));
        };
        let absolute = std::path::absolute(&target).unwrap_or_else(|_| target.clone());
        *state = FileState::Saving(StoredPath::new(&absolute));
        let noted = self.client.set_note(message.id, note::encode(states));
        console.unless_interrupted(noted).await?.map_err(|error| explain::ended(&error))?;
        let work = self.client.download(file, &target, OnExists::KeepBoth);
        let notice = format!("Downloading {}...", printable::line(&file.file_name()));
        let downloaded = console.notice_if_slow(&notice, work).await?;
        self.outcome(downloaded)
    }

    fn outcome(&mut self, downloaded: Result<PathBuf, AttachmentError>) -> Result<Outcome> {
        let error = match downloaded {
            Ok(path) => {
                let size = path.symlink_metadata().map_or(0, |metadata| metadata.len());
                self.budget = self.budget.saturating_sub(size);
                return Ok(Outcome::Saved(path));
            }
            Err(error) => error,
        };
        let why = printable::line(&error.to_string());
        match error {
            AttachmentError::Expired
            | AttachmentError::NotAuthentic
            | AttachmentError::Request(RequestError::Invalid(_) | RequestError::NotFound)
            | AttachmentError::TooLarge => Ok(Outcome::Failed(why)),
            // The server answers this for a number that it has never given out, or not to this app.
            AttachmentError::Request(RequestError::Refused(400 | 403 | 410)) => {
                Ok(Outcome::Failed(format!("{why}: the file may have expired")))
            }
            AttachmentError::Request(error) => {
                if error.is_temporary() {
                    self.retry_at = Some((Instant::now() + RETRY, why.clone()));
                }
                Ok(Outcome::Left(LeftReason::Other(why)))
            }
            AttachmentError::Exists(_) | AttachmentError::WriteFailed(..) => {
                Ok(Outcome::Left(LeftReason::Other(why)))
            }
            // Later errors of the SDK.
            _ => Ok(Outcome::Left(LeftReason::Other(why))),
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
            return Some(LeftReason::Other(format!("only {free} are free in '{directory}'")));
        }
        let (at, why) = self.retry_at.as_ref()?;
        (*at > Instant::now()).then(|| LeftReason::Other(why.clone()))
    }

    /// Why a file waits, in words.
    fn words(&self, why: &LeftReason) -> String {
        match why {
            LeftReason::TooMany => {
                format!("the message has more than {} files", self.limits.files)
            }
            LeftReason::TooLarge => {
                format!("files of at most {} are saved in one run", units::size(self.limits.bytes))
            }
            LeftReason::Other(why) => why.clone(),
        }
    }

    /// One line for each reason why files of a message wait.
    pub(super) fn lines(&self, left: &LeftFiles) -> String {
        let line = |(why, count): (&LeftReason, &LeftCount)| {
            format!("    not saved yet: {}: {}\n", count.words(), self.words(why))
        };
        left.reasons.iter().map(line).collect()
    }
}

/// Whether a file that was being saved is complete. It gets its name only then.
fn is_complete(path: &Path, size: Option<u64>) -> bool {
    let found = path.symlink_metadata();
    found.is_ok_and(|found| found.is_file() && size.is_none_or(|size| size == found.len()))
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

/// Time after which a command that runs for long may save as much again.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest name of a file in bytes.
const MAX_NAME: usize = 255;

/// Most files with the same name.
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
        assert!(is_complete(&directory.join("a.txt"), Some(3)));
        assert!(!is_complete(&directory.join("a.txt"), Some(4)));
        assert!(!is_complete(&directory, None));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
