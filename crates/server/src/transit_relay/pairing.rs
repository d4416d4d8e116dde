//! Applies the pairing rules for the tasks of all connections: handles received data and returns verdicts.
//!
//! It uses no sockets: each task reads and writes its own connection. The rules are in `wormhole_magic::relay`.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use wormhole_kit::{Input, LinkId, LinkIds, Output, Session};
use wormhole_magic::relay::{Command, Event, Relay, Timeouts};

use super::AlreadyDecided;
use super::counters::Counters;
use super::link::RelayLink;
use super::pump::Forwarded;
use super::usage::Recorder;
use crate::limits::LinkPermit;

/// Finds the partner of each connection.
#[derive(Debug)]
pub(super) struct Pairing {
    state: Mutex<PairingState>,
    /// Wakes [`Pairing::run_deadlines`] when the next deadline changes.
    deadline_moved: Notify,
    counters: Arc<Counters>,
    usage: Recorder,
}

#[derive(Debug)]
struct PairingState {
    relay: Relay,
    waiting_links: HashMap<LinkId, Waiting>,
    ids: LinkIds,
}

/// A connection without a verdict.
#[derive(Debug)]
struct Waiting {
    /// Messages to send with the verdict.
    messages: Vec<Vec<u8>>,
    /// Set while the outputs of an input are being collected.
    decision: Option<Decision>,
    verdict: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
enum Decision {
    Close,
    First(oneshot::Receiver<Paired>),
    Second(oneshot::Sender<Paired>),
}

/// The result for a connection.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Send these messages, usually none or one, and close.
    Close {
        /// The messages.
        last_messages: Vec<Vec<u8>>,
    },
    /// The later connection will be passed to this task; send the greeting and forward data.
    First {
        /// The answer, and the data that the partner has already sent, one message each.
        greeting: Vec<Vec<u8>>,
        /// Receives the partner.
        second: oneshot::Receiver<Paired>,
    },
    /// Pass the connection to the task of the earlier one.
    Second {
        /// The answer, and the data that the partner has already sent, one message each.
        greeting: Vec<Vec<u8>>,
        /// Sends the connection.
        first: oneshot::Sender<Paired>,
    },
}

/// A paired connection and its data.
#[derive(Debug)]
pub(super) struct Paired {
    /// Its id in the pairing.
    pub(super) id: LinkId,
    /// The connection.
    pub(super) link: RelayLink,
    /// Messages to send first.
    pub(super) greeting: Vec<Vec<u8>>,
    /// Data that was already read, for the partner.
    pub(super) early: Vec<u8>,
    /// Counts the connection for the limits of its address while it is open.
    #[expect(dead_code, reason = "dropped with the link")]
    pub(super) permit: LinkPermit,
}

impl Pairing {
    /// A pairing without connections.
    pub(super) fn new(timeouts: Timeouts, counters: Arc<Counters>, usage: Recorder) -> Self {
        let state = PairingState {
            relay: Relay::new(timeouts),
            waiting_links: HashMap::new(),
            ids: LinkIds::incoming(),
        };
        Self { state: Mutex::new(state), deadline_moved: Notify::new(), counters, usage }
    }

    /// Adds a new connection.
    pub(super) fn add_link(&self) -> (LinkId, oneshot::Receiver<Verdict>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let id = state.ids.allocate();
        let waiting = Waiting { messages: Vec::new(), decision: None, verdict: sender };
        state.waiting_links.insert(id, waiting);
        self.apply(&mut state, Input::Opened(id));
        (id, receiver)
    }

    /// Handles data from a connection; `None` or an error means that it has closed.
    ///
    /// # Errors
    /// The verdict was already given; the error returns the bytes.
    pub(super) fn handle_read(
        &self,
        id: LinkId,
        read: io::Result<Option<Vec<u8>>>,
    ) -> Result<(), AlreadyDecided> {
        let mut state = self.lock();
        let bytes = read.ok().flatten();
        if !state.waiting_links.contains_key(&id) {
            return Err(AlreadyDecided(bytes.unwrap_or_default()));
        }
        match bytes {
            Some(bytes) => self.apply(&mut state, Input::Bytes(id, &bytes)),
            None => {
                state.waiting_links.remove(&id);
                self.apply(&mut state, Input::Closed(id));
            }
        }
        Ok(())
    }

    /// Handles the end of a pair, with the number of forwarded bytes.
    pub(super) fn handle_end(&self, first: LinkId, second: LinkId, forwarded: Forwarded) {
        let mut state = self.lock();
        self.apply(&mut state, Input::Command(Command::Carried(first, forwarded.from_first)));
        self.apply(&mut state, Input::Command(Command::Carried(second, forwarded.from_second)));
        self.apply(&mut state, Input::Closed(first));
    }

    /// Closes all unpaired connections.
    pub(super) fn drain(&self) {
        self.apply(&mut self.lock(), Input::Command(Command::Drain));
    }

    /// Number of connections that wait for a partner.
    pub(super) fn waiting(&self) -> usize {
        self.lock().relay.waiting()
    }

    /// Handles deadlines. Never ends.
    pub(super) async fn run_deadlines(self: Arc<Self>) {
        loop {
            let deadline = self.lock().relay.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.deadline_moved.notified() => {}
            }
            let mut state = self.lock();
            let Ok(()) = state.relay.handle_timeout(Instant::now());
            self.handle_outputs(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, PairingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, state: &mut PairingState, input: Input<'_, Command>) {
        let before = state.relay.deadline();
        let Ok(()) = state.relay.handle(Instant::now(), input);
        self.handle_outputs(state);
        let after = state.relay.deadline();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.deadline_moved.notify_one();
        }
    }

    /// Handles outputs of the rules. Connections that are not waiting belong to the pump, or have closed.
    fn handle_outputs(&self, state: &mut PairingState) {
        let mut decided = Vec::new();
        while let Some(output) = state.relay.poll() {
            match output {
                Output::Connect(_, never) => match never {},
                Output::Send(id, bytes) => {
                    if let Some(waiting) = state.waiting_links.get_mut(&id) {
                        waiting.messages.push(bytes);
                    }
                }
                Output::Close(id) => decided.extend(state.decide(id, Decision::Close)),
                Output::Event(Event::Paired { first, second }) => {
                    let (to_first, from_second) = oneshot::channel();
                    decided.extend(state.decide(first, Decision::First(from_second)));
                    decided.extend(state.decide(second, Decision::Second(to_first)));
                    self.counters.paired();
                }
                Output::Event(Event::Ended(usage)) => {
                    self.counters.ended(&usage);
                    self.usage.record(usage);
                }
            }
        }
        for id in decided {
            if let Some(waiting) = state.waiting_links.remove(&id) {
                waiting.deliver();
            }
        }
    }
}

impl PairingState {
    /// Sets the decision for a connection, if it is still open.
    fn decide(&mut self, id: LinkId, decision: Decision) -> Option<LinkId> {
        self.waiting_links.get_mut(&id)?.decision = Some(decision);
        Some(id)
    }
}

impl Waiting {
    /// Sends the verdict to the task of the connection. If the task has ended, so has the connection.
    fn deliver(self) {
        let verdict = match self.decision {
            None | Some(Decision::Close) => Verdict::Close { last_messages: self.messages },
            Some(Decision::First(second)) => Verdict::First { greeting: self.messages, second },
            Some(Decision::Second(first)) => Verdict::Second { greeting: self.messages, first },
        };
        let _ = self.verdict.send(verdict);
    }
}
