//! Asks for the code after connecting to the server, so that Tab can complete nameplates.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use wormhole::code::review::guess_code;
use wormhole::code::{Code, CodeInput, Nameplate};

use crate::active_transfer::ActiveTransfer;
use crate::ask::Ask as _;
use crate::code_prompt::{self, PROMPT, Typed};
use crate::code_review::Warning;
use crate::console::Question;
use crate::failure::Failure;
use crate::request::code_or_link;
use crate::screen;
use crate::signals::Signal;
use crate::terminal_mode::EditedMode;

/// Asks for the code and passes it to the transfer. Returns its nameplate.
///
/// # Errors
/// No code was typed, or standard input contains something else.
pub(crate) async fn ask_code(
    active: &mut ActiveTransfer<'_>,
    mut input: CodeInput,
) -> Result<Nameplate> {
    if active.console.is_json() || !io::stdin().is_terminal() {
        let code = parse(&plain_line(active).await?)?;
        if let Some(warning) = Warning::about(&code) {
            warning.show(active.console)?;
        }
        return choose(input, &code);
    }
    let mut start = String::new();
    loop {
        let line;
        (line, input) = edited_line(active, input, &start).await?;
        match parse(&line) {
            Ok(code) => {
                let Some(warning) = Warning::about(&code) else { return choose(input, &code) };
                if active.ask_yes_or_no(&warning.question(), false).await? == Some(true) {
                    return choose(input, &code);
                }
                start = warning.suggestion.unwrap_or(line);
            }
            Err(failure) => {
                screen::show_error(&failure.to_string(), failure.advice());
                start = guess_code(&line).map(|code| code.to_string()).unwrap_or_default();
            }
        }
    }
}

/// Reads a line without an editor.
async fn plain_line(active: &mut ActiveTransfer<'_>) -> Result<String> {
    let question = Question { prompt: PROMPT.to_owned(), about: "code", answers: &[] };
    let line = active.ask(&question).await?.ok_or_else(no_code)?;
    Ok(line.trim().to_owned())
}

/// Reads a line with the line editor, which begins with `start`.
async fn edited_line(
    active: &mut ActiveTransfer<'_>,
    input: CodeInput,
    start: &str,
) -> Result<(String, CodeInput)> {
    if screen::is_plain() {
        return Ok((plain_line(active).await?, input));
    }
    let _mode = EditedMode::new();
    let start = start.to_owned();
    let prompt = tokio::task::spawn_blocking(move || code_prompt::read(input, &start));
    let typed = active.while_waiting_for(prompt).await?.context("cannot read the terminal")?;
    match typed {
        Typed::Line { line, used_tab, input } => {
            if !used_tab && parse(&line).is_ok() {
                active.console.screen.show(" (note: you can use <Tab> to complete words)");
            }
            Ok((line, input))
        }
        Typed::Interrupted => Err(active.stop(Signal::Interrupt).await),
        Typed::Ended => Err(no_code().into()),
    }
}

/// Chooses the parts of the code that completion has not chosen.
fn choose(mut input: CodeInput, code: &Code) -> Result<Nameplate> {
    if input.nameplate().is_none() {
        input.choose_nameplate(code.nameplate().clone())?;
    }
    input.choose_words(code.password().clone())?;
    Ok(code.nameplate().clone())
}

/// Parses a code or a link. A link to another server comes too late: the server is already connected.
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
