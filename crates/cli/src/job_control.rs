//! Job control: Ctrl-Z, `fg` and `bg`.
//!
//! Usually the system stops and continues the process. While a line is edited, Ctrl-Z is only a key, so this module
//! stops the process. After the process continues, the module draws prompts again and sets the mode of the terminal
//! again, because the shell has changed both.

#[cfg(unix)]
pub(crate) use unix::{
    WhenContinued, edit_keys_again, hide_keys_again, keep_keys, suspend, suspend_key,
};

#[cfg(not(unix))]
pub(crate) use other::{
    WhenContinued, edit_keys_again, hide_keys_again, keep_keys, suspend, suspend_key,
};

/// Systems without job control.
#[cfg(not(unix))]
mod other {
    /// Never calls its function: processes are not continued here.
    #[derive(Debug)]
    pub(crate) struct WhenContinued;

    impl WhenContinued {
        /// Ignores the function.
        pub(crate) fn call(_action: impl FnMut() + Send + 'static) -> Self {
            Self
        }
    }

    /// Does nothing.
    pub(crate) const fn suspend() {}

    /// No key suspends.
    pub(crate) const fn suspend_key() -> Option<char> {
        None
    }

    /// Does nothing.
    pub(crate) const fn edit_keys_again() {}

    /// Does nothing.
    pub(crate) const fn hide_keys_again() {}

    /// Does nothing.
    pub(crate) const fn keep_keys() {}
}

#[cfg(unix)]
mod unix {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use rustix::process::Signal;
    use rustix::stdio::stdin;
    use rustix::termios::{
        ControlModes, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios,
        tcgetattr, tcsetattr,
    };
    use signal_hook::consts::SIGCONT;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::task::JoinHandle;

    /// Calls a function each time this process is continued, until it is dropped.
    #[derive(Debug)]
    pub(crate) struct WhenContinued(Option<JoinHandle<()>>);

    impl WhenContinued {
        /// Starts to watch. Must be called in the context of a tokio runtime.
        pub(crate) fn call(mut action: impl FnMut() + Send + 'static) -> Self {
            // Without the signal, prompts are not drawn again, but still work.
            let Ok(mut continued) = signal(SignalKind::from_raw(SIGCONT)) else {
                return Self(None);
            };
            Self(Some(tokio::spawn(async move {
                while continued.recv().await.is_some() {
                    action();
                }
            })))
        }
    }

    impl Drop for WhenContinued {
        fn drop(&mut self) {
            if let Some(task) = &self.0 {
                task.abort();
            }
        }
    }

    /// Stops this process and its process group, as Ctrl-Z does outside of a line editor. Returns
    /// once the shell has continued it, or soon if there is no shell that could.
    pub(crate) fn suspend() {
        let continued = Arc::new(AtomicBool::new(false));
        let Ok(watch) = signal_hook::flag::register(SIGCONT, Arc::clone(&continued)) else {
            return;
        };
        // Another thread may take the signal, so this one may run on for a moment before it stops.
        if rustix::process::kill_current_process_group(Signal::TSTP).is_ok() {
            let deadline = Instant::now() + STOP_TIMEOUT;
            while !continued.load(Ordering::Acquire) && Instant::now() < deadline {
                std::thread::sleep(CHECK);
            }
        }
        signal_hook::low_level::unregister(watch);
    }

    /// The control character that suspends, such as `Z` for Ctrl-Z; `None` if the user has turned it off.
    pub(crate) fn suspend_key() -> Option<char> {
        let mode = tcgetattr(stdin()).ok()?;
        let code = mode.special_codes[SpecialCodeIndex::VSUSP];
        (1..27).contains(&code).then(|| char::from(code + b'@'))
    }

    /// Gives every key to the line editor again, after the shell has changed the mode.
    pub(crate) fn edit_keys_again() {
        change_mode(|mode| {
            mode.input_modes.remove(
                InputModes::BRKINT
                    | InputModes::ICRNL
                    | InputModes::INPCK
                    | InputModes::ISTRIP
                    | InputModes::IXON,
            );
            mode.control_modes.insert(ControlModes::CS8);
            mode.local_modes.remove(
                LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG,
            );
            mode.special_codes[SpecialCodeIndex::VMIN] = 1;
            mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        });
    }

    /// Hides typed text again, after the shell has changed the mode.
    pub(crate) fn hide_keys_again() {
        change_mode(|mode| mode.local_modes.remove(LocalModes::ECHO));
    }

    /// Keeps keys that are pressed between two lines of the editor for the next line, without showing them. In the
    /// usual mode, a Ctrl-D that comes just after Return would be lost.
    pub(crate) fn keep_keys() {
        change_mode(|mode| {
            mode.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            mode.special_codes[SpecialCodeIndex::VMIN] = 1;
            mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        });
    }

    /// Changes the mode of the terminal. Ignores errors: the terminal may be gone.
    fn change_mode(change: impl FnOnce(&mut Termios)) {
        if let Ok(mut mode) = tcgetattr(stdin()) {
            change(&mut mode);
            let _gone = tcsetattr(stdin(), OptionalActions::Now, &mode);
        }
    }

    /// Maximum time between the signal to stop and the stop. A process without a shell (an orphaned process group)
    /// is never stopped.
    const STOP_TIMEOUT: Duration = Duration::from_millis(300);

    /// Time between two checks whether the process has continued.
    const CHECK: Duration = Duration::from_millis(5);
}
