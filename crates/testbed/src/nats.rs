//! A NATS server, without streams or any other storage.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::NotInstalled;
use crate::supervised::{Supervised, find_program, new_folder};

/// A running NATS server.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    server: Supervised,
}

impl Nats {
    /// Starts a server at a port that it chooses.
    ///
    /// # Errors
    /// The program is not installed.
    ///
    /// # Panics
    /// The server does not start.
    pub fn start() -> Result<Self, NotInstalled> {
        let named = std::env::var_os("WORMHOLE_NATS").map(PathBuf::from);
        let program = named
            .or_else(|| find_program("nats-server", [PathBuf::from("/usr/sbin")]))
            .ok_or(NotInstalled("NATS"))?;
        let folder = new_folder(None, "nats");
        let mut command = command(&program, &folder, "-1");
        let mut server = Supervised::start(&mut command, &folder, Signal::KILL);
        let port = Cell::new(None);
        let ready = |pid| {
            port.set(read_port(&folder, pid));
            port.get().is_some()
        };
        server.wait_until(ready).expect("the server has ended");
        let port = port.get().expect("the server is ready");
        Ok(Self { program, folder, port, server })
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends the server without warning.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts the server again, at the same address.
    ///
    /// # Panics
    /// The server does not start.
    pub fn start_again(&mut self) {
        let mut command = command(&self.program, &self.folder, &self.port.to_string());
        let ready = |pid| read_port(&self.folder, pid).is_some();
        for _ in 0..ATTEMPTS {
            self.server.start_again(&mut command);
            // It ends at once if a connection of another program uses its port for a moment.
            if self.server.wait_until(ready).is_ok() {
                return;
            }
        }
        panic!("the server cannot use its port again");
    }
}

fn command(program: &Path, folder: &Path, port: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-a", "127.0.0.1", "-p", port, "--ports_file_dir"]).arg(folder);
    command
}

/// The port that the server with this process number has written into a file.
fn read_port(folder: &Path, pid: u32) -> Option<u16> {
    let end = format!("_{pid}.ports");
    let mut files = folder.read_dir().ok()?.flatten();
    let file = files.find(|file| file.file_name().to_string_lossy().ends_with(&end))?;
    let text = std::fs::read_to_string(file.path()).ok()?;
    let (_, rest) = text.split_once("nats://127.0.0.1:")?;
    rest.split_once('"')?.0.parse().ok()
}

/// How often to start a server again at its old port.
const ATTEMPTS: u32 = 20;
