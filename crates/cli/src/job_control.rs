//! Job control: what the shell does to us with Ctrl-Z, `fg` and `bg`.
//!
//! The system stops and continues the process by itself. This module stops it where Ctrl-Z is only
//! a key (while a line is edited), and draws prompts again once it is continued, because the shell
//! has written over them and has changed the mode of the terminal.

#[cfg(unix)]
pub(crate) use unix::{WhenContinued, edit_keys_again, hide_keys_again, suspend, suspend_key};

#[cfg(not(unix))]
pub(crate) use other::{WhenContinued, edit_keys_again, hide_keys_again, suspend, suspend_key};

/// Systems without job control.
#[cfg(not(unix))]
mod other {
    /// Never calls its function: nothing is ever continued.
    #[derive(Debug)]
    pub(crate) struct WhenContinued;

    impl WhenContinued {
        /// Forgets the function.
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
            // Where the signal cannot be watched, prompts are not drawn again, and still work.
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
            let deadline = Instant::now() + UNSTOPPED;
            while !continued.load(Ordering::Acquire) && Instant::now() < deadline {
                std::thread::sleep(GLANCE);
            }
        }
        signal_hook::low_level::unregister(watch);
    }

    /// The control character that suspends, such as `Z` for Ctrl-Z; `None` if the user has none.
    pub(crate) fn suspend_key() -> Option<char> {
        let mode = tcgetattr(stdin()).ok()?;
        let code = mode.special_codes[SpecialCodeIndex::VSUSP];
        (1..27).contains(&code).then(|| char::from(code + b'@'))
    }

    /// Gives every key to the line editor again: the shell has set its own mode meanwhile.
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

    /// Does not show what is typed, again: the shell has set its own mode meanwhile.
    pub(crate) fn hide_keys_again() {
        change_mode(|mode| mode.local_modes.remove(LocalModes::ECHO));
    }

    /// Changes the mode of the terminal. One that is gone has no mode to change.
    fn change_mode(change: impl FnOnce(&mut Termios)) {
        if let Ok(mut mode) = tcgetattr(stdin()) {
            change(&mut mode);
            let _gone = tcsetattr(stdin(), OptionalActions::Now, &mode);
        }
    }

    /// How long a process that asked to be stopped waits for that. One without a shell to continue
    /// it (an orphaned process group) is never stopped.
    const UNSTOPPED: Duration = Duration::from_millis(300);

    /// How often it looks whether it has been continued.
    const GLANCE: Duration = Duration::from_millis(5);
}
