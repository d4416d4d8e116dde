//! A code that is typed while the server is already connected, so that it can complete it.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use wormhole::code::review::meant;
use wormhole::code::{Code, CodeInput, Nameplate};

use crate::code_prompt::{self, PROMPT, Typed};
use crate::code_review::{Warning, is_agreed};
use crate::failure::Failure;
use crate::request::code_or_link;
use crate::screen;
use crate::signals::Signal;
use crate::talk::{Question, Talk};

/// Asks for the code and hands it over; gives its nameplate.
///
/// # Errors
/// Nobody typed one, or standard input held something else.
pub(crate) async fn ask_code(talk: &mut Talk<'_>, mut input: CodeInput) -> Result<Nameplate> {
    if talk.desk.is_json() || !io::stdin().is_terminal() {
        let code = parse(&plain_line(talk).await?)?;
        if let Some(warning) = Warning::about(&code) {
            warning.show(talk.desk)?;
        }
        return choose(input, &code);
    }
    let mut start = String::new();
    loop {
        let line;
        (line, input) = edited_line(talk, input, &start).await?;
        match parse(&line) {
            Ok(code) => {
                let Some(warning) = Warning::about(&code) else { return choose(input, &code) };
                if talk.ask(&warning.question()).await?.is_some_and(|it| is_agreed(&it)) {
                    return choose(input, &code);
                }
                start = warning.suggestion.unwrap_or(line);
            }
            Err(failure) => {
                screen::complain(&failure.to_string(), failure.advice());
                start = meant(&line).map(|code| code.to_string()).unwrap_or_default();
            }
        }
    }
}

/// Reads a line as it comes, without editing it.
async fn plain_line(talk: &mut Talk<'_>) -> Result<String> {
    let question = Question { prompt: PROMPT.to_owned(), about: "code", answers: &[] };
    let line = talk.ask(&question).await?.ok_or_else(no_code)?;
    Ok(line.trim().to_owned())
}

/// Lets the user edit a line that begins with `start`.
async fn edited_line(
    talk: &mut Talk<'_>,
    input: CodeInput,
    start: &str,
) -> Result<(String, CodeInput)> {
    if screen::is_plain() {
        return Ok((plain_line(talk).await?, input));
    }
    let _mode = EditedMode::new();
    let start = start.to_owned();
    let prompt = tokio::task::spawn_blocking(move || code_prompt::read(input, &start));
    let typed = talk.while_waiting_for(prompt).await?.context("cannot read the terminal")?;
    match typed {
        Typed::Line { line, used_tab, input } => {
            if !used_tab && parse(&line).is_ok() {
                talk.desk.screen.say(" (note: you can use <Tab> to complete words)");
            }
            Ok((line, input))
        }
        Typed::Interrupted => Err(talk.stop(Signal::Interrupt).await),
        Typed::Ended => Err(no_code().into()),
    }
}

/// Chooses what completion has not chosen yet.
fn choose(mut input: CodeInput, code: &Code) -> Result<Nameplate> {
    if input.nameplate().is_none() {
        input.choose_nameplate(code.nameplate().clone())?;
    }
    input.choose_words(code.password().clone())?;
    Ok(code.nameplate().clone())
}

/// Reads a code or a link. A link to another server comes too late: this one is connected.
fn parse(line: &str) -> Result<Code, Failure> {
    let uri = code_or_link(line)?;
    match uri.rendezvous {
        None => Ok(uri.code),
        Some(_) => Err(Failure::new("this link names another mailbox server")
            .hint("start again with `wormhole receive LINK`")),
    }
}

fn no_code() -> Failure {
    Failure::usage("no code was typed").hint("run `wormhole receive CODE`")
}

/// Ends the line editor's hold on the terminal, also when the prompt is left by a signal.
pub(crate) struct EditedMode {
    _mode: SavedMode,
}

impl EditedMode {
    /// Notes how the terminal is before the editor starts.
    pub(crate) fn new() -> Self {
        Self { _mode: SavedMode::new() }
    }
}

impl Drop for EditedMode {
    fn drop(&mut self) {
        // The editor has asked for marks around what is pasted. A terminal that is gone needs none.
        let _gone = io::stderr().write_all(b"\x1b[?2004l");
    }
}

/// Puts the terminal back as it was.
pub(crate) struct SavedMode {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

#[cfg(unix)]
impl SavedMode {
    /// Notes how it is.
    pub(crate) fn new() -> Self {
        Self { before: rustix::termios::tcgetattr(rustix::stdio::stdin()).ok() }
    }
}

#[cfg(unix)]
impl Drop for SavedMode {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};

        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(not(unix))]
impl SavedMode {
    /// Nothing can be noted here.
    pub(crate) fn new() -> Self {
        Self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_as_good_as_a_code() {
        let code = parse("wormhole-transfer:4-purple-sausages").unwrap();
        assert_eq!(code.to_string(), "4-purple-sausages");
        assert_eq!(parse("4-purple-sausages").unwrap(), code);
    }

    #[test]
    fn a_link_to_another_server_comes_too_late() {
        let refused = parse("wormhole-transfer:4-x?rendezvous=ws%3A%2F%2Fh").unwrap_err();
        assert_eq!(refused.to_string(), "this link names another mailbox server");
    }
}
