//! `send`: offers something under a code and follows it to the end.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use wormhole::code::uri::TransferUri;
use wormhole::code::{self, Code, Verifier};
use wormhole::transfer::{self, Event, Offer, Outgoing, Transfer};

use crate::failure::Failure;
use crate::request::{Qr, SendRequest, What, temporary_trouble};
use crate::talk::{Desk, Question, Talk};
use crate::{explain, json, printable, qr, stdin, story, units};

/// Sends what was asked for.
///
/// # Errors
/// It did not arrive; the other side has been told where that was possible.
pub(crate) async fn run(request: SendRequest, desk: &mut Desk) -> Result<()> {
    let SendRequest { what, settings, servers, zero_mode, qr, .. } = request;
    let verify = settings.verify;
    let server = story::server(&settings);
    let outgoing = outgoing(what, desk).await?;
    let transfer =
        transfer::send(outgoing, settings).map_err(|error| explain::failure(&error, &server))?;
    introduce(&transfer, desk)?;
    desk.report(&json::connecting(&server))?;
    let invitation = Invitation { servers, zero_mode, verify, qr };
    let mut talk = Talk::new(desk, transfer, server);
    let outcome = follow(&mut talk, &invitation).await;
    talk.end(outcome).await
}

async fn follow(talk: &mut Talk<'_>, invitation: &Invitation) -> Result<()> {
    let is_text = matches!(talk.transfer().and_then(|t| t.offer()), Some(Offer::Text(_)));
    let mut changed = Vec::new();
    while let Some(event) = talk.next().await? {
        let Some(event) = story::tell(event, talk) else { continue };
        match event {
            Event::Wormhole(code::Event::Code(code)) => invitation.show(&code, talk.desk),
            Event::Wormhole(code::Event::CodeConsumed) => talk.desk.screen.say(CONSUMED),
            Event::Wormhole(code::Event::Verifier(verifier)) => {
                talk.forget_remark();
                if invitation.verify {
                    confirm(talk, &verifier).await?;
                }
                if !is_text {
                    talk.remark_while_peer_is_silent("Waiting for the receiver to accept it..");
                }
            }
            Event::Accepted => talk.remark_if_slow(story::CONNECTING),
            Event::Connected(path) => {
                talk.forget_remark();
                talk.desk.screen.say(&format!("Sending ({path}).."));
            }
            Event::AwaitingConfirmation => {
                talk.desk.screen.end_progress();
                talk.remark_if_slow("File sent.. waiting for confirmation");
            }
            Event::Done(report) => {
                talk.desk.screen.end_progress();
                talk.desk.screen.say(if is_text { "text message sent" } else { CONFIRMED });
                story::summary(&report, &talk.desk.screen);
                changed = report.changed;
            }
            Event::CodeWanted(_) | Event::Offer(_) | Event::Text(_) | _ => {}
        }
    }
    explain::changed(&changed, &talk.desk.screen)
}

/// Reads and asks until there is something to send. Nothing is connected yet.
async fn outgoing(what: What, desk: &mut Desk) -> Result<Outgoing> {
    Ok(match what {
        What::Paths(paths) => Outgoing::Paths(paths),
        What::Text(text) => Outgoing::Text(text),
        What::Stream(name) => {
            stdin::check()?;
            if io::stdin().is_terminal() {
                desk.screen.say("Reading from the terminal; end with Ctrl-D.");
            }
            if let Some(trouble) = temporary_trouble(stdin::length()) {
                desk.screen.say(&format!(
                    "Note: {trouble}. Only a receiver with this program can receive the stream \
                     without a temporary file here; TMPDIR sets another folder for the file."
                ));
            }
            Outgoing::Stream { name, reader: Box::new(io::stdin()) }
        }
        What::TextFromInput => {
            stdin::check()?;
            desk.screen.say("Reading text message from stdin..");
            let read = tokio::task::spawn_blocking(read_text);
            Outgoing::Text(desk.unless_stopped(read).await???)
        }
        What::TextFromPrompt => {
            let question =
                Question { prompt: "Text to send: ".to_owned(), about: "text", answers: &[] };
            let text = desk.ask(&question).await?;
            Outgoing::Text(text.ok_or_else(|| {
                Failure::usage("nothing to send").hint("name a file, or use --text MESSAGE")
            })?)
        }
    })
}

fn read_text() -> Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
    let read = io::stdin().lock().take(limit + 1).read_to_end(&mut bytes);
    if read.context("cannot read standard input")? > MAX_TEXT {
        return Err(Failure::new("the text is too long to be sent as a message")
            .hint("send it as a file: `wormhole send -` reads any length")
            .into());
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::new("the text is not valid Unicode")
            .hint("send it as a file: `wormhole send -` takes any bytes")
            .into()
    })
}

/// Says what is about to be sent, and what is not.
fn introduce(transfer: &Transfer, desk: &Desk) -> Result<()> {
    for left_out in transfer.skipped().iter().take(MAX_SKIPPED) {
        desk.screen.say(&format!("{left_out} (ignored)"));
    }
    if let Some(more) = transfer.skipped().len().checked_sub(MAX_SKIPPED).filter(|more| *more > 0) {
        desk.screen.say(&format!("and {more} more"));
    }
    let Some(offer) = transfer.offer() else { return Ok(()) };
    desk.report(&json::sending(offer))?;
    desk.screen.say(&sending(offer));
    Ok(())
}

fn sending(offer: &Offer) -> String {
    match offer {
        Offer::Directory { name, bytes, files, .. } => {
            let files = story::files(*files);
            format!("Sending directory ({}, {files}) named '{name}'", units::size(*bytes))
        }
        Offer::File { name, size, .. } => {
            format!("Sending {} file named '{name}'", units::size(*size))
        }
        Offer::Stream { name } => format!("Sending standard input as '{name}'"),
        Offer::Text(text) => format!("Sending text message ({})", units::size(length(text))),
        _ => "Sending".to_owned(),
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// How the other side is told what to type.
#[derive(Debug)]
struct Invitation {
    servers: crate::request::Servers,
    zero_mode: bool,
    verify: bool,
    qr: Qr,
}

impl Invitation {
    fn show(&self, code: &Code, desk: &Desk) {
        let typed = code.to_string();
        let shown = printable::text(&typed);
        if !self.zero_mode {
            desk.screen.say(&format!("Wormhole code is: {}", desk.screen.bold(&shown)));
            self.draw(code, desk);
        }
        let mut words = vec!["receive"];
        words.extend(self.verify.then_some("--verify"));
        words.push(if self.zero_mode { "-0" } else { &typed });
        let command = self.servers.other_side(words);
        desk.screen.say(&format!("On the other computer, please run:\n\n{command}\n"));
    }

    /// Shows the QR code if it is wanted, or if nobody said and there is room for it and the rest.
    fn draw(&self, code: &Code, desk: &Desk) {
        if self.qr == Qr::Never {
            return;
        }
        let rendezvous = self.servers.relay_url.as_ref().map(|url| without_path(url).to_owned());
        let uri = TransferUri { code: code.clone(), rendezvous, peer_receives: false };
        let Some(lines) = qr::draw(&uri.to_string()) else { return };
        if self.qr == Qr::Always || desk.screen.has_room_for(&lines) {
            desk.screen.show_picture(&lines);
        }
    }
}

/// The links leave out the path that every mailbox server has.
fn without_path(url: &str) -> &str {
    url.strip_suffix("/v1").unwrap_or(url)
}

/// Asks whether both sides see the same verifier, until the answer is yes or no.
async fn confirm(talk: &mut Talk<'_>, verifier: &Verifier) -> Result<()> {
    let question = Question {
        prompt: format!("Verifier {verifier}. ok? (yes/no): "),
        about: "verifier",
        answers: &["yes", "no"],
    };
    loop {
        let answer = talk.ask(&question).await?;
        let matches = match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "y") => true,
            Some("no" | "n") | None => false,
            Some(_) => continue,
        };
        if let Some(transfer) = talk.transfer() {
            transfer.confirm_verifier(matches);
        }
        return Ok(());
    }
}

const CONSUMED: &str = "Note: code has been consumed and can no longer be used.";
const CONFIRMED: &str = "Confirmation received. Transfer complete.";

/// Longest text, in bytes, that is read to be sent as a message: servers take no longer ones.
const MAX_TEXT: usize = 1 << 20;

/// Files that are named when they are left out.
const MAX_SKIPPED: usize = 10;
