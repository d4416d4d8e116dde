//! `whisper watch`: the messages of a topic, one after another, until told to stop.

use anyhow::Result;
use serde_json::json;
use wormhole::whisper::remote::{MessageKey, RemoteMessage, Wanted, Watch};
use wormhole::whisper::shh::filter::FilterKey;

use super::lender::Lender;
use super::reading::Reading;
use super::show::Opened;
use crate::args::WatchArgs;
use crate::talk::Desk;

/// Prints what comes.
///
/// # Errors
/// The node is gone, or a signal came.
pub(super) async fn run(args: WatchArgs, desk: &mut Desk) -> Result<()> {
    let reading = Reading::new(args.reading, desk).await?;
    let connecting = Lender::connect(&args.rpc);
    let mut lender = desk.unless_stopped(connecting).await??;
    let done = match desk.unless_stopped(lend(&reading, &mut lender)).await {
        Ok(Ok(key)) => follow(&key, &reading, args.count, &lender, desk).await,
        Ok(Err(error)) | Err(error) => Err(error),
    };
    lender.leave().await;
    done
}

async fn lend(reading: &Reading, lender: &mut Lender) -> Result<MessageKey> {
    match &reading.key {
        FilterKey::Private(key) => lender.lend_private(key).await.map(MessageKey::Private),
        FilterKey::Symmetric(key) => lender.lend_shared(key).await,
    }
}

async fn follow(
    key: &MessageKey,
    reading: &Reading,
    count: Option<u64>,
    lender: &Lender,
    desk: &mut Desk,
) -> Result<()> {
    let mut wanted = Wanted::under(reading.topic);
    wanted.signer = reading.from;
    // What trusted peers send to us alone is for us, too.
    wanted.direct = true;
    let watching = lender.remote().watch(key, &wanted);
    let watch = desk.unless_stopped(watching).await?;
    let mut watch = watch.map_err(|error| lender.explain(&error))?;
    desk.report(&json!({ "event": "watching", "topic": reading.topic.to_string() }))?;
    desk.screen.say(&format!("Watching {}. Ctrl-C ends it.", reading.named));
    lender.warn_if_alone(desk).await?;
    let done = print_all(&mut watch, count, lender, desk).await;
    let _gone_anyway = watch.stop().await;
    done
}

async fn print_all(
    watch: &mut Watch<'_>,
    count: Option<u64>,
    lender: &Lender,
    desk: &mut Desk,
) -> Result<()> {
    let mut left = count;
    while left != Some(0) {
        let message = desk.unless_stopped(watch.next()).await?;
        let message = message.map_err(|error| lender.explain(&error))?;
        opened(&message).print(desk)?;
        left = left.map(|left| left.saturating_sub(1));
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
