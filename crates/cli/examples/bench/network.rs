//! A network with nothing but loopback, for this process and all that it starts.
//!
//! wormhole-rs never advertises 127.0.0.1, so there is 10.77.0.1 too; wormhole-william insists on
//! the public relay's name, so that name leads to 127.0.0.1.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Result, bail};

/// Set in the process that is inside.
const MARK: &str = "WORMHOLE_BENCH_INSIDE";

/// Whether this process is root, and not only in a user namespace.
pub(crate) fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let has_all_users = map.split_whitespace().nth(2) == Some("4294967295");
    let id = Command::new("id").arg("-u").output();
    has_all_users && id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// Starts this program again inside of a network of its own, unless it is there already.
///
/// # Errors
/// The system does not allow it; `unshare --map-root-user --net --mount true` must work.
pub(crate) fn enter() -> Result<()> {
    if env::var_os(MARK).is_some() {
        return Ok(());
    }
    let script = "ip link set lo up && ip address add 10.77.0.1/32 dev lo \
                  && hosts=$(mktemp) && trap 'rm -f $hosts' EXIT \
                  && echo 127.0.0.1 localhost transit.magic-wormhole.io >$hosts \
                  && mount --bind $hosts /etc/hosts && \"$0\" \"$@\"";
    // PostgreSQL must not run as root, and only the real root can start it as another user.
    let user = if is_real_root() { None } else { Some("--map-root-user") };
    let error = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "sh", "-c", script])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    bail!("no private network: {error}")
}
