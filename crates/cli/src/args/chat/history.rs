//! Options of `chat history`.

use super::AccountArgs;

/// Options of `chat history`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat history [OPTIONS] [WHO]", after_help = HISTORY_HELP)]
pub(crate) struct HistoryArgs {
    /// Only messages with this person, or in this group
    #[arg(value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// Only messages with all words of this text; the beginning of a word is enough
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Maximum number of messages to show, the newest
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_LIMIT, value_parser = limit)]
    pub(crate) limit: usize,
    /// Delete all messages with this person, or in this group, from this computer; others keep them
    #[arg(long, requires = "who", conflicts_with = "search")]
    pub(crate) forget: bool,
    /// Keep `all` messages, those of so many days, such as `30d`, or none (`off`) from now on, and
    /// delete the others from this computer
    #[arg(long, value_name = "WHAT", value_parser = keep, conflicts_with_all = ["who", "search"])]
    pub(crate) keep: Option<Keep>,
    /// With `--keep off`: delete the messages without asking
    #[arg(short = 'y', long, requires = "keep")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) account: AccountArgs,
}

/// The messages that are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    /// All of them.
    All,
    /// The messages of this number of days.
    Days(u32),
    /// No messages.
    Off,
}

pub(super) fn keep(text: &str) -> Result<Keep, String> {
    let days = || text.strip_suffix('d')?.parse().ok().filter(|days| *days > 0);
    match text {
        "all" => Ok(Keep::All),
        "off" => Ok(Keep::Off),
        _ => days()
            .map(Keep::Days)
            .ok_or_else(|| "use all, off, or a number of days such as 30d".to_owned()),
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| "use a number from 1 on".to_owned())
}

/// Default of `history --limit`.
const DEFAULT_LIMIT: usize = 50;

const HISTORY_HELP: &str = "\
The history is on this computer only, encrypted like everything else. It does not contain attached
files. It is shown without a connection to the server, and does not count as reading: messages that
`wormhole chat receive` has not shown yet are marked as new.
WHO is a phone number, an account id, a name that you have given with `wormhole chat contacts`, or the
title or id of a group.";
