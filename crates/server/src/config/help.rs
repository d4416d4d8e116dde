//! Help that fits on one screen: for each command the options that most people need, in groups.
//! `--help-all` shows every option.

use clap::Command;

use crate::service::{About, SERVICES};

/// Gives every command its one-screen help.
pub(super) fn short(mut command: Command) -> Command {
    for (name, page) in pages() {
        command = command.mut_subcommand(name, |command| command.override_help(page));
    }
    command
}

/// Help with every flag of a command.
pub(super) fn all(mut command: Command, name: &str) -> String {
    command.build();
    let Some(command) = command.find_subcommand(name) else { return String::new() };
    // clap's own text promises a summary for `-h` only; here, `--help` prints it as well.
    let about = "Print the most important options";
    let mut command = command.clone().mut_arg("help", |help| help.help(about).long_help(about));
    command.render_long_help().to_string()
}

/// The pages, at most 23 lines of 80 columns: a screen with its prompt.
pub(super) fn pages() -> Vec<(&'static str, String)> {
    let services = SERVICES.iter().map(|service| (service.about().name, service.about().help));
    let others = [("config", CONFIG), ("backup", BACKUP), ("import", IMPORT)];
    let mut pages = vec![("run", run())];
    pages.extend(services.chain(others).map(|(name, page)| (name, page.to_owned())));
    pages
}

/// The page of `run`, with the switch and the addresses of every service.
fn run() -> String {
    let switches: String = SERVICES.iter().map(|service| switch(service.about())).collect();
    let addresses: String = SERVICES.iter().map(|service| service.about().addresses).collect();
    format!("{RUN}{switches}Addresses:\n{addresses}{RUN_PROCESS}")
}

fn switch(about: About) -> String {
    let flag = format!("--{} BOOL", about.name);
    format!("  {flag:<34} start {} [default: {}]\n", about.noun, about.is_default)
}

/// The page of `run` up to the switches of the services.
const RUN: &str = "\
Start all services that the configuration enables

Usage: wormhole-server run [OPTIONS]

Configuration:
  --config FILE                      TOML file; see `wormhole-server config`
  --data DIR                         directory of the databases [default: .]
Services:
";

/// The page of `run` from the addresses of the process on.
const RUN_PROCESS: &str = "  --metrics-listen ADDRESS           /metrics and /health
TLS and logs:
  --tls-certificate FILE, --tls-key FILE
  --log-level LEVEL                  [default: info]

All options: wormhole-server run --help-all    All keys: wormhole-server config
";

const CONFIG: &str = "\
Print the effective configuration as a TOML file: every key, its meaning and its
value. Keys that have their default are commented out.

Usage: wormhole-server config [OPTIONS] > wormhole-server.toml

  --config FILE    read this configuration file first
  --data DIR       directory of the databases [default: .]
  All options of `run` work, too, and change the printed file.

All options: wormhole-server config --help-all
";

const BACKUP: &str = "\
Copy the databases into a directory, even while a server uses them. Start a
server from the copy with: wormhole-server run --data DIR

Usage: wormhole-server backup [OPTIONS] DIR

  --config FILE    the file that the server was started with, if any
  --data DIR       directory of the databases [default: .]
  Use the options of the running server, so that the same databases are copied.

All options: wormhole-server backup --help-all
";

const IMPORT: &str = "\
Import nameplates, mailboxes and messages from the database of the Python
mailbox server (magic-wormhole-mailbox-server), such as relay.sqlite. Stop that
server first. The file is not changed. The usage database needs no import:
set it with --mailbox-usage-db.

Usage: wormhole-server import [OPTIONS] FILE

  --config FILE        the file that the new server will be started with, if any
  --data DIR           directory of the databases [default: .]
  --mailbox-db FILE    database to import into [default: mailbox.sqlite]

All options: wormhole-server import --help-all
";
