//! What the options mean together with the environment and the configuration file, checked.
//!
//! Nothing here connects or touches the files to be sent; the SDK looks at those before it connects.

use std::io::{self, IsTerminal as _};
use std::num::NonZeroU8;

use anyhow::Result;
use wormhole::code::review::meant;
use wormhole::code::uri::{TransferUri, UriError};
use wormhole::code::{AppId, Code, MailboxUrl, MailboxUrlError};
use wormhole::transfer::Settings;
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};

use crate::args::{CodeArgs, ConnectionArgs, DEBUG_MACHINES, GlobalArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::{environment, shell};

mod output;
mod receive;
mod send;
#[cfg(test)]
mod tests;

#[cfg(not(unix))]
pub(crate) use output::try_to_create_in;
pub(crate) use output::{Output, exists, temporary_trouble};
pub(crate) use receive::ReceiveRequest;
pub(crate) use send::{Qr, SendRequest, What};

/// The servers to use, where they are not the public ones, and the application.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Servers {
    /// The mailbox server.
    pub(crate) relay_url: Option<String>,
    /// The transit relay as it was typed; an empty one means none.
    pub(crate) transit_helper: Option<String>,
    /// The application id.
    pub(crate) appid: Option<String>,
}

impl Servers {
    /// Flags beat the environment, which beats the file.
    ///
    /// # Errors
    /// A variable is not Unicode.
    pub(crate) fn new(global: &GlobalArgs, config: &Config) -> Result<Self> {
        let pick = |flag: &Option<String>, variable, file: &Option<String>| match flag {
            Some(typed) => Ok(Some(typed.clone())),
            None => environment::text(variable).map(|set| set.or_else(|| file.clone())),
        };
        Ok(Self {
            relay_url: pick(&global.relay_url, "WORMHOLE_RELAY_URL", &config.relay_url)?,
            transit_helper: pick(
                &global.transit_helper,
                "WORMHOLE_TRANSIT_HELPER",
                &config.transit_helper,
            )?,
            appid: global.appid.clone().or_else(|| config.appid.clone()),
        })
    }

    /// The settings that follow, with everything else at its default.
    ///
    /// # Errors
    /// A server is not understood.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        if let Some(url) = &self.relay_url {
            settings.servers = vec![mailbox(url)?];
        }
        if let Some(helper) = &self.transit_helper {
            settings.relays = relays(helper)?;
        }
        if let Some(appid) = &self.appid {
            settings.app_id = AppId::new(appid.clone());
        }
        Ok(settings)
    }

    /// A command for the other side, which must use the same servers: ready to be pasted.
    pub(crate) fn other_side<'a>(&'a self, rest: impl IntoIterator<Item = &'a str>) -> String {
        let mut words = vec!["wormhole".to_owned()];
        for (flag, value) in [
            ("relay-url", &self.relay_url),
            ("transit-helper", &self.transit_helper),
            ("appid", &self.appid),
        ] {
            // Before the command: the Python command line takes them only there.
            words.extend(value.as_ref().map(|value| format!("--{flag}={value}")));
        }
        words.extend(rest.into_iter().map(str::to_owned));
        shell::join(words.iter().map(String::as_str))
    }
}

fn mailbox(url: &str) -> Result<MailboxUrl> {
    url.parse().map_err(|error: MailboxUrlError| {
        Failure::usage(format!("--relay-url {url:?}: {error}"))
            .hint("a mailbox server looks like wss://example.org/v1 or ws://192.0.2.1:4000/v1")
            .into()
    })
}

fn relays(helper: &str) -> Result<Vec<RelayHint>> {
    if helper.is_empty() {
        return Ok(Vec::new());
    }
    let hint: TcpHint = helper.parse().map_err(|error| {
        Failure::usage(format!("--transit-helper: {error}"))
            .hint("a transit relay looks like tcp:relay.example.org:4001")
    })?;
    Ok(vec![RelayHint::tcp(hint)])
}

/// Fills in what the options of the code and of the network say.
fn apply(settings: &mut Settings, code: &CodeArgs, connection: &ConnectionArgs, config: &Config) {
    settings.verify = code.verify || config.verify.unwrap_or(false);
    set_code_words(settings, code.code_length, config);
    settings.listen = !connection.no_listen
        && (connection.listen || connection.listen_port.is_some() || config.listen.unwrap_or(true));
    settings.listen_port = connection.listen_port.or(config.listen_port);
    settings.relay = match (connection.no_relay, connection.relay_only) {
        (true, _) => RelayPolicy::Never,
        (_, true) => RelayPolicy::Only,
        _ => RelayPolicy::Auto,
    };
}

/// Sets the length of a new code, if anybody said one.
pub(crate) fn set_code_words(settings: &mut Settings, typed: Option<u8>, config: &Config) {
    if let Some(words) = typed.or(config.code_length).and_then(NonZeroU8::new) {
        settings.code_words = words;
    }
}

/// How much is shown besides the messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shown {
    /// No progress bar.
    pub(crate) hide_progress: bool,
    /// The machines to trace.
    pub(crate) debug: Vec<String>,
}

impl Shown {
    fn new(code: &CodeArgs, config: &Config) -> Result<Self> {
        let debug = code.debug_state.clone().unwrap_or_default();
        let known = |name: &&String| DEBUG_MACHINES.split(',').any(|known| known == name.as_str());
        let unknown: Vec<_> =
            debug.iter().filter(|name| !known(name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let names = unknown.join(" ");
            return Err(Failure::usage(format!("cannot debug unknown machines: {names}")).into());
        }
        Ok(Self {
            hide_progress: code.hide_progress || config.hide_progress.unwrap_or(false),
            debug,
        })
    }
}

/// Reads a code, or a `wormhole-transfer:` link, which may name another mailbox server.
///
/// # Errors
/// It is neither; the exit code is 1, as the Python command line has it.
pub(crate) fn code(typed: &str, settings: &mut Settings) -> Result<Code> {
    let uri = code_or_link(typed)?;
    if let Some(server) = &uri.rendezvous {
        settings.servers = vec![mailbox(&with_path(server))?];
    }
    Ok(uri.code)
}

/// The links leave out the path that every mailbox server has.
fn with_path(server: &str) -> String {
    let server = server.trim_end_matches('/');
    if server.ends_with("/v1") { server.to_owned() } else { format!("{server}/v1") }
}

/// Reads a code, or a `wormhole-transfer:` link; a code is a link without a server.
///
/// # Errors
/// It is neither.
pub(crate) fn code_or_link(typed: &str) -> Result<TransferUri, Failure> {
    if typed.starts_with(TransferUri::SCHEME) {
        return typed.parse().map_err(|error: UriError| Failure::new(error.to_string()));
    }
    let code = Code::parse(typed).map_err(|error| {
        let hint = match meant(typed) {
            Some(code) => format!("did you mean {}?", shell::quote(&code.to_string())),
            None => "a code looks like 7-guitarist-revenge".to_owned(),
        };
        Failure::new(error.to_string()).hint(hint)
    })?;
    Ok(TransferUri { code, rendezvous: None, peer_receives: false })
}

/// Whether a person sits at standard input.
pub(crate) fn asks_a_person() -> bool {
    io::stdin().is_terminal()
}
