//! The programs that must agree: how each is told to send and to receive, and where it is odd.
//!
//! What a peer cannot do is stated here once and asserted as such, so that a new release which can
//! do it is noticed.

use std::path::{Path, PathBuf};

use crate::program::Program;
use crate::world::{MAILBOX, RELAY, World};

/// A client of the Magic-Wormhole protocols.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// Debian's magic-wormhole 0.12.
    Debian,
    /// This project.
    Ours,
    /// magic-wormhole 0.24.0, the reference.
    Python,
    /// wormhole-rs 0.8.1.
    Rust,
    /// Debian's wormhole-william 1.0.6.
    William,
}

/// The two ends of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Receiver,
    Sender,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Path(&'a Path),
    Text(&'a str),
}

/// How both sides are told to behave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Use the relay alone.
    pub(crate) relay_only: bool,
    /// Compare verifiers; the sender is asked.
    pub(crate) verify: bool,
    /// What the user types into the sender.
    pub(crate) sender_types: &'static str,
    /// What the user answers to the offer; none accepts without being asked where that exists.
    pub(crate) receiver_types: Option<&'static str>,
}

impl Peer {
    /// Starts a sender in the folder `sender`.
    pub(crate) fn send(self, world: &World, what: What<'_>, manner: Manner) -> Program {
        let mut arguments = self.global_arguments();
        arguments.push("send".into());
        match self {
            Self::Rust => {
                arguments.extend(rust_servers());
                arguments.push("--no-qr".into());
                push_if(&mut arguments, manner.relay_only, "--force-relay");
            }
            Self::Debian | Self::Ours | Self::Python | Self::William => {
                arguments.push("--hide-progress".into());
                push_if(&mut arguments, matches!(self, Self::Ours | Self::Python), "--no-qr");
                push_if(&mut arguments, manner.verify, "--verify");
                arguments.extend(self.relay_only(manner));
            }
        }
        match what {
            What::Path(path) => arguments.push(path.display().to_string()),
            What::Text(text) => arguments.extend(["--text".into(), text.into()]),
        }
        self.start(world, "sender", &arguments, manner.sender_types)
    }

    /// Starts a receiver in the folder `receiver`.
    pub(crate) fn receive(self, world: &World, code: &str, manner: Manner) -> Program {
        let mut arguments = self.global_arguments();
        arguments.push("receive".into());
        match self {
            Self::Rust => {
                arguments.extend(rust_servers());
                push_if(&mut arguments, manner.relay_only, "--force-relay");
                push_if(&mut arguments, manner.receiver_types.is_none(), "--noconfirm");
            }
            Self::Debian | Self::Ours | Self::Python | Self::William => {
                arguments.push("--hide-progress".into());
                let can_accept = self != Self::William && manner.receiver_types.is_none();
                push_if(&mut arguments, can_accept, "--accept-file");
                push_if(&mut arguments, manner.verify, "--verify");
                arguments.extend(self.relay_only(manner));
            }
        }
        arguments.push(code.into());
        let default = if self == Self::William { "y\n" } else { "" };
        self.start(world, "receiver", &arguments, manner.receiver_types.unwrap_or(default))
    }

    /// The code a sender shows.
    pub(crate) fn shown_code(self, sender: &Program) -> String {
        sender.wait_for_word_after(match self {
            Self::Rust => "wormhole's code is: ",
            Self::Debian | Self::Ours | Self::Python | Self::William => "Wormhole code is: ",
        })
    }

    /// Whether it can send and show a text message.
    pub(crate) fn knows_text(self) -> bool {
        self != Self::Rust
    }

    /// Whether it shows a verifier.
    pub(crate) fn knows_verifier(self) -> bool {
        self != Self::Rust
    }

    /// Whether a folder keeps its empty folders and its permissions when it sends and receives.
    ///
    /// Debian's and wormhole-william leave empty folders out; wormhole-william writes those it
    /// receives as empty files.
    pub(crate) fn keeps_folders_whole(self, role: Role) -> bool {
        match self {
            Self::Ours | Self::Python => true,
            Self::Debian => role == Role::Receiver,
            Self::Rust | Self::William => false,
        }
    }

    fn program(self, world: &World) -> PathBuf {
        match self {
            Self::Debian => "/usr/bin/wormhole".into(),
            Self::Ours => env!("CARGO_BIN_EXE_wormhole").into(),
            Self::Python => world.peers().join("venv/bin/wormhole"),
            Self::Rust => world.peers().join("bin/wormhole-rs"),
            Self::William => "/usr/bin/wormhole-william".into(),
        }
    }

    fn global_arguments(self) -> Vec<String> {
        match self {
            Self::Rust => Vec::new(),
            Self::William => vec!["--relay-url".into(), MAILBOX.into()],
            Self::Debian | Self::Ours | Self::Python => vec![
                "--relay-url".into(),
                MAILBOX.into(),
                "--transit-helper".into(),
                format!("tcp:{RELAY}"),
            ],
        }
    }

    /// How it is kept from connecting directly. Where it cannot be (wormhole-william), the other
    /// side's refusal is enough.
    fn relay_only(self, manner: Manner) -> Option<String> {
        let option = match self {
            Self::Debian | Self::Python => "--no-listen",
            Self::Ours => "--relay-only",
            Self::Rust | Self::William => return None,
        };
        manner.relay_only.then(|| option.into())
    }

    fn start(self, world: &World, place: &str, arguments: &[String], input: &str) -> Program {
        let program = self.program(world);
        let needs_terminal = self == Self::Rust && !input.is_empty();
        let command = if needs_terminal {
            let line = format!("{} {}", program.display(), arguments.join(" "));
            let mut command = world.command(place, Path::new("script"));
            command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
            command
        } else {
            let mut command = world.command(place, &program);
            command.args(arguments);
            command
        };
        Program::start(&format!("{self:?} as {place}"), command, input)
    }
}

fn rust_servers() -> [String; 4] {
    [
        "--rendezvous-server".into(),
        MAILBOX.into(),
        "--relay-server".into(),
        format!("tcp://{RELAY}"),
    ]
}

fn push_if(arguments: &mut Vec<String>, condition: bool, argument: &str) {
    if condition {
        arguments.push(argument.into());
    }
}
