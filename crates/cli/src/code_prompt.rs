//! The prompt for a code at a terminal. Tab completes nameplates that are in use on the server, then words.
//!
//! It blocks; `ask_code.rs` runs it on a thread of its own
//! (docs/codes.md "Completion").

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Behavior, CompletionType, Config, Context, Editor, Helper};
use wormhole::code::{CodeInput, Nameplate};

use crate::line_editor::{Editing, Suspended, bind_suspend_key, redraw_when_continued, taken};
use crate::{job_control, screen};

/// How typing ended.
#[derive(Debug)]
pub(crate) enum Typed {
    /// A line that may be a code.
    Line {
        /// The line, without spaces around it.
        line: String,
        /// Whether Tab was used at all.
        used_tab: bool,
        /// The parts of the code that completion has chosen.
        input: CodeInput,
    },
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    Ended,
}

/// The prompt, as in the Python command line.
pub(crate) const PROMPT: &str = "Enter receive wormhole code: ";

/// Reads one line from the terminal, which begins with `start`.
///
/// Completion claims the nameplate, which cannot be changed afterwards: asks again until the line starts with it. Must be called in the context of a tokio runtime.
pub(crate) fn read(input: CodeInput, start: &str) -> Typed {
    let mut editing = Editing { line: start.to_owned(), pos: start.len() };
    let (mut input, mut used_tab) = (input, false);
    loop {
        let suspended = Arc::new(Mutex::new(None));
        match edit(CodeHelper::new(input, used_tab), &editing, &suspended) {
            (Err(ReadlineError::Interrupted), Some(kept)) => {
                (input, used_tab) = kept;
                let Some(line) = taken(&suspended) else { return Typed::Interrupted };
                editing = line;
                job_control::suspend();
            }
            (Ok(line), Some(kept)) => {
                (input, used_tab) = kept;
                let line = line.trim().to_owned();
                let Some(claimed) = input.nameplate().filter(|it| !begins_with(&line, it)) else {
                    return Typed::Line { line, used_tab, input };
                };
                screen::show_error(
                    &format!(
                        "the code must start with {claimed}-: you have already chosen this number"
                    ),
                    None,
                );
                let start = format!("{claimed}-");
                editing = Editing { pos: start.len(), line: start };
            }
            _ => return Typed::Ended,
        }
    }
}

/// Lets the user edit one line. Returns the line and the state of completion.
fn edit(
    helper: CodeHelper,
    editing: &Editing,
    suspended: &Suspended,
) -> (rustyline::Result<String>, Option<(CodeInput, bool)>) {
    let config = Config::builder()
        .behavior(Behavior::PreferTerm)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .build();
    let mut editor = match Editor::<CodeHelper, _>::with_history(config, MemHistory::new()) {
        Ok(editor) => editor,
        Err(error) => return (Err(error), None),
    };
    editor.set_helper(Some(helper));
    bind_suspend_key(&mut editor, suspended);
    let redraw = redraw_when_continued(&mut editor);
    let line = editor.readline_with_initial(PROMPT, editing.around_cursor());
    drop(redraw);
    // The editor does not give its helper back, so an empty one stays in it.
    (line, editor.helper_mut().and_then(CodeHelper::take))
}

fn begins_with(line: &str, nameplate: &Nameplate) -> bool {
    line.split_once('-').is_some_and(|(digits, _)| digits == nameplate.as_str())
}

/// Completes codes for the line editor.
struct CodeHelper {
    input: RefCell<Option<CodeInput>>,
    used_tab: Cell<bool>,
}

impl CodeHelper {
    fn new(input: CodeInput, used_tab: bool) -> Self {
        input.refresh_nameplates();
        Self { input: RefCell::new(Some(input)), used_tab: Cell::new(used_tab) }
    }

    fn take(&mut self) -> Option<(CodeInput, bool)> {
        Some((self.input.take()?, self.used_tab.get()))
    }

    /// All completions of a text. Claims the nameplate when it is complete.
    fn completions(&self, typed: &str) -> Vec<String> {
        self.used_tab.set(true);
        let mut input = self.input.borrow_mut();
        let Some(input) = input.as_mut() else { return Vec::new() };
        let Some((nameplate, words)) = typed.split_once('-') else {
            if input.nameplate().is_some() {
                return Vec::new();
            }
            // The answer is for the next Tab. Waiting for it would freeze the prompt.
            input.refresh_nameplates();
            return input.complete_nameplate(typed);
        };
        if !is_claimed(input, nameplate) {
            return Vec::new();
        }
        let words = input.complete_words(words);
        words.into_iter().map(|words| format!("{nameplate}-{words}")).collect()
    }
}

/// Claims this nameplate, unless one is claimed. Returns whether it is ours.
fn is_claimed(input: &mut CodeInput, typed: &str) -> bool {
    let Ok(nameplate) = Nameplate::parse(typed) else { return false };
    match input.nameplate() {
        Some(claimed) => *claimed == nameplate,
        None => input.choose_nameplate(nameplate).is_ok(),
    }
}

impl Completer for CodeHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let mut completions =
            line.get(..pos).map(|typed| self.completions(typed)).unwrap_or_default();
        // The editor would ask before it shows more, and ignore Ctrl-C meanwhile.
        if completions.len() > MAX_SHOWN {
            completions.clear();
        }
        Ok((0, completions))
    }
}

impl Helper for CodeHelper {}
impl Highlighter for CodeHelper {}
impl Validator for CodeHelper {}

impl Hinter for CodeHelper {
    type Hint = String;
}

/// Maximum number of completions that are listed. If there are more, type another letter first.
const MAX_SHOWN: usize = 99;

#[cfg(test)]
mod tests {
    use wormhole::code::{Config, Wormhole};

    use super::*;

    /// A helper whose wormhole never reaches its server.
    fn with_helper(check: impl FnOnce(&CodeHelper)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let servers = vec!["ws://127.0.0.1:9/v1".parse().unwrap()];
            let wormhole = Wormhole::create(Config { servers, ..Config::default() });
            check(&CodeHelper::new(wormhole.input_code().unwrap(), false));
        });
    }

    #[test]
    fn words_are_completed_from_the_list() {
        with_helper(|helper| {
            assert_eq!(helper.completions("4-armi"), ["4-armistice-"]);
            assert_eq!(helper.completions("4-armistice-zu"), ["4-armistice-zulu"]);
        });
    }

    #[test]
    fn a_claimed_nameplate_cannot_be_changed() {
        with_helper(|helper| {
            assert_eq!(helper.completions("4-").len(), 256);
            assert_eq!(helper.completions("42-"), Vec::<String>::new());
            assert_eq!(helper.completions(""), Vec::<String>::new());
        });
    }

    #[test]
    fn an_invalid_nameplate_is_not_claimed() {
        with_helper(|helper| {
            assert_eq!(helper.completions("x-"), Vec::<String>::new());
            assert_eq!(helper.completions("4-armi"), ["4-armistice-"]);
        });
    }
}
