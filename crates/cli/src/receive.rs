//! `receive`: takes what is offered under a code, after asking.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::Result;
use wormhole::code::{self, Code, Nameplate};
use wormhole::transfer::{self, CodeSource, Destination, Event, Offer, Report};

use crate::args::OnExists;
use crate::failure::Failure;
use crate::request::{Output, ReceiveRequest, Servers, exists};
use crate::screen::{self, Screen};
use crate::stdout::DataOutput;
use crate::talk::{Desk, Question, Talk};
use crate::{ask, explain, json, printable, story, typing, units};

/// Receives what the code leads to.
///
/// # Errors
/// Nothing was received; the other side has been told where that was possible.
pub(crate) async fn run(request: ReceiveRequest, desk: &mut Desk) -> Result<()> {
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
        desk.screen.say(&format!("Note: {warning}. Only a text can be received here."));
    }
    let verify = settings.verify;
    let server = story::server(&settings);
    let taker = Taker { only_text, accept_file, output, on_exists };
    let (is_typed, is_allocated) = (code == CodeSource::Input, code == CodeSource::Allocate);
    let nameplate = nameplate(&code);
    desk.report(&json::connecting(&server))?;
    let transfer = transfer::receive(code, settings);
    let mut talk = Talk::new(desk, transfer, server);
    let invitation = is_allocated.then_some(&servers);
    let outcome = follow(&mut talk, &taker, verify, Wait { is_typed, nameplate }, invitation).await;
    talk.end(outcome).await
}

/// Follows the transfer to its end. `invitation` is for a code that is made here.
async fn follow(
    talk: &mut Talk<'_>,
    taker: &Taker,
    verify: bool,
    wait: Wait,
    invitation: Option<&Servers>,
) -> Result<()> {
    let mut omitted = (Vec::new(), 0);
    while let Some(event) = talk.next().await? {
        let is_connected = matches!(event, Event::Wormhole(code::Event::Server(_)));
        if matches!(event, Event::Wormhole(code::Event::ServerLost)) {
            talk.forget_remark();
        }
        let event = story::tell(event, talk);
        if is_connected {
            wait.announce(talk);
        }
        let Some(event) = event else { continue };
        match event {
            Event::CodeWanted(input) => {
                let nameplate = typing::ask_code(talk, input).await?;
                talk.remark_if_unanswered(WAITING, &nameplate);
            }
            Event::Wormhole(code::Event::Code(code)) => {
                if let Some(servers) = invitation {
                    talk.forget_remark();
                    allocated(&code.to_string(), servers, talk.desk);
                }
            }
            Event::Wormhole(code::Event::Verifier(verifier)) => {
                talk.forget_remark();
                if verify {
                    talk.desk.screen.say(&format!("Verifier {verifier}."));
                }
                talk.remark_while_peer_is_silent("Waiting for the sender's offer..");
            }
            Event::Offer(offer) => {
                talk.forget_remark();
                taker.answer(talk, &offer).await?;
            }
            Event::Text(text) => {
                talk.forget_remark();
                take_text(talk, &text).await?;
            }
            Event::Connected(path) => {
                talk.forget_remark();
                talk.desk.screen.say(&format!("Receiving ({path}).."));
            }
            Event::Done(report) => {
                done(&report, &mut talk.desk.screen);
                omitted = (report.omitted, report.omitted_more);
            }
            Event::Accepted
            | Event::AwaitingConfirmation
            | Event::Progress { .. }
            | Event::ServerRetry { .. }
            | Event::Wormhole(_)
            | _ => {}
        }
    }
    explain::omitted(&omitted.0, omitted.1, &talk.desk.screen)
}

/// What is known of the code when the server answers.
#[derive(Debug)]
struct Wait {
    /// Whether it is still to be typed.
    is_typed: bool,
    /// The nameplate at which the sender is expected to be already.
    nameplate: Option<Nameplate>,
}

impl Wait {
    /// Says after a while that the sender has not come.
    fn announce(&self, talk: &mut Talk<'_>) {
        match &self.nameplate {
            Some(nameplate) => talk.remark_if_unanswered(WAITING, nameplate),
            None if !self.is_typed => talk.remark_if_slow(WAITING),
            None => {}
        }
    }
}

/// The nameplate at which the sender is expected to be already.
fn nameplate(code: &CodeSource) -> Option<Nameplate> {
    let CodeSource::Code(code) = code else { return None };
    (code.to_string() != Code::ZERO).then(|| code.nameplate().clone())
}

/// Says where it is, and how fast it came.
fn done(report: &Report, screen: &mut Screen) {
    screen.end_progress();
    if let Some(path) = &report.written {
        let what = if path.is_dir() { "files" } else { "file" };
        screen.say(&format!("Received {what} written to: {}", printable::path(path)));
    }
    if let Some(lost) = &report.lost {
        screen.say(&story::lost(lost));
    }
    story::summary(report, screen);
}

fn allocated(code: &str, servers: &Servers, desk: &Desk) {
    let command = servers.other_side(["send", "--code", code]);
    desk.screen.say(&format!(
        "Allocated code: {code}\nOn the other computer, please run:\n\n{command} FILE\n"
    ));
}

/// Prints a text, and only then confirms it to the sender.
async fn take_text(talk: &mut Talk<'_>, text: &str) -> Result<()> {
    let printed = if talk.desk.is_json() { Ok(()) } else { print_text(text) };
    let Some(transfer) = talk.transfer() else { return Ok(()) };
    match printed {
        Ok(()) => {
            transfer.confirm_text();
            Ok(())
        }
        Err(error) => {
            transfer.reject("the receiving side could not write the text");
            talk.drain().await;
            Err(explain::output(&error).into())
        }
    }
}

/// Prints a text, and nothing else, on standard output: exactly as it is into a pipe or a file; on a
/// terminal what the terminal would obey is written out, and the line is ended.
fn print_text(text: &str) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return DataOutput::keep(text.as_bytes());
    }
    let shown = printable::text(text);
    let end = if shown.ends_with('\n') { "" } else { "\n" };
    screen::print(format!("{shown}{end}").as_bytes())
}

/// Decides what becomes of an offer.
#[derive(Clone, Debug)]
struct Taker {
    only_text: bool,
    accept_file: bool,
    output: Output,
    on_exists: OnExists,
}

/// What is done about an offer.
#[derive(Debug)]
enum Verdict {
    Take(Destination),
    Refuse(Failure),
}

impl Taker {
    async fn answer(&self, talk: &mut Talk<'_>, offer: &Offer) -> Result<()> {
        let verdict = self.judge(talk, offer).await?;
        let Some(transfer) = talk.transfer() else { return Ok(()) };
        match verdict {
            Verdict::Take(destination) => {
                transfer.accept(destination);
                talk.remark_if_slow(story::CONNECTING);
            }
            Verdict::Refuse(failure) => {
                transfer.reject(REJECTED);
                talk.drain().await;
                return Err(failure.into());
            }
        }
        Ok(())
    }

    async fn judge(&self, talk: &mut Talk<'_>, offer: &Offer) -> Result<Verdict> {
        if self.only_text {
            let failure = Failure::new("the sender offers a file, not a text");
            return Ok(Verdict::Refuse(failure.hint("receive without --only-text to accept it")));
        }
        let taker = self.with_name_for(offer, &talk.desk.screen);
        let destination = taker.destination(taker.on_exists_later());
        let Ok(target) = destination.target(offer) else {
            return Ok(Verdict::Refuse(Failure::new("transfer rejected")));
        };
        introduce(offer, target.as_deref(), &talk.desk.screen);
        let taken = target.as_deref().filter(|target| target.symlink_metadata().is_ok());
        match taken {
            Some(target) => taker.settle(talk, offer, target).await,
            None => taker.confirm(talk, destination).await,
        }
    }

    /// The same, with a name of our own if this system cannot hold the sender's.
    fn with_name_for(&self, offer: &Offer, screen: &Screen) -> Self {
        let mut taker = self.clone();
        if let (Output::Into(folder), Some(name)) = (&self.output, offer.name())
            && let Err(why) = name.to_file_name()
        {
            let safe = name.to_safe_name();
            screen.say(&format!(
                "The name '{name}' is not allowed on this system ({why}): saving the data as \
                 '{safe}'."
            ));
            taker.output = Output::Named(folder.join(&*safe));
        }
        taker
    }

    /// What happens if the name is free now and taken when everything has come. Nobody can be asked
    /// then, so both are kept.
    const fn on_exists_later(&self) -> transfer::OnExists {
        match self.on_exists {
            OnExists::Ask | OnExists::Rename => transfer::OnExists::KeepBoth,
            OnExists::Overwrite => transfer::OnExists::Overwrite,
            OnExists::Refuse => transfer::OnExists::Refuse,
        }
    }

    /// Asks whether to take it, unless that is clear.
    async fn confirm(&self, talk: &mut Talk<'_>, destination: Destination) -> Result<Verdict> {
        if self.accept_file {
            return Ok(Verdict::Take(destination));
        }
        let question =
            Question { prompt: "ok? (Y/n): ".to_owned(), about: "accept", answers: &["y", "n"] };
        Ok(match talk.ask(&question).await? {
            Some(answer) if ask::is_yes(&answer) => Verdict::Take(destination),
            Some(_) => Verdict::Refuse(Failure::new("transfer rejected")),
            None => Verdict::Refuse(nobody_answers()),
        })
    }

    /// Decides what to do about a name that is taken.
    async fn settle(&self, talk: &mut Talk<'_>, offer: &Offer, target: &Path) -> Result<Verdict> {
        let can_replace = target.is_file() && !matches!(offer, Offer::Directory { .. });
        match self.on_exists {
            OnExists::Ask => self.ask_exists(talk, target, can_replace).await,
            OnExists::Overwrite if can_replace => {
                talk.desk.screen.say(&format!("Overwriting '{}'", printable::path(target)));
                self.confirm(talk, self.destination(transfer::OnExists::Overwrite)).await
            }
            OnExists::Rename => {
                talk.desk.screen.say("The name exists: the new file gets a number.");
                self.confirm(talk, self.destination(transfer::OnExists::KeepBoth)).await
            }
            OnExists::Overwrite | OnExists::Refuse => {
                Ok(Verdict::Refuse(exists(target, can_replace)))
            }
        }
    }

    /// Lets the person choose; the answer is also the consent to receive.
    async fn ask_exists(
        &self,
        talk: &mut Talk<'_>,
        target: &Path,
        can_replace: bool,
    ) -> Result<Verdict> {
        let name = printable::path(Path::new(target.file_name().unwrap_or_default()));
        let (choices, answers): (_, &[&str]) = if can_replace {
            ("(o)verwrite, (k)eep both, (s)kip", &["o", "k", "s"])
        } else {
            ("(k)eep both, (s)kip", &["k", "s"])
        };
        let prompt = format!("'{name}' exists here. {choices}? ");
        let question = Question { prompt, about: "exists", answers };
        loop {
            let Some(answer) = talk.ask(&question).await? else {
                return Ok(Verdict::Refuse(nobody_answers()));
            };
            let on_exists = match answer.trim().to_ascii_lowercase().chars().next() {
                Some('o') if can_replace => transfer::OnExists::Overwrite,
                Some('k') => transfer::OnExists::KeepBoth,
                Some('s' | 'n' | 'q') => {
                    return Ok(Verdict::Refuse(Failure::new("transfer rejected")));
                }
                _ => {
                    let list = answers.join(", ");
                    talk.desk.screen.say(&format!("Please answer with one of {list}."));
                    continue;
                }
            };
            return Ok(Verdict::Take(self.destination(on_exists)));
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

/// Says what is offered and where it would go.
fn introduce(offer: &Offer, target: Option<&Path>, screen: &Screen) {
    let into = target.and_then(Path::file_name).map_or_else(
        || "to standard output".to_owned(),
        |name| format!("into: '{}'", printable::path(Path::new(name))),
    );
    screen.say(&match offer {
        Offer::Directory { bytes, files, .. } => {
            let files = story::files(*files);
            format!("Receiving directory ({}, {files}) {into}", units::size(*bytes))
        }
        Offer::File { size, .. } => format!("Receiving file ({}) {into}", units::size(*size)),
        Offer::Stream { .. } | Offer::Text(_) | _ => format!("Receiving stream {into}"),
    });
}

fn nobody_answers() -> Failure {
    Failure::new("transfer rejected: standard input has ended, so nobody answers")
        .hint("--accept-file accepts files without asking")
}

/// What the sender is told, in the words that every client uses.
const REJECTED: &str = "transfer rejected";
const WAITING: &str = "Waiting for sender...";
