//! The links of one session: opening, open or closing.
//!
//! There are no tasks and no channels: the owner of the links polls them and gets one event at a
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use wormhole_kit::LinkId;

use super::link::Outbox;
use super::{Dialing, LinkFailure, NetLink};

/// An event of a link.
pub(crate) enum LinkEvent {
    /// The link is open.
    Opened(LinkId),
    /// These bytes were received. On a WebSocket, they are one message.
    Received(LinkId, Vec<u8>),
    /// The link could not be opened, or was lost.
    Lost(LinkId, LinkFailure),
}

/// All links of a session.
#[derive(Default)]
pub(crate) struct Links {
    slots: BTreeMap<LinkId, Slot>,
    /// The link that had the last event: the search starts after it, so that every link gets its
    /// turn.
    last: Option<LinkId>,
    spare: Vec<u8>,
}

enum Slot {
    Dialing(Dialing),
    Open { link: NetLink, outbox: Outbox },
    Closing { link: NetLink, outbox: Outbox, patience: Pin<Box<Sleep>> },
}

impl Links {
    /// Starts opening a link.
    pub(crate) fn dial(&mut self, id: LinkId, dialing: Dialing) {
        self.slots.insert(id, Slot::Dialing(dialing));
    }

    /// Adds an open link.
    pub(crate) fn insert(&mut self, id: LinkId, link: NetLink) {
        self.slots.insert(id, Slot::Open { link, outbox: Outbox::default() });
    }

    /// Removes an open link, with the data still to be written to it.
    pub(crate) fn take(&mut self, id: LinkId) -> Option<(NetLink, Outbox)> {
        match self.slots.remove(&id)? {
            Slot::Open { link, outbox } => Some((link, outbox)),
            Slot::Dialing(_) | Slot::Closing { .. } => None,
        }
    }

    /// Queues bytes (on a WebSocket, one message). Does nothing if the link is closed.
    pub(crate) fn send(&mut self, id: LinkId, bytes: Vec<u8>) {
        if let Some(Slot::Open { outbox, .. }) = self.slots.get_mut(&id) {
            outbox.push(bytes);
        }
    }

    /// Drops a link at once, with everything that is not written; the other end notices a reset.
    pub(crate) fn reset(&mut self, id: LinkId) {
        if let Some(Slot::Open { link, .. } | Slot::Closing { link, .. }) = self.slots.remove(&id) {
            link.reset_on_drop();
        }
    }

    /// The open links that use none of these addresses of this computer: nothing arrives on them any more.
    pub(crate) fn without_address(&self, ours: &BTreeSet<IpAddr>) -> Vec<LinkId> {
        let is_gone = |link: &NetLink| link.local_address().is_some_and(|it| !ours.contains(&it));
        let open = self.slots.iter().filter(|(_, slot)| match slot {
            Slot::Open { link, .. } => is_gone(link),
            Slot::Dialing(_) | Slot::Closing { .. } => false,
        });
        open.map(|(id, _)| *id).collect()
    }

    /// Number of bytes that wait to be written to an open link.
    pub(crate) fn unwritten(&self, id: LinkId) -> usize {
        match self.slots.get(&id) {
            Some(Slot::Open { outbox, .. }) => outbox.bytes(),
            Some(Slot::Dialing(_) | Slot::Closing { .. }) | None => 0,
        }
    }

    /// The open link with this id.
    pub(crate) fn open(&self, id: LinkId) -> Option<&NetLink> {
        match self.slots.get(&id) {
            Some(Slot::Open { link, .. }) => Some(link),
            Some(Slot::Dialing(_) | Slot::Closing { .. }) | None => None,
        }
    }

    /// Number of messages that wait to be written to an open link.
    #[cfg(feature = "chat")]
    pub(crate) fn queued(&self, id: LinkId) -> usize {
        match self.slots.get(&id) {
            Some(Slot::Open { outbox, .. }) => outbox.len(),
            Some(Slot::Dialing(_) | Slot::Closing { .. }) | None => 0,
        }
    }

    /// Closes a link once everything queued is written; cancels it if it is still opening.
    pub(crate) fn close(&mut self, id: LinkId) {
        if let Some(Slot::Open { link, outbox }) = self.slots.remove(&id) {
            let patience = Box::pin(sleep(LINGER));
            self.slots.insert(id, Slot::Closing { link, outbox, patience });
        }
    }

    /// Returns the buffer of a [`LinkEvent::Received`] for reuse.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// Waits for the next event. Unless `reads` is set, nothing is received, but what is queued is still written, and
    /// open links are kept alive.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<LinkEvent> {
        let first = self.last.map_or(Unbounded, Excluded);
        let order = self.slots.range((first, Unbounded)).chain(self.slots.iter());
        let order: Vec<LinkId> = order.map(|(id, _)| *id).take(self.slots.len()).collect();
        for id in order {
            if let Poll::Ready(event) = self.poll_slot(id, cx, reads) {
                self.last = Some(id);
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    /// Drops every link that is not closing, and waits briefly for those that are.
    pub(crate) async fn finish(mut self) {
        self.slots.retain(|_, slot| matches!(slot, Slot::Closing { .. }));
        poll_fn(|cx| {
            // Closing links have no events; they are removed when they end.
            let _ = self.poll_next(cx, true);
            if self.slots.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn poll_slot(&mut self, id: LinkId, cx: &mut Context<'_>, reads: bool) -> Poll<LinkEvent> {
        match self.slots.get_mut(&id) {
            Some(Slot::Dialing(dialing)) => match dialing.as_mut().poll(cx) {
                Poll::Ready(Ok(link)) => {
                    self.insert(id, link);
                    Poll::Ready(LinkEvent::Opened(id))
                }
                Poll::Ready(Err(failure)) => self.lose(id, failure),
                Poll::Pending => Poll::Pending,
            },
            Some(Slot::Open { link, outbox }) => {
                if let Poll::Ready(Err(failure)) = link.poll_send(cx, outbox) {
                    return self.lose(id, failure);
                }
                if !reads {
                    return match link.poll_without_reading(cx) {
                        Poll::Ready(failure) => self.lose(id, failure),
                        Poll::Pending => Poll::Pending,
                    };
                }
                let mut buffer = std::mem::take(&mut self.spare);
                match link.poll_receive(cx, &mut buffer) {
                    Poll::Ready(Ok(())) => Poll::Ready(LinkEvent::Received(id, buffer)),
                    Poll::Ready(Err(failure)) => self.lose(id, failure),
                    Poll::Pending => {
                        self.spare = buffer;
                        Poll::Pending
                    }
                }
            }
            Some(Slot::Closing { link, outbox, patience }) => {
                let gone = match link.poll_send(cx, outbox) {
                    Poll::Ready(Ok(())) => link.poll_close(cx).is_ready(),
                    Poll::Ready(Err(_)) => true,
                    Poll::Pending => false,
                };
                if gone || patience.as_mut().poll(cx).is_ready() {
                    self.slots.remove(&id);
                }
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    fn lose(&mut self, id: LinkId, failure: LinkFailure) -> Poll<LinkEvent> {
        self.slots.remove(&id);
        Poll::Ready(LinkEvent::Lost(id, failure))
    }
}

/// Time limit for closing a link. One round trip is enough.
const LINGER: Duration = Duration::from_secs(1);

/// Maximum size in bytes of the buffer kept for the next read.
const MAX_SPARE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::sync::oneshot;
    use tokio::time::Instant;
    use tokio_tungstenite::tungstenite::Message;

    use super::super::Frames;
    use super::super::testing::link;
    use super::*;

    const ONE: LinkId = LinkId(0);
    const OTHER: LinkId = LinkId(2);

    async fn next(links: &mut Links) -> LinkEvent {
        poll_fn(|cx| links.poll_next(cx, true)).await
    }

    #[tokio::test]
    async fn a_link_with_much_data_does_not_hold_up_another() {
        let mut links = Links::default();
        let (mut busy, mut quiet) = (link(Frames::Text).await, link(Frames::Text).await);
        links.insert(ONE, busy.0);
        links.insert(OTHER, quiet.0);
        for _ in 0..100 {
            busy.1.send(Message::text("much")).await.unwrap();
        }
        quiet.1.send(Message::text("little")).await.unwrap();
        let first = [next(&mut links).await, next(&mut links).await];
        let is_quiet = |event: &LinkEvent| matches!(event, LinkEvent::Received(OTHER, _));
        assert!(first.iter().any(is_quiet));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_not_read_is_written_to_and_kept_alive() {
        let mut links = Links::default();
        let (ours, mut theirs) = link(Frames::Text).await;
        links.insert(ONE, ours);
        theirs.send(Message::text("unread")).await.unwrap();
        let (mut pings, mut texts) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(600) {
            tokio::select! {
                _ = poll_fn(|cx| links.poll_next(cx, false)) => panic!("the link has an event"),
                message = theirs.next() => {
                    let message = message.unwrap().unwrap();
                    pings += usize::from(message.is_ping());
                    texts += usize::from(message.is_text());
                }
                () = sleep(Duration::from_secs(9)) => links.send(ONE, b"text".to_vec()),
            }
        }
        assert!(pings >= 5 && texts >= 60, "{pings} {texts}");
        let received = next(&mut links).await;
        assert!(matches!(received, LinkEvent::Received(ONE, bytes) if bytes == b"unread"));
        // It is still noticed when the other end is gone.
        drop(theirs);
        links.send(ONE, b"text".to_vec());
        let lost = poll_fn(|cx| links.poll_next(cx, false)).await;
        assert!(matches!(lost, LinkEvent::Lost(ONE, _)));
    }

    #[tokio::test]
    async fn everything_that_was_queued_is_written_before_a_link_is_closed() {
        let mut links = Links::default();
        let (ours, mut theirs) = link(Frames::Text).await;
        links.insert(ONE, ours);
        links.send(ONE, b"one".to_vec());
        links.send(ONE, b"two".to_vec());
        links.close(ONE);
        let read = async {
            let mut received = Vec::new();
            while let Some(Ok(message)) = theirs.next().await {
                received.push(message);
            }
            received
        };
        let ((), received) = tokio::join!(links.finish(), read);
        assert_eq!(received[..2], [Message::text("one"), Message::text("two")]);
        assert!(received[2].is_close());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_whose_other_end_does_not_read_is_closed_after_a_second() {
        let mut links = Links::default();
        let (ours, _theirs) = link(Frames::Text).await;
        links.insert(ONE, ours);
        // More than the buffer holds.
        links.send(ONE, vec![b'x'; 1 << 20]);
        links.close(ONE);
        let start = Instant::now();
        links.finish().await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn a_link_that_is_reset_tells_the_other_end_without_writing_the_rest() {
        use tokio::io::AsyncReadExt;
        use tokio::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        let mut links = Links::default();
        links.insert(ONE, NetLink::Tcp(ours));
        links.send(ONE, vec![b'x'; 100]);
        assert_eq!(links.unwritten(ONE), 100);
        links.reset(ONE);
        assert_eq!(links.unwritten(ONE), 0);
        let error = theirs.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn closing_a_link_that_is_being_opened_cancels_the_attempt() {
        let mut links = Links::default();
        let (mut answer, answered) = oneshot::channel();
        links.dial(ONE, Box::pin(async { answered.await.unwrap_or(Err(LinkFailure::Closed)) }));
        links.close(ONE);
        answer.closed().await;
        assert!(links.take(ONE).is_none());
    }

    #[tokio::test]
    async fn a_link_that_is_lost_has_one_event_and_ignores_later_messages() {
        let mut links = Links::default();
        let (ours, theirs) = link(Frames::Text).await;
        links.insert(ONE, ours);
        drop(theirs);
        let lost = next(&mut links).await;
        assert!(matches!(lost, LinkEvent::Lost(ONE, _)));
        links.send(ONE, b"too late".to_vec());
        assert!(links.take(ONE).is_none());
        let later = poll_fn(|cx| Poll::Ready(links.poll_next(cx, true).is_ready())).await;
        assert!(!later);
    }
}
