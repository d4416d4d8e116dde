//! The streams of a driver: passes their data to the session and from it, and new ones to listeners.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rand_core::OsRng;
use tokio::sync::mpsc;
use wormhole_kit::{Input, Session};
use wormhole_magic::dilation::{Dilation, DilationCommand, DilationError, SubchannelId};

use super::super::Error;
use super::super::requests::Request;
use super::super::stream::{StreamState, Subchannel, from_weak};

/// All streams that are open in any direction.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<SubchannelId, Arc<StreamState>>,
    /// The number of the next stream that we open.
    next: u32,
    /// Streams with data for the session, each at most once.
    writing: VecDeque<SubchannelId>,
    /// Streams with data that the peer does not accept yet.
    blocked: BTreeSet<SubchannelId>,
    listeners: BTreeMap<String, mpsc::UnboundedSender<Subchannel>>,
    /// Streams of the peer that nobody listens for yet.
    waiting: Vec<(String, Subchannel)>,
}

impl Streams {
    /// The application opens a stream.
    pub(super) fn open(
        &mut self,
        session: &mut Dilation<OsRng>,
        now: Instant,
        subprotocol: String,
        stream: Arc<StreamState>,
    ) -> Result<(), DilationError> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(DilationError::TooManyRecords)?;
        let id = SubchannelId::Ours(number);
        stream.lock().id = Some(id);
        let open = DilationCommand::Open { number, subprotocol };
        session.handle(now, Input::Command(open))?;
        self.open.insert(id, Arc::clone(&stream));
        // It may have been written to, or dropped, before.
        self.on_changed(session, now, &stream)
    }

    /// The peer opened a stream.
    pub(super) fn on_opened(
        &mut self,
        id: SubchannelId,
        subprotocol: String,
        requests: mpsc::WeakUnboundedSender<Request>,
    ) {
        let (stream, state) = from_weak(requests);
        state.lock().id = Some(id);
        self.open.insert(id, state);
        match self.listeners.get(&subprotocol) {
            // A listener that is gone drops the stream, which closes it.
            Some(listener) => drop(listener.send(stream)),
            None => self.waiting.push((subprotocol, stream)),
        }
    }

    /// The application listens for a subprotocol.
    pub(super) fn listen(&mut self, name: String, listener: mpsc::UnboundedSender<Subchannel>) {
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, waiting) =
            waiting.into_iter().partition(|(subprotocol, _)| *subprotocol == name);
        self.waiting = waiting;
        for (_, stream) in ready {
            drop(listener.send(stream));
        }
        self.listeners.insert(name, listener);
    }

    pub(super) fn on_data(&self, id: SubchannelId, data: Vec<u8>) {
        if let Some(stream) = self.open.get(&id) {
            let mut shared = stream.lock();
            shared.received.push_back(data);
            shared.wake();
        }
    }

    pub(super) fn on_finished(&mut self, id: SubchannelId) {
        if let Some(stream) = self.open.get(&id) {
            let mut shared = stream.lock();
            shared.ended = true;
            shared.wake();
        }
        self.forget_if_over(id);
    }

    /// A stream has read or has more to send, or was finished or dropped.
    pub(super) fn on_changed(
        &mut self,
        session: &mut Dilation<OsRng>,
        now: Instant,
        stream: &Arc<StreamState>,
    ) -> Result<(), DilationError> {
        let (id, consumed, dropped, writes) = {
            let mut shared = stream.lock();
            shared.begin();
            let consumed = std::mem::take(&mut shared.consumed);
            if shared.dropped {
                shared.received.clear();
            }
            let finishes = shared.finished && !std::mem::replace(&mut shared.finish_seen, true);
            let writes = !shared.to_send.is_empty() || finishes;
            (shared.id, consumed, shared.dropped, writes)
        };
        let Some(id) = id.filter(|id| self.open.contains_key(id)) else { return Ok(()) };
        if dropped {
            session.handle(now, Input::Command(DilationCommand::StopReading(id)))?;
        } else if consumed > 0 {
            session.handle(now, Input::Command(DilationCommand::Consumed(id, consumed)))?;
        }
        if writes && !self.blocked.contains(&id) && !self.writing.contains(&id) {
            self.writing.push_back(id);
        }
        self.forget_if_over(id);
        Ok(())
    }

    /// Passes the data of the next stream to the session. Returns whether there was any.
    pub(super) fn write_next(
        &mut self,
        session: &mut Dilation<OsRng>,
        now: Instant,
    ) -> Result<bool, DilationError> {
        let Some(id) = self.writing.pop_front() else { return Ok(false) };
        let Some(stream) = self.open.get(&id) else { return Ok(true) };
        // An end needs no credit.
        if !session.accepts_data(id) && !stream.lock().to_send.is_empty() {
            self.blocked.insert(id);
            return Ok(true);
        }
        let (data, finished) = {
            let mut shared = stream.lock();
            let data = std::mem::take(&mut shared.to_send);
            shared.wake();
            (data, shared.finished)
        };
        for piece in data {
            session.handle(now, Input::Command(DilationCommand::Write(id, piece)))?;
        }
        if finished {
            session.handle(now, Input::Command(DilationCommand::Finish(id)))?;
            self.forget_if_over(id);
        }
        Ok(true)
    }

    /// The peer accepts data of a stream again.
    pub(super) fn on_writable(&mut self, id: SubchannelId) {
        if self.blocked.remove(&id) {
            self.writing.push_back(id);
        }
    }

    /// Whether data or an end waits for the session.
    pub(super) fn has_data(&self) -> bool {
        !self.writing.is_empty() || !self.blocked.is_empty()
    }

    /// Forgets a stream of which both directions have ended, or that was dropped.
    fn forget_if_over(&mut self, id: SubchannelId) {
        let over = self.open.get(&id).is_some_and(|stream| {
            let shared = stream.lock();
            let sent = shared.finished && shared.to_send.is_empty();
            let read = shared.ended && shared.received.is_empty() && shared.consumed == 0;
            sent && !self.is_writing(id) && (read || shared.dropped)
        });
        if over {
            self.open.remove(&id);
        }
    }

    fn is_writing(&self, id: SubchannelId) -> bool {
        self.writing.contains(&id) || self.blocked.contains(&id)
    }

    /// Nothing can be sent or received any more.
    pub(super) fn end(&mut self, end: &Error) {
        for stream in std::mem::take(&mut self.open).into_values() {
            stream.lock().fail(end);
        }
        self.listeners.clear();
        self.waiting.clear();
    }
}
