//! Reads passwords, passphrases and tokens: from a file, the environment or a prompt.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use wormhole_node::secret_line;
use zeroize::Zeroizing;

use crate::console::Console;
use crate::failure::Failure;
use crate::job_control::{self, WhenContinued};
use crate::terminal_mode::SavedMode;
use crate::{environment, printable};

/// Sources of a password other than the command line, in their order.
#[derive(Debug)]
pub(crate) struct PasswordSource<'a> {
    /// A file whose first line is the password.
    pub(crate) file: Option<&'a Path>,
    /// Its name.
    pub(crate) name: &'static str,
    /// The name of an environment variable.
    pub(crate) variable: &'a str,
    /// The text of the prompt.
    pub(crate) prompt: &'static str,
    /// What to do if there is no password and no terminal.
    pub(crate) hint: &'static str,
}

impl PasswordSource<'_> {
    /// The password, from the first source that has one. The last one is a prompt.
    ///
    /// # Errors
    /// No password was given, or it cannot be read.
    pub(crate) async fn read(&self, console: &mut Console) -> Result<Zeroizing<String>> {
        match self.without_asking()? {
            Some(password) => Ok(password),
            None => self.ask(console).await,
        }
    }

    /// The password from the file or the environment, if one was given.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn without_asking(&self) -> Result<Option<Zeroizing<String>>> {
        match self.file {
            Some(file) => first_line(file).map(Some),
            None => Ok(environment::text(self.variable)?.map(Zeroizing::new)),
        }
    }

    /// Asks for the password on the terminal.
    ///
    /// # Errors
    /// There is no terminal, or it cannot be read.
    pub(crate) async fn ask(&self, console: &mut Console) -> Result<Zeroizing<String>> {
        if console.is_json() || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage(format!("no {} was given", self.name))
                .hint(self.hint)
                .into());
        }
        let _mode = SavedMode::new();
        let prompt = self.prompt;
        // The shell shows typed keys again when it stops and continues this process.
        let _hidden = WhenContinued::call(move || {
            job_control::hide_keys_again();
            let _gone = console::Term::stderr().write_str(prompt);
        });
        let typed = tokio::task::spawn_blocking(move || ask(prompt));
        let typed = console.unless_interrupted(typed).await?.context("cannot read the terminal")?;
        typed.context("cannot read the terminal")
    }
}

/// Asks for a password without showing it.
fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let terminal = console::Term::stderr();
    terminal.write_str(prompt)?;
    terminal.read_secure_line().map(Zeroizing::new)
}

/// The first line of a file with a secret.
///
/// # Errors
/// The file cannot be read, or its first line is empty.
pub(crate) fn first_line(file: &Path) -> Result<Zeroizing<String>> {
    let shown = printable::path(file);
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read {shown}"))?;
    match secret_line(&text) {
        Some(word) => Ok(Zeroizing::new(word.to_owned())),
        None => Err(Failure::new(format!("the first line of {shown} is empty")).into()),
    }
}
