//! Saves the files of messages that were shown, and keeps the messages whose files are left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use wormhole::chat::{AttachmentError, Connection};

use super::{
    FileResult, FileState, LeftFiles, NotSaved, Outcome, Pending, RETRY, Reading, Receiver, Start,
    set_state,
};
use crate::chat::{explain, people, show};
use crate::console::Console;

impl Receiver<'_> {
    /// Starts to save the next file. Returns whether the command has nothing left to do.
    pub(super) async fn save_files(&mut self, console: &mut Console) -> Result<bool> {
        while self.work.is_none() && self.reading != Reading::Waiting && !self.is_lost {
            let Some(mut pending) = self.active.take().or_else(|| self.queue.pop()) else {
                return Ok(self.all_tried(console));
            };
            match self.files.start(&mut pending) {
                Start::NoFile => self.tried(pending, console).await?,
                Start::Known(index, outcome) => {
                    self.report(&mut pending, index, outcome, console)?;
                    self.active = Some(pending);
                }
                Start::Download(work) => {
                    self.set_note(&pending, console).await?;
                    (self.active, self.work) = (Some(pending), Some(work));
                }
            }
        }
        Ok(false)
    }

    /// Handles the end of a download.
    pub(super) async fn downloaded(
        &mut self,
        downloaded: Result<PathBuf, AttachmentError>,
        console: &Console,
    ) -> Result<()> {
        let (Some(work), Some(mut pending)) = (self.work.take(), self.active.take()) else {
            return Ok(());
        };
        let index = work.index;
        let outcome = self.files.finish(work, downloaded).await;
        self.report(&mut pending, index, outcome, console)?;
        self.active = Some(pending);
        Ok(())
    }

    /// Notes and shows what has become of a file.
    fn report(
        &mut self,
        pending: &mut Pending,
        index: usize,
        outcome: Outcome,
        console: &Console,
    ) -> Result<()> {
        let Some(file) = pending.message.files.get(index).cloned() else { return Ok(()) };
        let saved = match outcome {
            Outcome::Saved(path) => {
                set_state(pending, index, FileState::Saved);
                Ok(path)
            }
            Outcome::Failed(why) => {
                set_state(pending, index, FileState::Failed);
                Err((NotSaved::Failed, why))
            }
            Outcome::Left(why) => {
                let words = self.files.words(&why);
                pending.left.add(why, file.size());
                Err((NotSaved::Left, words))
            }
        };
        let result = FileResult { file: &file, index, saved };
        // Programs know already which files of an earlier message are left.
        if pending.is_new || !result.is_left() {
            result.report(&pending.message, console)?;
        }
        match result.line() {
            Some(line) => self.print_below(pending, &line, console),
            None => Ok(()),
        }
    }

    /// Prints lines about the files of a message, below its time and sender.
    fn print_below(&mut self, pending: &Pending, lines: &str, console: &Console) -> Result<()> {
        self.has_shown = true;
        if self.headed.replace(pending.message.id) != Some(pending.message.id) {
            show::earlier(&pending.message, &self.people, console)?;
        }
        console.print(lines)
    }

    /// Each file of a message was tried. The message is kept if files are left.
    async fn tried(&mut self, mut pending: Pending, console: &mut Console) -> Result<()> {
        if pending.left.is_empty() {
            return self.done(pending.message.id, console).await;
        }
        self.set_note(&pending, console).await?;
        pending.left.messages = 1;
        if pending.is_new {
            let lines = self.files.lines(&pending.left);
            self.print_below(&pending, &lines, console)?;
        }
        if !pending.is_retry {
            self.left.extend(&pending.left);
        }
        self.kept.push(pending);
        Ok(())
    }

    /// Handles that all files were tried. Returns whether the command ends.
    fn all_tried(&mut self, console: &Console) -> bool {
        if self.reading == Reading::Full && self.kept.len() < MANY && !self.follows {
            // There is room for more messages.
            (self.reading, self.last_event) = (Reading::Waiting, Instant::now());
            return false;
        }
        let left = std::mem::take(&mut self.left);
        if !left.is_empty() {
            self.say_left(&left, console);
        }
        !self.follows
    }

    /// Says which files wait, and what to do about it.
    fn say_left(&self, left: &LeftFiles, console: &Console) {
        let (files, save) = (left.words(), explain::command(&left.command(self.to), self.account));
        let drop = explain::command("receive --drop-files", self.account);
        let of = if left.messages > 1 {
            format!(" of {} messages", left.messages)
        } else {
            String::new()
        };
        // The lines of a new message have said why.
        let why = if self.kept.iter().any(|pending| !pending.is_new) {
            format!(": {}", self.files.reasons(left))
        } else {
            String::new()
        };
        let save = if left.lacks_space() {
            format!("To save, free some space or name another directory: {save}")
        } else {
            format!("To save: {save}")
        };
        console
            .screen
            .show(&format!("Not saved yet: {files}{of}{why}. {save}. To discard them: {drop}."));
        if self.kept.len() >= MANY {
            self.say_many(console);
        }
    }

    /// Says that many messages wait because of their files, and most of them from whom.
    fn say_many(&self, console: &Console) {
        let mut counts = BTreeMap::new();
        for pending in &self.kept {
            let (count, _) = counts.entry(pending.sender()).or_insert((0_usize, &pending.message));
            *count += 1;
        }
        let Some((count, message)) = counts.into_values().max_by_key(|(count, _)| *count) else {
            return;
        };
        let label = self.people.label(&message.from);
        let argument = people::argument(&message.from);
        let drop = format!("receive --drop-files {argument}");
        let drop = explain::command(&drop, self.account);
        let kept = self.kept.len();
        console.screen.show(&format!(
            "{kept} messages are kept because of their files, {count} of them from {label}. When 10,000 messages or 67 MB are \
             kept, no others are received. To give up only the files of {label}: {drop}."
        ));
    }

    /// When something is done although nothing has happened.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let notice = self.work.as_ref().and_then(|work| work.notice.as_ref().map(|(at, _)| *at));
        let silence = self.may_be_full().then(|| self.last_event + SILENCE);
        let retry = self.can_retry().then_some(self.retry_at);
        [notice, silence, retry].into_iter().flatten().min()
    }

    pub(super) fn timer(&mut self, console: &Console) {
        let now = Instant::now();
        if let Some(work) = &mut self.work
            && let Some((_, notice)) = work.notice.take_if(|(at, _)| *at <= now)
        {
            console.screen.show(&notice);
        }
        if self.may_be_full() && self.last_event + SILENCE <= now {
            self.reading = Reading::Full;
        }
        if self.can_retry() && self.retry_at <= now {
            self.retry_at = now + RETRY;
            for pending in std::mem::take(&mut self.kept) {
                self.queue.push(pending.again());
            }
        }
    }

    /// Whether the client has perhaps stopped reading, because so many messages are kept.
    fn may_be_full(&self) -> bool {
        self.reading == Reading::Waiting
            && self.kept.len() + self.queue.len() >= MANY
            && self.client.connection() == Connection::Connected
    }

    /// Whether something is left that can be tried again.
    fn can_retry(&self) -> bool {
        self.follows && !self.is_lost && self.work.is_none() && !self.kept.is_empty()
    }
}

/// From this number of kept messages on, the user learns that there is a limit. 67 MB of messages are at least twice as many.
const MANY: usize = 256;

/// If the server is silent for this time although messages wait there, the client has perhaps stopped reading.
const SILENCE: Duration = Duration::from_secs(10);
