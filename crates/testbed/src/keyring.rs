//! GNOME Keyring on a session bus of its own. Both keep their files in temporary folders.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::NotInstalled;
use crate::supervised::{Supervised, find_program, new_folder};

/// A D-Bus session bus that starts no programs.
#[derive(Debug)]
pub struct SessionBus {
    folder: PathBuf,
    server: Supervised,
}

impl SessionBus {
    /// Starts a bus.
    ///
    /// # Errors
    /// The program is not installed.
    ///
    /// # Panics
    /// The bus does not start.
    pub fn start() -> Result<Self, NotInstalled> {
        let program = find_program("dbus-daemon", []).ok_or(NotInstalled("D-Bus"))?;
        let folder = new_folder(None, "bus");
        let configuration = CONFIGURATION.replace("SOCKET", &path(&folder, "bus"));
        let file = folder.join("configuration");
        std::fs::write(&file, configuration).expect("could not write the configuration");
        let mut command = Command::new(program);
        command.arg("--nofork").arg("--config-file").arg(file);
        let mut server = Supervised::start(&mut command, &folder, Signal::KILL);
        server.wait_until(|_| folder.join("bus").exists()).expect("the bus has ended");
        Ok(Self { folder, server })
    }

    /// The address for clients.
    pub fn address(&self) -> String {
        format!("unix:path={}", path(&self.folder, "bus"))
    }

    /// Ends the bus.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

/// GNOME Keyring with one keyring, the default one.
#[derive(Debug)]
pub struct DesktopKeyring {
    folder: PathBuf,
    program: PathBuf,
    daemon: Supervised,
    bus: SessionBus,
}

impl DesktopKeyring {
    /// Starts a bus and the daemon, which makes a keyring and unlocks it.
    ///
    /// # Errors
    /// A program is not installed.
    ///
    /// # Panics
    /// A program does not start.
    pub fn start() -> Result<Self, NotInstalled> {
        let program =
            find_program("gnome-keyring-daemon", []).ok_or(NotInstalled("GNOME Keyring"))?;
        let bus = SessionBus::start()?;
        let folder = new_folder(None, "keyring");
        let mut command = command(&program, &folder, &bus, true);
        let mut daemon = Supervised::start(&mut command, &folder, Signal::KILL);
        wait(&mut daemon, &folder, &bus);
        Ok(Self { folder, program, daemon, bus })
    }

    /// The address of the bus.
    pub fn address(&self) -> String {
        self.bus.address()
    }

    /// Ends the daemon without warning.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// Starts the daemon again. It unlocks the keyring, or does not know its password.
    ///
    /// # Panics
    /// The daemon does not start.
    pub fn start_again(&mut self, unlocked: bool) {
        let mut command = command(&self.program, &self.folder, &self.bus, unlocked);
        self.daemon.start_again(&mut command);
        wait(&mut self.daemon, &self.folder, &self.bus);
    }

    /// Whether a text is in the files of the keyring. They are encrypted, except for hashes of the attributes.
    ///
    /// # Panics
    /// The files cannot be read.
    pub fn contains(&self, text: &str) -> bool {
        let files = self.folder.join("data/keyrings");
        let files = files.read_dir().expect("the folder of the keyring").flatten();
        files.into_iter().any(|file| {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }
}

fn command(program: &Path, folder: &Path, bus: &SessionBus, unlocked: bool) -> Command {
    let password = folder.join("password");
    std::fs::write(&password, "the password of the test").expect("could not write a password");
    let mut command = Command::new("sh");
    let unlock = if unlocked { "--unlock" } else { "--foreground" };
    // A keyring that is to be unlocked reads the password from its input.
    command.args(["-c", r#"exec "$0" --foreground "$1" --components=secrets -C "$2" <"$3""#]);
    command.arg(program).arg(unlock).arg(folder.join("control")).arg(password);
    command.env("DBUS_SESSION_BUS_ADDRESS", bus.address());
    command.env("HOME", folder).env("XDG_RUNTIME_DIR", folder);
    command.env("XDG_DATA_HOME", folder.join("data")).env_remove("DISPLAY");
    command
}

/// Waits until the daemon is on the bus.
fn wait(daemon: &mut Supervised, folder: &Path, bus: &SessionBus) {
    let ready = |_| {
        let mut ask = Command::new("dbus-send");
        ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
        ask.args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]);
        let answer = ask.env("DBUS_SESSION_BUS_ADDRESS", bus.address()).output();
        let answer = answer.expect("dbus-send is not installed");
        String::from_utf8_lossy(&answer.stdout).contains("boolean true")
    };
    let started = daemon.wait_until(ready);
    assert!(started.is_ok(), "the keyring in {} has ended: {started:?}", folder.display());
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path in UTF-8").to_owned()
}

/// The configuration of the bus: clients may do everything, and it starts no programs.
const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;
