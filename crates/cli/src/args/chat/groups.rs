//! Options of `chat group`.

use clap::Subcommand;

use super::{ClientArgs, WHO_HELP};

/// Options of `chat group`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole chat group <COMMAND>", after_help = GROUP_HELP)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: GroupCommand,
}

/// The commands of `chat group`.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Create a group, and invite people
    Create(PeopleArgs),
    /// List your groups
    List(ListArgs),
    /// List the members of a group
    Show(OneArgs),
    /// Invite people to a group
    Invite(PeopleArgs),
    /// Accept an invitation, or join with a link
    Join(OneArgs),
    /// Remove a person from a group
    Remove(MemberArgs),
    /// Make a member an administrator
    Promote(MemberArgs),
    /// Give a group another title
    Rename(RenameArgs),
    /// Show the link with which anybody can join a group, and enable it
    Link(GroupLinkArgs),
    /// Leave a group, or decline an invitation
    Leave(LeaveArgs),
}

/// A group, and some people.
#[derive(Debug, clap::Args)]
#[command(after_help = WHO_HELP)]
pub(crate) struct PeopleArgs {
    /// Title of the group, or its id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// People to invite
    #[arg(value_name = "WHO")]
    pub(crate) who: Vec<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat group list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also list groups of which you are not a member any more
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// A group.
#[derive(Debug, clap::Args)]
pub(crate) struct OneArgs {
    /// Title of the group, its id, or, to join it, its link
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// A group, and one of its members.
#[derive(Debug, clap::Args)]
#[command(after_help = WHO_HELP)]
pub(crate) struct MemberArgs {
    /// Title of the group, or its id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// The member
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat group rename`.
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// Title of the group, or its id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// The new title
    #[arg(value_name = "TITLE", allow_hyphen_values = true)]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat group link`.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupLinkArgs {
    /// Title of the group, or its id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// Replace the link; the old one becomes invalid
    #[arg(long, conflicts_with = "off")]
    pub(crate) reset: bool,
    /// Disable the link
    #[arg(long)]
    pub(crate) off: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Options of `chat group leave`.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaveArgs {
    /// Title of the group, or its id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// The next administrator, if you are the last one
    #[arg(long, value_name = "WHO")]
    pub(crate) successor: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

const GROUP_HELP: &str = "\
The members may use different apps. Every change is signed, and checked by every member, so the server
can neither read nor change a group. A removed member cannot read later messages. `wormhole chat send
GROUP TEXT` sends a message to all members. `wormhole chat receive` shows the messages of groups, and
accepts invitations from people that you know. Other invitations wait until you `join` the group.
Titles are compared without regard to upper and lower case.";
