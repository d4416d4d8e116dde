//! `chat add`: two people become contacts with a code, and the safety number is verified.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Client, IntroduceError, Introduced, Introducing};
use wormhole::code::{Code, Nameplate};

use super::meeting::{self, MeetingPoint};
use super::people::{self, People};
use super::{contacts, explain, profile};
use crate::args::chat::AddArgs;
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::explain::nobody_is_waiting;
use crate::printable;
use crate::request::Servers;

/// Adds a person.
///
/// # Errors
/// The person is not a verified contact.
pub(super) async fn run(
    args: AddArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let (meeting_point, code) = match &args.code {
        None => (MeetingPoint::new(servers, args.code_length, config)?, None),
        Some(typed) => {
            let (meeting_point, code) = MeetingPoint::from_code(typed, servers, console).await?;
            (meeting_point, Some(code))
        }
    };
    let client = profile::client(&args.client, config, console).await?;
    let done = introduce(&client, &args, code, &meeting_point, servers, console).await;
    profile::finish(client, done).await
}

async fn introduce(
    client: &Client,
    args: &AddArgs,
    code: Option<Code>,
    meeting_point: &MeetingPoint,
    servers: &Servers,
    console: &mut Console,
) -> Result<()> {
    meeting_point.report(console)?;
    let nameplate = code.as_ref().map(|code| code.nameplate().clone());
    let introducing = client.introduce(code, &meeting_point.mailbox);
    let introducing = introducing.map_err(|error| explain::introduce(&error, meeting_point))?;
    let introduced = match exchange(&introducing, args, nameplate.as_ref(), servers, console).await
    {
        Ok(introduced) => {
            introduced.map_err(|error| explain::introduce(&error, meeting_point).into())
        }
        Err(error) => Err(error),
    };
    match introduced {
        Ok(introduced) => {
            introducing.close().await;
            name(client, args, introduced, console).await
        }
        Err(error) => {
            introducing.cancel().await;
            Err(error)
        }
    }
}

async fn exchange(
    introducing: &Introducing,
    args: &AddArgs,
    nameplate: Option<&Nameplate>,
    servers: &Servers,
    console: &mut Console,
) -> Result<Result<Introduced, IntroduceError>> {
    if nameplate.is_none() {
        let code = match console.unless_interrupted(introducing.code()).await? {
            Ok(code) => code,
            Err(error) => return Ok(Err(error)),
        };
        let place = "On the computer of the other person";
        meeting::show_code(&code, &["chat", "add"], servers, place, console)?;
    }
    let waiting = "Waiting for the other person...";
    let met = match nameplate {
        None => console.notice_if_slow(waiting, introducing.met()).await?,
        Some(nameplate) => {
            let unanswered = nobody_is_waiting(nameplate, OTHER_COMMAND);
            console.notice_if_unanswered(waiting, &unanswered, introducing.met()).await?
        }
    };
    if let Err(error) = met {
        return Ok(Err(error));
    }
    console.unless_interrupted(introducing.complete(args.my_name.clone())).await
}

/// Names the new contact, and shows it.
async fn name(
    client: &Client,
    args: &AddArgs,
    introduced: Introduced,
    console: &mut Console,
) -> Result<()> {
    let Introduced { mut contact, name: suggested, is_mutual, .. } = introduced;
    let account = contact.account;
    let wanted = match &args.name {
        Some(name) => {
            contacts::check_name(account, name, client, console).await?;
            Some(name.clone())
        }
        None if contact.name.is_some() => None,
        None => {
            let suggested = suggested.filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
            let is_free = match &suggested {
                Some(name) => contacts::check_name(account, name, client, console).await.is_ok(),
                None => false,
            };
            match suggested.filter(|_| is_free) {
                Some(name) if args.yes || wants_name(&name, console).await? => Some(name),
                Some(_) | None => None,
            }
        }
    };
    if let Some(name) = wanted {
        let named = client.name_contact(account, Some(name.clone()));
        let named = console.unless_interrupted(named).await?;
        named.map_err(|error| explain::ended(&error))?;
        contact.name = Some(name);
    }
    let people = People::new(client, console).await?;
    console.report(&json!({
        "event": "chat-introduced", "who": people::json(&contact), "mutual": is_mutual,
    }))?;
    let label = people.label(&contact);
    console.screen.show(&format!("{label} is a contact now, and the safety number is verified."));
    if !is_mutual {
        console.screen.show("The other side has not confirmed that: ask the person.");
    }
    console.print(&format!("{}  {}\n", account, printable::line(&people::argument(&contact))))
}

/// Asks whether to call the person by the name that it suggests: it may look like the name of somebody else.
async fn wants_name(name: &str, console: &mut Console) -> Result<bool> {
    let name = printable::line(name);
    let prompt = format!("The other person wants to be called '{name}'. Use this name? (y/N): ");
    let question = Question { prompt, about: "name", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}

const OTHER_COMMAND: &str =
    "If the code came from `wormhole chat link`, use `wormhole chat link accept`.";

/// Longest name, in bytes, that another person can suggest.
const MAX_NAME: usize = 64;
