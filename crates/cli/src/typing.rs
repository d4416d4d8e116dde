//! A code that is typed while the server is already connected, so that it can complete it.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use wormhole::code::{Code, CodeInput};

use crate::code_prompt::{self, PROMPT, Typed};
use crate::failure::Failure;
use crate::request::code_or_link;
use crate::screen;
use crate::signals::Signal;
use crate::talk::{Question, Talk};

/// Asks for the code and hands it over.
///
/// # Errors
/// Nobody typed one, or standard input held something else.
pub(crate) async fn ask_code(talk: &mut Talk<'_>, mut input: CodeInput) -> Result<()> {
    if talk.desk.is_json() || !io::stdin().is_terminal() {
        let question = Question { prompt: PROMPT.to_owned(), about: "code", answers: &[] };
        let line = talk.ask(&question).await?.ok_or_else(no_code)?;
        return choose(input, &parse(line.trim())?);
    }
    let _mode = SavedMode::new();
    loop {
        let prompt = tokio::task::spawn_blocking(move || code_prompt::read(input, ""));
        let typed = talk.while_waiting_for(prompt).await?.context("cannot read the terminal")?;
        let (line, used_tab) = match typed {
            Typed::Line { line, used_tab, input: back } => {
                input = back;
                (line, used_tab)
            }
            Typed::Interrupted => return Err(talk.stop(Signal::Interrupt).await),
            Typed::Ended => return Err(no_code().into()),
        };
        match parse(&line) {
            Ok(code) => {
                if !used_tab {
                    talk.desk.screen.say(" (note: you can use <Tab> to complete words)");
                }
                return choose(input, &code);
            }
            Err(failure) => screen::complain(&failure.to_string(), failure.advice()),
        }
    }
}

/// Chooses what completion has not chosen yet.
fn choose(mut input: CodeInput, code: &Code) -> Result<()> {
    if input.nameplate().is_none() {
        input.choose_nameplate(code.nameplate().clone())?;
    }
    Ok(input.choose_words(code.password().clone())?)
}

/// Reads a code or a link. A link to another server comes too late: this one is connected.
fn parse(line: &str) -> Result<Code, Failure> {
    let uri = code_or_link(line)?;
    match uri.rendezvous {
        None => Ok(uri.code),
        Some(_) => Err(Failure::new("this link leads to another mailbox server")
            .hint("start again with `wormhole receive LINK`")),
    }
}

fn no_code() -> Failure {
    Failure::usage("no code was typed").hint("run `wormhole receive CODE`")
}

/// Puts the terminal back as it was, also when the prompt is left by a signal.
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
        assert_eq!(refused.to_string(), "this link leads to another mailbox server");
    }
}
