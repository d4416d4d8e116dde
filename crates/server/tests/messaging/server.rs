//! A server process with a database of its own.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::client::Client;

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    arguments: Vec<String>,
    /// The database, for commands about apps.
    database: String,
    lines: Arc<Lines>,
    folder: Arc<Folder>,
    /// Lines with codes that a test has read.
    used_codes: Mutex<HashSet<usize>>,
}

/// What the server has written to standard error.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Lines {
    /// Waits for a line that `find` recognises.
    fn wait<T>(&self, mut find: impl FnMut(usize, &str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut lines = self.lines.lock().unwrap();
        loop {
            let mut numbered = lines.iter().enumerate();
            if let Some(found) = numbered.find_map(|(number, line)| find(number, line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the server did not print it: {lines:?}");
            lines = self.changed.wait_timeout(lines, left).unwrap().0;
        }
    }
}

impl Server {
    /// Starts a server with the app `com.example.one` for clients without headers.
    pub(crate) fn start(options: &[&str]) -> Self {
        let options = [&["--default-app", "com.example.one"], options].concat();
        Self::start_with(None, &options, &["com.example.one"])
    }

    /// The same with this PostgreSQL database.
    pub(crate) fn start_on(database: &str, options: &[&str]) -> Self {
        let options = [&["--default-app", "com.example.one"], options].concat();
        Self::start_with(Some(database), &options, &["com.example.one"])
    }

    /// Starts another server with the same database and the same attachments.
    pub(crate) fn another_node(&self) -> Self {
        Self::run(self.arguments.clone(), self.database.clone(), Arc::clone(&self.folder))
    }

    /// Starts a server without apps.
    pub(crate) fn start_without_default_app() -> Self {
        Self::start_with(None, &[], &[])
    }

    fn start_with(database: Option<&str>, options: &[&str], apps: &[&str]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let unique = format!("wormhole-messaging-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        let folder = Arc::new(Folder(path));
        let file = || folder.0.join("messaging.sqlite").display().to_string();
        let database = database.map_or_else(file, str::to_owned);
        let mut arguments = vec!["messaging".to_owned(), "--listen".into(), "127.0.0.1:0".into()];
        arguments.extend(["--db".into(), database.clone()]);
        arguments.extend(["--blobs".into(), folder.0.join("blobs").display().to_string()]);
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        for app in apps {
            add_app(&database, app);
        }
        Self::run(arguments, database, folder)
    }

    fn run(arguments: Vec<String>, database: String, folder: Arc<Folder>) -> Self {
        let mut process = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Lines::default());
        let (stderr, reader) = (process.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                reader.lines.lock().unwrap().push(line);
                reader.changed.notify_all();
            }
        });
        let address = lines.wait(|_, line| {
            let (_, url) = line.split_once("messaging listening on http")?;
            url.trim().split_once("://").map(|(_, address)| address.to_owned())
        });
        let used_codes = Mutex::default();
        Self { process, address, arguments, database, lines, folder, used_codes }
    }

    /// Kills the server and starts it again with the same database.
    pub(crate) fn restart(mut self) -> Self {
        self.kill();
        self.another_node()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks the server to stop, as `systemctl stop` does.
    pub(crate) fn stop(&self) {
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(process, Signal::TERM).unwrap();
    }

    /// Waits until the server has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// The memory of the server, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Adds an app and returns its token.
    pub(crate) fn add_app(&self, name: &str) -> String {
        add_app(&self.database, name)
    }

    /// Runs a command about apps and returns what it prints.
    pub(crate) fn app(&self, arguments: &[&str]) -> String {
        app(&self.database, arguments)
    }

    /// Runs a command with the database of the server and returns what it prints.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> String {
        run_command(name, &self.database, arguments)
    }

    /// The address for clients that use TLS, with the name in the certificate.
    pub(crate) fn https(&self) -> String {
        self.address.replace("127.0.0.1", "https://localhost")
    }

    /// The address for monitors.
    pub(crate) fn metrics(&self) -> String {
        self.lines.wait(|_, line| {
            let (_, url) = line.split_once("metrics listening on http://")?;
            url.trim().strip_suffix("/metrics").map(ToOwned::to_owned)
        })
    }

    /// A folder that exists as long as the test.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The next code that was sent to a number: each call returns another one.
    pub(crate) fn code(&self, number: &str) -> String {
        let start = format!("code for {number}: ");
        let mut used = self.used_codes.lock().unwrap();
        self.lines.wait(|number, line| {
            let (_, code) = line.split_once(&start)?;
            used.insert(number).then(|| code.trim().to_owned())
        })
    }

    /// Everything that the server has logged, without the codes that it sent.
    pub(crate) fn log(&self) -> Vec<String> {
        let lines = self.lines.lines.lock().unwrap();
        lines.iter().filter(|line| !line.contains(" code for ")).cloned().collect()
    }

    /// A client without an account.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn add_app(database: &str, name: &str) -> String {
    let printed = app(database, &["add", name]);
    let (printed_name, token) = printed.trim().split_once(' ').unwrap();
    assert_eq!(printed_name, name);
    token.to_owned()
}

fn app(database: &str, arguments: &[&str]) -> String {
    run_command("app", database, arguments)
}

fn run_command(name: &str, database: &str, arguments: &[&str]) -> String {
    let arguments = [&[name, "--db", database], arguments].concat();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let output = command(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}
