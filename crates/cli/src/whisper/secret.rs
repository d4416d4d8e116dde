//! Reads passwords: from the command line, a file, the environment or a prompt.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use wormhole_node::secret_line;
use wormhole_node::shh::SymmetricKey;
use zeroize::Zeroizing;

use crate::args::PasswordArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::job_control::{self, WhenContinued};
use crate::terminal_mode::SavedMode;
use crate::{environment, printable};

/// The key of the password that all readers of a topic share.
///
/// # Errors
/// No password was given, or it cannot be read.
pub(super) async fn shared(args: PasswordArgs, console: &mut Console) -> Result<SymmetricKey> {
    let typed = args.password.map(Zeroizing::new);
    let password = match typed {
        Some(password) => password,
        None => {
            let source = PasswordSource {
                file: args.password_file.as_deref(),
                variable: "WORMHOLE_WHISPER_PASSWORD",
                prompt: "Password: ",
                hint: "use --password-file FILE, or set WORMHOLE_WHISPER_PASSWORD",
            };
            source.read(console).await?
        }
    };
    key(&password)
}

/// The key of the password of a node's archive.
///
/// # Errors
/// No password was given, or it cannot be read.
pub(super) async fn of_archive(file: Option<&Path>, console: &mut Console) -> Result<SymmetricKey> {
    let source = PasswordSource {
        file,
        variable: "WORMHOLE_ARCHIVE_PASSWORD",
        prompt: "Password of the archive: ",
        hint: "use --server-password-file FILE, or set WORMHOLE_ARCHIVE_PASSWORD",
    };
    key(&source.read(console).await?)
}

/// The token for a node's JSON-RPC, if one was given.
///
/// # Errors
/// The file cannot be read, or is empty.
pub(super) fn token(file: Option<&Path>) -> Result<Option<Zeroizing<String>>> {
    match file {
        Some(file) => first_line(file).map(Some),
        None => Ok(environment::text("WORMHOLE_WHISPER_TOKEN")?.map(Zeroizing::new)),
    }
}

fn key(password: &str) -> Result<SymmetricKey> {
    if password.is_empty() {
        return Err(Failure::usage("the password is empty").into());
    }
    Ok(SymmetricKey::from_password(password))
}

/// Sources of a password other than the command line.
#[derive(Debug)]
struct PasswordSource<'a> {
    file: Option<&'a Path>,
    variable: &'a str,
    prompt: &'static str,
    hint: &'static str,
}

impl PasswordSource<'_> {
    async fn read(&self, console: &mut Console) -> Result<Zeroizing<String>> {
        if let Some(file) = self.file {
            return first_line(file);
        }
        if let Some(password) = environment::text(self.variable)? {
            return Ok(Zeroizing::new(password));
        }
        if console.is_json() || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage("no password was given").hint(self.hint).into());
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

fn first_line(file: &Path) -> Result<Zeroizing<String>> {
    let shown = printable::path(file);
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read {shown}"))?;
    match secret_line(&text) {
        Some(word) => Ok(Zeroizing::new(word.to_owned())),
        None => Err(Failure::new(format!("the first line of {shown} is empty")).into()),
    }
}
