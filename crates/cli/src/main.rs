//! The `wormhole` command: arguments in, words and an exit code out.
//!
//! It knows no protocol: it checks what was typed (`args`, `config`, `request`), asks the SDK to do
//! it, and turns events into lines of text.

use std::process::ExitCode;

use anyhow::Result;
use wormhole::transfer::CodeSource;

use crate::args::{Args, Command, GlobalArgs, SshCommand};
use crate::config::Config;
use crate::failure::{Failure, Verdict};
use crate::request::{ReceiveRequest, SendRequest, Servers, Shown};
use crate::talk::Desk;
use crate::timing::Timing;
use crate::tor::WhichTor;

mod args;
mod ask;
mod code_prompt;
mod code_review;
mod config;
mod doctor;
mod environment;
mod explain;
mod failure;
mod generate;
mod job;
mod json;
mod line_editor;
mod meter;
mod printable;
mod qr;
mod receive;
mod request;
mod screen;
mod send;
mod shell;
mod signals;
mod ssh;
mod stdin;
mod stdout;
mod story;
mod talk;
mod timing;
mod tor;
mod trace;
mod typing;
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
        Err(error) => report(&Verdict::of(&error), is_json),
    }
}

/// Says what went wrong, to people and to programs.
fn report(verdict: &Verdict, is_json: bool) -> ExitCode {
    if let Some(message) = &verdict.message {
        if !verdict.is_expected {
            screen::complain(message, verdict.hint.as_deref());
        }
        if is_json {
            // Nobody is left to tell if this fails.
            let _ = talk::emit(&json::error(verdict));
        }
    }
    verdict.exit_code()
}

/// Does what was asked.
fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { dir } => generate::manual(dir.as_deref()),
        command @ (Command::Doctor(_)
        | Command::Receive(_)
        | Command::Send(_)
        | Command::Ssh(_)
        | Command::Whisper(_)) => {
            // One thread is enough, and starts fastest; disks and prompts have their own.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let done = runtime.block_on(converse(command, &args.global));
            // A prompt may still wait for a key.
            runtime.shutdown_background();
            done
        }
    }
}

/// Does what needs the network.
async fn converse(command: Command, global: &GlobalArgs) -> Result<()> {
    let config = Config::load(global.config.as_deref())?;
    let timing = Timing::new(global.dump_timing.clone())?;
    match command {
        Command::Send(args) => {
            let tor = WhichTor::new(&args.connection.tor, &config)?;
            let mut request = SendRequest::new(args, global, &config)?;
            let mut desk = Desk::new(global.json, timing, &request.shown)?;
            if let Some(code) = &request.settings.code {
                code_review::confirm(code, &mut desk).await?;
            }
            request.settings.tor = tor.connect(&mut desk).await?;
            send::run(request, &mut desk).await.map_err(Failure::unless_read)?;
            desk.finish()
        }
        Command::Receive(args) => {
            let tor = WhichTor::new(&args.connection.tor, &config)?;
            let mut request = ReceiveRequest::new(args, global, &config)?;
            let mut desk = Desk::new(global.json, timing, &request.shown)?;
            if let CodeSource::Code(code) = &request.code {
                code_review::confirm(code, &mut desk).await?;
            }
            request.settings.tor = tor.connect(&mut desk).await?;
            receive::run(request, &mut desk).await.map_err(Failure::unless_read)?;
            desk.finish()
        }
        Command::Ssh(args) => {
            let servers = Servers::new(global, &config)?;
            let mut desk = Desk::new(global.json, timing, &Shown::default())?;
            let done = match args.command {
                SshCommand::Invite(args) => ssh::invite(args, &servers, &config, &mut desk).await,
                SshCommand::Accept(args) => ssh::accept(args, &servers, &config, &mut desk).await,
            };
            done.map_err(Failure::unless_read)?;
            desk.finish()
        }
        Command::Doctor(args) => {
            let servers = Servers::new(global, &config)?;
            let mut desk = Desk::new(global.json, timing, &Shown::default())?;
            let tor = WhichTor::new(&args.tor, &config)?;
            doctor::run(&servers, tor, &mut desk).await?;
            desk.finish()
        }
        Command::Whisper(args) => {
            let mut desk = Desk::new(global.json, timing, &Shown::default())?;
            whisper::run(args.command, &mut desk).await?;
            desk.finish()
        }
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}
