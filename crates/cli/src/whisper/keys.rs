//! The user's own key pairs for Whisper: each is 64 hexadecimal digits in a file of the profile.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use serde_json::json;
use wormhole::store::{KeyFolder, KeyName, Profile, read_key};
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
    let (key_name, folder) = (key_name(name)?, folder()?);
    let path = folder.file(&key_name);
    let shown = printable::path(&path);
    let key = new_key();
    let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(key.to_secret().expose())));
    match folder.create(&key_name, &text) {
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
    let files = folder.files();
    let files = files.with_context(|| format!("cannot read {}", printable::path(folder.path())))?;
    if files.is_empty() {
        console.screen.show("No keys yet; `wormhole whisper keygen` makes one.");
    }
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let public = written(&read(&file)?.public_key());
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
    let path = if is_path { PathBuf::from(text) } else { folder()?.file(&key_name(text)?) };
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
    let text = read_key(path).with_context(|| format!("cannot read {shown}"))?;
    let key = private_key(text.trim().trim_start_matches("0x"));
    key.ok_or_else(|| {
        Failure::new(format!("{shown} holds no private key"))
            .hint("a private key is 64 hexadecimal digits in a file of its own")
            .into()
    })
}

fn key_name(text: &str) -> Result<KeyName> {
    text.parse().map_err(|_| {
        let refused = format!("{:?} cannot be the name of a key", printable::line(text));
        Failure::usage(refused).hint("a name is letters, digits, - and _").into()
    })
}

/// Where the keys are: `~/.local/share/wormhole/whisper`, or the directory for it on other systems.
fn folder() -> Result<KeyFolder> {
    let profile = Profile::of_user().context("cannot find your home directory")?;
    Ok(profile.keys("whisper"))
}
