//! The program `wormhole`: reads arguments, calls the libraries, and prints text and an exit status.
//!
//! It contains no protocol: `args`, `config` and `request` check the input, the SDK does the work, and the other
//! modules turn events into text.

use std::process::ExitCode;

use anyhow::Result;
use wormhole::transfer::CodeSource;

use crate::args::chat::ChatCommand;
use crate::args::{Args, Command, GlobalArgs, ReceiveArgs, SendArgs, SshCommand};
use crate::config::Config;
use crate::console::Console;
use crate::failure::{ErrorReport, Failure};
use crate::request::{DisplayOptions, ReceiveRequest, SendRequest, Servers};
use crate::timing::Timing;
use crate::tor::TorChoice;

mod active_transfer;
mod args;
mod ask;
mod ask_code;
mod chat;
mod code_prompt;
mod code_review;
mod config;
mod console;
mod conversation;
mod doctor;
mod environment;
mod explain;
mod failure;
mod forward;
mod generate;
mod job_control;
mod json;
mod line_editor;
mod meter;
mod printable;
mod progress;
mod qr;
mod receive;
mod request;
mod screen;
mod secret;
mod send;
mod setup;
mod share;
mod shell;
mod signals;
mod ssh;
mod stdin;
mod stdout;
mod terminal_mode;
mod timing;
mod tor;
mod trace;
mod units;
mod usage;
mod whisper;

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(refusal) => return usage::show(&refusal, std::env::args_os()),
    };
    let is_json = args.global.json;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => show_failure(&ErrorReport::of(&error), is_json),
    }
}

/// Prints an error, for people and for programs.
fn show_failure(report: &ErrorReport, is_json: bool) -> ExitCode {
    if let Some(message) = &report.message {
        if !report.is_expected {
            screen::show_error(message, report.hint.as_deref());
        }
        if is_json {
            // If this fails, too, nobody reads our output.
            let _ = console::print_json(&json::error(report));
        }
    }
    report.exit_code()
}

/// Runs a command.
fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { dir } => generate::manual(dir.as_deref()),
        command @ (Command::Chat(_)
        | Command::Doctor(_)
        | Command::Forward(_)
        | Command::Receive(_)
        | Command::Send(_)
        | Command::Share(_)
        | Command::Ssh(_)
        | Command::Whisper(_)) => {
            // One thread is enough and starts fastest. Disks and prompts have threads of their own.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let done = runtime.block_on(run_online(command, &args.global));
            // A prompt may still wait for a key; the program does not.
            runtime.shutdown_background();
            done
        }
    }
}

/// Runs a command that needs the network.
async fn run_online(command: Command, global: &GlobalArgs) -> Result<()> {
    let config = Config::load(global.config.as_deref())?;
    let timing = Timing::new(global.dump_timing.clone())?;
    match command {
        Command::Send(args) => run_send(args, global, &config, timing).await,
        Command::Receive(args) => run_receive(args, global, &config, timing).await,
        Command::Forward(args) => {
            let servers = Servers::new(global, &config)?;
            let display = display(args.hide_progress);
            with_console(global, timing, &display, async |console| {
                forward::run(args, &servers, &config, console).await
            })
            .await
        }
        Command::Share(args) => {
            let servers = Servers::new(global, &config)?;
            let display = display(args.hide_progress);
            with_console(global, timing, &display, async |console| {
                let shared = share::run(args, &servers, &config, console).await;
                shared.map_err(Failure::closed_output)
            })
            .await
        }
        Command::Ssh(command) => run_ssh(command.command, global, &config, timing).await,
        Command::Doctor(args) => {
            let servers = Servers::new(global, &config)?;
            with_console(global, timing, &DisplayOptions::default(), async |console| {
                let tor = TorChoice::new(&args.tor, &config)?;
                doctor::run(&servers, tor, console).await
            })
            .await
        }
        Command::Whisper(args) => {
            with_console(global, timing, &DisplayOptions::default(), async |console| {
                whisper::run(args.command, console).await
            })
            .await
        }
        Command::Chat(args) => run_chat(args.command, global, &config, timing).await,
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

/// Runs a command with a console, and writes the timing file after it.
async fn with_console(
    global: &GlobalArgs,
    timing: Timing,
    display: &DisplayOptions,
    command: impl AsyncFnOnce(&mut Console) -> Result<()>,
) -> Result<()> {
    let mut console = Console::new(global.json, timing, display)?;
    command(&mut console).await?;
    console.finish()
}

fn display(hide_progress: bool) -> DisplayOptions {
    DisplayOptions { hide_progress, ..DisplayOptions::default() }
}

/// Runs `send`.
async fn run_send(
    args: SendArgs,
    global: &GlobalArgs,
    config: &Config,
    timing: Timing,
) -> Result<()> {
    let tor = TorChoice::new(&args.connection.tor, config)?;
    let mut request = SendRequest::new(args, global, config)?;
    let display = request.display.clone();
    with_console(global, timing, &display, async |console| {
        if let Some(code) = &request.settings.code {
            code_review::confirm_new(code, console).await?;
        }
        request.settings.tor = tor.connect(console).await?;
        send::run(request, console).await.map_err(Failure::closed_output)
    })
    .await
}

/// Runs `receive`.
async fn run_receive(
    args: ReceiveArgs,
    global: &GlobalArgs,
    config: &Config,
    timing: Timing,
) -> Result<()> {
    let tor = TorChoice::new(&args.connection.tor, config)?;
    let mut request = ReceiveRequest::new(args, global, config)?;
    let display = request.display.clone();
    with_console(global, timing, &display, async |console| {
        if let CodeSource::Code(code) = &request.code {
            code_review::confirm(code, console).await?;
        }
        request.settings.tor = tor.connect(console).await?;
        receive::run(request, console).await.map_err(Failure::closed_output)
    })
    .await
}

/// Runs a command of `ssh`.
async fn run_ssh(
    command: SshCommand,
    global: &GlobalArgs,
    config: &Config,
    timing: Timing,
) -> Result<()> {
    let servers = Servers::new(global, config)?;
    with_console(global, timing, &DisplayOptions::default(), async |console| {
        let done = match command {
            SshCommand::Invite(args) => ssh::invite(args, &servers, config, console).await,
            SshCommand::Accept(args) => ssh::accept(args, &servers, config, console).await,
        };
        done.map_err(Failure::closed_output)
    })
    .await
}

/// Runs a command of `chat`.
async fn run_chat(
    command: ChatCommand,
    global: &GlobalArgs,
    config: &Config,
    timing: Timing,
) -> Result<()> {
    let meets = matches!(command, ChatCommand::Add(_) | ChatCommand::Link(_));
    // Other commands use no mailbox server.
    let servers = if meets { Servers::new(global, config)? } else { Servers::default() };
    with_console(global, timing, &DisplayOptions::default(), async |console| {
        chat::run(command, &servers, config, console).await
    })
    .await
}
