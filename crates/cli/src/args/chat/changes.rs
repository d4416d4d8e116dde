//! Options of `chat react`, `chat edit`, `chat delete` and `chat timer`.

use super::ClientArgs;

/// Options of `chat react`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat react [OPTIONS] <WHO> <ID> [EMOJI]\n       wormhole chat react [OPTIONS] <WHO> <ID> --remove",
    after_help = ID_HELP
)]
pub(crate) struct ReactArgs {
    /// The other person, or a group
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// The message
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The emoji; it replaces an earlier one
    #[arg(value_name = "EMOJI", required_unless_present = "remove")]
    pub(crate) emoji: Option<String>,
    /// Remove your reaction
    #[arg(long, conflicts_with = "emoji")]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat edit`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat edit [OPTIONS] <WHO> <ID> <TEXT>", after_help = EDIT_HELP)]
pub(crate) struct EditArgs {
    /// The other person, or a group
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// One of your messages
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The new text
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat delete`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat delete [OPTIONS] <WHO> <ID>", after_help = DELETE_HELP)]
pub(crate) struct DeleteArgs {
    /// The other person, or a group
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// One of your messages
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat timer`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat timer [OPTIONS] <WHO> [TIME|off]", after_help = TIMER_HELP)]
pub(crate) struct TimerArgs {
    /// The other person, or a group
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// Time after which messages disappear, such as 30s, 5m, 1h, 7d or 4w, or off; without it, show the timer
    #[arg(value_name = "TIME|off")]
    pub(crate) time: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Explains ID.
macro_rules! id_help {
    () => {
        "\
ID is the first letters of a message's id: `wormhole chat receive --ids` and `talk --ids` show it.
The last 100 messages that were sent or shown have one."
    };
}

const ID_HELP: &str = id_help!();

const EDIT_HELP: &str = concat!(
    id_help!(),
    "
A message can be edited within 24 hours, and 10 times. Others can see that it was edited."
);

const DELETE_HELP: &str = concat!(
    id_help!(),
    "
The message is deleted on all devices of everybody in the conversation. Somebody may have read or
copied it before."
);

const TIMER_HELP: &str = "\
The timer holds for everybody in the conversation, and for messages that are sent from now on. In a
group, every member can set it. It starts when a message is read. Nothing keeps others from copying a
message before.";
