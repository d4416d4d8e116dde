//! Shares the processors fairly between clients.
//!
//! Proof of work, and deriving keys from passwords, need much processor time. At most as many of these jobs run at a
//! time as there are processors, and each only for a short turn. Turns rotate first between networks, then between the
//! connections of a network, then between the jobs of a connection. A client with very much work delays mainly itself:
//! while a network waits for its turn, every other network gets at most one turn. The same applies to the connections of
//! a network.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::oneshot;

/// The owner of a job. Turns rotate between owners.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Requester {
    /// The network of a TCP client: its IPv4 address, or the first 64 bits of its IPv6 address.
    pub(super) network: Option<IpAddr>,
    /// The connection of the client.
    pub(super) connection: u64,
}

impl Requester {
    /// The program in which the node runs.
    pub(super) const OWNER: Self = Self { network: None, connection: 0 };
}

/// The processors of this machine.
pub(super) static SCHEDULER: LazyLock<Scheduler> =
    LazyLock::new(|| Scheduler::new(available_parallelism().map_or(1, usize::from)));

/// Grants turns. Clones share the same queue.
#[derive(Clone, Debug)]
pub(super) struct Scheduler(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    /// Turns that can be granted at once.
    free: usize,
    /// Waiting jobs by network and connection. The first entry of each level is next.
    networks: Rotation<Option<IpAddr>, Rotation<u64, VecDeque<Waiter>>>,
}

/// Receives the turn of a waiting job.
type Waiter = oneshot::Sender<TimeSlice>;

/// Queues by key. After its turn, a key moves to the back. A new key starts at the back.
type Rotation<K, Q> = VecDeque<(K, Q)>;

impl Scheduler {
    /// Allows `count` jobs at the same time.
    fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { free: count, networks: Rotation::new() })))
    }

    /// Waits for a turn. The caller should drop it soon. Cancelling leaves the queue.
    pub(super) async fn acquire(&self, requester: Requester) -> TimeSlice {
        let place = {
            let mut queue = self.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return TimeSlice(self.clone());
            }
            queue.enter(requester)
        };
        // The queue never drops the sender of a job that still waits.
        place.await.unwrap_or_else(|_| TimeSlice(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn enter(&mut self, requester: Requester) -> oneshot::Receiver<TimeSlice> {
        let (waiter, place) = oneshot::channel();
        let connections = entry(&mut self.networks, requester.network);
        entry(connections, requester.connection).push_back(waiter);
        place
    }

    /// Removes the next job that still waits.
    fn next(&mut self) -> Option<Waiter> {
        while let Some((network, mut connections)) = self.networks.pop_front() {
            let waiter = next_of(&mut connections);
            if !connections.is_empty() {
                self.networks.push_back((network, connections));
            }
            if waiter.is_some() {
                return waiter;
            }
        }
        None
    }
}

fn next_of(connections: &mut Rotation<u64, VecDeque<Waiter>>) -> Option<Waiter> {
    while let Some((connection, mut waiters)) = connections.pop_front() {
        let waiter = std::iter::from_fn(|| waiters.pop_front()).find(|waiter| !waiter.is_closed());
        if !waiters.is_empty() {
            connections.push_back((connection, waiters));
        }
        if waiter.is_some() {
            return waiter;
        }
    }
    None
}

fn entry<K: PartialEq, Q: Default>(rotation: &mut Rotation<K, Q>, key: K) -> &mut Q {
    let place = rotation.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
        rotation.push_back((key, Q::default()));
        rotation.len() - 1
    });
    &mut rotation[place].1
}

/// A turn at a processor. Dropping it passes the turn to the next job.
#[derive(Debug)]
pub(super) struct TimeSlice(Scheduler);

impl Drop for TimeSlice {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.lock();
            let next = queue.next();
            if next.is_none() {
                queue.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // If the receiver was dropped just now, this drops the turn again and so passes it on.
            let _passed_on = next.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;

    use super::*;

    fn client(host: u8, connection: u64) -> Requester {
        Requester { network: Some(Ipv4Addr::new(192, 0, 2, host).into()), connection }
    }

    #[tokio::test]
    async fn turns_rotate_between_networks_connections_and_jobs() {
        let turns = Scheduler::new(1);
        let first = turns.acquire(Requester::OWNER).await;
        let greedy = [client(1, 1), client(1, 1), client(1, 2), client(1, 2), client(1, 3)];
        let mut waiting: Vec<_> = greedy
            .into_iter()
            .chain([client(2, 4)])
            .map(|who| (who, Box::pin(turns.acquire(who))))
            .collect();
        // All of them enter the queue, in this order.
        assert!(waiting.iter_mut().all(|(_, turn)| turn.now_or_never().is_none()));
        let (mut served, mut turn) = (Vec::new(), Some(first));
        while turn.take().is_some() {
            let next = waiting.iter_mut().position(|(_, waiter)| {
                turn = waiter.now_or_never();
                turn.is_some()
            });
            served.extend(next.map(|place| waiting.remove(place).0.connection));
        }
        assert_eq!(served, [1, 4, 2, 3, 1, 2]);
    }

    #[tokio::test]
    async fn a_cancelled_job_gets_no_turn_and_loses_none() {
        let turns = Scheduler::new(1);
        let first = turns.acquire(client(1, 1)).await;
        let mut gone = Box::pin(turns.acquire(client(1, 1)));
        let mut late = Box::pin(turns.acquire(client(1, 2)));
        let mut third = Box::pin(turns.acquire(client(2, 3)));
        for waiter in [&mut gone, &mut late, &mut third] {
            assert!(waiter.now_or_never().is_none());
        }
        drop(gone);
        drop(first);
        // It has been granted the turn already.
        drop(third);
        assert!(late.now_or_never().is_some());
        assert_eq!(turns.lock().free, 1);
        assert!(turns.lock().networks.is_empty());
    }
}
