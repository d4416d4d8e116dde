//! Tests of the queues of requests: turns, pauses and cached keys.

use wormhole_chat::{
    Address, ClientInput, ClientOutput, DeviceId, Identity, KemKeyPair, KeyPair, Publication,
    Signature, Timestamp,
};

use super::perform::unless_unknown;
use super::*;
use crate::chat::{Network, Server};

/// Requests to a server that does not exist. None of them is sent before the first `await`.
fn requests() -> Requests {
    let server = Server::new("http://127.0.0.1:1".parse().unwrap());
    let service = Service::new(&server, &Network::default()).unwrap();
    let us = Address { account: account(99), device: DeviceId::PRIMARY };
    let identity = Identity { pair: KeyPair::random(&mut OsRng), registration_id: 1 };
    let core = Core::new(us, identity, Timestamp(0), &mut OsRng);
    Requests::new(Arc::new(service), Arc::new(Sealing::new(core.sealer(), None, None)))
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

/// An id of a request: only a client can make one.
fn request_id() -> RequestId {
    let us = Address { account: account(99), device: DeviceId::PRIMARY };
    let identity = Identity { pair: KeyPair::random(&mut OsRng), registration_id: 1 };
    let mut client = Core::new(us, identity, Timestamp(0), &mut OsRng);
    loop {
        match client.poll().unwrap() {
            ClientOutput::Commit(id, _) => {
                client.handle(Timestamp(0), ClientInput::Committed(id), &mut OsRng);
            }
            ClientOutput::Request(id, _) => return id,
            ClientOutput::Acknowledge(_) | ClientOutput::Event(_) | ClientOutput::ReadAgain(..) => {
            }
        }
    }
}

/// The request of a lane has this result.
fn finish(requests: &mut Requests, lane: Lane, result: Result<Response, RequestError>) {
    requests.finish(Finished::new(lane, request_id(), result));
}

fn publication() -> Request {
    let pair = KeyPair::random(&mut OsRng);
    let signature = Signature([0; 64]);
    Request::Publish(Box::new(Publication {
        identity: *pair.public(),
        signed: (1, *pair.public(), signature),
        one_time: Vec::new(),
        kem: (1, KemKeyPair::random(&mut OsRng).public().clone(), signature),
    }))
}

#[test]
fn attack_11_a_service_that_refuses_lists_of_devices_does_not_stop_messages() {
    for error in [
        RequestError::Invalid(400),
        RequestError::Invalid(422),
        RequestError::Refused(403),
        RequestError::Unavailable(501),
    ] {
        assert_eq!(unless_unknown(Err(error)).unwrap(), Response::Refused);
    }
    for error in [RequestError::Unavailable(503), RequestError::CredentialsRefused] {
        assert!(unless_unknown(Err(error)).is_err());
    }
}

#[tokio::test]
async fn each_account_has_its_turn_and_so_have_our_own_keys() {
    let mut requests = requests();
    let id = request_id();
    for number in 1..=9 {
        requests.push(id, Request::Bundles(account(number)));
        requests.push(id, Request::Bundles(account(number)));
    }
    requests.push(id, publication());
    let mut started = Vec::new();
    requests.start();
    for _ in 0..9 {
        let lane = requests.busy.pop_first().unwrap();
        started.push(lane);
        finish(&mut requests, lane, Ok(Response::Done));
        requests.running = requests.running.into_iter().skip(1).collect();
        requests.start();
    }
    started.extend(requests.busy.iter().copied());
    assert!(started.contains(&Lane::OwnKeys), "{started:?}");
    let accounts: BTreeSet<_> = started.iter().collect();
    assert!(accounts.len() >= 9, "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_keys_are_offered_again_after_an_hour() {
    let mut requests = requests();
    requests.push(request_id(), publication());
    requests.start();
    finish(&mut requests, Lane::OwnKeys, Err(RequestError::Invalid(422)));
    requests.running.clear();
    assert_eq!(requests.due(), Some(Instant::now() + REFUSED_KEYS_PAUSE));
    // Other requests are made again earlier. The client offers its keys with them.
    requests.push(request_id(), Request::Bundles(account(1)));
    requests.start();
    finish(&mut requests, Lane::Account(account(1)), Err(RequestError::Unavailable(503)));
    requests.running.clear();
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(requests.take_retry());
    requests.push(request_id(), publication());
    requests.start();
    assert!(requests.running.is_empty() && requests.due().is_some());
    tokio::time::advance(REFUSED_KEYS_PAUSE).await;
    requests.start();
    assert!(requests.busy.contains(&Lane::OwnKeys));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_due_while_a_retry_waits_for_running_requests() {
    let mut requests = requests();
    let id = request_id();
    let limited = || Err(RequestError::TooMany(Duration::from_secs(5)));
    for number in 1..=3 {
        requests.push(id, Request::Bundles(account(number)));
    }
    requests.start();
    finish(&mut requests, Lane::Account(account(1)), limited());
    finish(&mut requests, Lane::Account(account(2)), Err(RequestError::Unavailable(500)));
    requests.push(id, Request::Bundles(account(1)));
    assert!(requests.due().is_none_or(|at| at > Instant::now()));
    tokio::time::advance(Duration::from_secs(60)).await;
    requests.start();
    assert_eq!(requests.due(), None);
    // When they have ended, the client makes its requests again.
    requests.running.clear();
    assert!(requests.due().is_some() && requests.take_retry());
}

#[tokio::test]
async fn a_group_message_is_being_sent_or_is_forgotten() {
    let mut requests = requests();
    for timestamp in [Timestamp(1), Timestamp(2)] {
        let message = Request::SendGroup {
            timestamp,
            message: vec![7].into(),
            left_out: Vec::new(),
            is_online: false,
        };
        requests.push(request_id(), message);
    }
    requests.start();
    assert!(requests.is_sending(Timestamp(1)) && !requests.is_sending(Timestamp(2)));
    requests.forget(Timestamp(2));
    assert!(requests.queues.is_empty());
    // There is no server, so it certainly has not arrived.
    let finished = requests.next().await.unwrap();
    assert_eq!((finished.message(), finished.may_have_arrived()), (Some(Timestamp(1)), false));
    requests.finish(finished);
    assert!(!requests.is_sending(Timestamp(1)));
}

fn resolved(number: u8) -> Resolved {
    let identity = *KeyPair::random(&mut OsRng).public();
    Resolved { account: account(number), app: None, identity, bundles: Vec::new(), list: None }
}

#[tokio::test]
async fn keys_that_were_known_say_nothing_about_the_server() {
    let mut requests = requests();
    requests.attempt = 3;
    requests.keep(resolved(1));
    requests.push(request_id(), Request::Bundles(account(1)));
    requests.start();
    let finished = requests.next().await.unwrap();
    assert!(finished.is_cached());
    requests.finish(finished);
    assert_eq!(requests.attempt, 3);
    finish(&mut requests, Lane::Account(account(2)), Ok(Response::Done));
    assert_eq!(requests.attempt, 0);
}

#[tokio::test]
async fn keys_from_before_a_mismatch_are_not_used() {
    let mut requests = requests();
    for result in [
        Response::Stale(vec![DeviceId::PRIMARY]),
        Response::Mismatched { missing: vec![DeviceId::PRIMARY], extra: Vec::new() },
    ] {
        requests.keep(resolved(1));
        requests.keep(resolved(2));
        finish(&mut requests, Lane::Account(account(1)), Ok(result));
        assert_eq!(requests.fetched.keys().copied().collect::<Vec<_>>(), [account(2)]);
    }
}
