//! Starts and stops our own Tor process with its own directory.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::time::{Instant, sleep};
use wormhole_disk::private;

use super::control::Control;
use super::{ControlPort, TorError};

/// A `tor` process and its directory. Both are removed when this is dropped.
#[derive(Debug)]
pub(super) struct Launched {
    process: Child,
    folder: PathBuf,
}

impl Launched {
    /// Starts the process and waits until it is connected. Also returns its SOCKS port.
    pub(super) async fn start() -> Result<(Self, SocketAddr), TorError> {
        let folder = std::env::temp_dir().join(format!("wormhole-tor-{:016x}", OsRng.next_u64()));
        private::create_new_directory(&folder).map_err(|_| TorError::NotInstalled)?;
        let mut launched = match spawn(&folder) {
            Ok(process) => Self { process, folder },
            Err(_) => {
                remove(&folder);
                return Err(TorError::NotInstalled);
            }
        };
        let deadline = Instant::now() + START_TIMEOUT;
        let mut control = launched.wait_for_control(deadline).await?;
        control.authenticate().await?;
        while control.progress().await? < 100 {
            launched.wait_a_little(deadline).await?;
        }
        let socks = control.socks_port().await?;
        Ok((launched, socks))
    }

    /// Waits until Tor has written its control port to a file, and connects to it.
    async fn wait_for_control(&mut self, deadline: Instant) -> Result<Control, TorError> {
        loop {
            let written = tokio::fs::read_to_string(self.folder.join(CONTROL_FILE)).await;
            let address = written.ok().and_then(|text| {
                text.trim().strip_prefix("PORT=").and_then(|port| port.parse::<SocketAddr>().ok())
            });
            if let Some(address) = address {
                let host = address.ip().to_string();
                return Control::connect(&ControlPort::Tcp { host, port: address.port() }).await;
            }
            self.wait_a_little(deadline).await?;
        }
    }

    /// Tor does not report progress by itself, so we poll.
    async fn wait_a_little(&mut self, deadline: Instant) -> Result<(), TorError> {
        let ended = !matches!(self.process.try_wait(), Ok(None));
        if ended || Instant::now() >= deadline {
            return Err(TorError::NoNetwork);
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // If this fails, the process has already exited.
        let _ = self.process.kill();
        let _ = self.process.wait();
        remove(&self.folder);
    }
}

fn spawn(folder: &Path) -> io::Result<Child> {
    Command::new("tor")
        .arg("--DataDirectory")
        .arg(folder)
        .args(["--SocksPort", "auto", "--ControlPort", "auto", "--CookieAuthentication", "1"])
        .arg("--ControlPortWriteToFile")
        .arg(folder.join(CONTROL_FILE))
        // If we are killed, Tor exits, too.
        .args(["--__OwningControllerProcess", &std::process::id().to_string()])
        .args(["--ignore-missing-torrc", "-f"])
        .arg(folder.join("torrc"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// If removal fails, the directory stays in the folder for temporary files.
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

const CONTROL_FILE: &str = "control-port";

/// Time limit for Tor to connect to its network. The reference client waits without a limit, longer
/// than users do.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Interval of the progress checks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
