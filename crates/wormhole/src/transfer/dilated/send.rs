//! The sender: makes its offer on a stream, and sends the files once it is accepted.

use std::time::Instant;

use tokio::sync::oneshot;
use wormhole_magic::transfer::Sender;
use wormhole_magic::transfer::SenderCommand;
use wormhole_magic::transfer::dilated::{Claims, Replies, Reply, SUBPROTOCOL, frame};

use super::super::data_phase::READER_TIME;
use super::super::driver::TransferDriver;
use super::super::source::SendItem;
use super::super::{Error, Event, PeerMisbehaved, Progress, Report};
use super::{carry, send_thread};
use crate::dilated::{Streams, Subchannel};

type Driver = TransferDriver<Sender>;

/// Sends the item.
pub(in super::super) async fn send(
    driver: &mut Driver,
    streams: Streams,
    mut item: SendItem,
) -> Result<Report, Error> {
    driver.command(SenderCommand::Dilated);
    if !driver.peer_features().links {
        item = driver.unless_given_up(item.followed()).await?;
    }
    if let SendItem::Tree(tree) = &mut item {
        tree.tolerant = true;
    }
    let offer = item.offer();
    let progress = Progress::of_dilated(offer.unpacked_size());
    progress.set_received(Some(0));
    let broken = |_| carry::interrupted(&progress);
    let stream = streams.connect(SUBPROTOCOL).map_err(broken)?;
    let mut bytes = Vec::new();
    frame::offer(&mut bytes, &offer);
    let mut replies = Replies::new();
    let accepting = async {
        stream.write_chunk(bytes).await.map_err(|_| carry::interrupted(&progress))?;
        wait(&stream, &mut replies, Vec::new(), &progress).await
    };
    let accepted = driver.unless_given_up(accepting).await;
    let (_, rest) = driver.explain(accepted).await?;
    driver.emit(Event::Accepted).await?;
    if let Some(path) = streams.path() {
        driver.emit(Event::Connected(path)).await?;
    }
    let ready = driver.unless_given_up(wait(&stream, &mut replies, rest, &progress)).await;
    let (claims, rest) = driver.explain(ready).await?;
    // The receiver may say anything.
    let done = claims.bytes.min(progress.total().unwrap_or(0));
    if done > 0 {
        driver.emit(Event::Resuming { done, total: progress.total() }).await?;
    }
    let start = Instant::now();
    let path = streams.path();
    let (sent, all_sent) = oneshot::channel();
    let (sending, monitor) = carry::start(stream, streams, {
        let progress = progress.clone();
        let begun = (replies, rest, driver.peer_features());
        // Nobody waits for it any more when the transfer was given up.
        let notify = || sent.send(()).unwrap_or_default();
        move |line| send_thread::send(line, item, claims, begun, progress, notify)
    });
    let sent = driver.run_data(sending, &monitor, &progress, Some(all_sent), READER_TIME).await;
    if let Err(error) = &sent {
        driver.tell_peer(error);
    }
    Ok(Report { resumed: done, changed: sent?, ..Report::new(progress.done(), start, path) })
}

/// Waits until the offer is accepted (then without claims) or the receiver is ready. Returns bytes that have arrived after that.
pub(in super::super) async fn wait(
    stream: &Subchannel,
    replies: &mut Replies,
    mut bytes: Vec<u8>,
    progress: &Progress,
) -> Result<(Claims, Vec<u8>), Error> {
    loop {
        let mut input = bytes.as_slice();
        match replies.next(&mut input).map_err(PeerMisbehaved::Dilated)? {
            Some(Reply::Accepted) => return Ok((Claims::default(), input.to_vec())),
            Some(Reply::Ready(claims)) => return Ok((claims, input.to_vec())),
            Some(Reply::Refused(reason)) => return Err(Error::PeerRefused(reason)),
            Some(Reply::Received(_) | Reply::Stored) => {}
            None => {
                let next = stream.read_chunk().await.ok().flatten();
                bytes = next.ok_or_else(|| carry::interrupted(progress))?;
            }
        }
    }
}
