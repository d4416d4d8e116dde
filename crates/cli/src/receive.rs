//! `receive`: receives what the sender offers, after asking.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::Result;
use wormhole::code::{self, Code, Nameplate};
use wormhole::transfer::{self, CodeSource, Destination, Event, Offer, PeerName, Report};

use crate::active_transfer::ActiveTransfer;
use crate::args::OnExists;
use crate::ask::Ask as _;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::request::{Output, ReceiveRequest, Servers, exists};
use crate::screen::{self, Screen};
use crate::stdout::DataOutput;
use crate::{ask_code, explain, json, printable, progress, units};

/// Receives a file, folder, text or stream.
///
/// # Errors
/// The transfer failed. The other side was notified if possible.
pub(crate) async fn run(request: ReceiveRequest, console: &mut Console) -> Result<()> {
    let ReceiveRequest {
        code,
        settings,
        servers,
        only_text,
        accept_file,
        output,
        on_exists,
        warning,
        ..
    } = request;
    if let Some(warning) = warning {
        console.screen.show(&format!("Note: {warning}. Only a text can be received here."));
    }
    let verify = settings.verify;
    let server = progress::server(&settings);
    let handler = OfferHandler { only_text, accept_file, output, on_exists };
    let (is_typed, is_allocated) = (code == CodeSource::Input, code == CodeSource::Allocate);
    let nameplate = nameplate(&code);
    console.report(&json::connecting(&server))?;
    let transfer = transfer::receive(code, settings);
    let mut active = ActiveTransfer::new(console, transfer, server);
    let invitation = is_allocated.then_some(&servers);
    let outcome =
        follow(&mut active, &handler, verify, Wait { is_typed, nameplate }, invitation).await;
    active.end(outcome).await
}

/// Handles the events of the transfer. `invitation` is set if this side makes the code.
async fn follow(
    active: &mut ActiveTransfer<'_>,
    handler: &OfferHandler,
    verify: bool,
    wait: Wait,
    invitation: Option<&Servers>,
) -> Result<()> {
    let mut omitted = (Vec::new(), 0);
    while let Some(event) = active.next().await? {
        let is_connected = matches!(event, Event::Wormhole(code::Event::Server(_)));
        if matches!(event, Event::Wormhole(code::Event::ServerLost)) {
            active.cancel_notices();
        }
        let event = progress::show(event, active);
        if is_connected {
            wait.announce(active);
        }
        let Some(event) = event else { continue };
        match event {
            Event::CodeWanted(input) => {
                let nameplate = ask_code::ask_code(active, input).await?;
                active.notice_if_unanswered(WAITING, &nameplate, OTHER_COMMAND);
            }
            Event::Wormhole(code::Event::Code(code)) => {
                if let Some(servers) = invitation {
                    active.cancel_notices();
                    allocated(&code.to_string(), servers, active.console);
                }
            }
            Event::Wormhole(code::Event::Verifier(verifier)) => {
                active.cancel_notices();
                if verify {
                    active.console.screen.show(&format!(
                        "Verification string: {verifier}. Compare it with the one that the sender sees."
                    ));
                }
                active.notice_if_peer_is_silent("Waiting for the sender's offer..");
            }
            Event::Offer(offer) => {
                active.cancel_notices();
                handler.answer(active, &offer).await?;
            }
            Event::Text(text) => {
                active.cancel_notices();
                if matches!(handler.output, Output::Named(_)) {
                    active.console.screen.show(TEXT_NOT_IN_FILE);
                }
                receive_text(active, &text).await?;
            }
            Event::Connected(path) => {
                active.cancel_notices();
                active.console.screen.show(&format!("Receiving ({path}).."));
            }
            Event::Done(report) => {
                done(&report, &mut active.console.screen);
                omitted = (report.omitted, report.omitted_more);
            }
            Event::Accepted
            | Event::AwaitingConfirmation
            | Event::PortTaken { .. }
            | Event::ConnectionLost
            | Event::Kept(_)
            | Event::Progress { .. }
            | Event::Resuming { .. }
            | Event::ServerRetry { .. }
            | Event::Wormhole(_) => {}
            // Later events of the SDK need no answer.
            _ => {}
        }
    }
    explain::omitted(&omitted.0, omitted.1, &active.console.screen)
}

/// The state of the code when the server answers.
#[derive(Debug)]
struct Wait {
    /// Whether the user still has to type it.
    is_typed: bool,
    /// The nameplate of a code whose sender should be waiting already.
    nameplate: Option<Nameplate>,
}

impl Wait {
    /// Plans the notices for a sender who does not answer.
    fn announce(&self, active: &mut ActiveTransfer<'_>) {
        match &self.nameplate {
            Some(nameplate) => active.notice_if_unanswered(WAITING, nameplate, OTHER_COMMAND),
            None if !self.is_typed => active.notice_if_slow(WAITING),
            None => {}
        }
    }
}

/// The nameplate of a code whose sender should be waiting already.
fn nameplate(code: &CodeSource) -> Option<Nameplate> {
    let CodeSource::Code(code) = code else { return None };
    (code.to_string() != Code::ZERO).then(|| code.nameplate().clone())
}

/// Shows what interrupted transfers have left, except what this offer may continue; what is too old is removed.
pub(crate) fn show_leftovers(folder: &Path, offer: Option<&Offer>, screen: &Screen) {
    let mut leftovers = transfer::leftovers(folder);
    if let Some(Ok(name)) = offer.and_then(Offer::name).map(PeerName::to_file_name) {
        leftovers.retain(|leftover| !is_left_of(&leftover.path, name));
    }
    for leftover in leftovers.iter().take(MAX_LEFTOVERS) {
        let path = printable::path(&leftover.path);
        screen.show(&format!(
            "Note: '{path}' is incomplete. To continue, let the other side send it again. Otherwise delete it."
        ));
    }
}

/// Whether this is `NAME.part`, `NAME.1.part` and so on.
fn is_left_of(path: &Path, name: &str) -> bool {
    let left =
        path.file_name().and_then(|it| it.to_str()?.strip_prefix(name)?.strip_suffix(".part"));
    left.is_some_and(|number| number.chars().all(|it| it == '.' || it.is_ascii_digit()))
}

/// Shows where the data is, and the speed.
fn done(report: &Report, screen: &mut Screen) {
    screen.end_progress();
    if let Some(path) = &report.written {
        let what = if path.is_dir() { "files" } else { "file" };
        screen.show(&format!("Received {what} written to: {}", printable::path(path)));
    }
    if let Some(lost) = &report.lost {
        screen.show(&progress::lost(lost));
    }
    progress::summary(report, screen);
}

fn allocated(code: &str, servers: &Servers, console: &Console) {
    let command = servers.other_side(["send", "--code", code]);
    console.screen.show(&format!(
        "Allocated code: {code}\nOn the other computer, please run:\n\n{command} FILE\n"
    ));
}

/// Prints a text, and only then confirms it to the sender.
async fn receive_text(active: &mut ActiveTransfer<'_>, text: &str) -> Result<()> {
    let printed = if active.console.is_json() { Ok(()) } else { print_text(text) };
    let Some(transfer) = active.transfer() else { return Ok(()) };
    match printed {
        Ok(()) => {
            transfer.confirm_text();
            Ok(())
        }
        Err(error) => {
            transfer.reject("the receiving side could not write the text");
            active.drain().await;
            Err(explain::output(&error).into())
        }
    }
}

/// Prints a text on standard output: unchanged into a pipe or a file. On a terminal, escapes control characters and
/// adds a line end.
fn print_text(text: &str) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return DataOutput::write_and_flush(text.as_bytes());
    }
    let shown = printable::text(text);
    let end = if shown.ends_with('\n') { "" } else { "\n" };
    screen::print(format!("{shown}{end}").as_bytes())
}

/// Decides what to do with an offer.
#[derive(Clone, Debug)]
struct OfferHandler {
    only_text: bool,
    accept_file: bool,
    output: Output,
    on_exists: OnExists,
}

/// The decision about an offer.
#[derive(Debug)]
enum Decision {
    Accept(Destination),
    Refuse(Failure),
}

impl OfferHandler {
    async fn answer(&self, active: &mut ActiveTransfer<'_>, offer: &Offer) -> Result<()> {
        if let Output::Into(folder) = &self.output {
            show_leftovers(folder, Some(offer), &active.console.screen);
        }
        let decision = self.decide(active, offer).await?;
        let Some(transfer) = active.transfer() else { return Ok(()) };
        match decision {
            Decision::Accept(destination) => {
                transfer.accept(destination);
                active.notice_if_slow(progress::CONNECTING);
            }
            Decision::Refuse(failure) => {
                transfer.reject(REJECTED);
                active.drain().await;
                return Err(failure.into());
            }
        }
        Ok(())
    }

    async fn decide(&self, active: &mut ActiveTransfer<'_>, offer: &Offer) -> Result<Decision> {
        if self.only_text {
            let failure = Failure::new("the sender offers a file, not a text");
            return Ok(Decision::Refuse(failure.hint("receive without --only-text to accept it")));
        }
        let handler = self.with_name_for(offer, &active.console.screen);
        let destination = handler.destination(handler.on_exists_later());
        let Ok(target) = destination.target(offer) else {
            return Ok(Decision::Refuse(Failure::new("transfer rejected")));
        };
        show_offer(offer, target.as_deref(), &active.console.screen);
        let taken = target.as_deref().filter(|target| target.symlink_metadata().is_ok());
        match taken {
            Some(target) => handler.decide_existing(active, offer, target).await,
            None => handler.confirm(active, destination).await,
        }
    }

    /// The same, with a safe name if the sender's name is not allowed on this system.
    fn with_name_for(&self, offer: &Offer, screen: &Screen) -> Self {
        let mut handler = self.clone();
        if let (Output::Into(folder), Some(name)) = (&self.output, offer.name())
            && let Err(why) = name.to_file_name()
        {
            let safe = name.to_safe_name();
            screen.show(&format!(
                "The name '{name}' is not allowed on this system ({why}): saving the data as \
                 '{safe}'."
            ));
            handler.output = Output::Named(folder.join(&*safe));
        }
        handler
    }

    /// What to do if the name appears during the transfer. Nobody can be asked then, so both files are kept.
    const fn on_exists_later(&self) -> transfer::OnExists {
        match self.on_exists {
            OnExists::Ask | OnExists::Rename => transfer::OnExists::KeepBoth,
            OnExists::Overwrite => transfer::OnExists::Overwrite,
            OnExists::Refuse => transfer::OnExists::Refuse,
        }
    }

    /// Asks whether to accept, unless `--accept-file` is set.
    async fn confirm(
        &self,
        active: &mut ActiveTransfer<'_>,
        destination: Destination,
    ) -> Result<Decision> {
        if self.accept_file {
            return Ok(Decision::Accept(destination));
        }
        let question = Question {
            prompt: "Receive it? (Y/n): ".to_owned(),
            about: "accept",
            answers: &["y", "n"],
        };
        Ok(match active.ask_yes_or_no(&question, true).await? {
            Some(true) => Decision::Accept(destination),
            Some(false) => Decision::Refuse(Failure::new("transfer rejected")),
            None => Decision::Refuse(no_answer()),
        })
    }

    /// Decides what to do about a name that exists.
    async fn decide_existing(
        &self,
        active: &mut ActiveTransfer<'_>,
        offer: &Offer,
        target: &Path,
    ) -> Result<Decision> {
        let can_replace = target.is_file() && !matches!(offer, Offer::Directory { .. });
        match self.on_exists {
            OnExists::Ask => self.ask_exists(active, target, can_replace).await,
            OnExists::Overwrite if can_replace => {
                active.console.screen.show(&format!("Overwriting '{}'", printable::path(target)));
                self.confirm(active, self.destination(transfer::OnExists::Overwrite)).await
            }
            OnExists::Rename => {
                let name = printable::path(Path::new(target.file_name().unwrap_or_default()));
                let what =
                    if matches!(offer, Offer::Directory { .. }) { "directory" } else { "file" };
                active
                    .console
                    .screen
                    .show(&format!("'{name}' exists: the name of the new {what} gets a number."));
                self.confirm(active, self.destination(transfer::OnExists::KeepBoth)).await
            }
            OnExists::Overwrite | OnExists::Refuse => {
                Ok(Decision::Refuse(exists(target, can_replace)))
            }
        }
    }

    /// Asks what to do about a name that exists. The answer also accepts or rejects the offer.
    async fn ask_exists(
        &self,
        active: &mut ActiveTransfer<'_>,
        target: &Path,
        can_replace: bool,
    ) -> Result<Decision> {
        let name = printable::path(Path::new(target.file_name().unwrap_or_default()));
        let (choices, answers): (_, &[&str]) = if can_replace {
            ("(o)verwrite, (k)eep both, (s)kip", &["o", "k", "s"])
        } else {
            ("(k)eep both, (s)kip", &["k", "s"])
        };
        let prompt = format!("'{name}' exists here. {choices}? ");
        let question = Question { prompt, about: "exists", answers };
        loop {
            let Some(answer) = active.ask(&question).await? else {
                return Ok(Decision::Refuse(no_answer()));
            };
            let on_exists = match answer.trim().to_ascii_lowercase().chars().next() {
                Some('o') if can_replace => transfer::OnExists::Overwrite,
                Some('k') => transfer::OnExists::KeepBoth,
                Some('s' | 'n' | 'q') => {
                    return Ok(Decision::Refuse(Failure::new("transfer rejected")));
                }
                _ => {
                    let list = answers.join(", ");
                    active.console.screen.show(&format!("Please answer with one of {list}."));
                    continue;
                }
            };
            return Ok(Decision::Accept(self.destination(on_exists)));
        }
    }

    fn destination(&self, on_exists: transfer::OnExists) -> Destination {
        match &self.output {
            Output::Into(folder) => Destination::Folder { folder: folder.clone(), on_exists },
            Output::Named(path) => Destination::Path { path: path.clone(), on_exists },
            Output::Stdout => Destination::Writer(Box::new(DataOutput::default())),
        }
    }
}

/// Shows the offer and its destination.
fn show_offer(offer: &Offer, target: Option<&Path>, screen: &Screen) {
    let into = target.and_then(Path::file_name).map_or_else(
        || "to standard output".to_owned(),
        |name| format!("into: '{}'", printable::path(Path::new(name))),
    );
    screen.show(&match offer {
        Offer::Directory { bytes, files, .. } => {
            let files = progress::files(*files);
            let form = if target.is_none() { " as a ZIP file" } else { "" };
            format!("Receiving directory ({}, {files}) {into}{form}", units::size(*bytes))
        }
        Offer::File { size, .. } => format!("Receiving file ({}) {into}", units::size(*size)),
        Offer::Stream { .. } | Offer::Text(_) => format!("Receiving stream {into}"),
        // A later kind of offer.
        _ => format!("Receiving {into}"),
    });
}

fn no_answer() -> Failure {
    Failure::new("transfer rejected: standard input has ended, so nobody answers")
        .hint("--accept-file accepts files without asking")
}

/// Maximum number of incomplete transfers that are listed.
const MAX_LEFTOVERS: usize = 5;

/// The reason for the sender, in the text that every client uses.
const REJECTED: &str = "transfer rejected";
const TEXT_NOT_IN_FILE: &str = "Note: -o is for files. This text goes to standard output:";
const WAITING: &str = "Waiting for sender...";
const OTHER_COMMAND: &str = "If the code came from `wormhole ssh invite`, use `wormhole ssh accept`; from `wormhole chat add`, use \
    `wormhole chat add CODE`; from `wormhole chat link`, use `wormhole chat link accept CODE`.";
