//! Typing a code, with completion.

use std::num::NonZeroU8;

use tokio::sync::{mpsc, watch};
use wormhole_magic::code::completion;
use wormhole_magic::wormhole::Command;

use super::status::{self, Status};
use super::{ApiMisuse, Error, Nameplate, Password, Wormhole};

/// Takes a code in two halves, the nameplate first, and completes what is being typed.
///
/// Nothing here waits for the network except where it is `async`, so it can be used from the
/// callbacks of a line editor, on any thread.
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

    /// Asks the server which nameplates are in use. The answer is in [`nameplates`](Self::nameplates) and in
    /// completions as soon as it is there.
    pub fn refresh_nameplates(&self) {
        self.command(Command::RefreshNameplates);
    }

    /// The nameplates in use when the server was last asked.
    pub fn nameplates(&self) -> Vec<Nameplate> {
        self.status.borrow().nameplates.clone().unwrap_or_default()
    }

    /// Waits for the server's first answer to [`refresh_nameplates`](Self::refresh_nameplates).
    ///
    /// # Errors
    /// The wormhole ended before.
    pub async fn first_nameplates(&self) -> Result<Vec<Nameplate>, Error> {
        status::wait(&mut self.status.clone(), |status| status.nameplates.clone()).await
    }

    /// All ways to go on from what is typed of the nameplate, each with the hyphen behind it.
    pub fn complete_nameplate(&self, typed: &str) -> Vec<String> {
        let status = self.status.borrow();
        completion::complete_nameplate(typed, status.nameplates.as_deref().unwrap_or_default())
    }

    /// The nameplate is typed, and is claimed at once.
    ///
    /// # Errors
    /// It was chosen before.
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

    /// Whether the server has granted the nameplate.
    pub fn is_nameplate_claimed(&self) -> bool {
        self.status.borrow().nameplate_claimed
    }

    /// All ways to go on from what is typed after the nameplate's hyphen, for codes of the usual
    /// length.
    pub fn complete_words(&self, typed: &str) -> Vec<String> {
        self.complete_words_of(typed, Wormhole::CODE_WORDS)
    }

    /// Like [`complete_words`](Self::complete_words), for codes of so many words.
    pub fn complete_words_of(&self, typed: &str, words: NonZeroU8) -> Vec<String> {
        completion::complete_words(typed, words)
    }

    /// The words are typed: the code is known.
    ///
    /// # Errors
    /// The nameplate is not chosen yet, or the words were chosen before.
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

    /// A wormhole that has ended takes no commands, and its futures say so.
    fn command(&self, command: Command) {
        let _ended = self.commands.send(command);
    }
}
