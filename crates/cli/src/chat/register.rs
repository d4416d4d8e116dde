//! `chat register` and `chat verify`: a phone number becomes an account.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{
    AppName, PhoneNumber, RegisterError, RequestError, Server, ServerUrl, Token, Transport,
};

use super::{explain, profile, who};
use crate::args::chat::{RegisterArgs, VerifyArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::secret::first_line;
use crate::{environment, printable};

/// Asks the server to send a code.
///
/// # Errors
/// A value is invalid, the account exists, or the server sends no code.
pub(super) async fn register(
    args: RegisterArgs,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let number: PhoneNumber = who::without_separators(&args.number)
        .parse()
        .map_err(|error| Failure::usage(format!("'{}': {error}", printable::line(&args.number))))?;
    let choice = ServerChoice {
        url: &args.server,
        app: args.app.as_deref(),
        token_file: args.token_file.as_deref(),
        allow_plain: args.new.allow_plain,
    };
    let server = choice.server()?;
    let transport = if args.voice { Transport::Voice } else { Transport::Sms };
    let protect = args.new.protection();
    let store = profile::open_or_create(&args.client.account, protect, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    let requested = account.register(&server, &number, transport);
    let requested = console.unless_interrupted(requested).await?;
    requested.map_err(|error| match (&server.app, error) {
        (None, RegisterError::Request(RequestError::AppRefused)) => explain::app_needed(),
        (_, error) => explain::register(&error, &args.client.account),
    })?;
    console.report(&json!({
        "event": "chat-code-requested", "number": number.as_str(), "server": server.url.to_string(),
    }))?;
    let way = if args.voice { "a call" } else { "a text message" };
    let verify = explain::command("verify CODE", &args.client.account);
    console
        .screen
        .show(&format!("The server sends a code to {number} by {way}. Confirm it: {verify}"));
    Ok(())
}

/// Confirms the code.
///
/// # Errors
/// The code is wrong, or the server cannot be reached.
pub(super) async fn verify(args: VerifyArgs, config: &Config, console: &mut Console) -> Result<()> {
    let code = six_digits(&args.code)?;
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    let me = console.unless_interrupted(account.verify(&code)).await?;
    let me = me.map_err(|error| explain::verify(&error, &args.client.account))?;
    let id = me.address.account.to_string();
    console.report(&json!({
        "event": "chat-registered", "number": me.number.to_string(), "account": id,
        "server": me.server,
        "app": me.app.as_ref().map(ToString::to_string),
    }))?;
    console.screen.show(&format!("{} is registered. Your account id:", me.number));
    console.print(&format!("{id}\n"))
}

/// The digits of a code. The server is not asked about anything else, because it permits only a few attempts.
///
/// # Errors
/// It is not a code.
fn six_digits(typed: &str) -> Result<String> {
    let digits: String = typed.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if digits.len() == CODE && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(digits);
    }
    let shown = printable::line(typed);
    Err(Failure::usage(format!("'{shown}' is not a code"))
        .hint("a code has six digits, such as 123-456")
        .into())
}

/// The server and the app in the options.
pub(super) struct ServerChoice<'a> {
    /// The address.
    pub(super) url: &'a str,
    /// The app. `None`: the default app of the server.
    pub(super) app: Option<&'a str>,
    /// The file with its token. `None`: the token is in a variable.
    pub(super) token_file: Option<&'a Path>,
    /// Permits another computer without TLS.
    pub(super) allow_plain: bool,
}

impl ServerChoice<'_> {
    /// The server.
    ///
    /// # Errors
    /// An option is invalid, or the token is missing.
    pub(super) fn server(&self) -> Result<Server> {
        let url: ServerUrl = self.url.parse().map_err(|error| {
            Failure::usage(format!("--server '{}': {error}", printable::line(self.url)))
        })?;
        if !url.is_private() && !self.allow_plain {
            return Err(Failure::usage(format!(
                "the connection to {url} is not encrypted: others could read your password"
            ))
            .hint("use https://; or --allow-plain, if you trust the network")
            .into());
        }
        let server = Server::new(url);
        let server = if self.allow_plain { server.allow_plain_http() } else { server };
        let Some(app) = self.app else { return Ok(server) };
        let name: AppName = app.parse().map_err(|error| {
            Failure::usage(format!("--app '{}': {error}", printable::line(app)))
        })?;
        let token = match self.token_file {
            Some(file) => first_line(file)?,
            None => environment::text(TOKEN)?.map(Into::into).ok_or_else(|| {
                Failure::usage(format!("the token of the app {name} is missing")).hint(format!(
                "use --token-file FILE, or set {TOKEN}; `wormhole-server app add` prints the token"
            ))
            })?,
        };
        Ok(server.with_app(name, parsed(&token)?))
    }
}

/// The token of an app: the first line of a file.
///
/// # Errors
/// The file cannot be read, or it is not a token.
pub(super) fn token(file: &Path) -> Result<Token> {
    parsed(&first_line(file)?)
}

fn parsed(token: &str) -> Result<Token> {
    Ok(token.parse().map_err(|error| Failure::usage(format!("{error}")))?)
}

/// Number of digits of a code.
const CODE: usize = 6;

/// The variable with the token of the app.
const TOKEN: &str = "WORMHOLE_CHAT_TOKEN";
