//! `chat safety`: shows and compares safety numbers, and accepts new identity keys.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Client, Contact, SafetyNumber};

use super::{explain, profile, show, who};
use crate::args::chat::SafetyArgs;
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::failure::Failure;

/// Shows a safety number; compares it or accepts the key.
///
/// # Errors
/// There is no such person, or the numbers differ.
pub(super) async fn run(args: SafetyArgs, config: &Config, console: &mut Console) -> Result<()> {
    let client = profile::client(&args.account, &args.tor, config, console).await?;
    let done = safety(&client, &args, console).await;
    client.close().await;
    done
}

async fn safety(client: &Client, args: &SafetyArgs, console: &mut Console) -> Result<()> {
    let contact = who::contact(&args.who, client, console).await?;
    let number = console.unless_interrupted(client.safety_number(contact.account)).await?;
    let number = number.map_err(|error| explain::identity(&error))?;
    print(&contact, &number, console)?;
    let digits = match &args.verify {
        None => None,
        Some(Some(digits)) => Some(digits.clone()),
        Some(None) => Some(compared(&number, console).await?),
    };
    if let Some(digits) = &digits {
        let verified = client.verify_safety_number(contact.account, digits);
        let verified = console.unless_interrupted(verified).await?;
        verified.map_err(|error| explain::identity(&error))?;
    }
    if number.is_new && (digits.is_some() || args.accept) {
        let accepted = client.accept_identity(contact.account, number.key);
        let accepted = console.unless_interrupted(accepted).await?;
        accepted.map_err(|error| explain::identity(&error))?;
    }
    if digits.is_some() || args.accept {
        let state = if digits.is_some() { "verified" } else { "accepted" };
        console.report(
            &json!({"event": "chat-identity", "who": show::person(&contact), "state": state}),
        )?;
        console
            .screen
            .show(&format!("The safety number with {} is {state}.", who::label(&contact)));
    }
    Ok(())
}

/// Asks the user to compare the number. Returns its digits if it is the same on both sides.
async fn compared(number: &SafetyNumber, console: &mut Console) -> Result<String> {
    let question = Question {
        prompt: "Does the other person see the same number? [y/N] ".to_owned(),
        about: "safety-number",
        answers: &["y", "n"],
    };
    match console.ask_yes_or_no(&question, false).await? {
        Some(true) => Ok(number.digits.clone()),
        Some(false) => Err(Failure::new("the safety number was not verified: nothing has changed")
            .hint("if the numbers differ, somebody else may read your messages: do not accept the new key")
            .into()),
        None => Err(Failure::usage("standard input has ended before the answer")
            .hint("compare without a question: `--verify DIGITS`, with the digits of the other person")
            .into()),
    }
}

fn print(contact: &Contact, number: &SafetyNumber, console: &Console) -> Result<()> {
    console.report(&json!({
        "event": "chat-safety-number", "who": show::person(contact), "digits": number.digits,
        "verified": number.is_verified, "identity_changed": number.is_new,
    }))?;
    let state = match (number.is_new, number.is_verified) {
        (true, _) => {
            "It has changed since you last exchanged messages. Compare it before you accept it."
        }
        (false, true) => "You have compared it.",
        (false, false) => "You have not compared it yet.",
    };
    console.screen.show(&format!("Safety number with {}. {state}", who::label(contact)));
    console.print(&grouped(&number.digits))
}

/// The digits in groups of five, six groups in a line.
fn grouped(digits: &str) -> String {
    let digits: Vec<_> = digits.chars().collect();
    let groups: Vec<String> = digits.chunks(5).map(|group| group.iter().collect()).collect();
    groups.chunks(6).map(|line| line.join(" ") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_in_two_lines_of_six_groups() {
        let digits = "0123456789".repeat(6);
        let line = "01234 56789 01234 56789 01234 56789\n";
        assert_eq!(grouped(&digits), [line, line].concat());
    }
}
