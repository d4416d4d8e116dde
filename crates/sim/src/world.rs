//! The simulated world: its clock, its links, and the endpoints of the links.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wormhole_kit::{Input, Instant, LinkId, Output, Session};

use crate::conditions::{NetworkConditions, around, below, chance};
use crate::{Reply, Server};

/// The applications of the clients. They receive every event.
pub trait Application<S: Session> {
    /// A client has an event; returns commands for clients.
    fn on_event(&mut self, client: usize, event: S::Event) -> Vec<(usize, S::Command)>;

    /// A client ended with an error.
    fn on_error(&mut self, client: usize, error: S::Error);

    /// Changes of a client are durable; the client is notified later, or crashes before.
    fn on_durable(&mut self, _client: usize, _changes: S::Changes) {}

    /// Restores a client after a crash; `None` if it does not restart.
    fn restore(&mut self, _client: usize) -> Option<S> {
        None
    }
}

/// How a simulation ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Nothing is left to do.
    Quiet,
    /// The time limit was reached.
    TimeOver,
}

/// The parts of a world; see [`World::new`].
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a list of parts")]
pub struct Simulation<V, A> {
    /// Seed of all random decisions.
    pub seed: u64,
    /// Quality of the network.
    pub network: NetworkConditions,
    /// The server.
    pub server: V,
    /// The applications.
    pub application: A,
}

/// A simulated world. Add clients with [`World::join`], then run it.
#[derive(Debug)]
pub struct World<S: Session, V, A> {
    start: Instant,
    now: Instant,
    rng: ChaCha8Rng,
    network: NetworkConditions,
    server: V,
    application: A,
    clients: Vec<Client<S>>,
    disks: Vec<Disk>,
    links: BTreeMap<u64, SimulatedLink>,
    /// Scheduled events, by time and then in the order of scheduling.
    agenda: BTreeMap<(Instant, u64), WorldEvent<S::Command, S::Changes>>,
    next_number: u64,
}

#[derive(Debug)]
struct Client<S> {
    session: S,
    /// Its links, open or being opened.
    links: BTreeMap<LinkId, u64>,
}

#[derive(Debug)]
struct SimulatedLink {
    client: usize,
    id: LinkId,
    /// Whether the link is open for the server.
    at_server: bool,
    /// Messages that would arrive after this time are lost.
    breaks: Option<Instant>,
    /// When the last message in each direction arrives, so that later ones do not overtake it.
    last_to_server: Instant,
    last_to_client: Instant,
}

/// When a client's disk completes its last commit. A commit of a client that has crashed since, according to the number
/// of crashes, is not reported.
#[derive(Debug)]
struct Disk {
    idle: Instant,
    crashes: u32,
}

#[derive(Debug)]
enum WorldEvent<C, D> {
    Command(usize, C),
    /// A client, its number of crashes at the time of the commit, and the durable changes.
    Durable(usize, u32, D),
    Committed(usize, u32),
    Crash(usize),
    Dialed(u64),
    Refused(u64),
    ToServer(u64, Vec<u8>),
    ToClient(u64, Vec<u8>),
    ServerNotices(u64),
    ClientNotices(u64),
    Restart,
}

impl<S: Session, V: Server, A: Application<S>> World<S, V, A> {
    /// A world without clients.
    pub fn new(simulation: Simulation<V, A>) -> Self {
        // The start of virtual time is arbitrary: the real clock is not used again.
        let start = Instant::now();
        let mut world = Self {
            start,
            now: start,
            rng: ChaCha8Rng::seed_from_u64(simulation.seed),
            network: simulation.network,
            server: simulation.server,
            application: simulation.application,
            clients: Vec::new(),
            disks: Vec::new(),
            links: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_number: 0,
        };
        world.plan_restart();
        world
    }

    /// The current virtual time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The applications.
    pub const fn application(&self) -> &A {
        &self.application
    }

    /// The server.
    pub const fn server(&self) -> &V {
        &self.server
    }

    /// The server, for tests.
    pub const fn server_mut(&mut self) -> &mut V {
        &mut self.server
    }

    /// Adds a client; returns its number.
    pub fn join(&mut self, session: S) -> usize {
        self.clients.push(Client { session, links: BTreeMap::new() });
        self.disks.push(Disk { idle: self.now, crashes: 0 });
        let client = self.clients.len() - 1;
        self.listen_to_client(client);
        client
    }

    /// Schedules a command of a client's application.
    pub fn command(&mut self, client: usize, after: Duration, command: S::Command) {
        self.plan(self.now + after, WorldEvent::Command(client, command));
    }

    /// Schedules a crash of a client: its links break, and changes that are not durable are lost. Then
    /// [`Application::restore`] restarts it.
    pub fn crash(&mut self, client: usize, after: Duration) {
        self.plan(self.now + after, WorldEvent::Crash(client));
    }

    /// Runs until nothing is left to do, or until the time limit.
    pub fn run(&mut self, longest: Duration) -> End {
        let over = self.now + longest;
        loop {
            let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let due = self.clients.iter().enumerate();
            let due = due.filter_map(|(number, client)| Some((client.session.deadline()?, number)));
            let due = due.min();
            let next = [planned, due.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next else { return End::Quiet };
            if next > over {
                return End::TimeOver;
            }
            self.now = self.now.max(next);
            match due {
                Some((at, client)) if planned.is_none_or(|planned| at <= planned) => {
                    self.drive(client, |session, now| session.handle_timeout(now));
                }
                _ => {
                    if let Some((_, event)) = self.agenda.pop_first() {
                        self.handle(event);
                    }
                }
            }
        }
    }

    fn handle(&mut self, event: WorldEvent<S::Command, S::Changes>) {
        match event {
            WorldEvent::Command(client, command) => {
                self.drive(client, |session, now| session.handle(now, Input::Command(command)));
            }
            WorldEvent::Durable(client, life, changes) => {
                if self.disks.get(client).is_some_and(|disk| disk.crashes == life) {
                    self.application.on_durable(client, changes);
                    let at = self.now + self.commit_time();
                    self.plan(at, WorldEvent::Committed(client, life));
                }
            }
            WorldEvent::Committed(client, life) => {
                if self.disks.get(client).is_some_and(|disk| disk.crashes == life) {
                    self.drive(client, |session, now| session.handle(now, Input::Committed));
                }
            }
            WorldEvent::Crash(client) => self.on_crash(client),
            WorldEvent::Dialed(link) => self.on_dialed(link),
            WorldEvent::Refused(link) | WorldEvent::ClientNotices(link) => {
                self.lose_at_client(link);
            }
            WorldEvent::ToServer(link, message) => {
                if self.is_whole(link) && self.links.get(&link).is_some_and(|link| link.at_server) {
                    self.server.received(self.now, link, &message);
                    self.listen_to_server();
                }
            }
            WorldEvent::ToClient(link, message) => {
                if let Some((client, id)) = self.client_end(link).filter(|_| self.is_whole(link)) {
                    self.drive(client, |session, now| {
                        session.handle(now, Input::Bytes(id, &message))
                    });
                }
            }
            WorldEvent::ServerNotices(link) => self.lose_at_server(link),
            WorldEvent::Restart => self.restart(),
        }
    }

    // ---- clients ----

    fn drive(
        &mut self,
        client: usize,
        input: impl FnOnce(&mut S, Instant) -> Result<(), S::Error>,
    ) {
        let Some(at) = self.clients.get_mut(client) else { return };
        let result = input(&mut at.session, self.now);
        // Handle the outputs before the error.
        self.listen_to_client(client);
        if let Err(error) = result {
            self.application.on_error(client, error);
        }
    }

    /// Handles the outputs of a client.
    fn listen_to_client(&mut self, client: usize) {
        while let Some(output) = self.clients.get_mut(client).and_then(|c| c.session.poll()) {
            match output {
                Output::Connect(id, _) => self.dial(client, id),
                Output::Send(id, message) => self.send_to_server(client, id, message),
                Output::Close(id) => self.close_at_client(client, id),
                Output::Event(event) => {
                    // Applications react with a delay.
                    let after = Duration::from_millis(below(&mut self.rng, 50));
                    for (client, command) in self.application.on_event(client, event) {
                        self.command(client, after, command);
                    }
                }
                Output::Commit(changes) => self.start_commit(client, changes),
            }
        }
    }

    /// Commits take time and keep their order.
    fn start_commit(&mut self, client: usize, changes: S::Changes) {
        let done = self.now + self.commit_time();
        let Some(disk) = self.disks.get_mut(client) else { return };
        disk.idle = disk.idle.max(done);
        let (at, crashes) = (disk.idle, disk.crashes);
        self.plan(at, WorldEvent::Durable(client, crashes, changes));
    }

    fn on_crash(&mut self, client: usize) {
        let (Some(at), Some(disk)) = (self.clients.get_mut(client), self.disks.get_mut(client))
        else {
            return;
        };
        disk.crashes += 1;
        let links = std::mem::take(&mut at.links);
        for link in links.into_values() {
            if let Some(link) = self.links.get_mut(&link) {
                link.breaks = Some(self.now);
            }
            let notices = self.now + self.detection_time();
            self.plan(notices, WorldEvent::ServerNotices(link));
        }
        if let Some(session) = self.application.restore(client)
            && let Some(at) = self.clients.get_mut(client)
        {
            at.session = session;
            self.listen_to_client(client);
        }
    }

    /// The client of a link, if the link is open for the client.
    fn client_end(&self, link: u64) -> Option<(usize, LinkId)> {
        let SimulatedLink { client, id, .. } = self.links.get(&link)?;
        let known = self.clients.get(*client)?.links.get(id) == Some(&link);
        known.then_some((*client, *id))
    }

    fn lose_at_client(&mut self, link: u64) {
        if let Some((client, id)) = self.client_end(link) {
            if let Some(client) = self.clients.get_mut(client) {
                client.links.remove(&id);
            }
            self.drive(client, |session, now| session.handle(now, Input::Closed(id)));
        }
    }

    // ---- links ----

    fn dial(&mut self, client: usize, id: LinkId) {
        let link = self.number();
        let now = self.now;
        let ends = SimulatedLink {
            client,
            id,
            at_server: false,
            breaks: None,
            last_to_server: now,
            last_to_client: now,
        };
        self.links.insert(link, ends);
        if let Some(client) = self.clients.get_mut(client) {
            client.links.insert(id, link);
        }
        let refused = self.is_bad() && chance(&mut self.rng, self.network.refused);
        let at = self.now + self.latency();
        self.plan(at, if refused { WorldEvent::Refused(link) } else { WorldEvent::Dialed(link) });
    }

    fn on_dialed(&mut self, link: u64) {
        let Some((client, id)) = self.client_end(link) else { return };
        let life = self.network.link_life.filter(|_| self.is_bad());
        if let Some(life) = life {
            let breaks = self.now + around(&mut self.rng, life);
            self.break_link(link, breaks);
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.at_server = true;
        }
        self.server.opened(self.now, link);
        self.drive(client, |session, now| session.handle(now, Input::Opened(id)));
        self.listen_to_server();
    }

    /// Breaks a link: nothing arrives any more, and the two ends notice at different times.
    fn break_link(&mut self, link: u64, at: Instant) {
        if let Some(link) = self.links.get_mut(&link) {
            link.breaks = Some(at);
        }
        let client_notices = at + self.detection_time();
        let server_notices = at + self.detection_time();
        self.plan(client_notices, WorldEvent::ClientNotices(link));
        self.plan(server_notices, WorldEvent::ServerNotices(link));
    }

    fn is_whole(&self, link: u64) -> bool {
        let breaks = self.links.get(&link).map(|link| link.breaks);
        breaks.is_some_and(|breaks| breaks.is_none_or(|breaks| self.now < breaks))
    }

    fn send_to_server(&mut self, client: usize, id: LinkId, message: Vec<u8>) {
        let at = self.now + self.latency();
        let link = self.clients.get(client).and_then(|client| client.links.get(&id)).copied();
        let Some(number) = link else { return };
        let Some(link) = self.links.get_mut(&number) else { return };
        link.last_to_server = link.last_to_server.max(at);
        let at = link.last_to_server;
        self.plan(at, WorldEvent::ToServer(number, message));
    }

    /// Messages that were sent before still arrive.
    fn close_at_client(&mut self, client: usize, id: LinkId) {
        let Some(client) = self.clients.get_mut(client) else { return };
        let Some(number) = client.links.remove(&id) else { return };
        let Some(link) = self.links.get(&number) else { return };
        if link.breaks.is_none() {
            self.plan(link.last_to_server.max(self.now), WorldEvent::ServerNotices(number));
        }
    }

    // ---- the server ----

    fn listen_to_server(&mut self) {
        while let Some(reply) = self.server.poll() {
            let at = self.now + self.latency();
            match reply {
                Reply::Send(number, message) => {
                    let Some(link) = self.links.get_mut(&number) else { continue };
                    link.last_to_client = link.last_to_client.max(at);
                    let at = link.last_to_client;
                    self.plan(at, WorldEvent::ToClient(number, message));
                }
                Reply::Close(number) => {
                    let Some(link) = self.links.get(&number) else { continue };
                    self.plan(link.last_to_client.max(at), WorldEvent::ClientNotices(number));
                    self.plan(self.now, WorldEvent::ServerNotices(number));
                }
            }
        }
    }

    fn lose_at_server(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number)
            && std::mem::replace(&mut link.at_server, false)
        {
            self.server.closed(self.now, number);
            self.listen_to_server();
        }
    }

    fn restart(&mut self) {
        let links = self.links.iter().filter(|(_, link)| link.at_server);
        let links: Vec<u64> = links.map(|(number, _)| *number).collect();
        for link in links {
            if self.is_whole(link) {
                if let Some(link) = self.links.get_mut(&link) {
                    link.breaks = Some(self.now);
                }
                let notices = self.now + self.detection_time();
                self.plan(notices, WorldEvent::ClientNotices(link));
            }
            self.lose_at_server(link);
        }
        self.server.restarted(self.now);
        self.plan_restart();
    }

    fn plan_restart(&mut self) {
        if let Some(life) = self.network.server_uptime.filter(|_| self.is_bad()) {
            let at = self.now + around(&mut self.rng, life) + Duration::from_millis(100);
            self.plan(at, WorldEvent::Restart);
        }
    }

    // ---- randomness and time ----

    fn is_bad(&self) -> bool {
        self.now < self.start + self.network.reliable_after
    }

    fn latency(&mut self) -> Duration {
        let most = if self.is_bad() { self.network.latency } else { FINE_LATENCY };
        most * u32::try_from(below(&mut self.rng, 1000)).unwrap_or(0) / 1000
    }

    fn detection_time(&mut self) -> Duration {
        self.network.detection_time * u32::try_from(below(&mut self.rng, 1000)).unwrap_or(0) / 1000
    }

    fn commit_time(&mut self) -> Duration {
        Duration::from_millis(below(&mut self.rng, 20))
    }

    fn plan(&mut self, at: Instant, event: WorldEvent<S::Command, S::Changes>) {
        let number = self.number();
        self.agenda.insert((at, number), event);
    }

    const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Maximum latency after the network has recovered.
const FINE_LATENCY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
