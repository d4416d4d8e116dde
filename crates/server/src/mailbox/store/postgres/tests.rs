//! Tests of the PostgreSQL store alone: it waits for a lost connection, but not when the server stops.

use std::sync::mpsc;

use wormhole_testbed::{Durability, Postgres, installed_or_skip};

use super::*;
use crate::database::postgres::{CLIENT_WAIT, NotAvailable};

#[test]
fn a_server_that_stops_does_not_wait_for_a_lost_postgresql() {
    let started = Postgres::start(Durability::Process, None);
    let Some(mut postgres) = installed_or_skip(started) else { return };
    let url = DatabaseUrl::from(postgres.url("postgres"));
    let (limits, node) = (StoreLimits::default(), NodeId::random());
    let mut store = PostgresStore::open(&url, limits, node, true).unwrap();
    let stop = store.stop_signal();
    postgres.crash();
    let (send, receive) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        // The first call waits for the next attempt until the server stops, the second one ends at once.
        let results = [store.count(), store.count()];
        send.send(results).unwrap();
    });
    let too_early = receive.recv_timeout(Duration::from_secs(1));
    assert!(too_early.is_err(), "{too_early:?}");
    stop.cancel();
    let results = receive.recv_timeout(CLIENT_WAIT / 2).expect("it waits longer");
    assert!(
        results.iter().all(|result| *result == Err(StoreError::Failed(NotAvailable.to_string())))
    );
    waiting.join().unwrap();
}
