//! Input of a code with completion.

use std::num::NonZeroU8;

use tokio::sync::{mpsc, watch};
use wormhole_magic::code::completion;
use wormhole_magic::wormhole::Command;

use super::status::{self, Status};
use super::{ApiMisuse, Error, Nameplate, Password, Wormhole};

/// Accepts a code in two parts, the nameplate first, with completion.
///
/// Only the `async` methods wait for the network, so the others can be called from the callbacks of a line editor, on
/// any thread.
///
/// ```no_run
/// # async fn example(wormhole: wormhole::code::Wormhole) -> Result<(), Box<dyn std::error::Error>> {
/// use wormhole::code::{Nameplate, Password};
///
/// let mut input = wormhole.input_code()?;
/// input.refresh_nameplates();
/// println!("{:?}", input.complete_nameplate("1"));
/// // The nameplate is claimed while the rest is being typed.
/// input.choose_nameplate(Nameplate::parse("12")?)?;
/// println!("{:?}", input.complete_words("guit"));
/// input.choose_words(Password::parse("guitarist-revenge")?)?;
/// println!("{}", wormhole.code().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CodeInput {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    nameplate: Option<Nameplate>,
    finished: bool,
}

impl CodeInput {
    pub(super) const fn new(
        commands: mpsc::UnboundedSender<Command>,
        status: watch::Receiver<Status>,
    ) -> Self {
        Self { commands, status, nameplate: None, finished: false }
    }

    /// Asks the server for the nameplates in use. The answer appears in [`nameplates`](Self::nameplates) and in
    /// completions when it arrives.
    pub fn refresh_nameplates(&self) {
        self.command(Command::RefreshNameplates);
    }

    /// The nameplates in use, as last reported by the server.
    pub fn nameplates(&self) -> Vec<Nameplate> {
        self.status.borrow().nameplates.clone().unwrap_or_default()
    }

    /// Waits for the server's first answer to [`refresh_nameplates`](Self::refresh_nameplates).
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn first_nameplates(&self) -> Result<Vec<Nameplate>, Error> {
        status::wait(&mut self.status.clone(), |status| status.nameplates.clone()).await
    }

    /// Completions of a typed nameplate, each with a hyphen at the end.
    pub fn complete_nameplate(&self, typed: &str) -> Vec<String> {
        let status = self.status.borrow();
        completion::complete_nameplate(typed, status.nameplates.as_deref().unwrap_or_default())
    }

    /// Chooses the nameplate, which is claimed at once.
    ///
    /// # Errors
    /// It has already been chosen.
    pub fn choose_nameplate(&mut self, nameplate: Nameplate) -> Result<(), Error> {
        if self.nameplate.is_some() {
            return Err(ApiMisuse::CodeAlreadyChosen.into());
        }
        self.nameplate = Some(nameplate.clone());
        self.command(Command::InputNameplate(nameplate));
        Ok(())
    }

    /// The chosen nameplate.
    pub const fn nameplate(&self) -> Option<&Nameplate> {
        self.nameplate.as_ref()
    }

    /// Whether the server has granted the claim.
    pub fn is_nameplate_claimed(&self) -> bool {
        self.status.borrow().nameplate_claimed
    }

    /// Completions of the text after the nameplate's hyphen, for codes of the default
    /// length.
    pub fn complete_words(&self, typed: &str) -> Vec<String> {
        self.complete_words_of(typed, Wormhole::CODE_WORDS)
    }

    /// Like [`complete_words`](Self::complete_words), for codes with this number of words.
    pub fn complete_words_of(&self, typed: &str, words: NonZeroU8) -> Vec<String> {
        completion::complete_words(typed, words)
    }

    /// Chooses the words, which completes the code.
    ///
    /// # Errors
    /// The nameplate has not been chosen yet, or the words have already been chosen.
    pub fn choose_words(&mut self, words: Password) -> Result<(), Error> {
        if self.nameplate.is_none() {
            return Err(ApiMisuse::NameplateNotChosen.into());
        }
        if std::mem::replace(&mut self.finished, true) {
            return Err(ApiMisuse::CodeAlreadyChosen.into());
        }
        self.command(Command::InputPassword(words));
        Ok(())
    }

    /// An ended wormhole accepts no commands; its futures return the error.
    fn command(&self, command: Command) {
        let _ended = self.commands.send(command);
    }
}
