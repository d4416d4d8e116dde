//! Options of `chat requests` and `chat username`.

use clap::Subcommand;

use super::{ClientArgs, WHO_HELP};

/// Options of `chat requests`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    override_usage = "wormhole chat requests [OPTIONS]\n       wormhole chat requests accept|block|delete|report|unblock [OPTIONS] <WHO>",
    after_help = REQUESTS_HELP
)]
pub(crate) struct RequestsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RequestsCommand>,
    /// List the people that you have blocked
    #[arg(long)]
    pub(crate) blocked: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// The commands of `chat requests`.
#[derive(Debug, Subcommand)]
pub(crate) enum RequestsCommand {
    /// Receive the messages of this person, now and later
    Accept(DecideArgs),
    /// Receive nothing more from this person
    Block(DecideArgs),
    /// Delete the messages of this person; the next one is a new request
    Delete(DecideArgs),
    /// Block this person, and report the messages to the operator of the server
    Report(DecideArgs),
    /// Unblock this person
    Unblock(DecideArgs),
}

/// Options of a decision about a person.
#[derive(Debug, clap::Args)]
#[command(after_help = WHO_HELP)]
pub(crate) struct DecideArgs {
    /// The other person
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat username`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole chat username [OPTIONS] [NAME]",
    after_help = "\
Without NAME, the command shows your username. Others can then use @NAME as WHO, without your
number. Your number is still part of what you send. NAME has 3 to 32 of the characters a-z, 0-9, _
and ., and does not begin with a digit. If you remove it, somebody else can choose it."
)]
pub(crate) struct UsernameArgs {
    /// Your username from now on, with or without @
    #[arg(value_name = "NAME", conflicts_with = "remove")]
    pub(crate) name: Option<String>,
    /// Remove your username
    #[arg(long)]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

const REQUESTS_HELP: &str = "\
People that you have never written to, named or added wait here until you decide. They do not learn
that you have read their messages here, or what you decide: blocked or not, their messages look sent.
Each of them can send five messages before you accept. No files are saved. Writing to a person accepts
this person. An operator to whom you report messages learns who sent them and when, not what they say.

To get messages of everybody without being asked: wormhole chat config --requests off";
