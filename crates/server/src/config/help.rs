//! Help that fits on one screen: for each command the flags that most people need, in groups.
//! `--help-all` shows every flag.

use clap::Command;

/// Gives every command its one-screen help.
pub(super) fn short(mut command: Command) -> Command {
    for (name, page) in PAGES {
        command = command.mut_subcommand(name, |command| command.override_help(page));
    }
    command
}

/// Help with every flag of a command.
pub(super) fn all(mut command: Command, name: &str) -> String {
    command.build();
    let command = command.find_subcommand_mut(name);
    command.map(|command| command.render_long_help().to_string()).unwrap_or_default()
}

/// The pages, at most 23 lines of 80 columns: a screen with its prompt.
pub(super) const PAGES: [(&str, &str); 7] = [
    ("run", RUN),
    ("mailbox", MAILBOX),
    ("transit-relay", TRANSIT_RELAY),
    ("whisper", WHISPER),
    ("config", CONFIG),
    ("backup", BACKUP),
    ("import", IMPORT),
];

const RUN: &str = "\
Serve everything that the configuration enables

Usage: wormhole-server run [FLAGS]

Configuration:
  --config FILE                      any of the keys that `config` prints
  --data DIR                         directory of the databases [default: .]
Services:
  --mailbox BOOL                     serve the mailbox [default: true]
  --transit-relay BOOL               serve the transit relay [default: true]
  --whisper BOOL                     serve a Whisper node [default: false]
Addresses:
  --mailbox-listen ADDRESS           [default: [::]:4000]
  --transit-relay-listen ADDRESS     [default: [::]:4001]
  --transit-relay-listen-ws ADDRESS  for WebSocket clients
  --whisper-listen ADDRESS           for other nodes [default: [::]:30303]
  --whisper-rpc ADDRESS              for clients of the node
  --metrics-listen ADDRESS           /metrics and /health
TLS and logs:
  --tls-certificate FILE, --tls-key FILE
  --log-level LEVEL                  [default: info]

All flags: wormhole-server run --help-all    All keys: wormhole-server config
";

const MAILBOX: &str = "\
Serve the mailbox

Usage: wormhole-server mailbox [FLAGS]

Service:
  --config FILE            any of the keys that `wormhole-server config` prints
  --listen ADDRESS         [default: [::]:4000]
  --db FILE                [default: mailbox.sqlite]
  --usage-db FILE          record there how each rendezvous ended
  --motd TEXT              message that every client shows
  --trust-proxy HEADER     proxy header that holds the client's address
Limits:
  --links-per-address N    [default: 256]
  --max-links N            [default: 0]
  --hashcash-bits BITS     work that a client has to show [default: 0]
  --expiry-seconds SECONDS  age of unused mailboxes [default: 660]
TLS, metrics and logs:
  --tls-certificate FILE, --tls-key FILE
  --metrics-listen ADDRESS
  --log-level LEVEL        [default: info]

All flags: wormhole-server mailbox --help-all
";

const TRANSIT_RELAY: &str = "\
Serve the transit relay

Usage: wormhole-server transit-relay [FLAGS]

Service:
  --config FILE            any of the keys that `wormhole-server config` prints
  --listen ADDRESS         [default: [::]:4001]
  --listen-ws ADDRESS      for WebSocket clients
  --usage-db FILE          record there how each transfer ended
  --trust-proxy HEADER     proxy header that holds the client's address
Limits:
  --links-per-address N    [default: 256]
  --max-links N            [default: 0]
  --bytes-per-second BYTES  of each pair [default: 0]
  --waiting-limit SECONDS  longest wait for the partner [default: 3600]
TLS, metrics and logs:
  --tls-certificate FILE, --tls-key FILE    for WebSocket clients
  --metrics-listen ADDRESS
  --log-level LEVEL        [default: info]

All flags: wormhole-server transit-relay --help-all
";

const WHISPER: &str = "\
Serve a Whisper node

Usage: wormhole-server whisper [FLAGS]

Node:
  --config FILE              any of the keys that `config` prints
  --listen ADDRESS           for other nodes [default: [::]:30303]
  --data DIR                 keep the node's key and messages there
  --peer ENODE               stay connected to this node; may be repeated
  --bootnode ENODE           look for other nodes from there; may be repeated
  --advertise IP             address at which others reach this node
  --min-pow POW              work that messages must have [default: 0.2]
Clients:
  --rpc ADDRESS              JSON-RPC over HTTP and WebSocket
  --rpc-token-file FILE      token that clients must show
  --ipc FILE                 JSON-RPC on a Unix socket
Archive, metrics and logs:
  --archive-password-file FILE  keep messages for those who were away
  --metrics-listen ADDRESS
  --log-level LEVEL          [default: info]

All flags: wormhole-server whisper --help-all
";

const CONFIG: &str = "\
Print the effective configuration as a TOML file: every key, its meaning and its
value. Keys that have their default are commented out.

Usage: wormhole-server config [FLAGS] > wormhole-server.toml

  --config FILE    begin with this file
  --data DIR       directory of the databases [default: .]
  Every flag of `run` is possible, too, and appears in the printed file.

All flags: wormhole-server config --help-all
";

const BACKUP: &str = "\
Copy the databases into a directory, even while a server uses them. Start a
server from the copy with: wormhole-server run --data DIR

Usage: wormhole-server backup [FLAGS] DIR

  --config FILE    the file that the server was started with, if any
  --data DIR       directory of the databases [default: .]
  Give the flags of the running server: they name the databases to copy.

All flags: wormhole-server backup --help-all
";

const IMPORT: &str = "\
Import nameplates, mailboxes and messages from the database of the Python
mailbox server (magic-wormhole-mailbox-server), such as relay.sqlite. Stop that
server first. The file is only read. Its usage database needs no import: name it
with --mailbox-usage-db.

Usage: wormhole-server import [FLAGS] FILE

  --config FILE        the file that the new server will be started with, if any
  --data DIR           directory of the databases [default: .]
  --mailbox-db FILE    database to import into [default: mailbox.sqlite]

All flags: wormhole-server import --help-all
";
