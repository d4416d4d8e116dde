//! How safety numbers are shown and typed.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::SafetyNumber;

use super::Other;
use crate::chat::{explain, people};
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;
use crate::qr;
use crate::shell::quote;

/// Shows the safety number with the other person, and others that it may be confused with.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(other: &Other<'_>, number: &SafetyNumber, console: &Console) -> Result<()> {
    let previous = number.accepted.as_ref().map(|accepted| accepted.digits.as_str());
    let refused: Vec<_> = number.refused.iter().map(|refused| refused.digits.as_str()).collect();
    console.report(&json!({
        "event": "chat-safety-number", "who": people::json(&other.contact), "digits": number.digits,
        "words": number.words().concat().join(" "),
        "verified": number.is_verified, "identity_changed": number.is_new,
        "previous_digits": previous, "refused_digits": refused,
    }))?;
    let state = match (number.is_new, number.is_verified) {
        (true, _) => {
            "It has changed since you last exchanged messages. Compare it before you accept it. The new number:"
        }
        (false, true) => "You have compared it.",
        (false, false) => "You have not compared it yet.",
    };
    let heading = format!("Safety number with {}. {state}", other.label);
    let others: Vec<_> = refused.iter().copied().chain(previous).collect();
    if others.is_empty() {
        console.screen.show(&heading);
        return print_number(other, number, console);
    }
    // On one stream, so that a pipe keeps each number behind its explanation.
    console.print(&format!("{heading}\n"))?;
    print_number(other, number, console)?;
    for refused in &refused {
        console.print(&format!(
            "You have refused this number. If it is right after all, --verify with it accepts it:\n{}",
            other.form(refused)
        ))?;
    }
    if let Some(previous) = previous {
        console.print(&format!("The previous number:\n{}", other.form(previous)))?;
    }
    if let Some(half) = common_half(&number.digits, &others) {
        let in_which = if others.len() == 1 { "both numbers" } else { "all these numbers" };
        console.print(&format!(
            "The line {} is your own half. It is in {in_which}: compare the other line.\n",
            other.form_of_half(&number.digits, half)
        ))?;
    }
    if previous.is_some() && other.only_shows() {
        console.print(&format!("{}\n", what_to_do(other)))?;
    }
    Ok(())
}

impl Other<'_> {
    /// The digits of a number in the form that the user wants, in two lines.
    fn form(&self, digits: &str) -> String {
        if self.args.words {
            SafetyNumber::words_of(digits).map(|half| half.join(" ") + "\n").concat()
        } else {
            grouped(digits)
        }
    }

    /// One half of a number in this form.
    fn form_of_half(&self, digits: &str, half: &str) -> String {
        let form = self.form(digits);
        let is_first = digits.starts_with(half);
        let line = if is_first { form.lines().next() } else { form.lines().nth(1) };
        line.unwrap_or_default().to_owned()
    }
}

/// Prints the number as the user wants it.
fn print_number(other: &Other<'_>, number: &SafetyNumber, console: &Console) -> Result<()> {
    console.print(&other.form(&number.digits))?;
    if other.args.qr
        && let Some(picture) = qr::draw(&number.digits)
    {
        console.screen.show_picture(&picture);
    }
    Ok(())
}

/// Explains each number, if the other person sees it.
fn what_to_do(other: &Other<'_>) -> String {
    let command = |option: &str| {
        let safety = format!("safety {} {option}", quote(&other.args.who));
        explain::command(&safety, &other.args.client.account)
    };
    format!(
        "If the other person sees the new number, it is a new phone: {}\nIf the other person sees the previous number, somebody \
         else has the new one: {}",
        command("--verify"),
        command("--refuse")
    )
}

/// The half of a number that is in all others, too: that of the user's own key. A number begins with the smaller half.
fn common_half<'a>(number: &'a str, others: &[&str]) -> Option<&'a str> {
    let halves = |digits: &'a str| digits.split_at_checked(DIGITS / 2).map(|(a, b)| [a, b]);
    let has = |other: &&str, half: &str| {
        other.split_at_checked(DIGITS / 2).is_some_and(|(a, b)| a == half || b == half)
    };
    let is_common = |half: &&str| !others.is_empty() && others.iter().all(|it| has(it, half));
    halves(number)?.into_iter().find(is_common)
}

/// The digits that the user has typed, perhaps as words.
///
/// # Errors
/// They are not a safety number: a mistake of the user, not a sign of an attack.
pub(super) fn sixty_digits(typed: &str) -> Result<String> {
    if let Some(digits) = SafetyNumber::digits_of(typed) {
        return Ok(digits);
    }
    if typed.split_whitespace().nth(1).is_some() && typed.contains(char::is_alphabetic) {
        return Err(Failure::usage("these are not the 26 words of a safety number").into());
    }
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(other) = digits.chars().find(|c| !c.is_ascii_digit()) {
        let other = printable::line(&other.to_string());
        return Err(Failure::usage(format!("'{other}' is not a digit of a safety number")).into());
    }
    Err(Failure::usage(format!("a safety number has {DIGITS} digits, not {}", digits.len())).into())
}

/// The digits in groups of five, six groups in a line: each line is the half of one person.
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
        assert_eq!(error("adroitness aardvark"), "these are not the 26 words of a safety number");
    }

    #[test]
    fn digits_are_in_two_lines_of_six_groups() {
        let digits = "0123456789".repeat(6);
        let line = "01234 56789 01234 56789 01234 56789\n";
        assert_eq!(grouped(&digits), [line, line].concat());
    }

    #[test]
    fn the_own_half_is_found_wherever_it_is() {
        let [low, own, high] = ["1", "5", "9"].map(|digit| digit.repeat(30));
        let (new, before) = (format!("{low}{own}"), format!("{own}{high}"));
        assert_eq!(common_half(&new, &[&before]), Some(own.as_str()));
        assert_eq!(common_half(&before, &[&new]), Some(own.as_str()));
        assert_eq!(common_half(&new, &[]), None);
        assert_eq!(common_half(&new, &[&before, &high.repeat(2)]), None);
    }
}
