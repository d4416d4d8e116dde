//! The passwords and the token for nodes.

use std::path::Path;

use anyhow::Result;
use wormhole_node::shh::SymmetricKey;
use zeroize::Zeroizing;

use crate::args::PasswordArgs;
use crate::console::Console;
use crate::environment;
use crate::failure::Failure;
use crate::secret::{PasswordSource, first_line};

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
                name: "password",
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
        name: "password",
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
