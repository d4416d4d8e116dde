//! A second look at a code before it is used: a mistyped one costs both people the whole code.
//!
//! What looks wrong is decided by `wormhole::code::review`; this puts it into words, asks a person,
//! and warns a script.

use anyhow::Result;
use serde_json::json;
use wormhole::code::Code;
use wormhole::code::review::{Mistake, Review};

use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::printable;
use crate::request::asks_a_person;

/// What looks wrong about a code, in sentences; `None` for most codes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Warning {
    sentences: String,
    /// What was probably meant.
    pub(crate) suggestion: Option<String>,
}

impl Warning {
    /// Looks at a code.
    pub(crate) fn about(code: &Code) -> Option<Self> {
        let review = code.review();
        if review.mistakes.is_empty() {
            return None;
        }
        let suggestion = review.suggestion.as_ref().map(ToString::to_string);
        Some(Self { sentences: sentences(&review), suggestion })
    }

    /// The question whether to use the code all the same.
    pub(crate) fn question(&self) -> Question<'static> {
        let prompt = format!("{} Use it anyway? (y/N): ", self.sentences);
        Question { prompt, about: "use-code", answers: &["y", "n"] }
    }

    /// Warns whoever is not there to be asked.
    ///
    /// # Errors
    /// Standard output does not take the event.
    pub(crate) fn show(&self, console: &Console) -> Result<()> {
        console.screen.show(&format!("wormhole: warning: {}", self.sentences));
        console.report(&json!({
            "event": "warning", "message": self.sentences, "suggestion": self.suggestion,
        }))
    }

    /// The user does not want to use the code.
    fn refused(&self) -> Failure {
        let failure = Failure::new("stopped before anything was sent: the code can still be used");
        match &self.suggestion {
            Some(code) => {
                failure.hint(format!("run the command again with {}", printable::line(code)))
            }
            None => failure.hint("ask for the code again, and run the command with it"),
        }
    }
}

/// Asks whether a suspicious code is right, or warns about it where nobody can be asked.
///
/// # Errors
/// The user does not want to use it, or a signal came.
pub(crate) async fn confirm(code: &Code, console: &mut Console) -> Result<()> {
    let Some(warning) = Warning::about(code) else { return Ok(()) };
    if console.is_json() || !asks_a_person() {
        return warning.show(console);
    }
    match console.ask_yes_or_no(&warning.question(), false).await? {
        Some(true) => Ok(()),
        Some(false) | None => Err(warning.refused().into()),
    }
}

fn sentences(review: &Review) -> String {
    let suggestion = review.suggestion.as_ref().map(ToString::to_string);
    let meant = suggestion.map(|code| printable::line(&code));
    let did_you_mean = |start: &str| match &meant {
        Some(code) => format!("{start}; did you mean {code}?"),
        None => format!("{start}."),
    };
    let mistakes = review.mistakes.iter();
    let mut sentences: Vec<_> =
        mistakes.filter_map(|doubt| sentence(doubt, &did_you_mean)).collect();
    sentences.extend(unlike_any_word(&review.mistakes));
    sentences.join(" ")
}

/// Says what is wrong, with the nearest right thing.
fn sentence(doubt: &Mistake, did_you_mean: &impl Fn(&str) -> String) -> Option<String> {
    Some(match doubt {
        Mistake::LeadingZero(nameplate) => did_you_mean(&format!(
            "The number of a code does not start with 0, but {nameplate} does"
        )),
        Mistake::MissingWord => did_you_mean("A word is missing"),
        Mistake::SwappedWords => did_you_mean("The words are in the wrong order"),
        Mistake::WrongPosition(word) => {
            let word = printable::line(word);
            did_you_mean(&format!("A word is missing before '{word}'"))
        }
        Mistake::WrongSeparator => did_you_mean("The words are not separated by hyphens"),
        Mistake::UnknownWord { word, nearest: Some(nearest) } => {
            let word = printable::line(word);
            format!("'{word}' is not in the word list; did you mean '{nearest}'?")
        }
        Mistake::UnknownWord { nearest: None, .. } => return None,
    })
}

/// Names the words that resemble none of the list together: they are most often the user's own.
fn unlike_any_word(mistakes: &[Mistake]) -> Option<String> {
    let words: Vec<_> = mistakes
        .iter()
        .filter_map(|doubt| {
            let Mistake::UnknownWord { word, nearest: None } = doubt else { return None };
            Some(format!("'{}'", printable::line(word)))
        })
        .collect();
    match words.as_slice() {
        [] => None,
        [word] => Some(format!("{word} is not in the word list.")),
        words => Some(format!("{} are not in the word list.", words.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(code: &str) -> String {
        let warning = Warning::about(&Code::parse(code).unwrap());
        warning.map(|warning| warning.question().prompt).unwrap_or_default()
    }

    #[test]
    fn a_code_of_the_list_asks_nothing() {
        assert_eq!(question("7-guitarist-revenge"), "");
        assert_eq!(question("0-"), "");
    }

    #[test]
    fn a_mistyped_word_is_named_with_the_nearest() {
        assert_eq!(
            question("7-gutarist-Revenge"),
            "'gutarist' is not in the word list; did you mean 'guitarist'? \
             'Revenge' is not in the word list; did you mean 'revenge'? Use it anyway? (y/N): "
        );
    }

    #[test]
    fn words_of_one_s_own_are_named_once() {
        assert_eq!(
            question("7-xq-yz"),
            "'xq', 'yz' are not in the word list. Use it anyway? (y/N): "
        );
    }

    #[test]
    fn other_mistakes_are_named_with_the_whole_code() {
        assert_eq!(
            question("07-guitarist-revenge"),
            "The number of a code does not start with 0, but 07 does; did you mean \
             7-guitarist-revenge? Use it anyway? (y/N): "
        );
        assert_eq!(
            question("7-revenge-guitarist"),
            "The words are in the wrong order; did you mean 7-guitarist-revenge? Use it anyway? \
             (y/N): "
        );
        assert_eq!(
            question("7-revenge"),
            "A word is missing before 'revenge'. Use it anyway? (y/N): "
        );
    }

    #[test]
    fn a_word_cannot_drive_the_terminal() {
        assert!(!question("7-\u{1b}[2J-revenge").contains('\u{1b}'));
    }
}
