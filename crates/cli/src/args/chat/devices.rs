//! Options of `chat link`, `chat devices` and `chat add`.

use std::path::PathBuf;

use clap::Subcommand;

use super::history::keep;
use super::{ClientArgs, Keep, NewAccountArgs};

/// Options of `chat link`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    override_usage = "wormhole chat link [OPTIONS]\n       wormhole chat link accept [OPTIONS] <CODE>\n       \
        wormhole chat link history [OPTIONS] [CODE]",
    after_help = LINK_HELP
)]
pub(crate) struct LinkArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LinkCommand>,
    #[command(flatten)]
    pub(crate) new: NewDeviceArgs,
}

/// The commands of `chat link`.
#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Link the device that shows this code to your account
    Accept(AcceptLinkArgs),
    /// Copy contacts and earlier messages from one of your devices to another, with a code
    History(CopyArgs),
}

/// Options of `chat link` on the new device.
#[derive(Debug, clap::Args)]
pub(crate) struct NewDeviceArgs {
    /// Name of this device in the list of your devices, such as laptop; only your devices can read it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Accept only an account at this messaging server; with --qr, the server of the account
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Show a QR code, as other clients of the service do, instead of a code
    #[arg(long, requires = "server", conflicts_with = "code_length")]
    pub(crate) qr: bool,
    /// With --qr: app of the account [default: the default app of the server]
    #[arg(long, value_name = "APP", requires = "qr")]
    pub(crate) app: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        requires = "app",
        help = "With --app: file whose first line is the token of the app; without this option, the token is the value of \
                the variable WORMHOLE_CHAT_TOKEN"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Cancel a link that was interrupted, and show a new code
    #[arg(long)]
    pub(crate) forget: bool,
    /// Use the account that the primary device offers without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Number of words in the code
    #[arg(short, long, value_name = "NUMWORDS", value_parser = crate::args::words)]
    pub(crate) code_length: Option<u8>,
    #[command(flatten)]
    pub(crate) new: NewAccountArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat link accept`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat link accept [OPTIONS] <CODE>")]
pub(crate) struct AcceptLinkArgs {
    /// The code that the new device shows, or the text of its QR code
    #[arg(value_name = "CODE")]
    pub(crate) code: String,
    /// Link the device without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Copy contacts and `all` earlier messages, those of so many days, such as `30d`, or `none`
    #[arg(long, value_name = "WHAT", value_parser = copied, default_value = "all")]
    pub(crate) history: Keep,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat link history`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat link history [OPTIONS] [CODE]", after_help = COPY_HELP)]
pub(crate) struct CopyArgs {
    /// The code that the other device shows; without it, this device shows one, and gets the copy
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// With CODE: copy `all` earlier messages, those of so many days, such as `30d`, or `none`
    #[arg(long, value_name = "WHAT", value_parser = copied, default_value = "all", requires = "code")]
    pub(crate) history: Keep,
    /// Number of words in a new code
    #[arg(
        short, long, value_name = "NUMWORDS", value_parser = crate::args::words, conflicts_with = "code"
    )]
    pub(crate) code_length: Option<u8>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// The messages that are copied. The words differ from those for keeping messages.
fn copied(text: &str) -> Result<Keep, String> {
    match text {
        "none" => Ok(Keep::Off),
        "off" => Err("use all, none, or a number of days such as 30d".to_owned()),
        _ => keep(text).map_err(|_| "use all, none, or a number of days such as 30d".to_owned()),
    }
}

/// Options of `chat add`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat add [OPTIONS] [CODE]", after_help = ADD_HELP)]
pub(crate) struct AddArgs {
    /// The other person's code; without it, the command shows a new one
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Your own name for this person, which you can then use as WHO
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Name that you suggest for yourself; the other person can choose another one
    #[arg(long, value_name = "NAME")]
    pub(crate) my_name: Option<String>,
    /// Use the name that the other person suggests without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Number of words in a new code
    #[arg(
        short, long, value_name = "NUMWORDS", value_parser = crate::args::words, conflicts_with = "code"
    )]
    pub(crate) code_length: Option<u8>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat devices`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat devices [OPTIONS]",
    after_help = "\
ID is the number before each device. `wormhole chat link` adds a device. A removed device cannot
read what is sent from then on. It keeps what it has received."
)]
pub(crate) struct DevicesArgs {
    /// Remove the device with this ID from your account
    #[arg(long, value_name = "ID", conflicts_with = "name")]
    pub(crate) remove: Option<u32>,
    /// Sign the device with this ID: it gets your messages, and others accept what it sends
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "remove"])]
    pub(crate) sign: Option<u32>,
    /// Sign the device only if it has this registration id, which the list shows
    #[arg(long, value_name = "NUMBER", requires = "sign")]
    pub(crate) registration_id: Option<u32>,
    /// Rename this device; an empty name removes the name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

const ADD_HELP: &str = "\
Both people use the same code, such as in a call. Each gets the other's account and identity key, so
the safety number is verified without a comparison:

  wormhole chat add                         shows a code
  wormhole chat add CODE                    the other person";

const LINK_HELP: &str = "\
The new device shows a code. Type it on the primary device of your account, the one on which you
have registered the number:

  wormhole chat link                        on the new device; shows a code
  wormhole chat link accept CODE            on the primary device

With other clients of the service, use a QR code. It does not prove whose device shows it: accept it
only if you see it on the screen of your own new device.

  wormhole chat link --qr --server URL      on the new device; shows a QR code and its text
  wormhole chat link accept 'sgnl://...'    on the primary device, with this text

Both devices then send and receive messages as the same account, and the new device shows what you
send from the other one. The primary device also copies its contacts and earlier messages, directly
to the new one. If that is interrupted, `wormhole chat link history` on both devices repeats it. An
account has at most six devices.";

const COPY_HELP: &str = "\
Both devices use the same code:

  wormhole chat link history                on the device that lacks messages; shows a code
  wormhole chat link history CODE           on a device that has them

Messages and contacts that the device has already stay as they are.";
