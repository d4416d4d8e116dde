//! Restores the mode of the terminal after a prompt, also if a signal ends the prompt.

use std::io::{self, Write as _};

/// Restores the terminal after the line editor, also if a signal ends the prompt.
pub(crate) struct EditedMode {
    _mode: SavedMode,
}

impl EditedMode {
    /// Saves the mode of the terminal before the editor starts.
    pub(crate) fn new() -> Self {
        Self { _mode: SavedMode::new() }
    }
}

impl Drop for EditedMode {
    fn drop(&mut self) {
        // The editor has turned bracketed paste on. Errors are ignored: the terminal may be gone.
        let _gone = io::stderr().write_all(b"\x1b[?2004l");
    }
}

/// Restores the mode of the terminal when it is dropped.
pub(crate) struct SavedMode {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

#[cfg(unix)]
impl SavedMode {
    /// Saves the present mode.
    pub(crate) fn new() -> Self {
        Self { before: rustix::termios::tcgetattr(rustix::stdio::stdin()).ok() }
    }

    /// Restores the saved mode. Ignores errors: the terminal may be gone.
    pub(crate) fn restore(&self) {
        use rustix::termios::{OptionalActions, tcsetattr};

        if let Some(before) = &self.before {
            let _gone = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(not(unix))]
impl SavedMode {
    /// Saves nothing on this system.
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// Does nothing on this system.
    pub(crate) fn restore(&self) {}
}

impl Drop for SavedMode {
    fn drop(&mut self) {
        self.restore();
    }
}
