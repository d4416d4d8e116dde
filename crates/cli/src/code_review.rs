//! Checks a code for typing errors before it is used: one wrong word uses up the code, and both sides need
//! a new one.
//!
//! `wormhole::code::review` finds the errors. This module explains them, asks a person, and warns a script.

use anyhow::Result;
use serde_json::json;
use wormhole::code::Code;
use wormhole::code::review::{Mistake, Review};

use crate::ask::Ask as _;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::printable;
use crate::request::asks_a_person;

/// The problem of a code.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Warning {
    sentences: String,
    /// The code that was probably meant.
    pub(crate) suggestion: Option<String>,
}

impl Warning {
    /// Checks a code. `None` if nothing looks wrong.
    pub(crate) fn about(code: &Code) -> Option<Self> {
        let review = code.review();
        if review.mistakes.is_empty() {
            return None;
        }
        let suggestion = review.suggestion.as_ref().map(ToString::to_string);
        Some(Self { sentences: sentences(code, &review), suggestion })
    }

    /// The question whether to use the code anyway.
    pub(crate) fn question(&self) -> Question<'static> {
        let prompt = format!("{} Use this code anyway? (y/N): ", self.sentences);
        Question { prompt, about: "use-code", answers: &["y", "n"] }
    }

    /// Shows the warning.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn show(&self, console: &Console) -> Result<()> {
        console.screen.show(&format!("wormhole: warning: {}", self.sentences));
        console.report(&json!({
            "event": "warning", "message": self.sentences, "suggestion": self.suggestion,
        }))
    }

    /// Asks whether to use the code, or shows the warning if there is no terminal.
    async fn confirm(&self, console: &mut Console) -> Result<()> {
        if console.is_json() || !asks_a_person() {
            return self.show(console);
        }
        match console.ask_yes_or_no(&self.question(), false).await? {
            Some(true) => Ok(()),
            Some(false) | None => Err(self.refused().into()),
        }
    }

    /// The user does not want to use the code.
    fn refused(&self) -> Failure {
        let failure = Failure::new("stopped before anything was sent: the code can still be used");
        match &self.suggestion {
            Some(code) => {
                failure.hint(format!("run the command again with {}", printable::line(code)))
            }
            None => {
                failure.hint("ask the other person for the code, and run the command again with it")
            }
        }
    }
}

/// Asks whether to use a code that looks mistyped, or shows a warning if there is no terminal.
///
/// # Errors
/// The user does not want to use it, or a signal came.
pub(crate) async fn confirm(code: &Code, console: &mut Console) -> Result<()> {
    match Warning::about(code) {
        Some(warning) => warning.confirm(console).await,
        None => Ok(()),
    }
}

/// The same for a code that the user of this side has made up: words that resemble none of the list are intended.
///
/// # Errors
/// The user does not want to use it, or a signal came.
pub(crate) async fn confirm_new(code: &Code, console: &mut Console) -> Result<()> {
    let is_intended =
        |mistake: &Mistake| matches!(mistake, Mistake::UnknownWord { nearest: None, .. });
    if code.review().mistakes.iter().all(is_intended) {
        return Ok(());
    }
    confirm(code, console).await
}

fn sentences(code: &Code, review: &Review) -> String {
    let suggestion = review.suggestion.as_ref().map(ToString::to_string);
    let meant = suggestion.map(|code| printable::line(&code));
    let did_you_mean = |start: &str| match &meant {
        Some(code) => format!("{start}; did you mean {code}?"),
        None => format!("{start}."),
    };
    let mistakes = review.mistakes.iter();
    let mut sentences: Vec<_> =
        mistakes.filter_map(|mistake| sentence(code, mistake, &did_you_mean)).collect();
    sentences.extend(unlike_any_word(&review.mistakes));
    sentences.join(" ")
}

/// Explains one error, and suggests a correction.
fn sentence(
    code: &Code,
    mistake: &Mistake,
    did_you_mean: &impl Fn(&str) -> String,
) -> Option<String> {
    Some(match mistake {
        Mistake::LeadingZero(nameplate) => did_you_mean(&format!(
            "The number of a code does not start with 0, but {nameplate} does"
        )),
        Mistake::MissingWord => did_you_mean("A word is missing"),
        Mistake::SwappedWords => did_you_mean("The words are in the wrong order"),
        Mistake::WrongPosition(word) => {
            let position = position(code, word);
            let word = printable::line(word);
            format!("'{word}' cannot be the {position} word: is it mistyped, or is a word missing?")
        }
        Mistake::WrongSeparator => did_you_mean("The words are not separated by hyphens"),
        Mistake::UnknownWord { word, nearest: Some(nearest) } => {
            let word = printable::line(word);
            format!("'{word}' is not in the word list; did you mean '{nearest}'?")
        }
        Mistake::UnknownWord { nearest: None, .. } => return None,
    })
}

/// The position of a word in the code, such as `second`.
fn position(code: &Code, word: &str) -> String {
    let index = code.password().expose().split('-').position(|it| it == word).unwrap_or_default();
    let names = ["first", "second", "third", "fourth", "fifth", "sixth"];
    names.get(index).map_or_else(|| format!("{}th", index + 1), ToString::to_string)
}

/// Names all words that resemble none of the list in one sentence: most often the user has chosen them.
fn unlike_any_word(mistakes: &[Mistake]) -> Option<String> {
    let words: Vec<_> = mistakes
        .iter()
        .filter_map(|mistake| {
            let Mistake::UnknownWord { word, nearest: None } = mistake else { return None };
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
             'Revenge' is not in the word list; did you mean 'revenge'? Use this code anyway? (y/N): "
        );
    }

    #[test]
    fn words_of_one_s_own_are_named_once() {
        assert_eq!(
            question("7-xq-yz"),
            "'xq', 'yz' are not in the word list. Use this code anyway? (y/N): "
        );
    }

    #[test]
    fn other_mistakes_are_named_with_the_whole_code() {
        assert_eq!(
            question("07-guitarist-revenge"),
            "The number of a code does not start with 0, but 07 does; did you mean \
             7-guitarist-revenge? Use this code anyway? (y/N): "
        );
        assert_eq!(
            question("7-revenge-guitarist"),
            "The words are in the wrong order; did you mean 7-guitarist-revenge? Use this code \
             anyway? (y/N): "
        );
        assert_eq!(
            question("7-revenge"),
            "'revenge' cannot be the first word: is it mistyped, or is a word missing? Use this \
             code anyway? (y/N): "
        );
    }

    #[test]
    fn control_characters_in_a_word_are_escaped() {
        assert!(!question("7-\u{1b}[2J-revenge").contains('\u{1b}'));
    }
}
