//! What `share` and `forward` have in common: their settings, and their wormhole.

use anyhow::Result;
use wormhole::code::{self, Code, Wormhole};
use wormhole::dilated;
use wormhole::transfer::Settings;

use crate::args::ConnectionArgs;
use crate::config::Config;
use crate::console::Console;
use crate::request::{self, Servers};
use crate::{explain, json, progress};

/// The settings of the servers, of new codes and of connections.
///
/// # Errors
/// An address of a server is wrong.
pub(crate) fn settings(
    servers: &Servers,
    connection: &ConnectionArgs,
    code_length: Option<u8>,
    config: &Config,
) -> Result<Settings> {
    let mut settings = servers.settings()?;
    request::set_code_words(&mut settings, code_length, config);
    request::set_connection(&mut settings, connection, config);
    Ok(settings)
}

/// The settings of dilated connections.
pub(crate) fn connection(settings: &Settings) -> dilated::Settings {
    dilated::Settings {
        listen: settings.listen,
        port: settings.listen_port,
        policy: settings.relay,
        relays: settings.relays.clone(),
        ..dilated::Settings::default()
    }
}

/// A wormhole whose code is known to the server.
pub(crate) struct Opened {
    pub(crate) wormhole: Wormhole,
    pub(crate) code: Code,
    /// The address of the mailbox server, for errors.
    pub(crate) server: String,
}

/// Opens a wormhole with this code, or with a new one. `standard` has the app id and what is announced to the other side.
///
/// # Errors
/// The server cannot be reached or refuses the code, or a signal came.
pub(crate) async fn open(
    standard: code::Config,
    settings: &Settings,
    code: Option<&Code>,
    console: &mut Console,
) -> Result<Opened> {
    let server = progress::server(settings);
    console.report(&json::connecting(&server))?;
    let wormhole = Wormhole::create_dilatable(code::Config {
        servers: settings.servers.clone(),
        tor: settings.tor.clone(),
        ..standard
    });
    let chosen = match code {
        Some(code) => wormhole.set_code(code.clone()),
        None => wormhole.allocate_code(settings.code_words),
    };
    chosen.map_err(|error| explain::rendezvous(&error, &server))?;
    let notice = format!("Connecting to the mailbox server {server}..");
    match console.notice_if_slow(&notice, wormhole.code()).await {
        Ok(code) => {
            let code = code.map_err(|error| explain::rendezvous(&error, &server))?;
            Ok(Opened { wormhole, code, server })
        }
        Err(interrupted) => {
            // The server must free the code before the program ends.
            tokio::select! {
                _closed = wormhole.close() => {}
                _ = console.next_signal() => {}
            }
            Err(interrupted)
        }
    }
}
