//! `chat safety`: shows and compares safety numbers, and accepts new identity keys.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Client, Contact, IdentityError, PublicKey, SafetyNumber};

use super::outbox::{self, Waiting};
use super::{explain, profile, show, who};
use crate::args::chat::SafetyArgs;
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::printable;
use crate::shell::quote;

/// Shows a safety number; compares it or accepts the key.
///
/// # Errors
/// There is no such person, or the numbers differ.
pub(super) async fn run(args: SafetyArgs, config: &Config, console: &mut Console) -> Result<()> {
    let client = profile::client(&args.client, config, console).await?;
    let done = safety(&client, &args, console).await;
    client.close().await;
    done
}

async fn safety(client: &Client, args: &SafetyArgs, console: &mut Console) -> Result<()> {
    let explain = |error: &IdentityError| explain::identity(error, &args.who, &args.client.account);
    let typed = args.verify.as_ref().and_then(Option::as_deref).map(sixty_digits).transpose()?;
    let contact = who::contact(&args.who, client, &args.client.account, console).await?;
    let number = console.unless_interrupted(client.safety_number(contact.account)).await?;
    let number = number.map_err(|error| explain(&error))?;
    print(&contact, &number, args, console)?;
    let digits = match (&args.verify, typed) {
        (None, _) => None,
        (Some(_), Some(digits)) => Some(digits),
        (Some(_), None) => Some(compared(&number, args, console).await?),
    };
    let waiting = Waiting::all(client, console).await?.for_person(contact.account);
    if args.refuse {
        return refuse(client, &contact, &number, args, waiting, console).await;
    }
    if digits.is_none() && !args.accept {
        return Ok(());
    }
    if digits.is_none() && !number.is_new && !number.refused.is_empty() {
        return Err(nothing_to_accept(args).into());
    }
    if let Some(digits) = &digits {
        verify(client, &contact, digits, args, console).await?;
    }
    // A number that was refused is accepted by `verify`, and then no other one is.
    let is_new = console.unless_interrupted(client.safety_number(contact.account)).await?;
    if is_new.map_err(|error| explain(&error))?.is_new {
        accept(client, &contact, number.key, args, console).await?;
    }
    say_decided(&contact, if digits.is_some() { "verified" } else { "accepted" }, console)?;
    finish(client, waiting, args, console).await
}

/// Remembers that the digits were compared. A key that the user refused by mistake is accepted first.
///
/// # Errors
/// The digits belong to no key of the other person.
async fn verify(
    client: &Client,
    contact: &Contact,
    digits: &str,
    args: &SafetyArgs,
    console: &mut Console,
) -> Result<()> {
    let verify = || client.verify_safety_number(contact.account, digits);
    let mut verified = console.unless_interrupted(verify()).await?;
    if let Err(IdentityError::Refused(key)) = verified {
        accept(client, contact, key, args, console).await?;
        verified = console.unless_interrupted(verify()).await?;
    }
    Ok(verified.map_err(|error| explain::identity(&error, &args.who, &args.client.account))?)
}

async fn accept(
    client: &Client,
    contact: &Contact,
    key: PublicKey,
    args: &SafetyArgs,
    console: &mut Console,
) -> Result<()> {
    let accepted = console.unless_interrupted(client.accept_identity(contact.account, key)).await?;
    Ok(accepted.map_err(|error| explain::identity(&error, &args.who, &args.client.account))?)
}

fn nothing_to_accept(args: &SafetyArgs) -> Failure {
    let verify = format!("safety {} --verify DIGITS", quote(&args.who));
    let verify = explain::command(&verify, &args.client.account);
    Failure::new("the safety number has not changed since you refused one")
        .hint(format!("if you refused it by mistake, compare it again: {verify}, with the 60 digits that the other person sees"))
}

/// Reports what the user has decided.
fn say_decided(contact: &Contact, state: &str, console: &Console) -> Result<()> {
    console
        .report(&json!({"event": "chat-identity", "who": show::person(contact), "state": state}))?;
    console.screen.show(&format!("The safety number with {} is {state}.", who::label(contact)));
    Ok(())
}

/// Sends what had waited for a decision.
async fn finish(
    client: &Client,
    mut waiting: Waiting<'_>,
    args: &SafetyArgs,
    console: &mut Console,
) -> Result<()> {
    outbox::say_sent(waiting.send(console).await?, console);
    outbox::say_failed(client, &args.client.account, console).await?;
    outbox::say_waiting(client, &args.client.account, console).await
}

/// Refuses a new identity key.
async fn refuse(
    client: &Client,
    contact: &Contact,
    number: &SafetyNumber,
    args: &SafetyArgs,
    waiting: Waiting<'_>,
    console: &mut Console,
) -> Result<()> {
    if !number.is_new {
        return Err(
            Failure::new("the safety number has not changed: there is nothing to refuse").into()
        );
    }
    let refused = client.refuse_identity(contact.account, number.key);
    let refused = console.unless_interrupted(refused).await?;
    refused.map_err(|error| explain::identity(&error, &args.who, &args.client.account))?;
    console.report(
        &json!({"event": "chat-identity", "who": show::person(contact), "state": "refused"}),
    )?;
    let label = who::label(contact);
    console.screen.show(&format!(
        "The new safety number with {label} is refused. The number before is valid again. While the server claims that the \
         new one is right, nothing can be sent to {label}."
    ));
    finish(client, waiting, args, console).await
}

/// The digits that the user has typed.
///
/// # Errors
/// They are not the 60 digits of a safety number: a mistake of the user, not a sign of an attack.
fn sixty_digits(typed: &str) -> Result<String> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(other) = digits.chars().find(|c| !c.is_ascii_digit()) {
        let other = printable::line(&other.to_string());
        return Err(Failure::usage(format!("'{other}' is not a digit of a safety number")).into());
    }
    if digits.len() == DIGITS {
        return Ok(digits);
    }
    Err(Failure::usage(format!("a safety number has {DIGITS} digits, not {}", digits.len())).into())
}

/// Asks the user to compare the number. Returns its digits if it is the same on both sides.
async fn compared(
    number: &SafetyNumber,
    args: &SafetyArgs,
    console: &mut Console,
) -> Result<String> {
    let question = Question {
        prompt: format!(
            "Does the other person see {}? [y/N] ",
            if number.is_new { "the new number" } else { "the same number" }
        ),
        about: "safety-number",
        answers: &["y", "n"],
    };
    match console.ask_yes_or_no(&question, false).await? {
        Some(true) => Ok(number.digits.clone()),
        Some(false) => Err(Failure::new("the safety number was not verified: nothing has changed")
            .hint(not_same(number, args))
            .into()),
        None => Err(Failure::usage("standard input has ended before the answer")
            .hint("compare without a question: `--verify DIGITS`, with the digits of the other person")
            .into()),
    }
}

/// What to do if the numbers differ.
fn not_same(number: &SafetyNumber, args: &SafetyArgs) -> String {
    if !number.is_new {
        return "if the numbers differ, somebody else may read your messages".to_owned();
    }
    let refuse = format!("safety {} --refuse", quote(&args.who));
    let refuse = explain::command(&refuse, &args.client.account);
    format!("if the other person sees the number before, somebody else has the new one: {refuse}")
}

fn print(
    contact: &Contact,
    number: &SafetyNumber,
    args: &SafetyArgs,
    console: &Console,
) -> Result<()> {
    let previous = number.accepted.as_ref().map(|accepted| accepted.digits.as_str());
    let refused: Vec<_> = number.refused.iter().map(|refused| refused.digits.as_str()).collect();
    console.report(&json!({
        "event": "chat-safety-number", "who": show::person(contact), "digits": number.digits,
        "verified": number.is_verified, "identity_changed": number.is_new,
        "previous_digits": previous, "refused_digits": refused,
    }))?;
    let label = who::label(contact);
    let state = match (number.is_new, number.is_verified) {
        (true, _) => {
            "It has changed since you last exchanged messages. Compare it before you accept it. The new number:"
        }
        (false, true) => "You have compared it.",
        (false, false) => "You have not compared it yet.",
    };
    console.screen.show(&format!("Safety number with {label}. {state}"));
    console.print(&grouped(&number.digits))?;
    for refused in &number.refused {
        let digits = grouped(&refused.digits);
        console.screen.show(&format!(
            "You have refused this number. If it is right after all, --verify with its digits accepts it:\n{}",
            digits.trim_end()
        ));
    }
    if let Some(previous) = previous {
        console.screen.show(&format!("The number before:\n{}", grouped(previous).trim_end()));
        if args.verify.is_none() && !args.accept && !args.refuse {
            console.screen.show(&what_to_do(args));
        }
    }
    Ok(())
}

/// What each number means if the other person sees it.
fn what_to_do(args: &SafetyArgs) -> String {
    let command = |option: &str| {
        let safety = format!("safety {} {option}", quote(&args.who));
        explain::command(&safety, &args.client.account)
    };
    format!(
        "If the other person sees the new number, it is a new phone: {}\nIf the other person sees the number before, somebody \
         else has the new one: {}",
        command("--verify"),
        command("--refuse")
    )
}

/// The digits in groups of five, six groups in a line.
fn grouped(digits: &str) -> String {
    let digits: Vec<_> = digits.chars().collect();
    let groups: Vec<String> = digits.chunks(5).map(|group| group.iter().collect()).collect();
    groups.chunks(6).map(|line| line.join(" ") + "\n").collect()
}

/// Number of digits of a safety number.
const DIGITS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixty_digits_are_compared() {
        let number = "0123456789".repeat(6);
        assert_eq!(sixty_digits(&grouped(&number)).unwrap(), number);
        let error = |typed: &str| sixty_digits(typed).unwrap_err().to_string();
        assert_eq!(error("123"), "a safety number has 60 digits, not 3");
        assert_eq!(error("12x"), "'x' is not a digit of a safety number");
    }

    #[test]
    fn digits_are_in_two_lines_of_six_groups() {
        let digits = "0123456789".repeat(6);
        let line = "01234 56789 01234 56789 01234 56789\n";
        assert_eq!(grouped(&digits), [line, line].concat());
    }
}
