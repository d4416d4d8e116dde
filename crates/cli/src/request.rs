//! Checked requests, made of the options, the environment and the configuration file.
//!
//! Nothing here connects or opens the files to send; the SDK does that.

use std::io::{self, IsTerminal as _};
use std::num::NonZeroU8;
use std::time::Duration;

use anyhow::Result;
use wormhole::code::review::guess_code;
use wormhole::code::uri::{TransferUri, UriError};
use wormhole::code::{AppId, Code, MailboxUrl, MailboxUrlError};
use wormhole::transfer::Settings;
use wormhole::transit::{HelperError, RelayHint, RelayPolicy, TcpHint};

use crate::args::{CodeArgs, ConnectionArgs, DEBUG_MACHINES, GlobalArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::{environment, printable, shell};

mod output;
mod receive;
mod send;
#[cfg(test)]
mod tests;

#[cfg(not(unix))]
pub(crate) use output::try_to_create_in;
pub(crate) use output::{Output, exists, free_space, temporary_trouble};
pub(crate) use receive::ReceiveRequest;
pub(crate) use send::{Qr, SendRequest, What};

/// The servers and the application, if they are not the default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Servers {
    /// The mailbox server.
    pub(crate) relay_url: Option<Setting>,
    /// The transit relay; an empty one means none.
    pub(crate) transit_helper: Option<Setting>,
    /// The application id.
    pub(crate) appid: Option<String>,
}

/// A value, and where the user has set it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Setting {
    /// The value as it was typed.
    pub(crate) value: String,
    /// An option, a variable, or a key of the configuration file; for error messages.
    pub(crate) source: String,
}

impl Setting {
    /// Options override variables, which override the configuration file.
    ///
    /// # Errors
    /// The variable is not Unicode.
    fn find(
        flag: Option<&String>,
        variable: &str,
        (key, file): (&str, Option<&String>),
    ) -> Result<Option<Self>> {
        let set = |value: String, source: String| Some(Self { value, source });
        Ok(match (flag, environment::text(variable)?, file) {
            (Some(value), ..) => set(value.clone(), format!("--{key}")),
            (None, Some(value), _) => set(value, variable.to_owned()),
            (None, None, Some(value)) => {
                set(value.clone(), format!("{key} in the configuration file"))
            }
            (None, None, None) => None,
        })
    }
}

impl Servers {
    /// Reads the options, the environment and the configuration file.
    ///
    /// # Errors
    /// A variable is not Unicode.
    pub(crate) fn new(global: &GlobalArgs, config: &Config) -> Result<Self> {
        Ok(Self {
            relay_url: Setting::find(
                global.relay_url.as_ref(),
                "WORMHOLE_RELAY_URL",
                ("relay-url", config.relay_url.as_ref()),
            )?,
            transit_helper: Setting::find(
                global.transit_helper.as_ref(),
                "WORMHOLE_TRANSIT_HELPER",
                ("transit-helper", config.transit_helper.as_ref()),
            )?,
            appid: global.appid.clone().or_else(|| config.appid.clone()),
        })
    }

    /// Settings for a transfer with these servers; everything else has its default.
    ///
    /// # Errors
    /// The address of a server is invalid.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        if let Some(url) = &self.relay_url {
            settings.servers = vec![mailbox(&url.value, &url.source)?];
        }
        if let Some(helper) = &self.transit_helper {
            settings.relays = relays(helper)?;
        }
        if let Some(appid) = &self.appid {
            settings.app_id = AppId::new(appid.clone());
        }
        Ok(settings)
    }

    /// The servers that two sides need to meet. A transit relay is not one of them: each side offers its own.
    pub(crate) fn to_meet(&self) -> Self {
        Self { transit_helper: None, ..self.clone() }
    }

    /// A command for the other side, ready to be pasted. It names the servers, which must be the same.
    pub(crate) fn other_side<'a>(&'a self, rest: impl IntoIterator<Item = &'a str>) -> String {
        let mut words = vec!["wormhole".to_owned()];
        for (flag, value) in [
            ("relay-url", self.relay_url.as_ref().map(|url| &url.value)),
            ("transit-helper", self.transit_helper.as_ref().map(|helper| &helper.value)),
            ("appid", self.appid.as_ref()),
        ] {
            // Before the command: the Python command line takes them only there.
            words.extend(value.map(|value| format!("--{flag}={value}")));
        }
        words.extend(rest.into_iter().map(str::to_owned));
        shell::join(words.iter().map(String::as_str))
    }
}

fn mailbox(url: &str, source: &str) -> Result<MailboxUrl> {
    url.parse().map_err(|error: MailboxUrlError| {
        Failure::usage(format!("{source}: {:?}: {error}", printable::line(url)))
            .hint("a mailbox server looks like wss://example.org/v1 or ws://192.0.2.1:4000/v1")
            .into()
    })
}

fn relays(helper: &Setting) -> Result<Vec<RelayHint>> {
    if helper.value.is_empty() {
        return Ok(Vec::new());
    }
    let hint: TcpHint = helper.value.parse().map_err(|error| {
        // The errors are texts of the Python client; the hints explain them.
        Failure::usage(format!("{}: {error}", helper.source)).hint(relay_advice(&error))
    })?;
    Ok(vec![RelayHint::tcp(hint)])
}

/// What to write instead of a transit relay that cannot be parsed.
const fn relay_advice(error: &HelperError) -> &'static str {
    if matches!(error, HelperError::NeedMoreColons(_)) {
        "the port is missing: a transit relay looks like tcp:relay.example.org:4001"
    } else if matches!(error, HelperError::NonFloatPriority(_)) {
        "the priority must be a number: tcp:relay.example.org:4001:priority=2.5"
    } else if matches!(error, HelperError::NonNumericPort(_)) {
        "the port must be a number from 1 to 65535: tcp:relay.example.org:4001"
    } else {
        "a transit relay looks like tcp:relay.example.org:4001"
    }
}

/// Applies the options of the code and of the network.
fn apply(settings: &mut Settings, code: &CodeArgs, connection: &ConnectionArgs, config: &Config) {
    settings.verify = code.verify || config.verify.unwrap_or(false);
    settings.dilate = !code.no_dilation;
    if let Some(seconds) = code.patience {
        settings.patience = Duration::from_secs(seconds);
    }
    set_code_words(settings, code.code_length, config);
    set_connection(settings, connection, config);
}

/// Applies the options of the network, except those of Tor.
pub(crate) fn set_connection(
    settings: &mut Settings,
    connection: &ConnectionArgs,
    config: &Config,
) {
    settings.listen = !connection.no_listen
        && (connection.listen || connection.listen_port.is_some() || config.listen.unwrap_or(true));
    settings.listen_port = connection.listen_port.or(config.listen_port);
    settings.relay = match (connection.no_relay, connection.relay_only) {
        (true, _) => RelayPolicy::Never,
        (_, true) => RelayPolicy::Only,
        _ => RelayPolicy::Auto,
    };
}

/// Sets the length of a new code, if the user has set one.
pub(crate) fn set_code_words(settings: &mut Settings, typed: Option<u8>, config: &Config) {
    if let Some(words) = typed.or(config.code_length).and_then(NonZeroU8::new) {
        settings.code_words = words;
    }
}

/// Output in addition to the messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct DisplayOptions {
    /// Whether there is no progress bar.
    pub(crate) hide_progress: bool,
    /// The machines of `--debug-state`.
    pub(crate) debug: Vec<String>,
}

impl DisplayOptions {
    fn new(code: &CodeArgs, config: &Config) -> Result<Self> {
        let debug = code.debug_state.clone().unwrap_or_default();
        let known = |name: &&String| DEBUG_MACHINES.split(',').any(|known| known == name.as_str());
        let unknown: Vec<_> =
            debug.iter().filter(|name| !known(name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let names = unknown.join(" ");
            return Err(Failure::usage(format!("--debug-state: unknown machines: {names}"))
                .hint(format!("use some of {DEBUG_MACHINES}"))
                .into());
        }
        Ok(Self {
            hide_progress: code.hide_progress || config.hide_progress.unwrap_or(false),
            debug,
        })
    }
}

/// Parses a code or a `wormhole-transfer:` link, which may name another mailbox server.
///
/// # Errors
/// The text is neither. The exit status is 1, as in the Python command line.
pub(crate) fn code(typed: &str, settings: &mut Settings) -> Result<Code> {
    let uri = code_or_link(typed)?;
    if let Some(server) = &uri.rendezvous {
        settings.servers = vec![mailbox(&with_path(server), "the server of the link")?];
    }
    Ok(uri.code)
}

/// Adds the path of mailbox servers, which links leave out.
fn with_path(server: &str) -> String {
    let server = server.trim_end_matches('/');
    if server.ends_with("/v1") { server.to_owned() } else { format!("{server}/v1") }
}

/// Parses a code or a `wormhole-transfer:` link. A code becomes a link without a server.
///
/// # Errors
/// The text is neither.
pub(crate) fn code_or_link(typed: &str) -> Result<TransferUri, Failure> {
    if typed.starts_with(TransferUri::SCHEME) {
        return typed.parse().map_err(|error: UriError| {
            Failure::new(error.to_string()).hint("use the code alone, such as 7-guitarist-revenge")
        });
    }
    let code = Code::parse(typed).map_err(|error| {
        let hint = match guess_code(typed) {
            Some(code) => format!("did you mean {}?", shell::quote(&code.to_string())),
            None => "a code looks like 7-guitarist-revenge".to_owned(),
        };
        Failure::new(error.to_string()).hint(hint)
    })?;
    Ok(TransferUri { code, rendezvous: None, peer_receives: false })
}

/// Whether standard input is a terminal, so that a person can answer.
pub(crate) fn asks_a_person() -> bool {
    io::stdin().is_terminal()
}
