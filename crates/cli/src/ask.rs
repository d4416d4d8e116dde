//! Questions to the person at the keyboard, or to the script that answers on standard input.
//!
//! They are asked on a thread of their own, so that signals and the peer are heard meanwhile.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::job_control::WhenContinued;

/// Asks and gives the line that was typed, without its end; `None` when standard input has ended.
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

/// Whether an answer means yes; nothing typed does, as in the Python command line.
pub(crate) fn is_yes(answer: &str) -> bool {
    answer.is_empty() || answer.starts_with(['y', 'Y'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_alone_means_yes_and_anything_but_y_means_no() {
        assert!(is_yes("") && is_yes("y") && is_yes("Yes"));
        assert!(!is_yes("n") && !is_yes("no") && !is_yes("what?"));
    }
}
