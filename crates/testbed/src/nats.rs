//! A NATS server, without streams or any other storage.

use std::path::PathBuf;
use std::process::Command;

use crate::NotInstalled;
use crate::supervised::{Supervised, accepts, find_program, free_port, new_folder, wait_until};

/// A running NATS server.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    server: Supervised,
}

impl Nats {
    /// Starts a server.
    ///
    /// # Errors
    /// The program is not installed.
    pub fn start() -> Result<Self, NotInstalled> {
        let named = std::env::var_os("WORMHOLE_NATS").map(PathBuf::from);
        let program = named
            .or_else(|| find_program("nats-server", [PathBuf::from("/usr/sbin")]))
            .ok_or(NotInstalled("NATS"))?;
        let port = free_port();
        let folder = new_folder(None, "nats");
        let arguments =
            [program.display().to_string(), "-a".into(), "127.0.0.1".into(), "-p".into()];
        let arguments = [&arguments[..], &[port.to_string()]].concat();
        let server = Supervised::start(Command::new("sh"), &folder, "KILL", &arguments);
        let nats = Self { port, server };
        nats.wait();
        Ok(nats)
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
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.wait();
    }

    fn wait(&self) {
        wait_until(&self.server, || accepts(self.port));
    }
}
