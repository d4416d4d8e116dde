//! `send`: offers files, a text or a stream under a code, and sends them.

mod several;

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use wormhole::code::uri::TransferUri;
use wormhole::code::{self, Code, Verifier};
use wormhole::transfer::{self, Event, Offer, Outgoing, Transfer, Unsendable};

use crate::active_transfer::ActiveTransfer;
use crate::ask::Ask as _;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::request::{Qr, SendRequest, What, temporary_trouble};
use crate::{explain, json, printable, progress, qr, stdin, units};

/// Sends files, a text or a stream.
///
/// # Errors
/// The transfer failed. The other side was notified if possible.
pub(crate) async fn run(request: SendRequest, console: &mut Console) -> Result<()> {
    let SendRequest { what, settings, servers, zero_mode, qr, receivers, .. } = request;
    let verify = settings.verify;
    let server = progress::server(&settings);
    let outgoing = outgoing(what, console).await?;
    if let Some(receivers) = receivers {
        let invitation = Invitation { servers, zero_mode, verify, qr };
        return several::run(&outgoing, receivers, &settings, &invitation, console).await;
    }
    let transfer =
        transfer::send(outgoing, settings).map_err(|error| explain::failure(&error, &server))?;
    show_outgoing(&transfer, console)?;
    console.report(&json::connecting(&server))?;
    let invitation = Invitation { servers, zero_mode, verify, qr };
    let mut active = ActiveTransfer::new(console, transfer, server);
    let outcome = follow(&mut active, &invitation).await;
    active.end(outcome).await
}

async fn follow(active: &mut ActiveTransfer<'_>, invitation: &Invitation) -> Result<()> {
    let is_text = matches!(active.transfer().and_then(|t| t.offer()), Some(Offer::Text(_)));
    let mut changed = Vec::new();
    while let Some(event) = active.next().await? {
        let Some(event) = progress::show(event, active) else { continue };
        match event {
            Event::Wormhole(code::Event::Code(code)) => invitation.show(&code, active.console),
            Event::Wormhole(code::Event::CodeConsumed) if !invitation.zero_mode => {
                active.console.screen.show(CONSUMED);
            }
            Event::Wormhole(code::Event::Verifier(verifier)) => {
                active.cancel_notices();
                if invitation.verify {
                    confirm(active, &verifier).await?;
                }
                if !is_text {
                    active.notice_if_peer_is_silent("Waiting for the receiver to accept it..");
                }
            }
            Event::Accepted => active.notice_if_slow(progress::CONNECTING),
            Event::Connected(path) => {
                active.cancel_notices();
                active.console.screen.show(&format!("Sending ({path}).."));
            }
            Event::AwaitingConfirmation => {
                active.console.screen.end_progress();
                active.notice_if_slow("File sent.. waiting for confirmation");
            }
            Event::Done(report) => {
                active.console.screen.end_progress();
                active.console.screen.show(if is_text { "text message sent" } else { CONFIRMED });
                progress::summary(&report, &active.console.screen);
                changed = report.changed;
            }
            Event::CodeWanted(_)
            | Event::Offer(_)
            | Event::PortTaken { .. }
            | Event::ConnectionLost
            | Event::Kept(_)
            | Event::Progress { .. }
            | Event::Resuming { .. }
            | Event::ServerRetry { .. }
            | Event::Text(_)
            | Event::Wormhole(_) => {}
            // Later events of the SDK need no answer.
            _ => {}
        }
    }
    explain::changed(&changed, &active.console.screen)
}

/// Prepares what to send; may ask for a text. Does not connect.
async fn outgoing(what: What, console: &mut Console) -> Result<Outgoing> {
    Ok(match what {
        What::Paths(paths) => Outgoing::Paths(paths),
        What::Text(text) => Outgoing::Text(text),
        What::Stream(name) => {
            stdin::check()?;
            if io::stdin().is_terminal() {
                console.screen.show("Reading from the terminal; end with Ctrl-D.");
            }
            if let Some(trouble) = temporary_trouble(stdin::length()) {
                console.screen.show(&format!(
                    "Note: {trouble}. If the receiver uses another program, the stream must first be stored in a \
                     temporary file here, which will probably fail. To avoid this, set TMPDIR to another directory."
                ));
            }
            Outgoing::Stream { name, reader: Box::new(io::stdin()) }
        }
        What::TextFromInput => {
            stdin::check()?;
            console.screen.show("Reading text message from stdin..");
            let read = tokio::task::spawn_blocking(read_text);
            Outgoing::Text(console.unless_interrupted(read).await???)
        }
        What::TextFromPrompt => {
            let question =
                Question { prompt: "Text to send: ".to_owned(), about: "text", answers: &[] };
            let text = console.ask(&question).await?;
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

/// A line for each file that is left out, and the number of those that are not listed.
pub(crate) fn skipped(files: &[Unsendable]) -> Vec<String> {
    let listed = files.iter().take(MAX_SKIPPED).map(|file| format!("skipped: {file}"));
    let more = files.len().checked_sub(MAX_SKIPPED).filter(|more| *more > 0);
    listed.chain(more.map(|more| format!("and {more} more"))).collect()
}

/// Shows what will be sent, and the files that are left out.
fn show_outgoing(transfer: &Transfer, console: &Console) -> Result<()> {
    skipped(transfer.skipped()).iter().for_each(|line| console.screen.show(line));
    let Some(offer) = transfer.offer() else { return Ok(()) };
    console.report(&json::sending(offer))?;
    console.screen.show(&sending(offer));
    Ok(())
}

fn sending(offer: &Offer) -> String {
    match offer {
        Offer::Directory { name, bytes, files, .. } => {
            let files = progress::files(*files);
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

/// Shows the code and the command for the other side.
#[derive(Debug)]
struct Invitation {
    servers: crate::request::Servers,
    zero_mode: bool,
    verify: bool,
    qr: Qr,
}

impl Invitation {
    fn show(&self, code: &Code, console: &Console) {
        let typed = code.to_string();
        let shown = printable::text(&typed);
        if !self.zero_mode {
            console.screen.show(&format!("Wormhole code is: {}", console.screen.bold(&shown)));
            self.draw(code, console);
        }
        let mut words = vec!["receive"];
        words.extend(self.verify.then_some("--verify"));
        words.push(if self.zero_mode { "-0" } else { &typed });
        let command = self.servers.other_side(words);
        console.screen.show(&format!("On the other computer, please run:\n\n{command}\n"));
    }

    /// Shows the QR code if the user wants it, or, without an option, if there is enough space.
    fn draw(&self, code: &Code, console: &Console) {
        if self.qr == Qr::Never {
            return;
        }
        let rendezvous =
            self.servers.relay_url.as_ref().map(|url| without_path(&url.value).to_owned());
        let uri = TransferUri { code: code.clone(), rendezvous, peer_receives: false };
        let Some(lines) = qr::draw(&uri.to_string()) else { return };
        if self.qr == Qr::Always || console.screen.has_room_for(&lines) {
            console.screen.show_picture(&lines);
        }
    }
}

/// Removes the path of mailbox servers, which links leave out.
fn without_path(url: &str) -> &str {
    url.strip_suffix("/v1").unwrap_or(url)
}

/// Asks whether both sides show the same verification string.
async fn confirm(active: &mut ActiveTransfer<'_>, verifier: &Verifier) -> Result<()> {
    let question = Question {
        prompt: format!(
            "Verification string: {verifier}. Does the receiver see the same one? (yes/no): "
        ),
        about: "verifier",
        answers: &["yes", "no"],
    };
    loop {
        let answer = active.ask(&question).await?;
        let matches = match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "y") => true,
            Some("no" | "n") | None => false,
            Some(_) => {
                active.console.screen.show("Please answer with yes or no.");
                continue;
            }
        };
        if let Some(transfer) = active.transfer() {
            transfer.confirm_verifier(matches);
        }
        return Ok(());
    }
}

const CONSUMED: &str = "Note: code has been consumed and can no longer be used.";
const CONFIRMED: &str = "Confirmation received. Transfer complete.";

/// Maximum length in bytes of a text from standard input; servers refuse longer messages.
const MAX_TEXT: usize = 1 << 20;

/// Maximum number of left-out files that are listed.
const MAX_SKIPPED: usize = 10;
