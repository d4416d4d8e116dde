//! Restores the mode of the terminal after a prompt, also if a signal ends the prompt.

use std::io::{self, Write as _};

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
