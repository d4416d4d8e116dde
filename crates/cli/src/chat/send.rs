//! `chat send`: one message, until the server has it.

use std::io::{self, Read as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::{sleep, timeout};
use wormhole::chat::group::GroupId;
use wormhole::chat::{
    Client, Conversation, DeliveryError, Destination, Ended, Event, GroupDelay, GroupEvent,
    Message, MessageRef, Messages, PartlySent, QueueError, RequestError, SendFailure, SentMessage,
    UploadProgress,
};

use super::groups::sending::{delayed_by, show_partly_sent, until_delayed};
use super::outbox::{self, Waiting};
use super::people::{self, People};
use super::recent::Recent;
use super::{explain, mentions, profile, who};
use crate::args::chat::{AccountArgs, SendArgs};
use crate::config::Config;
use crate::console::{Console, SLOW};
use crate::failure::Failure;
use crate::shell::quote;
use crate::{printable, stdin};

/// Sends a message.
///
/// # Errors
/// The server does not have the message. It may be in the outbox.
pub(super) async fn run(args: SendArgs, config: &Config, console: &mut Console) -> Result<()> {
    if args.text.is_none() && args.file.is_empty() {
        return Err(Failure::usage("there is nothing to send")
            .hint("add a text, - for a text from standard input, or --file PATH")
            .into());
    }
    let text = text(args.text.as_deref(), console).await?;
    let message = args.file.iter().fold(Message::text(text), Message::with_file);
    let client = profile::client(&args.client, config, console).await?;
    let done = send(&client, &args, message, console).await;
    profile::finish(client, done).await
}

async fn send(
    client: &Client,
    args: &SendArgs,
    message: Message,
    console: &mut Console,
) -> Result<()> {
    let with = who::target(&args.who, client, &args.client.account, console).await?.conversation();
    let mut waiting = Waiting::all(client, console).await?;
    let events = client.messages();
    let mut recent = Recent::load(client, console).await?;
    let message = add_quote_and_mentions(message, with, args, client, &recent, console).await?;
    let mut sent = queue_message(client, with, &message, args, console).await?;
    let reference = MessageRef { author: client.me().address.account, timestamp: sent.timestamp() };
    let timer = console.unless_interrupted(client.timer(with)).await?;
    let disappears = timer.map_err(|error| explain::ended(&error))?.is_some();
    recent.add(with, reference, &message.text, disappears);
    recent.save(client, console).await?;
    let description = |event: &str| {
        json!({
            "event": event, "to": people::account_json(with), "group": people::group_json(with),
            "timestamp": sent.timestamp().0, "short_id": reference.short_id(),
        })
    };
    let (queued, arrived) = (description("chat-queued"), description("chat-sent"));
    console.report(&queued)?;
    let recipient = Recipient { who: &args.who, account: &args.client.account };
    match wait(client, with, &mut sent, events, recipient, console).await? {
        Some((group, partly)) => show_partly_sent(client, (group, &partly), console).await?,
        None => {
            console.report(&arrived)?;
            console.screen.show("Sent.");
        }
    }
    let drafts = outbox::send_drafts(client, &args.client.account, console).await?;
    outbox::say_sent(waiting.send(console).await? + drafts, console);
    outbox::say_failed(client, &args.client.account, console).await
}

/// The message with the one that it replies to, and with mentions.
async fn add_quote_and_mentions(
    mut message: Message,
    with: Conversation,
    args: &SendArgs,
    client: &Client,
    recent: &Recent,
    console: &mut Console,
) -> Result<Message> {
    if let Some(id) = &args.reply {
        message.quote = Some(recent.find(with, id, None)?.quote());
    }
    if message.text.contains('@') {
        let people = People::new(client, console).await?;
        message.mentions = mentions::find(&message.text, people.others());
    }
    Ok(message)
}

/// Puts the message into the outbox. Its files are uploaded before that, again and again if the server cannot be reached.
async fn queue_message(
    client: &Client,
    to: Conversation,
    message: &Message,
    args: &SendArgs,
    console: &mut Console,
) -> Result<SentMessage> {
    let mut attempt = 0;
    loop {
        let sending = client.send(to, message.clone());
        let (sent, stopped) = match message.files.len() {
            0 => (console.unless_interrupted(sending).await, NOT_QUEUED),
            _ => (with_progress(client, sending, console).await, DRAFT),
        };
        let why = match sent.inspect_err(|_| console.screen.show(stopped))? {
            Ok(sent) => return Ok(sent),
            Err(QueueError::Request(why)) => why,
            Err(error) => return Err(explain::send(&error, &args.client.account).into()),
        };
        let Some(pause) = pause(&why, attempt) else {
            return Err(explain::client_request(&why, client.me(), &args.client.account).into());
        };
        if attempt == 0 {
            trying_again(&why, console);
        }
        attempt += 1;
        let pause = console.unless_interrupted(sleep(pause)).await;
        pause.inspect_err(|_| console.screen.show(stopped))?;
    }
}

/// Waits for files to be uploaded, and shows how far the upload is.
async fn with_progress<T>(
    client: &Client,
    sending: impl Future<Output = T>,
    console: &mut Console,
) -> Result<T> {
    let mut uploads = client.upload_progress();
    tokio::pin!(sending);
    if let Ok(done) = console.unless_interrupted(timeout(SLOW, &mut sending)).await? {
        return Ok(done);
    }
    console.screen.show(UPLOADING);
    loop {
        let step = async {
            tokio::select! {
                done = &mut sending => Some(done),
                _ = uploads.changed() => None,
            }
        };
        if let Some(done) = console.unless_interrupted(step).await? {
            console.screen.end_progress();
            return Ok(done);
        }
        let UploadProgress { sent, total, .. } = *uploads.borrow_and_update();
        if total > 0 {
            console.screen.show_progress(sent, Some(total));
        }
        if sent == total {
            // The next file begins a bar of its own.
            console.screen.end_progress();
        }
    }
}

/// How long to wait before files are uploaded again. `None` if that would be useless: then the user decides.
fn pause(why: &RequestError, attempt: u32) -> Option<Duration> {
    let usual = RETRY.saturating_mul(1 << attempt.min(4));
    match why {
        // Until Ctrl-C: nothing is transferred while the server cannot be reached.
        RequestError::Connection(_) => Some(usual),
        RequestError::TooMany(pause) if *pause > LONGEST_PAUSE => None,
        RequestError::TooMany(pause) if attempt < MAX_ATTEMPTS => Some(usual.max(*pause)),
        RequestError::Unavailable(_) if attempt < MAX_ATTEMPTS => Some(usual),
        RequestError::AppRefused
        | RequestError::CredentialsRefused
        | RequestError::Internal
        | RequestError::IntraApp
        | RequestError::Invalid(_)
        | RequestError::InvalidAnswer(_)
        | RequestError::NotAService
        | RequestError::NotFound
        | RequestError::Refused(_)
        | RequestError::StorageFull
        | RequestError::TooMany(_)
        | RequestError::Unavailable(_) => None,
        // Later errors of the SDK.
        _ => None,
    }
}

fn trying_again(why: &RequestError, console: &Console) {
    let why = printable::line(&why.to_string());
    console.screen.show(&format!("Not sent yet: {why}. Trying again..."));
}

/// The person or the group that a command names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipient<'a> {
    /// As the user has typed it.
    pub(super) who: &'a str,
    pub(super) account: &'a AccountArgs,
}

/// Waits until the server has the message. Returns which members of a group do not get it now, if there are any.
///
/// # Errors
/// The server does not have it, and the user must do something; or a signal came.
pub(super) async fn wait(
    client: &Client,
    with: Conversation,
    sent: &mut SentMessage,
    mut events: Messages,
    to: Recipient<'_>,
    console: &mut Console,
) -> Result<Option<(GroupId, PartlySent)>> {
    let (mut is_noticed, mut partly) = (false, None);
    let delayed = until_delayed(client, with);
    tokio::pin!(delayed);
    loop {
        let next = async {
            tokio::select! {
                biased;
                next = next(sent, &mut events) => next,
                why = &mut delayed => Next::Delayed(why),
            }
        };
        let next = console.unless_interrupted(next).await;
        match next.inspect_err(|_| console.screen.show(&stays(sent, to.account)))? {
            Next::Done(Err(error)) => {
                return Err(explain_not_sent(client, error, to, console).await?.into());
            }
            Next::Done(Ok(())) => return Ok(partly),
            Next::Event(Ok(Event::Group { group, event: GroupEvent::PartlySent(reached) }))
                if with == Conversation::Group(group) && reached.timestamp == sent.timestamp() =>
            {
                if !reached.waiting.is_empty() {
                    return Ok(Some((group, reached)));
                }
                partly = Some((group, reached));
            }
            Next::Delayed(why) => return Err(delayed_by(why).into()),
            Next::Event(Ok(Event::Disconnected(why))) if !why.may_retry() => {
                return Err(explain::client_request(&why, client.me(), to.account).into());
            }
            Next::Event(Ok(Event::Disconnected(why))) if !is_noticed => {
                is_noticed = true;
                trying_again(&why, console);
            }
            Next::Event(Ok(_)) => {}
            Next::Event(Err(error)) => return Err(explain::ended(&error).into()),
        }
    }
}

/// Why the server does not have the message. A message that can never be sent stays in the store until `chat outbox` or
/// `chat receive` has printed it.
async fn explain_not_sent(
    client: &Client,
    error: DeliveryError,
    to: Recipient<'_>,
    console: &mut Console,
) -> Result<Failure> {
    if error == DeliveryError::Failed(SendFailure::NoDevice)
        && let Ok(number) = to.who.parse::<Destination>()
        && let Err(moved @ QueueError::NumberMoved { .. }) =
            console.unless_interrupted(client.resolve(&number)).await?
    {
        return Ok(explain::send(&moved, to.account));
    }
    Ok(not_sent(&error, to))
}

/// The next event.
#[derive(Debug)]
enum Next {
    Done(Result<(), DeliveryError>),
    Event(Result<Event, Ended>),
    Delayed(GroupDelay),
}

async fn next(sent: &mut SentMessage, events: &mut Messages) -> Next {
    // Events that came before the server had the message come first.
    tokio::select! {
        biased;
        event = events.next() => Next::Event(event),
        result = sent.on_server() => Next::Done(result),
    }
}

fn not_sent(error: &DeliveryError, to: Recipient<'_>) -> Failure {
    let who = printable::line(to.who);
    match error {
        DeliveryError::IdentityChanged(_) => explain::identity_changed(&who, to.account),
        DeliveryError::Delayed(why) => {
            let failure = Failure::new(printable::line(&error.to_string()));
            match explain::request(why, to.account).advice() {
                Some(advice) => failure.hint(advice),
                None => failure,
            }
        }
        DeliveryError::Failed(SendFailure::RefusedIdentity) => {
            let safety = format!("safety {}", quote(to.who));
            let safety = explain::command(&safety, to.account);
            Failure::new(printable::line(&error.to_string())).hint(format!(
                "if you refused it by mistake: {safety} shows it, and how to accept it"
            ))
        }
        DeliveryError::Failed(_) => {
            Failure::new(printable::line(&error.to_string())).hint(format!(
                "until you have seen it in {}, the text stays on the disk",
                explain::command("outbox", to.account)
            ))
        }
        DeliveryError::Cancelled | DeliveryError::Ended => {
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
fn stays(sent: &SentMessage, args: &AccountArgs) -> String {
    let (send, receive) = (explain::command("send", args), explain::command("receive", args));
    let cancel = explain::command(&format!("outbox --cancel {}", sent.timestamp().0), args);
    format!(
        "The message is in the outbox: the next {send} or {receive} sends it. To cancel it: {cancel}"
    )
}

/// Shown while a slow upload lasts.
const UPLOADING: &str = "Sending the files...";

/// Shown when the user stops while files are being sent.
const DRAFT: &str = "The files are not sent yet. The next `wormhole chat send` or `wormhole chat outbox` continues, and `wormhole chat outbox` \
                     shows how to cancel the message.";

/// Shown when the user stops before there is a message.
const NOT_QUEUED: &str = "The message was not sent, and is not in the outbox.";

/// Shortest pause before files are uploaded again. It doubles four times.
const RETRY: Duration = Duration::from_secs(3);

/// Longest pause that the server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often files are uploaded again to a server that answers with an error.
const MAX_ATTEMPTS: u32 = 3;

/// Maximum length of a text in bytes; longer ones do not fit into a message.
const MAX_TEXT: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use wormhole::net::LinkFailure;

    use super::*;

    #[test]
    fn files_are_not_uploaded_again_and_again_to_a_server_that_refuses_them() {
        let unavailable = RequestError::Unavailable;
        assert_eq!(pause(&RequestError::StorageFull, 0), None);
        assert_eq!(pause(&unavailable(503), 0), Some(RETRY));
        assert_eq!(pause(&unavailable(503), MAX_ATTEMPTS), None);
        let too_many = |seconds| RequestError::TooMany(Duration::from_secs(seconds));
        assert_eq!(pause(&too_many(20), 0), Some(Duration::from_secs(20)));
        assert_eq!(pause(&too_many(3600), 0), None);
        let link = RequestError::Connection(LinkFailure::TimedOut);
        assert_eq!(pause(&link, 1_000), Some(RETRY * 16));
    }
}
