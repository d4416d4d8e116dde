//! Runs a test in a process of its own, which has other limits or fewer rights than the other tests.

use std::any::type_name;
use std::future::Future;
use std::process::Command;

/// Runs `body`, which is the whole of `test`, in a process that `wrapper` starts: a program with arguments, which
/// executes the command line that follows them.
pub(crate) fn run<T: Fn()>(_test: T, wrapper: &[&str], body: impl Future<Output = ()>) {
    if std::env::var_os(IS_CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(body);
    }
    // Without the name of the crate.
    let (_, name) = type_name::<T>().split_once("::").unwrap();
    let mut command = command(wrapper);
    command.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    let output = command.env(IS_CHILD, "1").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{name} in a process: {text}");
}

/// Whether this system allows this wrapper. With `CI` in the environment it must.
pub(crate) fn is_possible(wrapper: &[&str]) -> bool {
    let is_possible = command(wrapper).arg("true").status().is_ok_and(|status| status.success());
    assert!(is_possible || std::env::var_os("CI").is_none(), "not possible here: {wrapper:?}");
    if !is_possible {
        println!("skipped: not possible here: {wrapper:?}");
    }
    is_possible
}

fn command(wrapper: &[&str]) -> Command {
    let (program, arguments) = wrapper.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A wrapper that lets permissions apply to the superuser, too: in a user namespace without users, nobody may ignore
/// them.
pub(crate) fn without_privileges() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["unshare", "--user"] } else { &["env"] }
}

/// A wrapper for tests that call [`limit_files`]: writing more is an error instead of a signal.
pub(crate) const LIMITED: &[&str] = &["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

/// From now on, no file of this process may become longer than 1 MiB.
pub(crate) fn limit_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), maximum: None }).unwrap();
}

/// Set for the process that runs the test.
const IS_CHILD: &str = "WORMHOLE_TEST_CHILD";
