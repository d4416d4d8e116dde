//! `chat send`: one message, until the server has it.

use std::io::{self, Read as _};

use anyhow::{Context as _, Result};
use serde_json::json;
use wormhole::chat::{Client, Ended, Event, Message, Messages, NotSent, SentMessage};

use super::{explain, profile, who};
use crate::args::chat::SendArgs;
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::{printable, stdin};

/// Sends a message.
///
/// # Errors
/// The server does not have the message. It may be in the outbox.
pub(super) async fn run(args: SendArgs, config: &Config, console: &mut Console) -> Result<()> {
    let text = text(args.text.as_deref(), console).await?;
    let message = args.file.iter().fold(Message::text(text), Message::with_file);
    let client = profile::client(&args.account, &args.tor, config, console).await?;
    let sent = send(&client, &args.who, message, console).await;
    client.close().await;
    sent
}

async fn send(client: &Client, who: &str, message: Message, console: &mut Console) -> Result<()> {
    let destination = who::destination(who, client, console).await?;
    let events = client.messages();
    let sent = console.unless_interrupted(client.send(&destination, message)).await?;
    let mut sent = sent.map_err(|error| explain::send(&error))?;
    let description = |event: &str| {
        let (to, timestamp) = (sent.to().to_string(), sent.timestamp().0);
        json!({"event": event, "to": to, "timestamp": timestamp})
    };
    let (queued, arrived) = (description("chat-queued"), description("chat-sent"));
    console.report(&queued)?;
    wait(&mut sent, events, who, console).await?;
    console.report(&arrived)?;
    console.screen.show("Sent.");
    Ok(())
}

/// Waits until the server has the message.
async fn wait(
    sent: &mut SentMessage,
    mut events: Messages,
    who: &str,
    console: &mut Console,
) -> Result<()> {
    let mut is_noticed = false;
    loop {
        let next = console.unless_interrupted(next(sent, &mut events)).await;
        match next.inspect_err(|_| console.screen.show(STAYS))? {
            Next::Done(result) => return result.map_err(|error| not_sent(&error, who).into()),
            Next::Event(Ok(Event::Disconnected(why))) if !why.is_temporary() => {
                return Err(explain::request(&why).into());
            }
            Next::Event(Ok(Event::Disconnected(why))) if !is_noticed => {
                is_noticed = true;
                let why = printable::line(&why.to_string());
                console.screen.show(&format!("Not sent yet: {why}. Trying again.."));
            }
            Next::Event(Ok(_)) => {}
            Next::Event(Err(error)) => return Err(explain::ended(&error).into()),
        }
    }
}

/// What happens next.
#[derive(Debug)]
enum Next {
    Done(Result<(), NotSent>),
    Event(Result<Event, Ended>),
}

async fn next(sent: &mut SentMessage, events: &mut Messages) -> Next {
    tokio::select! {
        biased;
        result = sent.on_server() => Next::Done(result),
        event = events.next() => Next::Event(event),
    }
}

fn not_sent(error: &NotSent, who: &str) -> Failure {
    let who = printable::line(who);
    match error {
        NotSent::IdentityChanged(_) => explain::identity_changed(&who),
        NotSent::Ended | NotSent::Failed(_) | NotSent::Refused(_) => {
            Failure::new(printable::line(&error.to_string()))
        }
        // Later errors of the SDK.
        _ => Failure::new(printable::line(&error.to_string())),
    }
}

/// The text of the message: the argument, or standard input without the end of its last line.
async fn text(argument: Option<&str>, console: &mut Console) -> Result<String> {
    match argument {
        None => return Ok(String::new()),
        Some("-") => {}
        Some(text) => return Ok(text.to_owned()),
    }
    stdin::check()?;
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        io::stdin().lock().take(MAX_TEXT + 1).read_to_string(&mut text).map(|_| text)
    });
    let text = console.unless_interrupted(read).await?.context("cannot read standard input")?;
    let mut text = text.context("cannot read standard input")?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_TEXT) {
        return Err(explain::too_long().into());
    }
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// Shown when the user stops waiting.
const STAYS: &str =
    "The message is in the outbox: the next `wormhole chat send` or `receive --follow` sends it.";

/// Maximum length of a text in bytes; longer ones do not fit into a message.
const MAX_TEXT: u64 = 256 << 10;
