//! `chat safety`: shows and compares safety numbers, and accepts new identity keys.

mod numbers;

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Client, Contact, IdentityError, PublicKey, SafetyNumber};

use super::outbox::{self, Waiting};
use super::people::{self, People};
use super::{explain, profile, who};
use crate::args::chat::SafetyArgs;
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::shell::quote;

/// Shows a safety number; compares it or accepts the key.
///
/// # Errors
/// There is no such person, or the numbers differ.
pub(super) async fn run(args: SafetyArgs, config: &Config, console: &mut Console) -> Result<()> {
    let typed = args.verify.as_ref().and_then(Option::as_deref);
    let typed = typed.map(numbers::sixty_digits).transpose()?;
    let client = profile::client(&args.client, config, console).await?;
    let done = safety(&client, &args, typed, console).await;
    profile::finish(client, done).await
}

/// The other person.
struct Other<'a> {
    client: &'a Client,
    contact: Contact,
    label: String,
    args: &'a SafetyArgs,
}

async fn safety(
    client: &Client,
    args: &SafetyArgs,
    typed: Option<String>,
    console: &mut Console,
) -> Result<()> {
    let contact = who::contact(&args.who, client, &args.client.account, console).await?;
    let label = People::new(client, console).await?.label(&contact);
    let other = Other { client, contact, label, args };
    let number = other.number(console).await?;
    numbers::print(&other, &number, console)?;
    let digits = match (&args.verify, typed) {
        (None, _) => None,
        (Some(_), Some(digits)) => Some(digits),
        (Some(_), None) => Some(other.compared(&number, console).await?),
    };
    if other.only_shows() {
        return Ok(());
    }
    let waiting = Waiting::all(client, console).await?.for_person(other.contact.account);
    if args.refuse {
        other.refuse(&number, console).await?;
    } else {
        other.approve(&number, digits.as_deref(), console).await?;
    }
    other.finish(waiting, console).await
}

impl Other<'_> {
    /// Whether the command changes nothing.
    const fn only_shows(&self) -> bool {
        self.args.verify.is_none() && !self.args.accept && !self.args.refuse
    }

    fn explain(&self, error: &IdentityError) -> Failure {
        explain::identity(error, &self.args.who, &self.args.client.account)
    }

    async fn number(&self, console: &mut Console) -> Result<SafetyNumber> {
        let number = self.client.safety_number(self.contact.account);
        let number = console.unless_interrupted(number).await?;
        Ok(number.map_err(|error| self.explain(&error))?)
    }

    /// Accepts a number, after comparing it if there are digits.
    async fn approve(
        &self,
        number: &SafetyNumber,
        digits: Option<&str>,
        console: &mut Console,
    ) -> Result<()> {
        match digits {
            None if !number.is_new && !number.refused.is_empty() => {
                return Err(self.nothing_to_accept().into());
            }
            None if !number.is_new => {
                let why = "the safety number has not changed: there is nothing to accept";
                return Err(Failure::new(why).into());
            }
            None => {}
            Some(digits) => self.verify(digits, console).await?,
        }
        // A number that was refused is accepted by `verify`, and then no other one is.
        if self.number(console).await?.is_new {
            self.accept(number.key, console).await?;
        }
        self.say_decided(if digits.is_some() { "verified" } else { "accepted" }, console)
    }

    /// Remembers that the digits were compared. A key that the user refused by mistake is accepted first.
    ///
    /// # Errors
    /// The digits belong to no key of the other person.
    async fn verify(&self, digits: &str, console: &mut Console) -> Result<()> {
        let verify = || self.client.verify_safety_number(self.contact.account, digits);
        let mut verified = console.unless_interrupted(verify()).await?;
        if let Err(IdentityError::Refused(key)) = verified {
            self.accept(key, console).await?;
            verified = console.unless_interrupted(verify()).await?;
        }
        Ok(verified.map_err(|error| self.explain(&error))?)
    }

    async fn accept(&self, key: PublicKey, console: &mut Console) -> Result<()> {
        let accepted = self.client.accept_identity(self.contact.account, key);
        let accepted = console.unless_interrupted(accepted).await?;
        Ok(accepted.map_err(|error| self.explain(&error))?)
    }

    /// Refuses a new identity key.
    async fn refuse(&self, number: &SafetyNumber, console: &mut Console) -> Result<()> {
        if !number.is_new {
            let why = "the safety number has not changed: there is nothing to refuse";
            return Err(Failure::new(why).into());
        }
        let refused = self.client.refuse_identity(self.contact.account, number.key);
        let refused = console.unless_interrupted(refused).await?;
        refused.map_err(|error| self.explain(&error))?;
        self.report("refused", console)?;
        let label = &self.label;
        console.screen.show(&format!(
            "The new safety number with {label} is refused. The previous number is valid again. While the server claims that \
             the new one is right, nothing can be sent to {label}."
        ));
        Ok(())
    }

    fn nothing_to_accept(&self) -> Failure {
        let verify = format!("safety {} --verify DIGITS", quote(&self.args.who));
        let verify = explain::command(&verify, &self.args.client.account);
        Failure::new("the safety number has not changed since you refused one").hint(format!(
            "if you refused it by mistake, compare it again: {verify}, with the 60 digits that the other person sees"
        ))
    }

    /// Says what the user has decided.
    fn say_decided(&self, state: &str, console: &Console) -> Result<()> {
        self.report(state, console)?;
        console.screen.show(&format!("The safety number with {} is {state}.", self.label));
        Ok(())
    }

    fn report(&self, state: &str, console: &Console) -> Result<()> {
        let who = people::json(&self.contact);
        console.report(&json!({"event": "chat-identity", "who": who, "state": state}))
    }

    /// Sends what had waited for a decision.
    async fn finish(&self, mut waiting: Waiting<'_>, console: &mut Console) -> Result<()> {
        let account = &self.args.client.account;
        outbox::say_sent(waiting.send(console).await?, console);
        outbox::say_failed(self.client, account, console).await?;
        outbox::say_waiting(self.client, account, console).await
    }

    /// Asks the user to compare the number. Returns its digits if it is the same on both sides.
    async fn compared(&self, number: &SafetyNumber, console: &mut Console) -> Result<String> {
        let question = Question {
            prompt: format!(
                "Does the other person see {}? (y/N): ",
                if number.is_new { "the new number" } else { "the same number" }
            ),
            about: "safety-number",
            answers: &["y", "n"],
        };
        match console.ask_yes_or_no(&question, false).await? {
            Some(true) => Ok(number.digits.clone()),
            Some(false) => {
                Err(Failure::new("the safety number was not verified: nothing has changed")
                    .hint(self.not_same(number))
                    .into())
            }
            None => Err(Failure::usage("standard input has ended before the answer")
                .hint("compare without a question: `--verify DIGITS`, with the digits of the other person")
                .into()),
        }
    }

    /// Advice if the numbers differ.
    fn not_same(&self, number: &SafetyNumber) -> String {
        if !number.is_new {
            return "if the numbers differ, somebody else may read your messages".to_owned();
        }
        let refuse = format!("safety {} --refuse", quote(&self.args.who));
        let refuse = explain::command(&refuse, &self.args.client.account);
        format!(
            "if the other person sees the previous number, somebody else has the new one: {refuse}"
        )
    }
}
