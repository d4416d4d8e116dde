//! `whisper archive`: fetches missed messages from a node with an archive.
//!
//! A node in this process fetches them, so the keys that decrypt the messages stay here.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use wormhole_node::devp2p::enode::Enode;
use wormhole_node::shh::SymmetricKey;
use wormhole_node::{
    ArchiveQuery, ArchiveResult, DirectError, FetchArchiveError, Node, Settings, fetch_archive,
};

use super::read_options::ReadOptions;
use super::show::Opened;
use super::{enode, node, secret};
use crate::args::ArchiveArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Fetches, decrypts and prints messages.
///
/// # Errors
/// The node with the archive cannot be reached, or does not confirm that the list is complete.
pub(super) async fn run(args: ArchiveArgs, console: &mut Console) -> Result<()> {
    let server = enode(&args.server)?;
    let since = SystemTime::now().checked_sub(duration(&args.since)?);
    let options = ReadOptions::new(args.reading, console).await?;
    let password = secret::of_archive(args.server_password_file.as_deref(), console).await?;
    let mut missed = ArchiveQuery::since(since.unwrap_or(SystemTime::UNIX_EPOCH));
    missed.topics = vec![options.topic];
    let result = console.unless_interrupted(fetch(server, &missed, &password)).await??;
    show(&result, &options, console)
}

async fn fetch(server: Enode, missed: &ArchiveQuery, key: &SymmetricKey) -> Result<ArchiveResult> {
    let mut settings = Settings::default();
    // This node runs for a few seconds and forwards nothing.
    settings.light = true;
    settings.restrict_light = false;
    let node = Node::start(settings).await.map_err(|error| node::explain(&error))?;
    let result = fetch_archive(&node, &server, key, missed).await;
    node.stop().await;
    Ok(result.map_err(|error| explain(&error))?)
}

/// Prints the messages that can be decrypted and have the expected signer.
fn show(result: &ArchiveResult, options: &ReadOptions, console: &Console) -> Result<()> {
    let messages = result.decrypt(options.criteria())?;
    for received in &messages {
        let hash = received.hash.to_string();
        let opened = Opened {
            payload: &received.message.payload,
            signer: received.message.signer,
            topic: received.topic,
            sent: received.sent,
            ttl: received.ttl,
            hash: &hash,
        };
        opened.print(console)?;
    }
    let (fetched, shown) = (result.envelopes.len(), messages.len());
    let received = if fetched == 1 { "1 message".into() } else { format!("{fetched} messages") };
    console.screen.show(&format!("Received {received}, {shown} of them for you."));
    match result.is_complete {
        true => Ok(()),
        false => Err(incomplete(fetched > 0).into()),
    }
}

fn incomplete(is_partial: bool) -> Failure {
    Failure::new("the node did not confirm that the list is complete").hint(match is_partial {
        true => "try again, perhaps with a shorter --since",
        false => "is the password of the archive right, and does that node have an archive?",
    })
}

fn explain(error: &FetchArchiveError) -> Failure {
    match error {
        FetchArchiveError::Direct(DirectError::NotConnected) => {
            Failure::new("the node with the archive cannot be reached")
                .hint("is its enode address right, and is the node running?")
        }
        FetchArchiveError::AddPeer(_)
        | FetchArchiveError::Direct(_)
        | FetchArchiveError::Mine(_)
        | FetchArchiveError::Stopped(_) => {
            Failure::new(format!("cannot request messages from the archive: {error}"))
        }
    }
}

/// Parses a time such as `90` (seconds), `15m`, `2h` or `1d`.
fn duration(text: &str) -> Result<Duration, Failure> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let unit = units.into_iter().find(|(unit, _)| text.ends_with(*unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (text.trim_end_matches(unit), factor),
        None => (text, 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    number.map(|number| Duration::from_secs(number.into())).ok_or_else(|| {
        Failure::usage(format!("--since {:?} is not a time", printable::line(text)))
            .hint("use a number of seconds, or a number with m, h or d, such as 2h")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_seconds_minutes_hours_or_days() {
        let read = |text| duration(text).ok().map(|time| time.as_secs());
        assert_eq!(["90", "5s", "15m", "2h", "1d"].map(read), [90, 5, 900, 7200, 86_400].map(Some));
        for text in ["", "d", "-1", "1w", "1.5h", "99999999d"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
