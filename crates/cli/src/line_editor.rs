//! Job control for the line editor: Ctrl-Z suspends the program, and `fg` shows the line again.
//!
//! rustyline's own Ctrl-Z command sets the terminal to raw mode again before the process has stopped. So here
//! Ctrl-Z ends the editing, the caller suspends the process, and then edits the same line again.

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

/// The line at the time when the suspend key was pressed.
pub(crate) type Suspended = Arc<Mutex<Option<Editing>>>;

/// Takes the line, if the suspend key ended the editing.
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

/// Draws the line again when the process continues after it was stopped without the suspend key, such as with
/// `kill -STOP`. Must be called in the context of a tokio runtime.
pub(crate) fn redraw_when_continued<H: Helper, I: History>(
    editor: &mut Editor<H, I>,
) -> Option<WhenContinued> {
    let mut printer = editor.create_external_printer().ok()?;
    Some(WhenContinued::call(move || {
        job_control::edit_keys_again();
        // Printing nothing draws the line again. Errors are ignored: the terminal may be gone.
        let _gone = printer.print(String::new());
    }))
}
