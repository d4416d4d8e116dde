//! Where two sides meet with a code, for `chat link` and `chat add`.

use std::num::NonZeroU8;

use anyhow::Result;
use wormhole::chat::MailboxOptions;
use wormhole::code::Code;

use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::request::{self, Servers};
use crate::{code_review, explain, json, printable, progress};

/// A mailbox server where two sides meet.
pub(super) struct MeetingPoint {
    pub(super) mailbox: MailboxOptions,
    /// The address of the server, for messages.
    pub(super) server: String,
}

impl MeetingPoint {
    /// The meeting point for a new code with this number of words.
    ///
    /// # Errors
    /// The address of the mailbox server is invalid.
    pub(super) fn new(servers: &Servers, words: Option<u8>, config: &Config) -> Result<Self> {
        let settings = servers.settings()?;
        let server = progress::server(&settings);
        let mut mailbox = MailboxOptions::default();
        mailbox.servers = settings.servers;
        (mailbox.transit.policy, mailbox.transit.relays) = (settings.relay, settings.relays);
        // A shorter code may suffice for files, but not for an account.
        let configured = config.code_length.filter(|words| *words > mailbox.code_words.get());
        if let Some(words) = words.or(configured).and_then(NonZeroU8::new) {
            mailbox.code_words = words;
        }
        Ok(Self { mailbox, server })
    }

    /// The meeting point of a code that the user has typed, which may be a link with a server. Asks about typing errors.
    ///
    /// # Errors
    /// It is not a code, the address of the mailbox server is invalid, or the user does not want to use the code.
    pub(super) async fn from_code(
        typed: &str,
        servers: &Servers,
        console: &mut Console,
    ) -> Result<(Self, Code)> {
        let mut settings = servers.settings()?;
        let code = request::code(typed, &mut settings)?;
        code_review::confirm(&code, console).await?;
        let server = progress::server(&settings);
        let mut mailbox = MailboxOptions::default();
        mailbox.servers = settings.servers;
        (mailbox.transit.policy, mailbox.transit.relays) = (settings.relay, settings.relays);
        Ok((Self { mailbox, server }, code))
    }

    /// Reports that a connection to the server is opened.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn report(&self, console: &Console) -> Result<()> {
        console.report(&json::connecting(&self.server))
    }

    /// Why two sides have not met.
    pub(super) fn failure(&self, error: &wormhole::code::Error) -> Failure {
        explain::rendezvous(error, &self.server)
    }
}

/// Shows the command for the other side.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn show_code(
    code: &Code,
    words: &[&str],
    servers: &Servers,
    where_to_run: &str,
    console: &Console,
) -> Result<()> {
    let code = code.to_string();
    console.report(&serde_json::json!({"event": "code", "code": code}))?;
    let servers = servers.to_meet();
    let command = servers.other_side(words.iter().copied().chain([code.as_str()]));
    let command = printable::text(&command);
    console.screen.show(&format!("{where_to_run}, please run:\n\n{command}\n"));
    Ok(())
}
