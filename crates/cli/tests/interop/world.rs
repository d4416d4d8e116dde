//! The environment of one test: a folder, a network with nothing but loopback, and a pair of
//! servers, ours or the reference's.
//!
//! Not a container: processes and most files are shared with the machine. The network has to be
//! private because wormhole-william insists on the public relay's name and port, wormhole-rs never
//! advertises 127.0.0.1 (so there is 10.77.0.1 too), and no test may reach the outside.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::peer::{Line, Manner, Peer, Role, Site, What};
use crate::program::Program;

/// Who runs the mailbox server and the transit relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Servers {
    /// `wormhole-server`.
    Ours,
    /// magic-wormhole-mailbox-server 0.8.0 and magic-wormhole-transit-relay 0.5.0.
    Python,
}

/// One test's surroundings. Dropping it stops the servers and, unless the test failed, removes the
/// folder.
pub(crate) struct World {
    // Stopped in this order.
    servers: Vec<Program>,
    holder: Program,
    folder: PathBuf,
    site: Site,
}

impl World {
    /// Sets up a world with both servers listening; none where the real peers are not installed.
    ///
    /// Under `CI` they must be installed.
    pub(crate) fn new(servers: Servers) -> Option<Self> {
        let Some(peers) = env::var_os("WORMHOLE_PEERS") else {
            assert!(env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
            eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
            return None;
        };
        let folder = new_folder();
        let holder = private_network(&folder);
        let site = Site {
            mailbox: "ws://127.0.0.1:4000/v1".into(),
            relay: "127.0.0.1:4001".into(),
            ours: env!("CARGO_BIN_EXE_wormhole").into(),
            peers: peers.into(),
        };
        let mut world = Self { servers: Vec::new(), holder, folder, site };
        world.servers = match servers {
            Servers::Ours => world.our_servers(),
            Servers::Python => world.python_servers(),
        };
        Some(world)
    }

    /// A file or folder of this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Moves from the Python servers to ours: stops those, imports their database, and starts ours at the same
    /// addresses.
    pub(crate) fn move_to_our_servers(&mut self) {
        self.servers.clear();
        let server = self.site.ours.with_file_name("wormhole-server");
        let mut import = self.command("servers", &server);
        import.args(["import", "relay.sqlite"]);
        Program::start("import", import, "").finish().succeeded().said("imported 1 nameplates");
        self.servers = self.our_servers();
    }

    /// Starts a sender in the folder `sender`.
    pub(crate) fn send(&self, peer: Peer, what: What<'_>, manner: Manner) -> Program {
        let line = peer.send(&self.site, what, manner);
        self.start(peer, Role::Sender, line, manner.sender_types)
    }

    /// Starts a receiver in the folder `receiver`.
    pub(crate) fn receive(&self, peer: Peer, code: &str, manner: Manner) -> Program {
        let line = peer.receive(&self.site, code, manner);
        self.start(peer, Role::Receiver, line, peer.receiver_input(manner))
    }

    fn start(&self, peer: Peer, role: Role, line: Line, input: &str) -> Program {
        let place = if role == Role::Sender { "sender" } else { "receiver" };
        let Line { program, arguments } = line;
        let command = if peer.needs_terminal() && !input.is_empty() {
            let line = format!("{} {}", program.display(), arguments.join(" "));
            let mut command = self.command(place, Path::new("script"));
            command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
            command
        } else {
            let mut command = self.command(place, &program);
            command.args(arguments);
            command
        };
        Program::start(&format!("{peer:?} as {place}"), command, input)
    }

    /// A command that runs in this world's network and in its folder `place`.
    fn command(&self, place: &str, program: &Path) -> Command {
        let folder = self.path(place);
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.id().to_string()])
            .args(["--user", "--net", "--mount", "--preserve-credentials", "--"])
            // The folder is entered inside: from outside it would lie on another mount, and
            // renaming within it would fail.
            .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
            .arg(folder)
            .arg(program)
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("PYTHONUNBUFFERED", "1")
            .env_remove("WORMHOLE_RELAY_URL")
            .env_remove("WORMHOLE_TRANSIT_HELPER");
        command
    }

    fn our_servers(&self) -> Vec<Program> {
        let server = self.site.ours.with_file_name("wormhole-server");
        assert!(server.exists(), "build the workspace first: {} is missing", server.display());
        let start = |service: &str, arguments: &[&str]| {
            let mut command = self.command("servers", &server);
            command.arg(service).args(arguments);
            Program::start(service, command, "")
        };
        let servers = vec![
            start("mailbox", &["--listen", "127.0.0.1:4000", "--db", "mailbox.sqlite"]),
            start("transit-relay", &["--listen", "127.0.0.1:4001"]),
        ];
        servers.iter().for_each(|server| server.wait_for("listening"));
        servers
    }

    fn python_servers(&self) -> Vec<Program> {
        let start = |service: &str, arguments: &[&str]| {
            let mut command = self.command("servers", &self.site.peers.join("venv/bin/twist"));
            command.arg(service).args(arguments);
            Program::start(service, command, "")
        };
        let servers = vec![
            start("wormhole-mailbox", &["--port=tcp:4000:interface=127.0.0.1"]),
            start("transitrelay", &["--port=tcp:4001:interface=127.0.0.1"]),
        ];
        servers.iter().for_each(|server| server.wait_for(" starting on 400"));
        servers
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.servers.clear();
        if thread::panicking() {
            eprintln!("left behind for you to look at: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// An empty folder named after the running test.
fn new_folder() -> PathBuf {
    let test = thread::current().name().unwrap_or("test").replace("::", "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("home")).unwrap();
    folder
}

/// Starts the process whose network and mounts the others join. It ends with our end of its input.
fn private_network(folder: &Path) -> Program {
    let hosts = folder.join("hosts");
    let names = "127.0.0.1 localhost transit.magic-wormhole.io relay.magic-wormhole.io\n";
    fs::write(&hosts, names).unwrap();
    let script = "ip link set lo up && ip address add 10.77.0.1/32 dev lo \
                  && mount --bind \"$0\" /etc/hosts && echo ready && exec cat";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--mount", "sh", "-c", script]).arg(hosts);
    let holder = Program::start("private network", command, "");
    holder.wait_for("ready");
    holder
}
