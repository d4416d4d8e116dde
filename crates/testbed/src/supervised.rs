//! One server process, and a shell script that ends it even if the test is killed.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running server and its folder.
#[derive(Debug)]
pub(crate) struct Supervised {
    folder: PathBuf,
    /// The signal that ends the server without warning.
    signal: Signal,
    server: Child,
    janitor: Child,
}

/// Why a server did not start.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) String);

impl Supervised {
    /// Starts a program, which should keep its files in `folder`. `signal` ends it.
    pub(crate) fn start(program: &mut Command, folder: &Path, signal: Signal) -> Self {
        let janitor = start_janitor(folder, signal);
        let server = spawn(program, folder);
        let mut supervised = Self { folder: folder.into(), signal, server, janitor };
        supervised.name_server(&supervised.server.id().to_string());
        supervised
    }

    /// Ends the server without warning and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        if let Ok(pid) = i32::try_from(self.server.id())
            && let Some(pid) = Pid::from_raw(pid)
            && matches!(self.server.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, self.signal);
        }
        let _ = self.server.wait();
        // From now on, another process may get its number.
        self.name_server("");
    }

    /// Starts a server again that was stopped or has ended.
    pub(crate) fn start_again(&mut self, program: &mut Command) {
        self.stop();
        self.server = spawn(program, &self.folder);
        self.name_server(&self.server.id().to_string());
    }

    /// Waits until a condition holds. The condition gets the number of the process.
    ///
    /// # Errors
    /// The server has ended.
    ///
    /// # Panics
    /// It takes too long.
    pub(crate) fn wait_until(&mut self, ready: impl Fn(u32) -> bool) -> Result<(), Ended> {
        let deadline = Instant::now() + PATIENCE;
        while !ready(self.server.id()) {
            if let Ok(Some(_)) = self.server.try_wait() {
                return Err(Ended(self.log()));
            }
            assert!(Instant::now() < deadline, "the server did not start: {}", self.log());
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// The log of the server.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Tells the janitor which process to end.
    fn name_server(&mut self, pid: &str) {
        let orders = self.janitor.stdin.as_mut().expect("the pipe is open");
        let _ = writeln!(orders, "{pid}");
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop();
        // The end of its input ends the janitor, which removes the folder.
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// Starts the server's program. It logs into a file.
fn spawn(program: &mut Command, folder: &Path) -> Child {
    let path = folder.join("log");
    let log = std::fs::File::options().create(true).append(true).open(&path);
    let log = log.expect("could not create a log");
    let errors = log.try_clone().expect("could not open the log twice");
    detach(program);
    let child = program
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .spawn();
    child.expect("could not start the server")
}

fn start_janitor(folder: &Path, signal: Signal) -> Child {
    let mut command = Command::new("sh");
    detach(&mut command);
    let child = command
        .args(["-c", JANITOR, "sh"])
        .arg(folder)
        .arg(signal.as_raw().to_string())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.expect("could not start a shell")
}

/// Keeps signals for the test's process group away from a program, so that the janitor outlives a killed test.
fn detach(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// Reads the numbers of the servers until the test ends, then ends the last one if the test did not do it.
const JANITOR: &str = r#"
folder=$1 signal=$2 server=
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -"$signal" "$server"
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$server" && sleep 0.2; done
fi
rm -rf "$folder"
"#;

/// A new folder in `parent`, or among the temporary files.
pub(crate) fn new_folder(parent: Option<&Path>, name: &str) -> PathBuf {
    let unique = format!("wormhole-{name}-{}-{}", std::process::id(), count());
    let folder = parent.map_or_else(std::env::temp_dir, Path::to_path_buf).join(unique);
    std::fs::create_dir(&folder).expect("could not create a folder");
    folder
}

/// A port that nobody uses at the moment. Another process may take it before the server does: then the server
/// ends, and must be started with another port.
///
/// These ports are below those that systems give to clients, so that a server which is away for a while
/// does not lose its port to a connection.
pub(crate) fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let next = || {
        let mixed =
            std::process::id().wrapping_mul(7919).wrapping_add(count().wrapping_mul(104_729));
        FIRST_PORT + u16::try_from(mixed % PORTS).unwrap_or_default()
    };
    std::iter::repeat_with(next).take(1000).find(is_free).expect("no free port")
}

/// A number that this process has not used yet.
fn count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Finds a program in `PATH`, or else in one of these folders.
pub(crate) fn find_program(
    name: &str,
    folders: impl IntoIterator<Item = PathBuf>,
) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut candidates = in_path.into_iter().chain(folders).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// The first port for servers, and how many there are.
const FIRST_PORT: u16 = 14_000;
const PORTS: u32 = 16_000;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
