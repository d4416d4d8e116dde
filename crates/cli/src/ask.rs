//! Questions to the person at the keyboard, or to the script that answers on standard input.
//!
//! A thread of its own reads the answer, so that signals and the transfer are handled meanwhile.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::Result;

use crate::console::Question;
use crate::job_control::WhenContinued;

/// Asks the person at the keyboard, and handles what happens meanwhile.
pub(crate) trait Ask {
    /// Asks once. `None` if standard input has ended.
    ///
    /// # Errors
    /// A signal came, standard input cannot be read, or the transfer that continues meanwhile failed.
    async fn ask(&mut self, question: &Question<'_>) -> Result<Option<String>>;

    /// Shows a line of text.
    fn show(&mut self, text: &str);

    /// Asks until the answer is yes or no; an empty answer means `default`. `None` if standard input has ended.
    ///
    /// # Errors
    /// Those of [`Self::ask`].
    async fn ask_yes_or_no(
        &mut self,
        question: &Question<'_>,
        default: bool,
    ) -> Result<Option<bool>> {
        loop {
            let Some(answer) = self.ask(question).await? else { return Ok(None) };
            match yes_or_no(&answer, default) {
                None => self.show("Please answer with y or n."),
                answer => return Ok(answer),
            }
        }
    }
}

/// Shows a prompt and returns the answer, without its line end; `None` if standard input has ended.
///
/// # Errors
/// Standard input cannot be read, or is not text.
pub(crate) async fn line(prompt: String) -> io::Result<Option<String>> {
    let shown = prompt.clone();
    // The shell writes over the question when it stops and continues this process.
    let _redraw = io::stdin().is_terminal().then(|| WhenContinued::call(move || show(&shown)));
    tokio::task::spawn_blocking(move || read_line(&prompt)).await?
}

fn show(prompt: &str) {
    let mut err = io::stderr().lock();
    // The question may go nowhere; the answer may still come from a script.
    let _ = err.write_all(prompt.as_bytes()).and_then(|()| err.flush());
}

fn read_line(prompt: &str) -> io::Result<Option<String>> {
    show(prompt);
    let mut line = String::new();
    let length = io::stdin().lock().read_line(&mut line)?;
    // Only a terminal shows the end of the line that was typed.
    if !prompt.is_empty() && (length == 0 || !io::stdin().is_terminal()) {
        let _ = io::stderr().write_all(b"\n");
    }
    let answer = line.trim_end_matches(['\n', '\r']).to_owned();
    Ok((length > 0).then_some(answer))
}

/// Whether an answer means yes or no; an empty answer means `default`. `None` for anything else.
fn yes_or_no(answer: &str, default: bool) -> Option<bool> {
    match answer.trim_start().chars().next() {
        None => Some(default),
        Some('y' | 'Y') => Some(true),
        Some('n' | 'N') => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_the_default_and_a_strange_one_is_no_answer() {
        assert_eq!(
            ["", "y", " Yes", "n", "NO"].map(|it| yes_or_no(it, true)),
            [true, true, true, false, false].map(Some)
        );
        assert_eq!(yes_or_no("", false), Some(false));
        assert_eq!(["maybe", "ok", "?"].map(|it| yes_or_no(it, true)), [None; 3]);
    }
}
