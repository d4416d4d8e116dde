//! `whisper archive`: what was posted while nobody watched, from a node that keeps it.
//!
//! The node that asks is in this process, so the keys that open the messages stay here.

use std::time::SystemTime;

use anyhow::Result;
use wormhole::whisper::devp2p::enode::Enode;
use wormhole::whisper::shh::archive::ArchiveRequest;
use wormhole::whisper::shh::{Bloom, Envelope, Message, SymmetricKey, seal};
use wormhole::whisper::{CatchUpError, CaughtUp, DirectError, Node, Settings, catch_up};

use super::reading::{Reading, ReadingKey};
use super::show::Opened;
use super::{enode, node, secret};
use crate::args::ArchiveArgs;
use crate::failure::Failure;
use crate::printable;
use crate::talk::Desk;

/// Fetches, opens and prints.
///
/// # Errors
/// The server is not there.
pub(super) async fn run(args: ArchiveArgs, desk: &mut Desk) -> Result<()> {
    let server = enode(&args.server)?;
    let since = seconds(&args.since)?;
    let reading = Reading::new(args.reading, desk).await?;
    let password = secret::of_archive(args.server_password_file.as_deref(), desk).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
    let bloom = Bloom::of([reading.topic]);
    let missed = ArchiveRequest { from: now.saturating_sub(since), until: now, bloom };
    let caught_up = desk.unless_stopped(fetch(server, &missed, &password)).await??;
    show(&caught_up, &reading, desk)
}

async fn fetch(server: Enode, missed: &ArchiveRequest, key: &SymmetricKey) -> Result<CaughtUp> {
    let mut settings = Settings::default();
    settings.static_peers = vec![server];
    settings.trusted = vec![server.id];
    // Nothing is passed on for the few seconds that this node lives.
    settings.light = true;
    settings.restrict_light = false;
    let node = Node::start(settings).await.map_err(|error| node::explain(&error))?;
    let caught_up = catch_up(&node, server.id, missed, key).await;
    node.stop().await;
    Ok(caught_up.map_err(|error| explain(&error))?)
}

/// Prints what opens and comes from whom it should.
fn show(caught_up: &CaughtUp, reading: &Reading, desk: &Desk) -> Result<()> {
    let mut shown = 0_u64;
    for envelope in caught_up.envelopes.iter().filter(|one| one.topic() == reading.topic) {
        let Some(message) = open(envelope, &reading.key) else { continue };
        if reading.from.is_some() && reading.from != message.signer {
            continue;
        }
        let hash = envelope.hash().to_string();
        let opened = Opened {
            payload: &message.payload,
            signer: message.signer,
            topic: envelope.topic(),
            sent: envelope.sent(),
            ttl: envelope.ttl(),
            hash: &hash,
        };
        opened.print(desk)?;
        shown += 1;
    }
    let fetched = caught_up.envelopes.len();
    desk.screen.say(&format!("{fetched} envelopes came, {shown} of them for you."));
    if !caught_up.is_complete {
        desk.screen.say("The server did not say that these are all. Is the password right?");
    }
    Ok(())
}

fn open(envelope: &Envelope, key: &ReadingKey) -> Option<Message> {
    let plaintext = match key {
        ReadingKey::Own(key) => seal::open_for(key, envelope.data()),
        ReadingKey::Shared(key) => key.open(envelope.data()),
    };
    Message::parse(&plaintext.ok()?).ok()
}

fn explain(error: &CatchUpError) -> Failure {
    match error {
        CatchUpError::Direct(DirectError::NotConnected) => {
            Failure::new("the node that archives cannot be reached")
                .hint("is its enode right, and the node running?")
        }
        CatchUpError::Direct(_) | CatchUpError::Mine(_) | CatchUpError::Stopped(_) | _ => {
            Failure::new(format!("the archive: {error}"))
        }
    }
}

/// Reads a time such as `90`, `15m`, `2h` or `1d`, in seconds.
fn seconds(text: &str) -> Result<u32, Failure> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let unit = units.into_iter().find(|(unit, _)| text.ends_with(*unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (text.trim_end_matches(unit), factor),
        None => (text, 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| {
        Failure::usage(format!("--since {:?} is no time", printable::line(text)))
            .hint("say 90, 15m, 2h or 1d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_seconds_minutes_hours_or_days() {
        let read = |text| seconds(text).ok();
        assert_eq!(["90", "5s", "15m", "2h", "1d"].map(read), [90, 5, 900, 7200, 86_400].map(Some));
        for text in ["", "d", "-1", "1w", "1.5h", "99999999d"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
