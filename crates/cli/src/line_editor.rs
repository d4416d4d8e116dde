//! What the line editor of the code prompt and of `whisper chat` needs to behave under job control:
//! Ctrl-Z suspends, and `fg` shows the line again.
//!
//! The editor has a command of its own for Ctrl-Z, but it draws the line and takes the terminal
//! again before the process has really stopped. So the key ends the editing instead: the terminal
//! is as it was, the caller suspends, and edits the same line again.

use std::sync::{Arc, Mutex, PoisonError};

use rustyline::history::History;
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, ExternalPrinter as _,
    Helper, KeyEvent, RepeatCount,
};

use crate::job_control::{self, WhenContinued};

/// A line that is being edited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Editing {
    /// The whole line.
    pub(crate) line: String,
    /// The cursor is before this byte.
    pub(crate) pos: usize,
}

impl Editing {
    /// The text before the cursor and the text from there on.
    pub(crate) fn around_cursor(&self) -> (&str, &str) {
        self.line.split_at_checked(self.pos).unwrap_or((&self.line, ""))
    }
}

/// The line that was edited when the suspend key was pressed.
pub(crate) type Suspended = Arc<Mutex<Option<Editing>>>;

/// Takes the line out, if the suspend key ended the editing.
pub(crate) fn taken(suspended: &Suspended) -> Option<Editing> {
    suspended.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Makes the suspend key end the editing with `Interrupted`, and keeps the line in `suspended`.
pub(crate) fn bind_suspend_key<H: Helper, I: History>(
    editor: &mut Editor<H, I>,
    suspended: &Suspended,
) {
    if let Some(key) = job_control::suspend_key() {
        let handler = EventHandler::Conditional(Box::new(Suspend(Arc::clone(suspended))));
        editor.bind_sequence(KeyEvent::ctrl(key), handler);
    }
}

struct Suspend(Suspended);

impl ConditionalEventHandler for Suspend {
    fn handle(
        &self,
        _: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let editing = Editing { line: context.line().to_owned(), pos: context.pos() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(editing);
        Some(Cmd::Interrupt)
    }
}

/// Draws the line again when the process was stopped by another way than the suspend key, such as
/// `kill -STOP`, and is continued. Must be called in the context of a tokio runtime.
pub(crate) fn redraw_when_continued<H: Helper, I: History>(
    editor: &mut Editor<H, I>,
) -> Option<WhenContinued> {
    let mut printer = editor.create_external_printer().ok()?;
    Some(WhenContinued::call(move || {
        job_control::edit_keys_again();
        // Printing nothing draws the line again. A terminal that is gone needs none.
        let _gone = printer.print(String::new());
    }))
}
