//! New clusters. `initdb` takes a second of processor time, so it runs once, and each server gets a copy.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::supervised::new_folder;

/// The user who runs PostgreSQL, if we are root: PostgreSQL refuses to run as root. The package creates this user.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerUser {
    user: u32,
    group: u32,
}

impl ServerUser {
    /// The user, or `None` if we are not root.
    pub(super) fn needed() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let id = |option| {
            let output = run(Command::new("id").args([option, "postgres"]));
            let text = String::from_utf8_lossy(&output.stdout).trim().parse();
            text.expect("there is no user postgres")
        };
        Some(Self { user: id("-u"), group: id("-g") })
    }

    /// Makes a command run as this user.
    pub(super) fn run(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }

    fn give(self, path: &Path) {
        let owner = format!("{}:{}", self.user, self.group);
        run(Command::new("chown").args(["-R", &owner]).arg(path));
    }
}

/// Creates a cluster in a folder and returns its data directory.
pub(super) fn create(programs: &Path, folder: &Path, user: Option<ServerUser>) -> PathBuf {
    let (template, data) = (template(programs, user), folder.join("data"));
    run(Command::new("cp").args(["-R", "-p"]).args([&template, &data]));
    if let Some(user) = user {
        user.give(folder);
    }
    data
}

/// Writes a file that only the server may read.
pub(super) fn write(path: &Path, content: &str, user: Option<ServerUser>) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let _ = fs::remove_file(path);
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.expect("could not create a file");
    file.write_all(content.as_bytes()).expect("could not write a file");
    if let Some(user) = user {
        user.give(path);
    }
}

/// A cluster that no server uses. It is next to the program of the test, so the next test finds it.
fn template(programs: &Path, user: Option<ServerUser>) -> PathBuf {
    let program = std::env::current_exe().expect("this program has no path");
    let folder = program.parent().expect("a program is in a folder").to_owned();
    let version = run(Command::new(programs.join("initdb")).arg("--version"));
    let version = String::from_utf8_lossy(&version.stdout).to_string();
    let name: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let template = folder.join(format!("cluster-{name}"));
    let lock = File::create(folder.join("cluster.lock")).expect("could not create a lock");
    lock.lock().expect("could not lock a file");
    if !template.is_dir() {
        make_template(programs, user, &template);
    }
    template
}

fn make_template(programs: &Path, user: Option<ServerUser>, template: &Path) {
    let folder = new_folder(None, "cluster");
    let data = folder.join("data");
    let mut initdb = Command::new(programs.join("initdb"));
    initdb
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"])
        .args(["--no-sync", "-D"])
        .arg(&data)
        .current_dir("/");
    if let Some(user) = user {
        user.give(&folder);
        user.run(&mut initdb);
    }
    run(&mut initdb);
    // Complete under its name, or not there.
    let part = template.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    run(Command::new("cp").args(["-R", "-p"]).args([&data, &part]));
    fs::rename(&part, template).expect("could not rename a folder");
    let _ = fs::remove_dir_all(folder);
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("could not start a program");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {problem}");
    output
}
