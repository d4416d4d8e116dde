//! Runs the pairing rules for the tasks of all links: takes in what they hear, hands out verdicts.
//!
//! No sockets: a task reads and writes its own link. See `wormhole_magic::relay` for the rules.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use wormhole_kit::{Input, LinkId, LinkIds, Output, Session};
use wormhole_magic::relay::{Command, Event, Patience, Relay};

use super::Decided;
use super::counters::Counters;
use super::link::Link;
use super::pump::Carried;
use super::usage::Recorder;
use crate::limits::Pass;

/// Where links meet.
#[derive(Debug)]
pub(super) struct Meeting {
    state: Mutex<State>,
    /// Wakes [`Meeting::keep_time`] when the next deadline is another one.
    deadline_moved: Notify,
    counters: Arc<Counters>,
    usage: Recorder,
}

#[derive(Debug)]
struct State {
    relay: Relay,
    seats: HashMap<LinkId, Seat>,
    ids: LinkIds,
}

/// A link that has had no verdict yet.
#[derive(Debug)]
struct Seat {
    /// What it will be told with the verdict.
    words: Vec<Vec<u8>>,
    /// Set while the outputs of one input are being gathered.
    decision: Option<Decision>,
    verdict: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
enum Decision {
    Dismissed,
    First(oneshot::Receiver<Arrived>),
    Second(oneshot::Sender<Arrived>),
}

/// What becomes of a link.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Say this, if anything, and close.
    Dismissed {
        /// Messages, usually none or one.
        farewell: Vec<Vec<u8>>,
    },
    /// The later link will be handed over here; say the greeting and carry bytes.
    First {
        /// The answer, and what the partner has sent already, each as one message.
        greeting: Vec<Vec<u8>>,
        /// Gives the partner.
        second: oneshot::Receiver<Arrived>,
    },
    /// Hand the link over to the earlier one's task.
    Second {
        /// The answer, and what the partner has sent already, each as one message.
        greeting: Vec<Vec<u8>>,
        /// Takes the link.
        first: oneshot::Sender<Arrived>,
    },
}

/// A paired link with everything that goes along with it.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Its name in the meeting.
    pub(super) id: LinkId,
    /// The link itself.
    pub(super) link: Link,
    /// To be said to it before anything else.
    pub(super) greeting: Vec<Vec<u8>>,
    /// Already read from it, for its partner.
    pub(super) early: Vec<u8>,
    /// Its place among the links of its address, as long as it is open.
    #[expect(dead_code, reason = "dropped with the link")]
    pub(super) pass: Pass,
}

impl Meeting {
    /// A meeting without links.
    pub(super) fn new(patience: Patience, counters: Arc<Counters>, usage: Recorder) -> Self {
        let state =
            State { relay: Relay::new(patience), seats: HashMap::new(), ids: LinkIds::incoming() };
        Self { state: Mutex::new(state), deadline_moved: Notify::new(), counters, usage }
    }

    /// Takes in a new link.
    pub(super) fn open(&self) -> (LinkId, oneshot::Receiver<Verdict>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let id = state.ids.allocate();
        let seat = Seat { words: Vec::new(), decision: None, verdict: sender };
        state.seats.insert(id, seat);
        self.apply(&mut state, Input::Opened(id));
        (id, receiver)
    }

    /// Takes in what was read from a link; `None` or an error: it has closed.
    ///
    /// # Errors
    /// The verdict on the link has been given meanwhile; the bytes come back.
    pub(super) fn hear(
        &self,
        id: LinkId,
        read: io::Result<Option<Vec<u8>>>,
    ) -> Result<(), Decided> {
        let mut state = self.lock();
        let bytes = read.ok().flatten();
        if !state.seats.contains_key(&id) {
            return Err(Decided(bytes.unwrap_or_default()));
        }
        match bytes {
            Some(bytes) => self.apply(&mut state, Input::Bytes(id, &bytes)),
            None => {
                state.seats.remove(&id);
                self.apply(&mut state, Input::Closed(id));
            }
        }
        Ok(())
    }

    /// Takes in the end of a pair: the bytes that the pump carried from its first and second link.
    pub(super) fn parted(&self, first: LinkId, second: LinkId, carried: Carried) {
        let mut state = self.lock();
        self.apply(&mut state, Input::Command(Command::Carried(first, carried.from_first)));
        self.apply(&mut state, Input::Command(Command::Carried(second, carried.from_second)));
        self.apply(&mut state, Input::Closed(first));
    }

    /// Sends away everyone who is not paired.
    pub(super) fn drain(&self) {
        self.apply(&mut self.lock(), Input::Command(Command::Drain));
    }

    /// How many links wait for a partner.
    pub(super) fn waiting(&self) -> usize {
        self.lock().relay.waiting()
    }

    /// Watches the deadlines, for ever.
    pub(super) async fn keep_time(self: Arc<Self>) {
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
            self.follow(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, state: &mut State, input: Input<'_, Command>) {
        let before = state.relay.deadline();
        let Ok(()) = state.relay.handle(Instant::now(), input);
        self.follow(state);
        let after = state.relay.deadline();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.deadline_moved.notify_one();
        }
    }

    /// Does what the relay wants done. Links without a seat are with the pump, or gone.
    fn follow(&self, state: &mut State) {
        let mut decided = Vec::new();
        while let Some(output) = state.relay.poll() {
            match output {
                Output::Connect(_, never) => match never {},
                Output::Send(id, bytes) => {
                    if let Some(seat) = state.seats.get_mut(&id) {
                        seat.words.push(bytes);
                    }
                }
                Output::Close(id) => decided.extend(state.decide(id, Decision::Dismissed)),
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
            if let Some(seat) = state.seats.remove(&id) {
                seat.tell();
            }
        }
    }
}

impl State {
    /// Decides on a link, if that is still open.
    fn decide(&mut self, id: LinkId, decision: Decision) -> Option<LinkId> {
        self.seats.get_mut(&id)?.decision = Some(decision);
        Some(id)
    }
}

impl Seat {
    /// Tells the link's task. If that is gone, so is the link, and nothing is lost.
    fn tell(self) {
        let verdict = match self.decision {
            None | Some(Decision::Dismissed) => Verdict::Dismissed { farewell: self.words },
            Some(Decision::First(second)) => Verdict::First { greeting: self.words, second },
            Some(Decision::Second(first)) => Verdict::Second { greeting: self.words, first },
        };
        let _ = self.verdict.send(verdict);
    }
}
