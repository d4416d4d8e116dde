//! A mailbox server that is restarted in the middle of an exchange, with the same database: before it has received a
//! request, or after it has executed it, but before the client has received the answer.

use std::path::{Path, PathBuf};

use rand_core::{OsRng, RngCore};
use wormhole::code::{AppId, Config, Error, Wormhole};
use wormhole_server::testing::TestServers;

use crate::proxy::{Lost, Proxy};

/// A folder for a database, removed with this value.
struct Database(PathBuf);

impl Database {
    fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("wormhole-restarts-{:016x}", OsRng.next_u64()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Starts a server with this database.
    async fn serve(&self) -> TestServers {
        let file = self.0.join("mailbox.sqlite");
        TestServers::start(&["--mailbox-db", Path::to_str(&file).unwrap()]).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// Connects two wormholes and sends messages both ways.
async fn exchange(config: Config) -> (Wormhole, Wormhole) {
    let alice = Wormhole::create(config.clone());
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let bob = Wormhole::create(config);
    bob.set_code(alice.code().await.unwrap()).unwrap();
    for number in 0..3_u8 {
        alice.send_message(vec![number]).await.unwrap();
        bob.send_message(vec![100 + number]).await.unwrap();
    }
    for number in 0..3_u8 {
        assert_eq!(bob.receive_message().await.unwrap(), [number]);
        assert_eq!(alice.receive_message().await.unwrap(), [100 + number]);
    }
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
    (alice, bob)
}

/// Runs an exchange during which this message is lost with the server. The server comes back, and nothing is lost or
/// duplicated.
async fn survives(lost: Lost) {
    let database = Database::new();
    let server = database.serve().await;
    let proxy = Proxy::start(server.mailbox()).await;
    let happened = proxy.lose(lost);
    let url = format!("ws://{}/v1", proxy.address);
    let app_id = AppId::new("example.com/test");
    let config = Config { app_id, servers: vec![url.parse().unwrap()], ..Config::default() };
    let restart = async {
        happened.await;
        server.stop().await;
        let server = database.serve().await;
        proxy.move_to(server.mailbox());
        server
    };
    let consumed = async {
        let (alice, bob) = exchange(config).await;
        alice.code_consumed().await.unwrap();
        bob.code_consumed().await.unwrap();
        (alice, bob)
    };
    let ((alice, bob), server) = tokio::join!(consumed, restart);
    // The last message of one side shows that there are no others: messages arrive in order.
    alice.send_message(b"last".to_vec()).await.unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), b"last", "{lost:?}");
    assert!(alice.close().await.unwrap().confirmed, "{lost:?}");
    assert!(bob.close().await.unwrap().confirmed, "{lost:?}");
    drop(server);
}

/// The request is lost in one exchange, the answer in another one.
async fn both_survive(request: Lost, answer: Lost) {
    tokio::join!(survives(request), survives(answer));
}

#[tokio::test]
async fn a_restart_during_the_allocation_of_a_code_loses_nothing() {
    both_survive(Lost::Request("allocate", ""), Lost::Answer("allocated", "")).await;
}

#[tokio::test]
async fn a_restart_during_a_claim_loses_nothing() {
    both_survive(Lost::Request("claim", ""), Lost::Answer("claimed", "")).await;
}

#[tokio::test]
async fn a_restart_during_the_key_exchange_loses_nothing() {
    both_survive(Lost::Request("add", "pake"), Lost::Answer("message", "pake")).await;
}

#[tokio::test]
async fn a_restart_during_the_exchange_of_versions_loses_nothing() {
    both_survive(Lost::Request("add", "version"), Lost::Answer("message", "version")).await;
}

#[tokio::test]
async fn a_restart_during_a_message_loses_nothing() {
    both_survive(Lost::Request("add", "1"), Lost::Answer("message", "1")).await;
}

#[tokio::test]
async fn a_restart_while_the_code_is_released_loses_nothing() {
    both_survive(Lost::Request("release", ""), Lost::Answer("released", "")).await;
}

#[tokio::test]
async fn closing_ends_although_the_answer_is_lost_with_the_server() {
    let server = TestServers::start(&[]).await;
    let proxy = Proxy::start(server.mailbox()).await;
    let url = format!("ws://{}/v1", proxy.address);
    let wormhole =
        Wormhole::create(Config { servers: vec![url.parse().unwrap()], ..Config::default() });
    wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
    wormhole.code().await.unwrap();
    let happened = proxy.lose(Lost::Answer("closed", ""));
    let closed = wormhole.close().await;
    happened.await;
    assert!(!closed.unwrap().confirmed);
}

#[tokio::test]
async fn a_server_that_comes_back_without_its_database_ends_both_sides() {
    let server = TestServers::start(&[]).await;
    let proxy = Proxy::start(server.mailbox()).await;
    let url = format!("ws://{}/v1", proxy.address);
    let config = Config { servers: vec![url.parse().unwrap()], ..Config::default() };
    let (alice, bob) = exchange(config).await;
    let empty = TestServers::start(&[]).await;
    proxy.move_to(empty.mailbox());
    assert_eq!(alice.receive_message().await, Err(Error::MailboxLost));
    assert_eq!(bob.receive_message().await, Err(Error::MailboxLost));
}
