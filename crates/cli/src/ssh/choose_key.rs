//! Chooses the public key to send: the key of `-F`, the only key, or the answer to a question.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::key::PublicKey;
use crate::ask::Ask as _;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::printable;

/// Reads the key in `place`, a file or a directory; `None` is `~/.ssh`.
///
/// # Errors
/// The path does not exist, there is no key, or the file contains something else, such as a private key.
pub(crate) async fn choose(place: Option<&Path>, console: &mut Console) -> Result<PublicKey> {
    let named = place.is_some();
    let place = match place {
        Some(place) => place.to_owned(),
        None => etcetera::home_dir().context("cannot find your home directory")?.join(".ssh"),
    };
    if named && !place.exists() {
        let place = printable::path(&place);
        return Err(Failure::usage(format!("--key-file: '{place}' does not exist")).into());
    }
    let file = if !named || place.is_dir() { pick(&place, console).await? } else { place };
    let shown = printable::path(&file);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
    PublicKey::parse(&text).map_err(|why| {
        Failure::new(format!("{shown} is not a public key: {why}"))
            .hint("public keys are in files that end in .pub")
            .into()
    })
}

/// The only `.pub` file of a directory, or the one that the user chooses.
async fn pick(directory: &Path, console: &mut Console) -> Result<PathBuf> {
    let mut keys = public_keys(directory).map_err(|error| {
        let place = printable::path(directory);
        Failure::new(format!("cannot read {place}: {}", printable::line(&error.to_string())))
            .hint("make a key with `ssh-keygen -t ed25519`, or set a file with -F")
    })?;
    if keys.len() > 1 {
        let index = ask_which(&keys, console).await?;
        return Ok(keys.swap_remove(index));
    }
    keys.pop().ok_or_else(|| {
        Failure::new(format!("no public keys in '{}'", printable::path(directory)))
            .hint("make one with `ssh-keygen -t ed25519`, or set a file with -F")
            .into()
    })
}

/// The public keys in a directory; none if it does not exist.
fn public_keys(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<Result<Vec<_>, _>>()?,
    };
    let mut keys: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    keys.retain(|path| path.extension() == Some(OsStr::new("pub")) && path.is_file());
    keys.sort_unstable();
    Ok(keys)
}

/// Asks for one of the keys. Returns an index into `keys`.
async fn ask_which(keys: &[PathBuf], console: &mut Console) -> Result<usize> {
    console.screen.show("Your public keys:");
    for (number, key) in keys.iter().enumerate() {
        let name = key.file_name().map(Path::new).map(printable::path).unwrap_or_default();
        console.screen.show(&format!("  {number}: {name}"));
    }
    let question = Question { prompt: "Send which one? ".to_owned(), about: "key", answers: &[] };
    loop {
        let answer = console
            .ask(&question)
            .await?
            .ok_or_else(|| Failure::new("no key was chosen").hint("set a file with -F"))?;
        match answer.trim().parse::<usize>() {
            Ok(index) if index < keys.len() => return Ok(index),
            _ => console
                .screen
                .show(&format!("Please answer with a number from 0 to {}.", keys.len() - 1)),
        }
    }
}
