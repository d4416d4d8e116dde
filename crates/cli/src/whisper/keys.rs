//! Key pairs of our own: one file each, which holds 64 hexadecimal digits and nobody else can read.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use serde_json::json;
use wormhole_node::devp2p::key::PrivateKey;
use wormhole_node::{new_key, private_key};
use zeroize::Zeroizing;

use super::written;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Makes a key pair and prints its public half.
///
/// # Errors
/// There is such a key already, or it cannot be written.
pub(super) fn generate(name: &str, console: &Console) -> Result<()> {
    let path = place_of(name)?;
    let shown = printable::path(&path);
    let key = new_key();
    match write(&path, &key) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("there is a key in {shown} already"))
                .hint("give the new one another name: `wormhole whisper keygen NAME`")
                .into());
        }
        written => written.with_context(|| format!("cannot write {shown}"))?,
    }
    let public = written(&key.public_key());
    console
        .screen
        .show(&format!("Key written to {shown}. Others write to you with its public half:"));
    let mut event = json!({ "event": "key", "name": name, "public": public });
    crate::json::add_path(&mut event, &path);
    console.report(&event)?;
    console.print(&format!("{public}\n"))
}

/// Prints the names and public halves of all keys.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn list(console: &Console) -> Result<()> {
    let folder = folder()?;
    let names =
        names(&folder).with_context(|| format!("cannot read {}", printable::path(&folder)))?;
    if names.is_empty() {
        console.screen.show("No keys yet; `wormhole whisper keygen` makes one.");
    }
    for name in names {
        let public = written(&read(&folder.join(format!("{name}.key")))?.public_key());
        console.report(&json!({ "event": "key", "name": name, "public": public }))?;
        console.print(&format!("{}  {public}\n", printable::line(&name)))?;
    }
    Ok(())
}

/// The key of that name, or in that file.
///
/// # Errors
/// There is none.
pub(super) fn find(text: &str) -> Result<PrivateKey> {
    let is_path = text.contains(['/', '\\']) || Path::new(text).extension().is_some();
    let path = if is_path { PathBuf::from(text) } else { place_of(text)? };
    if !is_path && !path.exists() {
        let shown = printable::line(text);
        return Err(Failure::new(format!("there is no key called {shown:?}"))
            .hint("`wormhole whisper keys` lists yours, `wormhole whisper keygen` makes one")
            .into());
    }
    read(&path)
}

fn read(path: &Path) -> Result<PrivateKey> {
    let shown = printable::path(path);
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read {shown}"))?;
    let key = private_key(text.trim().trim_start_matches("0x"));
    key.ok_or_else(|| {
        Failure::new(format!("{shown} holds no private key"))
            .hint("a private key is 64 hexadecimal digits in a file of its own")
            .into()
    })
}

fn write(path: &Path, key: &PrivateKey) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(key.to_secret().expose())));
    let mut file = create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes a file that nobody but its owner can read.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Where the key of that name is.
fn place_of(name: &str) -> Result<PathBuf> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(Failure::usage(format!(
            "{:?} cannot be the name of a key",
            printable::line(name)
        ))
        .hint("a name is letters, digits, - and _")
        .into());
    }
    Ok(folder()?.join(format!("{name}.key")))
}

/// `~/.local/share/wormhole/whisper` or what the system has in its place.
fn folder() -> Result<PathBuf> {
    use etcetera::BaseStrategy as _;

    let places = etcetera::base_strategy::choose_native_strategy();
    let places = places.context("cannot find your home directory")?;
    Ok(places.data_dir().join("wormhole").join("whisper"))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("key")) {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort_unstable();
    Ok(names)
}
