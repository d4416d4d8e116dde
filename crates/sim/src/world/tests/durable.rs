//! A session with durable state: what the server has received survives every crash of the client.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

/// Sends the numbers from 1 to 10 and commits each before it is sent. A hasty ledger does not wait.
struct Ledger {
    is_hasty: bool,
    number: u8,
    is_durable: bool,
    link: Option<LinkId>,
    ids: LinkIds,
    retry: Option<Instant>,
    outputs: Vec<Output<(), (), u8>>,
}

impl Ledger {
    /// Starts after the number that is durable.
    fn restore(is_hasty: bool, durable: u8) -> Self {
        let (mut ids, number) = (LinkIds::outgoing(), durable);
        let outputs = vec![Output::Connect(ids.allocate(), ())];
        Self { is_hasty, number, is_durable: true, link: None, ids, retry: None, outputs }
    }

    fn send(&mut self) {
        if let Some(link) = self.link.filter(|_| self.is_durable || self.is_hasty) {
            self.outputs.push(Output::Send(link, vec![self.number]));
        }
    }

    fn advance(&mut self, link: LinkId) {
        if self.number == 10 {
            self.outputs.push(Output::Close(link));
            return;
        }
        self.number += 1;
        self.is_durable = false;
        self.outputs.push(Output::Commit(self.number));
        if self.is_hasty {
            self.send();
        }
    }
}

impl Session for Ledger {
    type Address = ();
    type Command = ();
    type Event = ();
    type Changes = u8;
    type Error = ();

    fn handle(&mut self, now: Instant, input: Input<'_, ()>) -> Result<(), ()> {
        match input {
            Input::Opened(link) => {
                self.link = Some(link);
                self.send();
            }
            Input::Bytes(link, bytes) => {
                if bytes == [self.number] {
                    self.advance(link);
                }
            }
            Input::Closed(_) => {
                self.link = None;
                self.retry = Some(now + Duration::from_secs(1));
            }
            Input::Committed => {
                self.is_durable = true;
                if !self.is_hasty {
                    self.send();
                }
            }
            Input::Command(()) => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output<(), (), u8>> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn deadline(&self) -> Option<Instant> {
        self.retry
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ()> {
        if self.retry.take_if(|at| *at <= now).is_some() {
            self.outputs.push(Output::Connect(self.ids.allocate(), ()));
        }
        Ok(())
    }
}

/// The contents of the client's disk.
struct Store {
    is_hasty: bool,
    durable: Rc<Cell<u8>>,
    restarts: u32,
}

impl Application<Ledger> for Store {
    fn on_event(&mut self, _: usize, (): ()) -> Vec<(usize, ())> {
        Vec::new()
    }

    fn on_error(&mut self, _: usize, (): ()) {}

    fn on_durable(&mut self, _: usize, number: u8) {
        assert_eq!(number, self.durable.get() + 1, "commits keep their order");
        self.durable.set(number);
    }

    fn restore(&mut self, _: usize) -> Option<Ledger> {
        self.restarts += 1;
        Some(Ledger::restore(self.is_hasty, self.durable.get()))
    }
}

/// Notes whether the client has sent something that it could forget.
struct Witness {
    echo: Echo,
    durable: Rc<Cell<u8>>,
    saw_undurable: bool,
}

impl Server for Witness {
    fn opened(&mut self, now: Instant, link: u64) {
        self.echo.opened(now, link);
    }

    fn received(&mut self, now: Instant, link: u64, message: &[u8]) {
        self.saw_undurable |= message > &[self.durable.get()][..];
        self.echo.received(now, link, message);
    }

    fn closed(&mut self, now: Instant, link: u64) {
        self.echo.closed(now, link);
    }

    fn restarted(&mut self, now: Instant) {
        self.echo.restarted(now);
    }

    fn poll(&mut self) -> Option<Reply> {
        self.echo.poll()
    }
}

/// Runs one ledger through three crashes. Returns whether the server saw a number too early.
fn saw_undurable(seed: u64, is_hasty: bool) -> bool {
    let durable = Rc::new(Cell::new(0));
    let server =
        Witness { echo: Echo::default(), durable: Rc::clone(&durable), saw_undurable: false };
    let application = Store { is_hasty, durable: Rc::clone(&durable), restarts: 0 };
    let simulation = Simulation { seed, network: random_conditions(seed), server, application };
    let mut world = World::new(simulation);
    let client = world.join(Ledger::restore(is_hasty, 0));
    for number in 1..4 {
        world.crash(client, Duration::from_millis(number * (seed * 37 % 700)));
    }
    assert_eq!(world.run(Duration::from_secs(600)), End::Quiet, "seed {seed}");
    assert_eq!((durable.get(), world.application().restarts), (10, 3), "seed {seed}");
    world.server().saw_undurable
}

#[test]
fn a_session_that_waits_for_its_commits_never_sends_what_it_could_forget() {
    for seed in 0..200 {
        assert!(!saw_undurable(seed, false), "seed {seed}");
    }
}

#[test]
fn a_session_that_does_not_wait_for_its_commits_is_found_out() {
    assert!((0..200).any(|seed| saw_undurable(seed, true)));
}
