//! A pair of servers, a folder and processes whose output can be waited for.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Two servers and a folder for one test. Dropping it stops and removes them.
pub(crate) struct World {
    folder: PathBuf,
    mailbox_url: String,
    relay: String,
    mailbox: Option<Running>,
    mailbox_options: Vec<&'static str>,
    _relay: Running,
    /// A process whose network all others use, if it is not that of the computer.
    network: Option<Running>,
}

impl World {
    /// Starts both servers on free ports.
    pub(crate) fn new() -> Self {
        Self::with_mailbox_options(&[])
    }

    /// Starts both servers on free ports, the mailbox server with these options.
    pub(crate) fn with_mailbox_options(mailbox_options: &[&'static str]) -> Self {
        Self::build(mailbox_options, None)
    }

    /// As [`World::new`], with everything in a network of its own that can be taken down; `None` where
    /// the system does not allow that.
    #[cfg(target_os = "linux")]
    pub(crate) fn in_private_network() -> Option<Self> {
        let unshare = ["--user", "--map-root-user", "--net"];
        let probe = Command::new("unshare").args(unshare).args(["ip", "link"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "this system allows no network namespaces");
            println!("skipped: this system allows no network namespaces");
            return None;
        }
        let mut command = Command::new("unshare");
        // It ends with our end of its input.
        command.args(unshare).args(["sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        let network = Running::start(command);
        network.wait_for("ready");
        Some(Self::build(&[], Some(network)))
    }

    /// Takes the private network down: whatever is sent from now on is lost.
    #[cfg(target_os = "linux")]
    pub(crate) fn take_network_down(&self) {
        let mut command = program(Path::new("ip"), self.network.as_ref());
        assert!(command.args(["link", "set", "lo", "down"]).status().unwrap().success());
    }

    fn build(mailbox_options: &[&'static str], network: Option<Running>) -> Self {
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&folder);
        for name in ["servers", "home", "sender", "receiver"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let arguments = ["transit-relay", "--listen", "127.0.0.1:0"];
        let relay = start_server(&folder, network.as_ref(), &arguments);
        let address = relay.wait_for("listening on ");
        let relay_address = address.rsplit('/').next().unwrap();
        let relay_address = format!("tcp:{}", relay_address.trim_start_matches("tcp:"));
        let mut world = Self {
            folder,
            mailbox_url: String::new(),
            relay: relay_address,
            mailbox: None,
            mailbox_options: mailbox_options.to_vec(),
            _relay: relay,
            network,
        };
        world.start_mailbox("127.0.0.1:0");
        world
    }

    fn start_mailbox(&mut self, address: &str) {
        let arguments = ["mailbox", "--listen", address, "--db", "mailbox.sqlite"];
        let arguments = [&arguments, &self.mailbox_options[..]].concat();
        let mailbox = start_server(&self.folder, self.network.as_ref(), &arguments);
        self.mailbox_url = mailbox.wait_for("listening on ");
        self.mailbox = Some(mailbox);
    }

    /// Host and port of the mailbox server.
    pub(crate) fn mailbox_address(&self) -> String {
        let address = self.mailbox_url.split_once("://").unwrap().1;
        address.split('/').next().unwrap().to_owned()
    }

    /// Stops the mailbox server as a crash would, and starts it at the same address.
    pub(crate) fn restart_mailbox(&mut self) {
        self.mailbox = None;
        let address = self.mailbox_address();
        self.start_mailbox(&address);
    }

    /// Stops the mailbox server, deletes what it has stored, and starts it at the same address.
    pub(crate) fn make_mailbox_forget(&mut self) {
        self.mailbox = None;
        for name in self.names("servers").iter().filter(|name| name.starts_with("mailbox.sqlite")) {
            fs::remove_file(self.path("servers").join(name)).unwrap();
        }
        self.restart_mailbox();
    }

    /// Waits until the metrics of the mailbox server have a line that ends like this.
    pub(crate) fn wait_for_metric(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut stream = TcpStream::connect(self.mailbox_address()).unwrap();
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            if page.lines().any(|found| found.ends_with(line)) {
                return;
            }
            assert!(Instant::now() < deadline, "no {line:?} in {page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A path below this world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file below this world's folder, with the folders above it.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// What is in a file below this world's folder.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Names in a folder below this world's folder, sorted.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Our command in one of the folders, with this world's servers and nothing from ours.
    pub(crate) fn command(&self, place: &str, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_wormhole").as_ref(), self.network.as_ref());
        command
            .args(arguments)
            .current_dir(self.path(place))
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("home"))
            .env("WORMHOLE_RELAY_URL", &self.mailbox_url)
            .env("WORMHOLE_TRANSIT_HELPER", &self.relay)
            .env_remove("WORMHOLE_ACCEPT_FILE")
            .env_remove("WORMHOLE_QR");
        command
    }

    /// Starts `wormhole send` in the folder `sender`.
    pub(crate) fn send(&self, arguments: &[&str]) -> Running {
        Running::start(self.command("sender", &[&["send"], arguments].concat()))
    }

    /// Starts `wormhole receive` in the folder `receiver`.
    pub(crate) fn receive(&self, arguments: &[&str]) -> Running {
        Running::start(self.command("receiver", &[&["receive"], arguments].concat()))
    }

    /// Sends and receives with these arguments and expects both to succeed.
    pub(crate) fn transfer(&self, send: &[&str], receive: &[&str]) -> (Ended, Ended) {
        let sender = self.send(send);
        let code = sender.code();
        let receiver = self.receive(&[receive, &[&code]].concat());
        let (received, sent) = (receiver.end(), sender.end());
        assert_eq!((sent.exit, received.exit), (0, 0), "{sent}\n{received}");
        (sent, received)
    }

    /// The address of the mailbox server.
    pub(crate) fn mailbox_url(&self) -> &str {
        &self.mailbox_url
    }

    /// The address of the relay, as `--transit-helper` takes it.
    pub(crate) fn relay(&self) -> &str {
        &self.relay
    }
}

/// Starts `wormhole-server` in the folder `servers`.
fn start_server(folder: &Path, network: Option<&Running>, arguments: &[&str]) -> Running {
    let server = Path::new(env!("CARGO_BIN_EXE_wormhole")).with_file_name("wormhole-server");
    assert!(server.exists(), "build the workspace first: {} is missing", server.display());
    let mut command = program(&server, network);
    command.args(arguments).current_dir(folder.join("servers"));
    Running::start(command)
}

/// A program in the network of this process.
fn program(path: &Path, network: Option<&Running>) -> Command {
    let Some(network) = network else { return Command::new(path) };
    let mut command = Command::new("nsenter");
    let target = network.child.id().to_string();
    command.args(["--preserve-credentials", "--user", "--net", "--target", &target]).arg(path);
    command
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A process whose output is collected while it runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// What a process has said so far.
#[derive(Default)]
struct Output {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    closed: usize,
}

/// How a process ended and all it said.
pub(crate) struct Ended {
    /// Its exit status; 128 and the signal if it was killed.
    pub(crate) exit: i32,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Running {
    /// Starts a process with pipes at all three ends.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let output = Arc::new(Output::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![
            collect(stdout, Arc::clone(&output), |said| &mut said.stdout),
            collect(stderr, Arc::clone(&output), |said| &mut said.stderr),
        ];
        Self { input: child.stdin.take(), child, output, readers }
    }

    /// Waits for a line of either output that contains `mark`, and gives what follows it.
    pub(crate) fn wait_for(&self, mark: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.output.said.lock().unwrap();
        loop {
            let whole = [said.stderr.as_slice(), &said.stdout].map(String::from_utf8_lossy);
            for text in &whole {
                let found = text.find(mark).map(|at| &text[at + mark.len()..]);
                if let Some((rest, _)) = found.and_then(|rest| rest.split_once('\n')) {
                    return rest.trim().to_owned();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && said.closed < 2, "no {mark:?} in {whole:#?}");
            said = self.output.changed.wait_timeout(said, left).unwrap().0;
        }
    }

    /// What follows the last `mark` in either output, up to the end of its line.
    pub(crate) fn last_after(&self, mark: &str) -> String {
        self.wait_for(mark);
        let said = self.output.said.lock().unwrap();
        let whole = [said.stderr.as_slice(), &said.stdout].map(String::from_utf8_lossy);
        let found = whole.iter().find_map(|text| text.rsplit_once(mark));
        found.unwrap().1.lines().next().unwrap_or_default().trim().to_owned()
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills the process, unless it has ended.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// The code that a sender shows.
    pub(crate) fn code(&self) -> String {
        self.wait_for("Wormhole code is: ")
    }

    /// Waits until `mark` was said, without the rest of its line: for prompts.
    pub(crate) fn wait_for_prompt(&self, mark: &str) {
        assert!(self.says_within(PATIENCE, mark), "no {mark:?}");
    }

    /// Waits until `mark` was printed this number of times.
    pub(crate) fn wait_for_times(&self, mark: &str, times: usize) {
        let enough = |said: &str| said.matches(mark).count() >= times;
        assert!(self.is_within(PATIENCE, enough), "{mark:?} was not said {times} times");
    }

    /// Types `keys` again and again until they have the effect of saying `mark`.
    pub(crate) fn type_until(&mut self, keys: &str, mark: &str) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.type_in(keys);
            if self.says_within(Duration::from_millis(200), mark) {
                return;
            }
        }
        panic!("{keys:?} does not make it say {mark:?}");
    }

    fn says_within(&self, patience: Duration, mark: &str) -> bool {
        self.is_within(patience, |said| said.contains(mark))
    }

    /// Whether one of the outputs comes to be as it should.
    fn is_within(&self, patience: Duration, is_right: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut said = self.output.said.lock().unwrap();
        loop {
            let whole = [said.stderr.as_slice(), &said.stdout].map(String::from_utf8_lossy);
            if whole.iter().any(|text| is_right(text)) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || said.closed == 2 {
                return false;
            }
            said = self.output.changed.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Waits until standard output has this many lines that contain `mark`, and gives those lines.
    pub(crate) fn wait_for_lines(&self, count: usize, mark: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.output.said.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines: Vec<_> =
                whole.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect();
            if lines.len() >= count {
                return lines;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && said.closed < 2, "{mark:?} too few times in {text}");
            said = self.output.changed.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, bytes: impl AsRef<[u8]>) {
        let input = self.input.as_mut().unwrap();
        // A program that has ended reads no more; how it ended is checked later.
        let _ = input.write_all(bytes.as_ref()).and_then(|()| input.flush());
    }

    /// Ends its input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Sends it a signal by name, such as `INT`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; its input stays open.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let said = self.output.said.lock().unwrap();
            if Instant::now() > deadline {
                let text = String::from_utf8_lossy(&said.stderr).into_owned();
                panic!("it does not end: {text}");
            }
            // Its outputs close when it ends; the short wait covers one that closes them before.
            let _ = self.output.changed.wait_timeout(said, Duration::from_millis(20)).unwrap();
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let said = std::mem::take(&mut *self.output.said.lock().unwrap());
        Ended {
            exit: exit_status(status),
            stdout: said.stdout,
            stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Standard output as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// Standard output as JSON, a value for each line.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        self.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Expects an exit status and one error that contains `sentence`.
    #[track_caller]
    pub(crate) fn failed(&self, exit: i32, sentence: &str) {
        let errors: Vec<_> =
            self.stderr.lines().filter(|line| line.starts_with("wormhole: error: ")).collect();
        assert!(self.exit == exit && errors.len() == 1 && errors[0].contains(sentence), "{self}");
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out = String::from_utf8_lossy(&self.stdout);
        write!(f, "exit {}\n--- stdout\n{out}--- stderr\n{}", self.exit, self.stderr)
    }
}

/// Reads one output to its end.
fn collect(
    stream: impl Read + Send + 'static,
    output: Arc<Output>,
    which: fn(&mut Said) -> &mut Vec<u8>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let bytes = stream.fill_buf().unwrap_or_default().to_vec();
            let mut said = output.said.lock().unwrap();
            if bytes.is_empty() {
                said.closed += 1;
            }
            which(&mut said).extend_from_slice(&bytes);
            output.changed.notify_all();
            drop(said);
            if bytes.is_empty() {
                return;
            }
            stream.consume(bytes.len());
        }
    })
}

#[cfg(unix)]
fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;

    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

#[cfg(not(unix))]
fn exit_status(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_default()
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
