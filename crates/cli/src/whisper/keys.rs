//! The user's own key pairs for Whisper: each is 64 hexadecimal digits in a file of the profile.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use serde_json::json;
use wormhole::store::{KeyFolder, KeyName, KeyProtocol, Profile, read_key};
use wormhole_node::devp2p::key::PrivateKey;
use wormhole_node::{new_key, private_key};
use zeroize::Zeroizing;

use super::public_key_text;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Creates a key pair and prints the public key.
///
/// # Errors
/// A key with this name exists already, or the file cannot be written.
pub(super) fn generate(name: &str, console: &Console) -> Result<()> {
    let (key_name, folder) = (key_name(name)?, folder()?);
    let path = folder.file(&key_name);
    let shown = printable::path(&path);
    let key = new_key();
    let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(key.to_secret().expose())));
    match folder.create(&key_name, &text) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("{shown} already contains a key"))
                .hint("choose another name: `wormhole whisper keygen NAME`")
                .into());
        }
        created => created.with_context(|| format!("cannot write {shown}"))?,
    }
    let public = public_key_text(&key.public_key());
    console
        .screen
        .show(&format!("Key written to {shown}. Others need its public key to write to you:"));
    let mut event = json!({ "event": "key", "name": name, "public": public });
    crate::json::add_path(&mut event, &path);
    console.report(&event)?;
    console.print(&format!("{public}\n"))
}

/// Prints the names and public keys of all key pairs.
///
/// # Errors
/// A key file cannot be read.
pub(super) fn list(console: &Console) -> Result<()> {
    let folder = folder()?;
    let files = folder.files();
    let files = files.with_context(|| format!("cannot read {}", printable::path(folder.path())))?;
    if files.is_empty() {
        console.screen.show("No keys yet; `wormhole whisper keygen` makes one.");
    }
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let public = public_key_text(&read(&file)?.public_key());
        console.report(&json!({ "event": "key", "name": name, "public": public }))?;
        console.print(&format!("{}  {public}\n", printable::line(&name)))?;
    }
    Ok(())
}

/// Finds a private key by its name or by the path of its file.
///
/// # Errors
/// There is no such key.
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
        Failure::new(format!("{shown} does not contain a private key"))
            .hint("a key file contains 64 hexadecimal digits and nothing else")
            .into()
    })
}

fn key_name(text: &str) -> Result<KeyName> {
    text.parse().map_err(|_| {
        let error = format!("{:?} is not a valid key name", printable::line(text));
        Failure::usage(error).hint("a name consists of letters, digits, - and _").into()
    })
}

/// The directory of the keys: `~/.local/share/wormhole/whisper`, or its equivalent on other systems.
fn folder() -> Result<KeyFolder> {
    let profile = Profile::of_user().context("cannot find your home directory")?;
    Ok(profile.keys(KeyProtocol::Whisper))
}
