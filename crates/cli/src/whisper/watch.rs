//! `whisper watch`: the messages of a topic, one after another, until told to stop.

use anyhow::Result;
use serde_json::json;
use wormhole_node::remote::{RemoteMessage, Wanted};

use super::lender::Place;
use super::listening::{Heard, Listening, Messages};
use super::reading::Reading;
use super::show::Opened;
use crate::args::WatchArgs;
use crate::talk::Desk;

/// Prints what comes.
///
/// # Errors
/// The node refuses, or a signal came.
pub(super) async fn run(args: WatchArgs, desk: &mut Desk) -> Result<()> {
    let reading = Reading::new(args.reading, desk).await?;
    let mut wanted = Wanted::under(reading.topic);
    wanted.signer = reading.from;
    // What trusted peers send to us alone is for us, too.
    wanted.direct = true;
    let listening = Listening::new(Place::new(&args.rpc)?, reading.key.clone(), None, wanted);
    let done = follow(&listening, &reading, args.count, desk).await;
    listening.leave().await;
    done
}

async fn follow(
    listening: &Listening,
    reading: &Reading,
    count: Option<u64>,
    desk: &mut Desk,
) -> Result<()> {
    let mut messages = desk.unless_stopped(listening.begin()).await??;
    desk.report(&json!({ "event": "watching", "topic": reading.topic.to_string() }))?;
    desk.screen.say(&format!("Watching {}. Ctrl-C ends it.", reading.named));
    let access = listening.access().borrow().clone();
    if let Some(access) = access {
        access.lender.warn_if_alone(desk).await?;
    }
    let done = print_all(&mut messages, count, desk).await;
    messages.stop().await;
    done
}

async fn print_all(messages: &mut Messages<'_>, count: Option<u64>, desk: &mut Desk) -> Result<()> {
    let mut left = count;
    while left != Some(0) {
        match desk.unless_stopped(messages.next()).await?? {
            Heard::Message(message) => {
                opened(&message).print(desk)?;
                left = left.map(|left| left.saturating_sub(1));
            }
            news @ (Heard::Back(_) | Heard::Lost(_)) => news.report(desk)?,
        }
    }
    Ok(())
}

/// A message of a node, to be shown.
pub(super) fn opened(message: &RemoteMessage) -> Opened<'_> {
    Opened {
        payload: &message.payload,
        signer: message.signer,
        topic: message.topic,
        sent: message.sent,
        ttl: message.ttl,
        hash: &message.hash,
    }
}
