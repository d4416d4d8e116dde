//! The input line of a conversation at a terminal. Events are printed above it.
//!
//! One thread reads keys, another prints. The line editor's own printer delays keys that arrive together, such
//! as pasted text. Therefore this module draws the line again itself, from what the editor showed last.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, Config, Context, Editor, Helper};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::{End, InputEnd, Style};
use crate::line_editor::{Editing, Suspended, bind_suspend_key, redraw_when_continued, taken};
use crate::terminal_mode::{EditedMode, SavedMode};
use crate::{job_control, screen};

/// The lines that are typed, the end of the input, and the guard that restores the mode of the terminal.
type Started = (mpsc::Receiver<io::Result<String>>, oneshot::Receiver<End>, EditedMode);

/// Reads lines and prints events above them, until either ends.
///
/// # Errors
/// The line editor does not start. Returns `events` unchanged.
pub(super) fn start<E: Send + 'static>(
    events: mpsc::Receiver<E>,
    style: Style<E>,
) -> Result<Started, mpsc::Receiver<E>> {
    // Without forced colours, the editor does not report moves of the cursor.
    let config = Config::builder().auto_add_history(true).color_mode(ColorMode::Forced).build();
    let Ok(mut editor) = Editor::<Line, _>::with_history(config, MemHistory::new()) else {
        return Err(events);
    };
    let shared = Arc::new(Shared::default());
    editor.set_helper(Some(Line(Arc::clone(&shared))));
    let (sender, lines) = mpsc::channel(MAX_LINES);
    let (ended, end) = oneshot::channel();
    let terminal = EditedMode::new();
    let read = Arc::clone(&shared);
    let (own, too_many) = (style.own, style.too_many);
    tokio::task::spawn_blocking(move || {
        let how = read_all(&mut editor, &read, &sender, (own, too_many));
        let _lines = (!matches!(how, InputEnd::EndOfInput)).then_some(sender);
        // Nobody waits for the end if the conversation has ended for another reason.
        let _over = ended.send(End { how, _lines });
    });
    tokio::task::spawn_blocking(move || print_all(events, &style, &shared));
    Ok((lines, end, terminal))
}

/// Reads lines until the input ends. Never waits for the lines to be sent: Ctrl-C must work meanwhile.
fn read_all(
    editor: &mut Editor<Line, MemHistory>,
    shared: &Shared,
    sender: &mpsc::Sender<io::Result<String>>,
    (own, too_many): (fn(&str) -> String, &str),
) -> InputEnd {
    let suspended = Suspended::default();
    bind_suspend_key(editor, &suspended);
    let usual_mode = SavedMode::new();
    job_control::keep_keys();
    let mut editing = Editing::default();
    loop {
        let redraw = redraw_when_continued(editor);
        let read = editor.readline_with_initial(PROMPT, editing.around_cursor());
        drop(redraw);
        if let Ok(typed) = &read {
            replace(typed, own);
        }
        shared.set(PromptState::Nothing);
        if let Some(line) = taken(&suspended) {
            editing = line;
            // The shell writes below the last line.
            shared.forget_state();
            usual_mode.restore();
            job_control::suspend();
            job_control::keep_keys();
            continue;
        }
        editing = Editing::default();
        let line = match read {
            Ok(line) => line,
            Err(ReadlineError::Eof) => {
                // The prompt without a line.
                let _gone = screen::print(ERASE_ROW.as_bytes());
                return InputEnd::EndOfInput;
            }
            Err(ReadlineError::Interrupted) => return InputEnd::Interrupted,
            Err(ReadlineError::Io(error)) => return InputEnd::Failed(error),
            Err(_) => return InputEnd::Failed(io::ErrorKind::Other.into()),
        };
        match sender.try_send(Ok(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                shared.forget_state();
                let _gone = screen::print(format!("{too_many}\n").as_bytes());
            }
            Err(TrySendError::Closed(_)) => return InputEnd::EndOfInput,
        }
    }
}

/// Replaces the typed line with the same text in the form of the messages of others.
fn replace(typed: &str, own: fn(&str) -> String) {
    // Moves to the beginning of the prompt and erases everything below.
    let (row, _) = place(typed, columns());
    let mut text = format!("\x1b[{}A\r\x1b[J", row + 1);
    if !typed.is_empty() {
        text.push_str(&own(typed));
    }
    // If the terminal is gone, nobody reads it.
    let _gone = screen::print(text.as_bytes());
}

fn print_all<E>(mut events: mpsc::Receiver<E>, style: &Style<E>, shared: &Shared) {
    while let Some(event) = events.blocking_recv() {
        let message = (style.event)(&event);
        let columns = columns();
        let is_state = (style.is_state)(&event) && console::measure_text_width(&message) < columns;
        let prompt = shared.settled();
        let replaces = shared.ends_with_state.swap(is_state, Ordering::Relaxed)
            && (style.replaces_state)(&event);
        let text = match &*prompt {
            PromptState::Typing { line, pos } => above(&message, replaces, line, *pos, columns),
            PromptState::Nothing | PromptState::Entered if replaces => {
                format!("{ERASE_ROW}{message}")
            }
            PromptState::Nothing | PromptState::Entered => message,
        };
        if screen::print(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// The output that replaces the input line, and perhaps also the row above it, by a message, and shows the input line below it.
fn above(message: &str, replaces_row: bool, line: &str, pos: usize, columns: usize) -> String {
    let (row, column) = place(line.get(..pos).unwrap_or(line), columns);
    let (last, end) = place(line, columns);
    let mut text = String::from("\r");
    let up = row + usize::from(replaces_row);
    if up > 0 {
        text.push_str(&format!("\x1b[{up}A"));
    }
    text.push_str(&format!("\x1b[J{message}{PROMPT}{line}"));
    if end == 0 && last > 0 && !line.ends_with('\n') {
        // A terminal begins the next row only with the next character.
        text.push('\n');
    }
    if last > row {
        text.push_str(&format!("\x1b[{}A", last - row));
    }
    text.push('\r');
    if column > 0 {
        text.push_str(&format!("\x1b[{column}C"));
    }
    text
}

/// The row and column at the end of a line that begins behind the prompt, as the editor counts them.
fn place(line: &str, columns: usize) -> (usize, usize) {
    let (mut row, mut column) = (0, PROMPT.len());
    for letter in line.chars() {
        if letter == '\n' {
            (row, column) = (row + 1, 0);
            continue;
        }
        let width = console::measure_text_width(letter.encode_utf8(&mut [0; 4]));
        column += width;
        if column > columns {
            (row, column) = (row + 1, width);
        }
    }
    if column == columns { (row + 1, 0) } else { (row, column) }
}

fn columns() -> usize {
    let (_, columns) = console::Term::stdout().size();
    usize::from(columns).max(PROMPT.len() + 1)
}

/// The state of the line, for both threads.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<PromptState>,
    changed: Condvar,
    /// Whether the row above the input line is the state of something.
    ends_with_state: AtomicBool,
}

#[derive(Debug, Default)]
enum PromptState {
    /// The cursor is at the beginning of a line.
    #[default]
    Nothing,
    /// Return was pressed, and the line is about to be replaced.
    Entered,
    /// This text is shown, with the cursor before this byte.
    Typing { line: String, pos: usize },
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PromptState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_state(&self) {
        self.ends_with_state.store(false, Ordering::Relaxed);
    }

    fn set(&self, state: PromptState) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    /// Stores what the editor is about to show.
    fn show(&self, line: &str, pos: usize) {
        let mut state = self.lock();
        if !matches!(*state, PromptState::Entered) {
            *state = PromptState::Typing { line: line.to_owned(), pos };
        }
    }

    /// Waits until no line is about to be replaced.
    fn settled(&self) -> MutexGuard<'_, PromptState> {
        let settled =
            self.changed.wait_while(self.lock(), |state| matches!(state, PromptState::Entered));
        settled.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives the changes of the line from the editor.
struct Line(Arc<Shared>);

impl Highlighter for Line {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        self.0.show(line, pos);
        Cow::Borrowed(line)
    }

    fn highlight_char(&self, line: &str, pos: usize, _kind: CmdKind) -> bool {
        self.0.show(line, pos);
        false
    }
}

impl Hinter for Line {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, _context: &Context<'_>) -> Option<String> {
        self.0.show(line, pos);
        None
    }
}

impl Validator for Line {
    /// Return was pressed. Every line is valid.
    fn validate(
        &self,
        _context: &mut ValidationContext<'_>,
    ) -> rustyline::Result<ValidationResult> {
        self.0.set(PromptState::Entered);
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Line {
    type Candidate = String;
}

impl Helper for Line {}

/// Erases the row above the cursor, which is at the beginning of a row.
const ERASE_ROW: &str = "\x1b[1A\r\x1b[J";

/// The text before the line.
const PROMPT: &str = "> ";

/// Maximum number of lines that wait to be sent.
const MAX_LINES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_continues_on_the_next_row() {
        assert_eq!(place("", 10), (0, 2));
        assert_eq!(place("1234567", 10), (0, 9));
        assert_eq!(place("12345678", 10), (1, 0));
        assert_eq!(place("1234567\u{6f22}", 10), (1, 2));
        assert_eq!(place("12\n3", 10), (1, 1));
    }

    #[test]
    fn a_message_takes_the_place_of_the_line_which_moves_below_it() {
        assert_eq!(above("hello\n", false, "hi", 2, 10), "\r\x1b[Jhello\n> hi\r\x1b[4C");
        // The cursor was on the first of two rows.
        let shown = above("hello\n", false, "1234567890", 1, 10);
        assert_eq!(shown, "\r\x1b[Jhello\n> 1234567890\x1b[1A\r\x1b[3C");
        let shown = above("hello\n", false, "12345678", 8, 10);
        assert_eq!(shown, "\r\x1b[1A\x1b[Jhello\n> 12345678\n\r");
        // The row above is replaced, too.
        assert_eq!(above("read\n", true, "hi", 2, 10), "\r\x1b[1A\x1b[Jread\n> hi\r\x1b[4C");
    }
}
