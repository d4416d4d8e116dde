//! The programs that must work together: their commands for sending and receiving, and their peculiarities.
//!
//! What a peer cannot do is stated here once and asserted as such, so that a new release which can
//! do it is noticed.

use std::path::{Path, PathBuf};

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

/// Where the programs and their servers are.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// `ws://HOST:PORT/v1`.
    pub(crate) mailbox: String,
    /// `HOST:PORT`.
    pub(crate) relay: String,
    /// Our own client.
    pub(crate) ours: PathBuf,
    /// Where `scripts/peers` has installed the others.
    pub(crate) peers: PathBuf,
}

/// A program with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Path(&'a Path),
    Text(&'a str),
}

/// Options of both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Use the relay alone.
    pub(crate) relay_only: bool,
    /// Ours sends what it can if files of a folder change.
    pub(crate) ignore_unsendable: bool,
    /// Compare verifiers; the sender is asked.
    pub(crate) verify: bool,
    /// What the user types into the sender.
    pub(crate) sender_types: &'static str,
    /// What the user answers to the offer; none accepts without being asked where that exists.
    pub(crate) receiver_types: Option<&'static str>,
}

impl Peer {
    /// The command for sending.
    pub(crate) fn send(self, site: &Site, what: What<'_>, manner: Manner) -> Line {
        let mut arguments = self.global_arguments(site);
        arguments.push("send".into());
        match self {
            Self::Rust => {
                arguments.extend(rust_servers(site));
                arguments.push("--no-qr".into());
                push_if(&mut arguments, manner.relay_only, "--force-relay");
            }
            Self::Debian | Self::Ours | Self::Python | Self::William => {
                arguments.push("--hide-progress".into());
                push_if(&mut arguments, matches!(self, Self::Ours | Self::Python), "--no-qr");
                push_if(&mut arguments, manner.verify, "--verify");
                let ignores = manner.ignore_unsendable && self == Self::Ours;
                push_if(&mut arguments, ignores, "--ignore-unsendable-files");
                arguments.extend(self.relay_only(manner));
            }
        }
        match what {
            What::Path(path) => arguments.push(path.display().to_string()),
            What::Text(text) => arguments.extend(["--text".into(), text.into()]),
        }
        Line { program: self.program(site), arguments }
    }

    /// The command for receiving.
    pub(crate) fn receive(self, site: &Site, code: &str, manner: Manner) -> Line {
        let mut arguments = self.global_arguments(site);
        arguments.push("receive".into());
        match self {
            Self::Rust => {
                arguments.extend(rust_servers(site));
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
        Line { program: self.program(site), arguments }
    }

    /// What its user types when receiving.
    pub(crate) fn receiver_input(self, manner: Manner) -> &'static str {
        let default = if self == Self::William { "y\n" } else { "" };
        manner.receiver_types.unwrap_or(default)
    }

    /// What a sender prints before the code.
    pub(crate) fn before_code(self) -> &'static str {
        match self {
            Self::Rust => "wormhole's code is: ",
            Self::Debian | Self::Ours | Self::Python | Self::William => "Wormhole code is: ",
        }
    }

    /// Whether it asks its questions on a terminal only.
    pub(crate) fn needs_terminal(self) -> bool {
        self == Self::Rust
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

    fn program(self, site: &Site) -> PathBuf {
        match self {
            Self::Debian => "/usr/bin/wormhole".into(),
            Self::Ours => site.ours.clone(),
            Self::Python => site.peers.join("venv/bin/wormhole"),
            Self::Rust => site.peers.join("bin/wormhole-rs"),
            Self::William => "/usr/bin/wormhole-william".into(),
        }
    }

    fn global_arguments(self, site: &Site) -> Vec<String> {
        match self {
            Self::Rust => Vec::new(),
            Self::William => vec!["--relay-url".into(), site.mailbox.clone()],
            Self::Debian | Self::Ours | Self::Python => vec![
                "--relay-url".into(),
                site.mailbox.clone(),
                "--transit-helper".into(),
                format!("tcp:{}", site.relay),
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
}

fn rust_servers(site: &Site) -> [String; 4] {
    [
        "--rendezvous-server".into(),
        site.mailbox.clone(),
        "--relay-server".into(),
        format!("tcp://{}", site.relay),
    ]
}

fn push_if(arguments: &mut Vec<String>, condition: bool, argument: &str) {
    if condition {
        arguments.push(argument.into());
    }
}
