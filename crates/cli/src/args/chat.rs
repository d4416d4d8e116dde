//! Options of the commands of `chat`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::TorArgs;

mod changes;
mod devices;
mod groups;
mod history;
mod people;

pub(crate) use changes::{DeleteArgs, EditArgs, ReactArgs, TimerArgs};
pub(crate) use devices::{
    AcceptLinkArgs, AddArgs, CopyArgs, DevicesArgs, LinkArgs, LinkCommand, NewDeviceArgs,
};
pub(crate) use groups::{
    GroupArgs, GroupCommand, GroupLinkArgs, LeaveArgs, ListArgs, MemberArgs, PeopleArgs, RenameArgs,
};
pub(crate) use history::{HistoryArgs, Keep};
pub(crate) use people::{DecideArgs, RequestsArgs, RequestsCommand, UsernameArgs};

/// Options of `chat`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ChatArgs {
    #[command(subcommand)]
    pub(crate) command: ChatCommand,
}

/// The commands of `chat`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChatCommand {
    /// Register a phone number: the server sends a code to it
    Register(RegisterArgs),
    /// Complete the registration with the code
    Verify(VerifyArgs),
    /// Make this computer another device of your account, with a code
    Link(LinkArgs),
    /// Add a person with a code: both become contacts with a verified safety number
    Add(AddArgs),
    /// Send a text and files
    Send(SendArgs),
    /// Show the messages that have arrived
    Receive(ReceiveArgs),
    /// Talk with a person or a group: send each line that you type, and show new messages
    Talk(TalkArgs),
    /// Groups of people in different apps
    Group(GroupArgs),
    /// React to a message with an emoji
    React(ReactArgs),
    /// Edit the text of one of your messages
    Edit(EditArgs),
    /// Delete one of your messages for everybody
    Delete(DeleteArgs),
    /// Show or set the time after which the messages of a conversation disappear
    Timer(TimerArgs),
    /// Show or search earlier messages, or choose how long they are kept
    History(HistoryArgs),
    /// List the people that you have exchanged messages with, or name one of them
    Contacts(ContactsArgs),
    /// Show your profile or that of another person, or change yours
    Profile(ProfileArgs),
    /// List the people that you do not know and who have written to you, and decide about them
    Requests(RequestsArgs),
    /// Show the safety number that you share with a person, and compare it
    Safety(SafetyArgs),
    /// Send waiting messages, list them with the reason, or cancel one
    Outbox(OutboxArgs),
    /// List the devices of your account, name this one, or remove one
    Devices(DevicesArgs),
    /// Choose a name with which others can write to you without your number
    Username(UsernameArgs),
    /// Show your account, or change its settings and its protection on this computer
    Config(ConfigArgs),
}

/// The account, and the secret that opens it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AccountArgs {
    /// Name of the account on this computer
    #[arg(long, value_name = "NAME", default_value = DEFAULT_ACCOUNT, help_heading = ACCOUNT)]
    pub(crate) account: String,
    #[arg(
        long,
        value_name = "FILE",
        help_heading = ACCOUNT,
        help = "File whose first line is the passphrase of the account; without this option, the passphrase is the \
                value of the variable WORMHOLE_CHAT_PASSPHRASE, or is asked for if it is needed"
    )]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// The account, and the way to reach its server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,
    #[command(flatten)]
    pub(crate) tor: TorArgs,
}

/// Options of the commands that store an account on this computer for the first time.
#[derive(Debug, clap::Args)]
pub(crate) struct NewAccountArgs {
    /// Protect the account with a passphrase, and ask for it
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) ask_passphrase: bool,
    /// Protect the account with a key in the keyring of the desktop
    #[arg(long, conflicts_with_all = ["ask_passphrase", "passphrase_file"])]
    pub(crate) keyring: bool,
    /// Connect to another computer even without TLS: others can then read your password and who writes to whom
    #[arg(long)]
    pub(crate) allow_plain: bool,
}

impl NewAccountArgs {
    /// The protection of the account.
    pub(crate) const fn protection(&self) -> Option<ProtectWith> {
        match (self.keyring, self.ask_passphrase) {
            (true, _) => Some(ProtectWith::Keyring),
            (false, true) => Some(ProtectWith::Passphrase),
            (false, false) => None,
        }
    }
}

/// Options of `chat register`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat register [OPTIONS] --server <URL> <+NUMBER>",
    after_help = REGISTER_HELP
)]
pub(crate) struct RegisterArgs {
    /// Your phone number with its country code, such as +14155550101
    #[arg(value_name = "+NUMBER")]
    pub(crate) number: String,
    #[arg(long, value_name = "URL", help = "Messaging server, such as https://chat.example.org")]
    pub(crate) server: String,
    /// App to register in, such as com.example.one [default: the default app of the server]
    #[arg(long, value_name = "APP")]
    pub(crate) app: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        requires = "app",
        help = "File whose first line is the token of the app; without this option, the token is the value of the \
                variable WORMHOLE_CHAT_TOKEN"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Get the code by a call instead of a text message
    #[arg(long)]
    pub(crate) voice: bool,
    #[command(flatten)]
    pub(crate) new: NewAccountArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat verify`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat verify [OPTIONS] <CODE>")]
pub(crate) struct VerifyArgs {
    /// The code that the server has sent, such as 123-456
    #[arg(value_name = "CODE")]
    pub(crate) code: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat send`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat send [OPTIONS] <WHO> [TEXT|-]",
    after_help = SEND_HELP
)]
pub(crate) struct SendArgs {
    /// Recipient: a person or a group
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// Text of the message, or - for standard input; not needed with --file
    #[arg(value_name = "TEXT|-", allow_hyphen_values = true)]
    pub(crate) text: Option<String>,
    /// File to attach; larger than 100 MiB only while the other person is online; repeat the option for several files
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    /// Message that this one replies to: the first letters of its id
    #[arg(long, value_name = "ID")]
    pub(crate) reply: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat receive`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat receive [OPTIONS]",
    after_help = "\
Each message is shown once. If the program is killed while it shows a message, the next command
shows this message again; with --json, it has the same `id`."
)]
pub(crate) struct ReceiveArgs {
    /// Wait for more messages, until Ctrl-C; no other command can use the account meanwhile
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Directory for attached files [default: download-dir of the configuration file, or the current
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Maximum number of files of one message to save
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_MAX_FILES)]
    pub(crate) max_files: usize,
    /// Maximum number of megabytes of files to save in one run; with --follow, in one day
    #[arg(long, value_name = "MB", default_value_t = DEFAULT_MAX_SIZE)]
    pub(crate) max_size: u64,
    /// Discard files that are not saved yet: those of WHO, or of everybody
    #[arg(long, value_name = "WHO", num_args = 0..=1)]
    pub(crate) drop_files: Option<Option<String>>,
    /// Show the ids of messages, for `send --reply`, `react`, `edit` and `delete`; at a terminal, they
    /// are always shown
    #[arg(long)]
    pub(crate) ids: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat talk`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat talk [OPTIONS] <WHO>", after_help = TALK_HELP)]
pub(crate) struct TalkArgs {
    /// The other person, or a group
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// Show the ids of messages; at a terminal, they are always shown
    #[arg(long)]
    pub(crate) ids: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat contacts`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat contacts [OPTIONS] [WHO]",
    after_help = WHO_HELP
)]
pub(crate) struct ContactsArgs {
    /// Show only this person
    #[arg(value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// Your own name for this person, which you can then use as WHO; an empty name removes it
    #[arg(long, value_name = "NAME", requires = "who")]
    pub(crate) name: Option<String>,
    /// Accept that this phone number now belongs to another account: the one with this id
    #[arg(long, value_name = "ID", requires = "who")]
    pub(crate) accept_account: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat profile`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat profile [OPTIONS] [WHO]",
    after_help = PROFILE_HELP
)]
pub(crate) struct ProfileArgs {
    /// Person whose profile is shown [default: you]
    #[arg(value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// Your name for others; an empty name removes it
    #[arg(long, value_name = "NAME", conflicts_with = "who")]
    pub(crate) name: Option<String>,
    /// A text about you; an empty text removes it
    #[arg(long, value_name = "TEXT", conflicts_with = "who")]
    pub(crate) about: Option<String>,
    /// Your picture, at most 10 MiB
    #[arg(long, value_name = "FILE", conflicts_with = "who")]
    pub(crate) picture: Option<PathBuf>,
    /// Remove your picture
    #[arg(long, conflicts_with_all = ["who", "picture"])]
    pub(crate) no_picture: bool,
    /// Save the picture of this person as a new file
    #[arg(long, value_name = "FILE", requires = "who")]
    pub(crate) save_picture: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat safety`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat safety [OPTIONS] <WHO>",
    after_help = SAFETY_HELP
)]
pub(crate) struct SafetyArgs {
    /// The other person
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// Compare: with DIGITS, or ask whether the other person sees the same number. If it is the same,
    /// remember that, and accept a new identity key
    #[arg(long, value_name = "DIGITS", num_args = 0..=1, conflicts_with_all = ["accept", "refuse"])]
    pub(crate) verify: Option<Option<String>>,
    /// Accept a new identity key without comparing
    #[arg(long, conflicts_with = "refuse")]
    pub(crate) accept: bool,
    /// Refuse a new identity key: it belongs to somebody else
    #[arg(long)]
    pub(crate) refuse: bool,
    /// Show the number as words, which are easier to read to each other; --verify accepts them, too
    #[arg(long)]
    pub(crate) words: bool,
    /// Show the number as a QR code, too, which contains the 60 digits
    #[arg(long)]
    pub(crate) qr: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat outbox`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat outbox [OPTIONS]",
    after_help = "\
A message that can never be sent is shown once, with its text, and is then forgotten.
ID is the number before each message that waits. With --cancel, the server is not asked, and
nothing is sent."
)]
pub(crate) struct OutboxArgs {
    /// Cancel the message with this ID, so that it is not sent; repeat the option for several
    /// messages
    #[arg(long, value_name = "ID")]
    pub(crate) cancel: Vec<u64>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat config`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat config [OPTIONS]")]
pub(crate) struct ConfigArgs {
    #[arg(
        long,
        value_name = "FILE",
        help = "Replace the token of the app, after the operator of the server has made a new one: the first line of \
                this file"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Protection of the keys and messages on this computer from now on
    #[arg(long, value_name = "PROTECTION")]
    pub(crate) protect: Option<ProtectWith>,
    /// Whether people that you have written to learn which of their messages you have read [default: on]
    #[arg(long, value_name = "on|off", value_parser = on_or_off, hide_possible_values = true)]
    pub(crate) read_receipts: Option<bool>,
    /// With --protect passphrase: file whose first line is the new passphrase
    #[arg(long, value_name = "FILE", requires = "protect")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Whether messages of people that you do not know wait in `wormhole chat requests` until you accept
    /// them [default: on]
    #[arg(long, value_name = "on|off")]
    pub(crate) requests: Option<Switch>,
    /// Send files of this many megabytes or more directly, while both people are online; or off
    /// [default: 16]
    #[arg(long, value_name = "MB|off", value_parser = direct_size)]
    pub(crate) direct_files: Option<DirectSize>,
    /// Do not let others find you in the directory with your number; those who know it can still write
    #[arg(long, conflicts_with = "discoverable")]
    pub(crate) not_discoverable: bool,
    /// Let others find you in the directory with your number
    #[arg(long)]
    pub(crate) discoverable: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// From how many bytes on files go directly; `None` for never.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DirectSize(pub(crate) Option<u64>);

fn direct_size(text: &str) -> Result<DirectSize, String> {
    match text {
        "off" => Ok(DirectSize(None)),
        _ => match text.parse::<u32>() {
            Ok(megabytes) => Ok(DirectSize(Some(u64::from(megabytes) << 20))),
            Err(_) => Err("write a number of megabytes, or off".to_owned()),
        },
    }
}

/// Whether something happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

/// The protection of an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ProtectWith {
    KeyFile,
    Keyring,
    Passphrase,
}

/// Name of the account on this computer if the user names none.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// Default of `receive --max-files`.
pub(crate) const DEFAULT_MAX_FILES: usize = 16;

/// Default of `receive --max-size`, in megabytes.
pub(crate) const DEFAULT_MAX_SIZE: u64 = 200;

/// Heading in the help of the options about the account.
const ACCOUNT: &str = "Account options";

const PROFILE_HELP: &str = "\
Your profile is encrypted. Those to whom you write can read it; the server cannot. A name in a
profile is only a claim: anybody can choose any name.";

const AFTER_HELP: &str = "\
Messages are encrypted on your computer for the devices of the recipient. The server forwards them
and cannot read them.

Examples:
  wormhole chat register +14155550101 --server https://chat.example.org --app NAME --token-file FILE
  wormhole chat verify 123-456
  wormhole chat send +14155550102 \"hello\"
  wormhole chat receive --follow
  wormhole chat talk +14155550102

Only one command at a time can use an account.";

const REGISTER_HELP: &str = "\
A key file next to the data protects the account: everyone who can read your files can read it. With
--passphrase-file, --ask-passphrase or WORMHOLE_CHAT_PASSPHRASE, every command needs the passphrase.
With --keyring, every command needs the keyring of your desktop, unlocked.";

/// Explains WHO.
macro_rules! who_help {
    () => {
        "\
WHO is a phone number, a phone number in an app such as +14155550102@com.example.two, an account id,
a username such as @bob, or a name that you have given with `wormhole chat contacts`."
    };
}

macro_rules! where_help {
    () => {
        concat!(
            who_help!(),
            "
It can also be a group: its title, or the id that `wormhole chat group list` shows."
        )
    };
}

const WHO_HELP: &str = who_help!();

const SEND_HELP: &str = concat!(
    where_help!(),
    "
The message is on the disk before it is sent. If the server cannot be reached, the command tries
again until Ctrl-C; the message then stays in the outbox, and the next `wormhole chat send` or
`receive` sends it.
A name that you have given, after @, mentions the person: \"hello @Bob\"."
);

const TALK_HELP: &str = concat!(
    where_help!(),
    "
Ctrl-D ends the conversation when all lines are sent. Messages of other conversations, and files,
stay for `wormhole chat receive`."
);

const SAFETY_HELP: &str = concat!(
    who_help!(),
    "
Both people see the same number unless somebody else reads their messages. Compare it over another
way, such as a call. It changes when one of them registers again, for example on a new phone.
Until you accept the new identity key with --verify or --accept, nothing is sent to this person. If
the other person still sees the number before the change, somebody else has the new key: --refuse it."
);
