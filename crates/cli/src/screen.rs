//! The terminal: messages and progress on standard error, results on standard output.
//!
//! It does not know transfers; `progress.rs` turns their events into text. A closed standard error
//! is ignored.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::meter::Meter;
use crate::units;

/// Standard error, and perhaps a progress bar on its last line.
#[derive(Debug)]
pub(crate) struct Screen {
    is_quiet: bool,
    shows_progress: bool,
    bar: Option<ProgressBar>,
    meter: Option<Meter>,
    /// Whether the message about a stalled connection was shown.
    stall_was_shown: bool,
}

impl Screen {
    /// A screen that is silent (for `--json`) or not, with progress bars or not. There are never
    /// bars if standard error is not a terminal.
    pub(crate) fn new(is_quiet: bool, hide_progress: bool) -> Self {
        let shows_progress =
            !is_quiet && !hide_progress && io::stderr().is_terminal() && !is_plain();
        Self { is_quiet, shows_progress, bar: None, meter: None, stall_was_shown: false }
    }

    /// Whether progress is shown on the last line.
    pub(crate) const fn shows_progress(&self) -> bool {
        self.shows_progress
    }

    /// Whether messages go to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        !self.is_quiet && io::stderr().is_terminal()
    }

    /// Columns and rows of the terminal, if it is one.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        let term = console::Term::stderr();
        if self.is_terminal() {
            term.size_checked().map(|(rows, columns)| (columns, rows))
        } else {
            None
        }
    }

    /// Shows one or more lines, above the progress bar, if it is visible.
    pub(crate) fn show(&self, lines: &str) {
        if self.is_quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| write_stderr(lines)),
            None => write_stderr(lines),
        }
    }

    /// Whether a picture fits on the terminal together with the text around it.
    pub(crate) fn has_room_for(&self, lines: &[String]) -> bool {
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        self.size().is_some_and(|(columns, rows)| {
            usize::from(columns) > width && usize::from(rows) >= lines.len() + LINES_AROUND
        })
    }

    /// Shows a picture of block characters, white on black if there are colours, so that a camera can read it.
    pub(crate) fn show_picture(&self, lines: &[String]) {
        let (on, off) = if self.has_colours() { ("\x1b[97;40m", "\x1b[0m") } else { ("", "") };
        for line in lines {
            self.show(&format!("{on}{line}{off}"));
        }
    }

    /// Prepares the last message: removes the progress bar, or starts a new line, because the cursor may be behind a
    /// `^C`.
    pub(crate) fn end_line(&mut self) {
        if self.bar.is_some() {
            self.end_progress();
        } else if self.is_terminal() {
            self.show("");
        }
    }

    /// Starts a new line after a prompt without an answer.
    pub(crate) fn end_prompt(&self) {
        self.show("");
    }

    /// The same text, bold if there are colours.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.has_colours() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn has_colours(&self) -> bool {
        self.is_terminal()
            && !is_plain()
            && env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
    }

    /// Shows the progress: `done` of `total` bytes, or of an unknown number.
    pub(crate) fn show_progress(&mut self, done: u64, total: Option<u64>) {
        let now = Instant::now();
        let meter = self.meter.get_or_insert_with(|| Meter::new(now, total));
        meter.observe(now, done);
        let (described, is_stalled) = (meter.describe(now), meter.stalled(now).is_some());
        if self.shows_progress {
            let columns = self.size().map_or(USUAL_WIDTH, |(columns, _)| columns);
            let has_colours = self.has_colours();
            let bar = self.bar.get_or_insert_with(|| new_bar(total, columns, has_colours));
            bar.set_message(described);
            bar.set_position(done);
        } else if is_stalled && total.is_some() && !self.stall_was_shown {
            self.show("The connection is stalled: no data for 5 s. Still waiting..");
        }
        self.stall_was_shown = is_stalled;
    }

    /// Shows a status on the last line of a terminal.
    pub(crate) fn show_status(&mut self, line: &str) {
        if !self.shows_progress {
            return;
        }
        let columns = self.size().map_or(USUAL_WIDTH, |(columns, _)| columns);
        let width = usize::from(columns).saturating_sub(COLUMNS_BEHIND_STATUS);
        let bar = self.bar.get_or_insert_with(new_status);
        bar.set_message(console::truncate_str(line, width, "").into_owned());
    }

    /// Removes the line of [`Screen::show_status`].
    pub(crate) fn end_status(&mut self) {
        self.end_progress();
    }

    /// Removes the progress bar.
    pub(crate) fn end_progress(&mut self) {
        self.meter = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Whether the terminal does not support escape sequences, according to `TERM`, which Windows does not set.
pub(crate) fn is_plain() -> bool {
    let is_listed = |term: &OsStr| PLAIN.iter().any(|plain| term.eq_ignore_ascii_case(plain));
    match env::var_os("TERM") {
        Some(term) => is_listed(&term),
        None => cfg!(unix),
    }
}

/// Writes to standard error and ignores errors.
fn write_stderr(lines: &str) {
    let mut text = String::with_capacity(lines.len() + 1);
    text.push_str(lines);
    text.push('\n');
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Shows an error and a hint, in the form that all commands share.
pub(crate) fn show_error(message: &str, hint: Option<&str>) {
    write_stderr(&format!("wormhole: error: {message}"));
    if let Some(hint) = hint {
        write_stderr(&format!("wormhole: hint: {hint}"));
    }
}

/// Writes a result to standard output.
///
/// # Errors
/// Standard output cannot be written; a closed pipe is `BrokenPipe`.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A bar that leaves some of the line free: if a `^C` behind it began a new line, the bar could not be removed.
fn new_bar(total: Option<u64>, columns: u16, has_colours: bool) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
    let bar = ProgressBar::with_draw_target(total, target);
    let template = match columns {
        _ if total.is_none() => "{done}  {msg}  {past}",
        95.. => "{percent:>3}% [{bar:40.green}] {done}/{all}  {msg}",
        75.. => "{percent:>3}% [{bar:20.green}] {done}/{all}  {msg}",
        55.. => "{percent:>3}% {done}/{all}  {msg}",
        _ => "{percent:>3}%  {msg}",
    };
    let template = if has_colours { template.to_owned() } else { template.replace(".green", "") };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(with_our_units(style));
    }
    bar
}

/// A status without padding: see [`new_bar`].
fn new_status() -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("{msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn with_our_units(style: ProgressStyle) -> ProgressStyle {
    type Out<'a> = &'a mut dyn std::fmt::Write;
    let put = |out: Out<'_>, text: &str| {
        // Errors of drawing are ignored.
        let _ = out.write_str(text);
    };
    style
        .progress_chars("=> ")
        .with_key("done", move |state: &ProgressState, out: Out<'_>| {
            put(out, &units::size(state.pos()));
        })
        .with_key("all", move |state: &ProgressState, out: Out<'_>| {
            put(out, &units::size(state.len().unwrap_or_default()));
        })
        .with_key("past", move |state: &ProgressState, out: Out<'_>| {
            put(out, &units::left(state.elapsed()));
        })
}

/// Terminals without escape sequences, as the line editor lists them.
const PLAIN: [&str; 4] = ["", "dumb", "cons25", "emacs"];

/// Enough to look smooth, and cheap on a serial line.
const REDRAWS_PER_SECOND: u8 = 10;

/// Columns of a terminal of unknown size.
const USUAL_WIDTH: u16 = 80;

/// Columns that a status leaves free for a `^C` behind it.
const COLUMNS_BEHIND_STATUS: usize = 4;

/// Lines on the screen in addition to a picture: the offer, the code, the command and the progress.
const LINES_AROUND: usize = 12;
