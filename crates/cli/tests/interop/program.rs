//! A running program whose screen can be read and waited for.
//!
//! Nothing here knows what the program is. Every wait is for an event (a piece of text, the end of
//! the output) and is bounded; a wait in vain panics with the whole screen.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any peer needs on a busy machine, shorter than the patience of the test runner.
const PATIENCE: Duration = Duration::from_secs(60);

/// One child process. Dropping it kills it.
pub(crate) struct Program {
    name: String,
    child: Child,
    screen: Arc<Screen>,
}

/// A program that has ended.
pub(crate) struct Finished {
    pub(crate) name: String,
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What a program has printed so far.
#[derive(Default)]
struct Screen {
    state: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    stdout: String,
    stderr: String,
    ended: usize,
}

/// Which of the two outputs a reader thread fills.
#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Program {
    /// Starts a command; `input` is all it will ever read from its standard input.
    pub(crate) fn start(name: &str, mut command: Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let screen = Arc::new(Screen::default());
        read_along(child.stdout.take().unwrap(), Stream::Stdout, Arc::clone(&screen));
        read_along(child.stderr.take().unwrap(), Stream::Stderr, Arc::clone(&screen));
        // A program that does not read its input may be gone already; that is not our matter.
        let _ = child.stdin.as_mut().unwrap().write_all(input.as_bytes());
        Self { name: name.to_owned(), child, screen }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `text` has been printed on either output.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text).then_some(()));
    }

    /// Waits for `prefix` with a word after it, and returns that word.
    pub(crate) fn wait_for_word_after(&self, prefix: &str) -> String {
        self.wait_until(prefix, |screen| word_after(screen, prefix))
    }

    fn wait_until<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut printed = self.screen.state.lock().unwrap();
        loop {
            let found = found(&printed.stderr).or_else(|| found(&printed.stdout));
            if let Some(found) = found {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.ended == 2 || left.is_zero() {
                self.give_up(printed, &format!("never printed {what:?}"));
            }
            printed = self.screen.changed.wait_timeout(printed, left).unwrap().0;
        }
    }

    /// Panics with the whole screen, after letting go of it: the readers still need it.
    fn give_up(&self, printed: MutexGuard<'_, Printed>, why: &str) -> ! {
        let transcript = transcript(&printed.stdout, &printed.stderr);
        drop(printed);
        panic!("{} {why}\n{transcript}", self.name);
    }

    /// Stops the program at once, as a crash or a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Closes its standard input and waits until it has ended by itself.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        let mut printed = self.screen.state.lock().unwrap();
        while printed.ended < 2 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.give_up(printed, "did not end");
            }
            printed = self.screen.changed.wait_timeout(printed, left).unwrap().0;
        }
        let (stdout, stderr) = (printed.stdout.clone(), printed.stderr.clone());
        drop(printed);
        let code = self.child.wait().unwrap().code();
        Finished { name: self.name.clone(), code, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Asserts that it reported success.
    pub(crate) fn succeeded(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.name, self.transcript());
        self
    }

    /// Asserts that it did not report success.
    pub(crate) fn failed(&self) -> &Self {
        assert_ne!(self.code, Some(0), "{}\n{}", self.name, self.transcript());
        self
    }

    /// Asserts that it printed `text`.
    pub(crate) fn said(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text) || self.stdout.contains(text),
            "{} never said {text:?}\n{}",
            self.name,
            self.transcript()
        );
        self
    }

    /// Both outputs, for the message of a failed assertion.
    pub(crate) fn transcript(&self) -> String {
        transcript(&self.stdout, &self.stderr)
    }
}

fn transcript(stdout: &str, stderr: &str) -> String {
    let mut text = String::new();
    for (name, output) in [("stdout", stdout), ("stderr", stderr)] {
        writeln!(text, "--- {name}").unwrap();
        output.lines().for_each(|line| writeln!(text, "  {line}").unwrap());
    }
    text
}

/// The first word after `prefix`, once the white space that ends it has been printed too.
fn word_after(screen: &str, prefix: &str) -> Option<String> {
    let (_, rest) = screen.split_once(prefix)?;
    let (word, _) = rest.trim_start().split_once(char::is_whitespace)?;
    (!word.is_empty()).then(|| word.to_owned())
}

/// Copies one output to the screen, on a thread of its own, until it ends.
fn read_along(mut output: impl Read + Send + 'static, stream: Stream, screen: Arc<Screen>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let count = output.read(&mut buffer).unwrap_or(0);
            let mut printed = screen.state.lock().unwrap();
            let text = String::from_utf8_lossy(&buffer[..count]);
            match stream {
                Stream::Stdout => printed.stdout.push_str(&text),
                Stream::Stderr => printed.stderr.push_str(&text),
            }
            printed.ended += usize::from(count == 0);
            screen.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}
