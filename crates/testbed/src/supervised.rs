//! One server process under a script that ends it with the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running server, its folder, and the script between it and us.
#[derive(Debug)]
pub(crate) struct Supervised {
    folder: PathBuf,
    script: Child,
    /// `None` only while the value is dropped.
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Supervised {
    /// Starts a program, which should keep its files in `folder`. The signal `stop` ends it.
    pub(crate) fn start(mut shell: Command, folder: &Path, stop: &str, program: &[String]) -> Self {
        let mut script = shell
            .args(["-c", SCRIPT, "sh"])
            .arg(folder)
            .arg(stop)
            .args(program)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("could not start a shell");
        let orders = script.stdin.take();
        let replies = BufReader::new(script.stdout.take().expect("stdout is a pipe"));
        Self { folder: folder.into(), script, orders, replies }
    }

    /// Ends the server without warning and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.order("stop");
    }

    /// Starts the server again.
    pub(crate) fn start_again(&mut self) {
        self.order("start");
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("the pipe is open");
        writeln!(orders, "{order}").expect("the script has ended");
        let mut reply = String::new();
        let _ = self.replies.read_line(&mut reply);
        assert_eq!(reply.trim(), "done", "{}", self.log());
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The end of its input ends the script.
        self.orders = None;
        let _ = self.script.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs the program that follows folder and signal until the input ends.
const SCRIPT: &str = r#"
folder=$1 signal=$2; shift 2
"$@" >>"$folder/log" 2>&1 & server=$!
while read -r order; do
    case $order in
        stop) kill -s "$signal" "$server" && wait "$server" ;;
        start) "$@" >>"$folder/log" 2>&1 & server=$! ;;
    esac
    echo done
done
kill -s "$signal" "$server" && wait "$server"
rm -rf "$folder"
"#;

/// A new folder in `parent`, or among the temporary files.
pub(crate) fn new_folder(parent: Option<&Path>, name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("wormhole-{name}-{}-{number}", std::process::id());
    let folder = parent.map_or_else(std::env::temp_dir, Path::to_path_buf).join(unique);
    std::fs::create_dir(&folder).expect("could not create a folder");
    folder
}

/// A port that nobody uses at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// Waits until a condition holds; panics with the server's log if it does not in time.
pub(crate) fn wait_until(server: &Supervised, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "the server did not start: {}", server.log());
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether somebody accepts connections at a port.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Finds a program in `PATH` or in one of these folders.
pub(crate) fn find_program(
    name: &str,
    folders: impl IntoIterator<Item = PathBuf>,
) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut candidates = folders.into_iter().chain(in_path).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
