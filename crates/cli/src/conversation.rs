//! The lines that the user types, for commands in which people write to one another.
//!
//! At a terminal, a line editor shows what happens above the line that is being typed. Elsewhere, the lines are those of
//! standard input, and the command itself shows what happens.

mod prompt;

use std::future::pending;
use std::io::{self, BufRead as _, IsTerminal as _};

use tokio::sync::{mpsc, oneshot};

use crate::console::Console;
use crate::screen;
use crate::terminal_mode::EditedMode;

/// How the input at a terminal ended.
#[derive(Debug)]
pub(crate) enum InputEnd {
    /// Ctrl-D.
    EndOfInput,
    /// The terminal cannot be read.
    Failed(io::Error),
    /// Ctrl-C, which is only a key while a line is edited.
    Interrupted,
}

/// The end of the input at a terminal.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) how: InputEnd,
    /// Keeps the lines open unless it is an end of input, so that it is not taken for one.
    _lines: Option<mpsc::Sender<io::Result<String>>>,
}

/// The texts of a conversation.
#[derive(Debug)]
pub(crate) struct Style<E> {
    /// An event, with the end of its last line.
    pub(crate) event: fn(&E) -> String,
    /// A line that the user has typed.
    pub(crate) own: fn(&str) -> String,
    /// Whether an event is the latest state of something, whose line a later event may replace.
    pub(crate) is_state: fn(&E) -> bool,
    /// Whether an event replaces the state in the line above it.
    pub(crate) replaces_state: fn(&E) -> bool,
    /// Shown instead of taking a line while too many wait.
    pub(crate) too_many: &'static str,
}

/// The lines that are typed, and where events are shown.
pub(crate) struct Input<E> {
    pub(crate) lines: mpsc::Receiver<io::Result<String>>,
    /// The end of the input at a terminal, which may come while earlier lines still wait.
    pub(crate) end: Option<oneshot::Receiver<End>>,
    /// Events that the command shows itself. `None` if the line editor shows them above its line.
    pub(crate) to_show: Option<mpsc::Receiver<E>>,
    _terminal: Option<EditedMode>,
}

impl<E: Send + 'static> Input<E> {
    /// Begins to read lines. At a terminal, also begins to show the events.
    pub(crate) fn open(to_show: mpsc::Receiver<E>, style: Style<E>, console: &Console) -> Self {
        let to_show = match can_edit(console) {
            true => match prompt::start(to_show, style) {
                Ok((lines, end, terminal)) => {
                    let (end, _terminal) = (Some(end), Some(terminal));
                    return Self { lines, end, to_show: None, _terminal };
                }
                Err(to_show) => to_show,
            },
            false => to_show,
        };
        Self { lines: lines(), end: None, to_show: Some(to_show), _terminal: None }
    }

    /// The lines that were typed, but not taken from here.
    pub(crate) fn rest(&mut self) -> impl Iterator<Item = String> {
        std::iter::from_fn(|| self.lines.try_recv().ok()).flatten()
    }
}

/// The next event that the command shows itself.
pub(crate) async fn next_event<E>(to_show: &mut Option<mpsc::Receiver<E>>) -> Option<E> {
    match to_show {
        Some(to_show) => to_show.recv().await,
        None => pending().await,
    }
}

/// Whether input and output are a terminal that can move its cursor.
fn can_edit(console: &Console) -> bool {
    !console.is_json()
        && !screen::is_plain()
        && io::stdin().is_terminal()
        && io::stdout().is_terminal()
}

/// The lines of standard input, read on a thread that the end of the program does not wait for.
fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        for line in io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
