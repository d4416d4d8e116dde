//! The program `wormhole-server`. Everything that it does is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    wormhole_server::run(std::env::args_os())
}
