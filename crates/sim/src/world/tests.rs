use std::convert::Infallible;

use wormhole_kit::LinkIds;

use super::*;

/// A client that counts to ten with the server's help: sends a number, waits for it to come back,
/// sends the next; opens a new link whenever one is lost.
struct Counter {
    count: u8,
    link: Option<u64>,
    ids: LinkIds,
    retry: Option<Instant>,
    outputs: Vec<Output<(), u8>>,
}

impl Counter {
    fn new() -> Self {
        let ids = LinkIds::outgoing();
        let mut counter = Self { count: 0, link: None, ids, retry: None, outputs: Vec::new() };
        counter.connect();
        counter
    }

    fn connect(&mut self) {
        self.outputs.push(Output::Connect(self.ids.allocate(), ()));
    }
}

impl Session for Counter {
    type Address = ();
    type Command = ();
    type Event = u8;
    type Changes = Infallible;
    type Error = ();

    fn handle(&mut self, now: Instant, input: Input<'_, ()>) -> Result<(), ()> {
        match input {
            Input::Opened(id) => {
                self.link = Some(id.0);
                self.outputs.push(Output::Send(id, vec![self.count]));
            }
            Input::Bytes(id, bytes) => {
                assert_eq!(self.link, Some(id.0), "nothing comes from a link that was lost");
                assert_eq!(bytes, [self.count], "a link neither repeats nor reorders");
                self.outputs.push(Output::Event(self.count));
                self.count += 1;
                if self.count == 10 {
                    self.outputs.push(Output::Close(id));
                } else {
                    self.outputs.push(Output::Send(id, vec![self.count]));
                }
            }
            Input::Closed(_) => {
                self.link = None;
                self.retry = Some(now + Duration::from_secs(1));
            }
            Input::Command(()) | Input::Committed => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output<(), u8>> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn deadline(&self) -> Option<Instant> {
        self.retry
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ()> {
        if self.retry.take_if(|at| *at <= now).is_some() {
            self.connect();
        }
        Ok(())
    }
}

#[derive(Default)]
struct Echo {
    replies: Vec<Reply>,
    links: i32,
    restarts: u32,
}

impl Server for Echo {
    fn opened(&mut self, _: Instant, _: u64) {
        self.links += 1;
    }

    fn received(&mut self, _: Instant, link: u64, message: &[u8]) {
        self.replies.push(Reply::Send(link, message.to_vec()));
    }

    fn closed(&mut self, _: Instant, _: u64) {
        self.links -= 1;
    }

    fn restarted(&mut self, _: Instant) {
        self.restarts += 1;
    }

    fn poll(&mut self) -> Option<Reply> {
        (!self.replies.is_empty()).then(|| self.replies.remove(0))
    }
}

#[derive(Default)]
struct Log(Vec<(usize, u8)>);

impl Application<Counter> for Log {
    fn on_event(&mut self, client: usize, event: u8) -> Vec<(usize, ())> {
        self.0.push((client, event));
        Vec::new()
    }

    fn on_error(&mut self, _: usize, (): ()) {}
}

fn world(seed: u64, network: NetworkConditions) -> World<Counter, Echo, Log> {
    let simulation =
        Simulation { seed, network, server: Echo::default(), application: Log::default() };
    let mut world = World::new(simulation);
    world.join(Counter::new());
    world.join(Counter::new());
    world
}

fn random_conditions(seed: u64) -> NetworkConditions {
    NetworkConditions::random(&mut ChaCha8Rng::seed_from_u64(seed))
}

#[test]
fn clients_that_try_again_come_to_an_end_in_any_weather() {
    for seed in 0..200 {
        let mut world = world(seed, random_conditions(seed));
        assert_eq!(world.run(Duration::from_secs(600)), End::Quiet, "seed {seed}");
        for client in 0..2 {
            let counted: Vec<_> =
                world.application().0.iter().filter(|(who, _)| *who == client).collect();
            assert_eq!(counted.len(), 10, "seed {seed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let mut world = world(seed, random_conditions(seed));
        world.run(Duration::from_secs(600));
        (world.now() - world.start, world.application.0)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn every_link_the_server_sees_opened_it_sees_closed_once() {
    for seed in 0..200 {
        let mut world = world(seed, random_conditions(seed));
        world.run(Duration::from_secs(600));
        assert_eq!(world.server().links, 0, "seed {seed}");
    }
}

#[test]
fn bad_weather_breaks_links_and_restarts_servers() {
    let restarts = (0..50).map(|seed| {
        let mut world = world(seed, random_conditions(seed));
        world.run(Duration::from_secs(600));
        world.server().restarts
    });
    assert!(restarts.sum::<u32>() > 0);
}

mod durable;
