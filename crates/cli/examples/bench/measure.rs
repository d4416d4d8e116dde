//! One child process, timed: when it printed what was waited for, when it ended, what it used.
//!
//! Peak memory comes from the kernel's account at the child's end. That account starts with the
//! memory of the process that starts the child, so this program keeps its own small.

use std::io::{PipeReader, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// No single run takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// For a child of which no word is awaited: nothing prints this.
pub(crate) const NEVER: &str = "\0";

/// A running child.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    started: Instant,
    found: mpsc::Receiver<(Instant, String)>,
    output: JoinHandle<String>,
}

/// What a child that succeeded has used.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Peak resident memory, in MiB.
    pub(crate) memory: f64,
    /// All that it printed, on either output.
    pub(crate) output: String,
}

impl Running {
    /// Starts `command` with `input` to read; `prefix` is what it prints before the awaited word.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(mut command: Command, input: &str, prefix: &'static str) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        Self::spawn(command, reader, input, prefix)
    }

    /// Starts `command` with its standard output leading nowhere.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_mute(mut command: Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stdout(Stdio::null()).stderr(writer);
        Self::spawn(command, reader, "", NEVER)
    }

    /// Takes the command by value: it holds the pipe's writing end, and would keep it open.
    fn spawn(
        mut command: Command,
        reader: PipeReader,
        input: &str,
        prefix: &'static str,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes())?;
        let (sender, found) = mpsc::channel();
        let output = thread::spawn(move || read_all(reader, prefix, &sender));
        Ok(Self { child, started, found, output })
    }

    /// Waits for the word after the prefix; says how long after the start it came.
    ///
    /// # Errors
    /// It never came.
    pub(crate) fn word(&self) -> Result<(Duration, String)> {
        match self.found.recv_timeout(PATIENCE) {
            Ok((when, word)) => Ok((when - self.started, word)),
            Err(_) => bail!("the expected output did not come"),
        }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It failed; the error holds the end of what it printed.
    pub(crate) fn finish(self) -> Result<Used> {
        let (code, cpu, memory) = wait(self.child.id())?;
        let ended = Instant::now();
        let output = self.output.join().unwrap_or_default();
        if code != 0 {
            let tail: String = output.lines().rev().take(8).collect::<Vec<_>>().join("\n");
            bail!("exit status {code}: {tail}");
        }
        Ok(Used { started: self.started, ended, cpu, memory, output })
    }

    /// Kills it.
    pub(crate) fn stop(mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Reads to the end; reports the first whole word after `prefix`.
fn read_all(mut from: impl Read, prefix: &str, found: &mpsc::Sender<(Instant, String)>) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let mut is_found = false;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let now = Instant::now();
        text.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
        let rest = text.split_once(prefix).map(|(_, rest)| rest.trim_start());
        if let Some((word, _)) = rest.and_then(|rest| rest.split_once(char::is_whitespace))
            && !is_found
        {
            is_found = true;
            let _nobody_waits = found.send((now, word.to_owned()));
        }
    }
    text
}

/// Waits for a child: exit status, CPU seconds, peak MiB.
fn wait(child: u32) -> Result<(i32, f64, f64)> {
    let mut status = 0;
    let pid = child.try_into()?;
    // SAFETY: `rusage` is plain numbers, for which zero is valid, and both pointers are to live
    // variables of the right types for the time of the call.
    #[expect(unsafe_code, reason = "no safe interface tells what one single child has used")]
    let (waited, usage) = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
    };
    if waited != pid {
        bail!("wait4: {}", std::io::Error::last_os_error());
    }
    let seconds = |time: libc::timeval| as_f64(time.tv_sec) + as_f64(time.tv_usec) / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Ok((status, cpu, as_f64(usage.ru_maxrss) / 1024.0))
}

/// A number as a measure; what is lost beyond 53 bits does not matter here.
#[expect(clippy::as_conversions, reason = "measures may be rounded")]
pub(crate) fn as_f64(number: i64) -> f64 {
    number as f64
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    }
}
