//! Our offers: waits for the peer's answer, and sends the files.

use std::time::Instant;

use tokio::sync::oneshot;
use wormhole_magic::transfer::dilated::{Features, Replies, frame};

use super::super::source::SendItem;
use super::super::{Error, Progress, Report, dilated};
use super::Event;
use super::transfers::{TransferContext, report_failure};
use crate::dilated::Subchannel;
use crate::transit::Path;

/// Offers an item on a stream, and sends it if the peer accepts.
pub(super) async fn offer(
    mut context: TransferContext,
    stream: Subchannel,
    (path, features): (Option<Path>, Features),
    item: SendItem,
) {
    let id = context.id;
    let adapted =
        if features.links { Ok(item) } else { context.unless_cancelled(item.followed()).await };
    let outcome = match adapted {
        Ok(item) => send(&mut context, &stream, (path, features), item).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        report_failure(&stream, error, frame::failed).await;
    }
    context
        .emit(match outcome {
            Ok(report) => Event::Done { id, report },
            Err(error) => Event::Failed { id, error, kept: None },
        })
        .await;
}

async fn send(
    context: &mut TransferContext,
    stream: &Subchannel,
    (path, features): (Option<Path>, Features),
    mut item: SendItem,
) -> Result<Report, Error> {
    if let SendItem::Tree(tree) = &mut item {
        tree.tolerant = true;
    }
    let (id, offer) = (context.id, item.offer());
    let progress = Progress::of_dilated(offer.unpacked_size());
    progress.set_received(Some(0));
    let mut bytes = Vec::new();
    frame::offer(&mut bytes, &offer);
    let mut replies = Replies::new();
    let accepting = async {
        stream.write_chunk(bytes).await.map_err(|_| dilated::interrupted(&progress))?;
        dilated::wait(stream, &mut replies, Vec::new(), &progress).await
    };
    let (_, rest) = context.unless_cancelled(accepting).await?;
    context.emit(Event::Accepted(id)).await;
    let ready = dilated::wait(stream, &mut replies, rest, &progress);
    let (claims, rest) = context.unless_cancelled(ready).await?;
    let done = claims.bytes.min(progress.total().unwrap_or(0));
    if done > 0 {
        context.emit(Event::Resuming { id, done, total: progress.total() }).await;
    }
    let start = Instant::now();
    let (all_sent, _unused) = oneshot::channel::<()>();
    let (working, begun) = (progress.clone(), (replies, rest, features));
    let changed = context
        .run(stream, &progress, move |line| {
            dilated::send_all(line, item, claims, begun, working, move || drop(all_sent))
        })
        .await?;
    Ok(Report { resumed: done, changed, ..Report::new(progress.done(), start, path) })
}
