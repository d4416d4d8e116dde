//! The commands of `chat`: end-to-end encrypted messages through a messaging server.
//!
//! Each command has a file. The SDK (`wormhole::chat`) does the work.

use anyhow::Result;

use crate::args::chat::ChatCommand;
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::request::Servers;

mod add;
mod changes;
mod contacts;
mod devices;
mod explain;
mod groups;
mod history;
mod link;
mod meeting;
mod mentions;
mod outbox;
mod people;
mod profile;
mod profiles;
mod receive;
mod recent;
mod refusal;
mod register;
mod requests;
mod safety;
mod send;
mod settings;
mod show;
mod show_changes;
mod talk;
mod username;
mod who;

/// Runs a command.
///
/// # Errors
/// The command failed.
#[expect(clippy::cognitive_complexity, reason = "one line for each command")]
pub(crate) async fn run(
    command: ChatCommand,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    match command {
        ChatCommand::Add(args) => add::run(args, servers, config, console).await,
        ChatCommand::Config(args) => settings::run(args, config, console).await,
        ChatCommand::Contacts(args) => contacts::run(args, config, console).await,
        ChatCommand::Delete(args) => changes::delete(args, config, console).await,
        ChatCommand::Devices(args) => devices::run(args, config, console).await,
        ChatCommand::Edit(args) => changes::edit(args, config, console).await,
        ChatCommand::Group(args) => groups::run(args, config, console).await,
        ChatCommand::History(args) => history::run(args, console).await,
        ChatCommand::Link(args) => link::run(args, servers, config, console).await,
        ChatCommand::Outbox(args) => outbox::run(args, config, console).await,
        ChatCommand::Profile(args) => profiles::run(args, config, console).await,
        ChatCommand::React(args) => changes::react(args, config, console).await,
        ChatCommand::Receive(args) => {
            receive::run(args, config, console).await.map_err(Failure::expect_interrupt)
        }
        ChatCommand::Register(args) => register::register(args, config, console).await,
        ChatCommand::Requests(args) => requests::run(args, config, console).await,
        ChatCommand::Safety(args) => safety::run(args, config, console).await,
        ChatCommand::Send(args) => send::run(args, config, console).await,
        ChatCommand::Talk(args) => {
            talk::run(args, config, console).await.map_err(Failure::expect_interrupt)
        }
        ChatCommand::Username(args) => username::run(args, config, console).await,
        ChatCommand::Timer(args) => changes::timer(args, config, console).await,
        ChatCommand::Verify(args) => register::verify(args, config, console).await,
    }
}
