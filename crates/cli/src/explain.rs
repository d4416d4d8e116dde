//! Explains errors of transfers: what happened, and what to do.

use std::io;

use anyhow::Result;
use wormhole::code;
use wormhole::net::{LinkFailure, TlsFailure};
use wormhole::transfer::{
    Error, NegotiationFault, PeerMisbehaved, Settings, Unsendable, UnsendableReason, ZipPath,
};
use wormhole::transit::{self, RaceError};

use crate::failure::Failure;
use crate::screen::Screen;
use crate::{printable, units};

/// The error of a transfer. If the reader of standard output has closed it, no message is shown.
pub(crate) fn error(error: &Error, server: &str, has_begun: bool) -> anyhow::Error {
    if let Error::WriteFailed { why, .. } = error
        && why.kind == io::ErrorKind::BrokenPipe
    {
        return Failure::closed_pipe().into();
    }
    interruption(error, server, has_begun).into()
}

/// Like [`failure`], for a transfer whose data may have begun to arrive: then it can probably be continued.
pub(crate) fn interruption(error: &Error, server: &str, has_begun: bool) -> Failure {
    let is_cancelled =
        matches!(error, Error::PeerRefused(reason) if reason == "transfer cancelled");
    let is_interrupted = is_cancelled || matches!(error, Error::Interrupted { .. });
    let failure = failure(error, server);
    if has_begun && is_interrupted { failure.hint(CONTINUE) } else { failure }
}

/// A warning that no other client uses the nameplate of a code that the user has typed.
pub(crate) fn nobody_is_waiting(nameplate: &code::Nameplate, advice: &str) -> String {
    format!(
        "Nobody is waiting with a code that begins with {nameplate}-. Is the number right? If it is, the other side has not \
         started yet, or the code was used before: each code works only once. {advice}"
    )
}

/// Explains why received data could not be written to standard output.
pub(crate) fn output(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::closed_pipe();
    }
    let said = printable::line(&error.to_string().to_lowercase());
    Failure::new(format!("cannot write to standard output: {said}"))
}

/// Lists the files that changed while they were sent.
///
/// # Errors
/// There is at least one.
pub(crate) fn changed(files: &[Unsendable], screen: &Screen) -> Result<()> {
    let name = |file: &Unsendable| {
        let outcome = match file.why {
            UnsendableReason::Grew => "only the offered bytes have arrived",
            UnsendableReason::Replaced => "the offered file has arrived",
            UnsendableReason::ContainsItself
            | UnsendableReason::NoName
            | UnsendableReason::NotAFile
            | UnsendableReason::NotUnicode
            | UnsendableReason::SameName
            | UnsendableReason::Shrank
            | UnsendableReason::System(_)
            | UnsendableReason::TooLong
            | UnsendableReason::UnknownSize => "it was left out",
            _ => "it arrived with other contents",
        };
        format!("'{}': {}; {outcome}", printable::path(&file.path), file.why)
    };
    let Some(first) = files.first().map(name) else { return Ok(()) };
    if files.len() == 1 {
        return Err(Failure::new(format!("a file changed while it was sent: {first}"))
            .hint("send it again when no program is changing it")
            .into());
    }
    list(files.iter().map(name), screen);
    let count = files.len();
    Err(Failure::new(format!("{count} files changed while they were sent, such as {first}"))
        .hint("send them again when no program is changing them")
        .into())
}

/// Lists the files that the sender left out.
///
/// # Errors
/// There is at least one.
pub(crate) fn omitted(files: &[ZipPath], unnamed: u64, screen: &Screen) -> Result<()> {
    let Some((first, others)) = files.split_first() else { return Ok(()) };
    let rest = match u64::try_from(others.len()).unwrap_or(u64::MAX).saturating_add(unnamed) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    list(files.iter().map(|file| format!("not received: '{file}'")), screen);
    Err(Failure::new(format!(
        "the sender could not read '{first}'{rest}; the other files have arrived"
    ))
    .hint("ask the sender to send it again when no program is changing it")
    .into())
}

/// Shows the first lines, and the number of the others.
fn list(lines: impl ExactSizeIterator<Item = String>, screen: &Screen) {
    let count = lines.len();
    for line in lines.take(MAX_LISTED) {
        screen.show(&line);
    }
    if let Some(more) = count.checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        screen.show(&format!("and {more} more"));
    }
}

/// Explains why a transfer through the mailbox server `server` failed.
pub(crate) fn failure(error: &Error, server: &str) -> Failure {
    match error {
        Error::Code(error) => rendezvous(error, server),
        Error::Exists(path) => Failure::new(format!("{} already exists", printable::path(path)))
            .hint("use --on-exists rename or overwrite, or another name with -o"),
        Error::Interrupted { done, total } => {
            let all = total.map(|total| format!(" of {}", units::size(total))).unwrap_or_default();
            Failure::new(format!("the connection broke after {}{all}", units::size(*done)))
                .hint(NEW_CODE)
        }
        Error::NoConnection(error) => {
            let said = printable::line(&error.to_string());
            Failure::new(format!("no connection to the other side: {said}"))
                .hint(unconnected(error))
        }
        Error::NoSpace { needed, available } => Failure::new(format!(
            "insufficient free space: {} needed, {} free",
            units::size(*needed),
            units::size(*available)
        ))
        .hint("free some space, or choose another place with -o"),
        Error::Finished => Failure::usage("nothing more can be offered: this side is done"),
        Error::NothingToSend => Failure::usage("nothing to send"),
        Error::PeerRefused(reason) => {
            Failure::new(format!("the other side says: {}", printable::line(reason)))
        }
        Error::PeerMisbehaved(PeerMisbehaved::Negotiation(
            fault @ (NegotiationFault::BothSend | NegotiationFault::BothReceive),
        )) => Failure::new(fault.to_string()).hint("one side must use `wormhole send`, the other side `wormhole receive`"),
        Error::Rejected => Failure::new("transfer rejected"),
        Error::Spool { folder, why } => {
            let folder = printable::path(folder);
            Failure::new(format!("cannot store standard input in '{folder}': {why}"))
                .hint("free some space there, or choose another directory with TMPDIR")
        }
        Error::TextTooLong { .. } => Failure::new(error.to_string())
            .hint("send it as a file: `wormhole send -` reads any length"),
        Error::TooManyEntries(most) => {
            Failure::new(format!("the offered directory has more than {most} files and directories"))
                .hint("use --max-entries NUMBER to receive it anyway")
        }
        Error::TooManyFolders(most) => Failure::new(format!(
            "the offered directory has suspiciously many directories and empty files for its size: more than {most}"
        ))
        .hint("use --max-entries NUMBER to receive it anyway"),
        Error::Unsendable(unsendable) => cannot_send(unsendable),
        Error::VerifierRejected => Failure::new("the verification strings differ: transfer cancelled")
            .hint("an attacker may be between you and the other side; try again with a longer code (-c 4)"),
        // Not shortened: the reason is behind the path, which may be long.
        Error::WriteFailed { why, .. } => {
            let failure = Failure::new(printable::text(&error.to_string()));
            if why.kind == io::ErrorKind::FileTooLarge {
                failure.hint("raise the limit with `ulimit -f`, or receive into another file system")
            } else {
                failure
            }
        }
        // Their own text is complete.
        Error::Cancelled | Error::NoThread | Error::PeerGone | Error::PeerMisbehaved(_) | Error::Stopped => {
            Failure::new(printable::line(&error.to_string()))
        }
        // Later errors of the SDK have no hint.
        _ => Failure::new(printable::line(&error.to_string())),
    }
}

/// Explains why two sides did not meet on the mailbox server `server`.
pub(crate) fn rendezvous(error: &code::Error, server: &str) -> Failure {
    let said = printable::line(&error.to_string());
    match error {
        code::Error::ServerUnreachable(LinkFailure::NotAWebSocket(429)) => Failure::new(format!(
            "the mailbox server {server} has refused the connection: too many connections from your address"
        ))
        .hint("try again in a minute"),
        code::Error::ServerUnreachable(why) => {
            let why_text = printable::line(&why.to_string());
            Failure::new(format!("the mailbox server {server} cannot be reached: {why_text}"))
                .hint(unreachable(why, server))
        }
        code::Error::MailboxLost => Failure::new(
            "the mailbox server has forgotten this code: either the connection was lost for longer than the \
             server keeps unused codes, or the server has lost its data",
        )
        .hint(NEW_CODE),
        code::Error::WrongCode => Failure::new(
            "key confirmation failed: one side mistyped the code, or an attacker guessed a wrong code",
        )
        .hint(NEW_CODE),
        code::Error::ServerRefused(text) if text.as_str() == CROWDED => {
            Failure::new("two other programs already use this code")
                .hint("a code connects two sides, and works only once: use a new code")
        }
        code::Error::ApiMisuse(_)
        | code::Error::Closed
        | code::Error::PeerMisbehaved(_)
        | code::Error::ServerMisbehaved(_)
        | code::Error::ServerRefused(_)
        | code::Error::Unwelcome(_) => Failure::new(said),
        // Later errors of the SDK have no hint.
        _ => Failure::new(said),
    }
}

/// What to do about a mailbox server that cannot be reached.
fn unreachable(why: &LinkFailure, server: &str) -> String {
    // Some servers close the connection without an answer if they expect TLS.
    let hung_up =
        matches!(why, LinkFailure::Closed | LinkFailure::Io(io::ErrorKind::ConnectionReset));
    match (server.split_once("://"), why) {
        (Some(("ws", rest)), LinkFailure::TlsExpected) => return format!("try wss://{rest}"),
        (Some(("wss", rest)), LinkFailure::Tls(TlsFailure::NotTls)) => {
            return format!("try ws://{rest}");
        }
        (Some(("ws", rest)), _) if hung_up => {
            return format!("if the server uses TLS, try wss://{rest}");
        }
        _ => {}
    }
    let hint = match why {
        LinkFailure::NotAWebSocket(502..=504) => "try again later",
        LinkFailure::Tls(TlsFailure::Untrusted) => {
            "if the server uses a private certificate authority, set SSL_CERT_FILE to the \
             certificate of that authority"
        }
        LinkFailure::NameNotFound(_) if is_default(server) => {
            "is this computer online? --relay-url sets another server"
        }
        LinkFailure::NameNotFound(_) => {
            "is this computer online, and is the name of the server right?"
        }
        LinkFailure::Tls(TlsFailure::Expired) => "is this computer's clock right?",
        LinkFailure::Tls(TlsFailure::NoRoots) => "install your system's CA certificates",
        LinkFailure::NotAWebSocket(_) | LinkFailure::NotHttp => {
            "the address of a mailbox server usually ends in /v1"
        }
        LinkFailure::BadUrl(_)
        | LinkFailure::Closed
        | LinkFailure::ClosedBecause(_)
        | LinkFailure::Io(_)
        | LinkFailure::MessageTooLong
        | LinkFailure::PrivateAddress
        | LinkFailure::ProxyRefused(_)
        | LinkFailure::TimedOut
        | LinkFailure::Tls(_)
        | LinkFailure::TlsExpected => {
            "try again later, or use another server with --relay-url; `wormhole doctor` shows details"
        }
        // A later error of the SDK.
        _ => "`wormhole doctor` shows details",
    };
    hint.to_owned()
}

/// Whether the address of the mailbox server is the default.
fn is_default(server: &str) -> bool {
    Settings::default().servers.iter().any(|url| server.contains(&url.to_string()))
}

fn cannot_send(unsendable: &Unsendable) -> Failure {
    let (path, why) = (printable::path(&unsendable.path), &unsendable.why);
    let failure = Failure::new(format!("cannot send '{path}': {why}"));
    match why {
        UnsendableReason::System(system) if system.kind == io::ErrorKind::NotFound => {
            let is_link = unsendable.path.symlink_metadata().is_ok_and(|it| it.is_symlink());
            if is_link {
                let why = "it is a symbolic link whose target is missing";
                Failure::new(format!("cannot send '{path}': {why}")).hint(
                    "remove or repair the link; in a directory, --ignore-unsendable-files sends the other files",
                )
            } else {
                Failure::new(format!("cannot send '{path}': there is no such file or directory"))
            }
        }
        UnsendableReason::NotAFile => {
            failure.hint("`wormhole send - < PATH` sends the data of a pipe or a device")
        }
        UnsendableReason::NotUnicode => {
            failure.hint("rename it, or give it a name: `wormhole send - --name NAME < FILE`")
        }
        UnsendableReason::SameName => failure.hint("send the directory that contains both"),
        UnsendableReason::System(_) => {
            failure.hint("--ignore-unsendable-files leaves out files that cannot be read")
        }
        UnsendableReason::UnknownSize => failure
            .hint("`wormhole send - --name NAME < PATH` sends the contents at the time of reading"),
        UnsendableReason::Grew => failure.hint(
            "`wormhole send - --name NAME < PATH` sends the contents at the time of reading; in a directory, \
             --ignore-unsendable-files sends the other files",
        ),
        UnsendableReason::Shrank => {
            failure.hint("in a directory, --ignore-unsendable-files sends the other files")
        }
        UnsendableReason::ContainsItself
        | UnsendableReason::NoName
        | UnsendableReason::Replaced
        | UnsendableReason::TooLong => failure,
        // Later reasons have no hint.
        _ => failure,
    }
}

/// What to do if a code cannot be used any more.
const NEW_CODE: &str = "a code works only once: start again with a new code";

/// What to do after an interruption.
const CONTINUE: &str = "send the same again with a new code. Between two of these programs it usually continues where it was";

/// Maximum number of files that are listed.
const MAX_LISTED: usize = 10;

/// The error of every mailbox server for a third side.
const CROWDED: &str = "crowded";

/// What to do if the two sides have met and cannot connect.
const fn unconnected(error: &transit::Error) -> &'static str {
    match error {
        transit::Error::NotConnected { race: RaceError::NoCommonMethod, .. } => {
            "at least one side must allow more connections: remove --relay-only, --no-relay or --no-listen, whichever was used"
        }
        transit::Error::NotConnected { last: Some((_, LinkFailure::PrivateAddress)), .. } => {
            "if you trust the relay of the other side, add it with --transit-helper"
        }
        transit::Error::NotConnected { relay: Some(_), .. } => {
            "is the relay running, and reachable from both sides? `wormhole doctor` checks it from \
             here; --transit-helper sets another relay"
        }
        transit::Error::Lost(_)
        | transit::Error::NotConnected { .. }
        | transit::Error::PortTaken { .. } => {
            "without --no-relay, a relay can help; `wormhole doctor` shows what can be reached"
        }
        // A later error of the SDK.
        _ => "`wormhole doctor` shows what can be reached",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_side_learns_that_the_code_is_in_use() {
        let refused = code::Error::ServerRefused(code::ServerText::new("crowded"));
        let failure = rendezvous(&refused, "ws://h/v1").to_string();
        assert!(failure.contains("two other programs already use this code"), "{failure}");
    }
}
