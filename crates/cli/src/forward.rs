//! `forward`: reaches TCP ports of the other side (docs/forward.md).

mod report;
mod spec;

use anyhow::Result;
use wormhole::code::{self, AppId};
use wormhole::dilated;
use wormhole::forward::{self, Event, Forwards, ForwardsError, Session};

use crate::args::ForwardArgs;
use crate::config::Config;
use crate::console::{Console, interrupted_by};
use crate::failure::Failure;
use crate::request::{self, Servers};
use crate::setup::{self, Opened};
use crate::signals::Signal;
use crate::tor::TorChoice;
use crate::{code_review, explain};
use report::Report;

/// Forwards until one side ends the session.
///
/// # Errors
/// The options are wrong, a port is taken, the session failed, or a signal came.
pub(crate) async fn run(
    args: ForwardArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let tor = TorChoice::new(&args.connection.tor, config)?;
    let mut settings = setup::settings(servers, &args.connection, args.code_length, config)?;
    let code = match &args.code {
        Some(typed) => Some(request::code(typed, &mut settings)?),
        None => None,
    };
    // Before a code is made or used: a port may be taken.
    let forwards = forwards(&args, console).await?;
    if let Some(code) = &code {
        code_review::confirm(code, console).await?;
    }
    settings.tor = tor.connect(console).await?;
    let standard = forward::config();
    let app_id = servers.appid.as_ref().map(|id| AppId::new(id.clone()));
    let app_id = app_id.unwrap_or_else(|| standard.app_id.clone());
    let standard = code::Config { app_id, ..standard };
    let opened = setup::open(standard, &settings, code.as_ref(), console).await?;
    let Opened { wormhole, code: made, server } = opened;
    if code.is_none() {
        report::show_code(&made, &args, servers, console)?;
    }
    let session = forward::start(wormhole, setup::connection(&settings), forwards);
    follow(session, &server, console).await
}

/// Reads the options, and binds the listeners.
async fn forwards(args: &ForwardArgs, console: &Console) -> Result<Forwards> {
    let mut forwards = Forwards::default();
    let services = args.service.iter().map(|text| spec::service(text));
    let remote = args.remote_forward.iter().map(|text| spec::remote_forward(text));
    for service in services.chain(remote) {
        forwards.offer(service?).map_err(|error| cannot_forward(&error))?;
    }
    let clients = args.client.iter().map(|text| spec::client(text));
    let local = args.local_forward.iter().map(|text| spec::local_forward(text));
    for spec in clients.chain(local) {
        let spec = spec?;
        let name = spec.name.clone();
        let bound = forwards.listen(spec.name, spec.address, spec.connect_port).await;
        let bound = bound.map_err(|error| cannot_forward(&error))?;
        report::bound(&name, bound, console)?;
    }
    if forwards.is_empty() {
        return Err(Failure::usage("nothing to forward")
            .hint("name a service of yours with --service NAME:PORT, or one of the other side with --client NAME")
            .into());
    }
    Ok(forwards)
}

fn cannot_forward(error: &ForwardsError) -> Failure {
    let hint = if matches!(error, ForwardsError::Listen { .. }) {
        "choose another port, or leave it out and the system chooses one"
    } else {
        "give each service and each client its own name"
    };
    Failure::new(error.to_string()).hint(hint)
}

/// The next event of a session.
enum Step {
    Event(Option<Result<Event, forward::Error>>),
    Signal(Signal),
    Tick,
}

/// Shows the events until the end.
async fn follow(mut session: Session, server: &str, console: &mut Console) -> Result<()> {
    let mut report = Report::default();
    let mut ticks = tokio::time::interval(report::INTERVAL);
    loop {
        let step = tokio::select! {
            biased;
            signal = console.next_signal() => Step::Signal(signal),
            event = session.next() => Step::Event(event),
            _ = ticks.tick() => Step::Tick,
        };
        match step {
            Step::Tick => report.show_traffic(session.traffic(), console)?,
            Step::Event(Some(Ok(event))) => report.show(&event, console)?,
            Step::Event(Some(Err(error))) => {
                console.screen.end_status();
                session.close().await;
                return Err(failure(&error, server).into());
            }
            Step::Event(None) => {
                console.screen.end_status();
                return report.end(session.traffic(), console);
            }
            Step::Signal(signal) => {
                console.screen.end_line();
                report.end(session.traffic(), console)?;
                tokio::select! {
                    () = session.close() => {}
                    _ = console.next_signal() => {}
                }
                let interrupted = interrupted_by(signal).into();
                return Err(Failure::expect_interrupt(interrupted));
            }
        }
    }
}

fn failure(error: &forward::Error, server: &str) -> Failure {
    if let forward::Error::Dilated(dilated::Error::Wormhole(error)) = error {
        return explain::rendezvous(error, server);
    }
    let failure = Failure::new(error.to_string());
    let is_other_program = matches!(
        error,
        forward::Error::Dilated(dilated::Error::PeerCannotDilate)
            | forward::Error::PeerCannotForward
    );
    if is_other_program {
        failure.hint("the other side needs `wormhole forward` of this program, or fowl")
    } else if matches!(error, forward::Error::Dilated(dilated::Error::PortTaken { .. })) {
        failure.hint("choose another --listen-port, or leave it out")
    } else {
        failure
    }
}
