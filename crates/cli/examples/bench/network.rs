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
    let error = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount", "sh", "-c", script])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    bail!("no private network: {error}")
}
