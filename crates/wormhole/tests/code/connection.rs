//! Tests of the connection to the mailbox server: requirements of the server, lost connections, and reconnections.

use std::time::Duration;

use tokio::sync::mpsc;
use wormhole::code::{Config, Delegate, Error, MailboxUrl, Wormhole};
use wormhole::net::{LinkFailure, TlsFailure};

use crate::mailbox::Mailbox;

/// A certificate that no system trusts, and its key.
const TLS: [&str; 4] = [
    "--tls-certificate",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/net/tls/test-certificate.pem"),
    "--tls-key",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/net/tls/test-key.pem"),
];

/// The error of a wormhole that connects to the server without the proxy, with this scheme.
async fn failure(server: &Mailbox, scheme: &str) -> LinkFailure {
    let url = format!("{scheme}://{}/v1", server.servers.mailbox());
    let config = Config { servers: vec![url.parse().unwrap()], ..Config::default() };
    match Wormhole::create(config).welcome().await {
        Err(Error::ServerUnreachable(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_that_the_system_does_not_trust_is_rejected() {
    let failure = failure(&Mailbox::with(&TLS).await, "wss").await;
    // A system may have no trusted certificates at all.
    let rejected = [TlsFailure::Untrusted, TlsFailure::NoRoots].map(LinkFailure::Tls);
    assert!(rejected.contains(&failure), "{failure:?}");
}

#[tokio::test]
async fn a_url_without_tls_for_a_server_with_tls_is_reported() {
    assert_eq!(failure(&Mailbox::with(&TLS).await, "ws").await, LinkFailure::TlsExpected);
}

#[tokio::test]
async fn a_url_with_tls_for_a_server_without_tls_is_reported() {
    let failure = failure(&Mailbox::start().await, "wss").await;
    let reported = [TlsFailure::NotTls, TlsFailure::NoRoots].map(LinkFailure::Tls);
    assert!(reported.contains(&failure), "{failure:?}");
}

#[tokio::test]
async fn a_path_without_a_mailbox_server_is_reported_with_its_status() {
    let server = Mailbox::start().await;
    let url = format!("ws://{}/health", server.servers.mailbox());
    let config = Config { servers: vec![url.parse().unwrap()], ..Config::default() };
    let error = Wormhole::create(config).welcome().await.unwrap_err();
    let Error::ServerUnreachable(LinkFailure::NotAWebSocket(status)) = error else {
        panic!("{error:?}")
    };
    assert!(status < 500, "{status}");
}

#[tokio::test]
async fn the_servers_error_for_all_clients_ends_the_wormhole() {
    let server = Mailbox::with(&["--mailbox-signal-error", "closed for repairs"]).await;
    let wormhole = Wormhole::create(server.config());
    wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let Err(Error::Unwelcome(reason)) = wormhole.code().await else { panic!("it was welcome") };
    assert_eq!(reason.as_str(), "closed for repairs");
}

#[tokio::test]
async fn a_demanded_proof_of_work_is_found_and_accepted() {
    let server = Mailbox::with(&["--mailbox-hashcash-bits", "12"]).await;
    let alice = Wormhole::create(server.config());
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let bob = Wormhole::create(server.config());
    bob.set_code(alice.code().await.unwrap()).unwrap();
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
    let proof = server.proxy.received("submit-permissions").await;
    assert_eq!(proof["method"], "hashcash");
}

#[tokio::test]
async fn a_server_without_room_for_another_connection_is_reported() {
    let server = Mailbox::with(&["--mailbox-max-links", "1"]).await;
    let first = Wormhole::create(server.config());
    first.welcome().await.unwrap();
    let refused = failure(&server, "ws").await;
    assert!(!matches!(refused, LinkFailure::TimedOut), "{refused:?}");
    assert_eq!(server.servers.metric("mailbox_refused_total"), 1);
}

#[tokio::test]
async fn the_address_that_answered_is_the_one_that_is_reported() {
    let server = Mailbox::start().await;
    let mut config = server.config();
    let alive = config.servers[0].clone();
    let dead: MailboxUrl = "ws://127.0.0.1:1/v1".parse().unwrap();
    config.servers.insert(0, dead);
    assert_eq!(Wormhole::create(config).server().await.unwrap(), alive);
}

#[tokio::test]
async fn a_code_that_waits_for_its_peer_survives_a_lost_server() {
    let server = Mailbox::start().await;
    let alice = Wormhole::create(server.config());
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    let code = alice.code().await.unwrap();
    server.proxy.received("open").await;
    server.proxy.stay_down();
    while !alice.is_server_lost() {
        tokio::task::yield_now().await;
    }
    // Sent while there is no server.
    alice.send_message(b"early".to_vec()).await.unwrap();
    server.proxy.cut_all();
    let bob = Wormhole::create(server.config());
    bob.set_code(code).unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), b"early");
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
    assert!(!alice.is_server_lost());
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_reported_instead_of_waiting_for_ever() {
    let server = Mailbox::start().await;
    let alice = Wormhole::create(server.config());
    alice.allocate_code(Wormhole::CODE_WORDS).unwrap();
    server.proxy.received("open").await;
    let empty = Mailbox::start().await;
    server.proxy.move_to(empty.servers.mailbox());
    assert_eq!(alice.verifier().await.unwrap_err(), Error::MailboxLost);
}

/// Reports the connection's state.
struct Watcher(mpsc::UnboundedSender<String>);

impl Delegate for Watcher {
    fn on_server(&mut self, _: &MailboxUrl) {
        self.0.send("connected".into()).unwrap();
    }

    fn on_server_lost(&mut self) {
        self.0.send("lost".into()).unwrap();
    }

    fn on_server_retry(&mut self, _: &LinkFailure, failures: u32, pause: Duration) {
        assert!(!pause.is_zero());
        self.0.send(format!("failure {failures}")).unwrap();
    }

    fn on_server_found(&mut self) {
        self.0.send("found".into()).unwrap();
    }
}

#[tokio::test]
async fn a_delegate_learns_that_the_server_is_lost_still_lost_and_found() {
    let server = Mailbox::start().await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let wormhole = Wormhole::create_with_delegate(server.config(), Box::new(Watcher(reports)));
    wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
    assert_eq!(reported.recv().await.unwrap(), "connected");
    server.proxy.received("open").await;
    server.proxy.stay_down();
    assert_eq!(reported.recv().await.unwrap(), "lost");
    let retry = reported.recv().await.unwrap();
    assert!(retry.starts_with("failure "), "{retry}");
    server.proxy.cut_all();
    let mut last = retry;
    while last.starts_with("failure ") {
        last = reported.recv().await.unwrap();
    }
    assert_eq!(last, "found");
    assert!(wormhole.close().await.unwrap().confirmed);
}

#[tokio::test]
async fn messages_of_both_sides_keep_their_order_and_contents_through_lost_links() {
    let server = Mailbox::start().await;
    let (alice, bob) = (Wormhole::create(server.config()), Wormhole::create(server.config()));
    alice.set_code("4-x".parse().unwrap()).unwrap();
    bob.set_code("4-x".parse().unwrap()).unwrap();
    for (number, size) in (0_u8..).zip([0, 1, 65_536, 0, 1_000_000]) {
        alice.send_message(vec![number; size]).await.unwrap();
        bob.send_message(vec![100 + number; size]).await.unwrap();
        if size == 1 {
            alice.verifier().await.unwrap();
            server.proxy.cut_all();
        }
    }
    for (number, size) in (0_u8..).zip([0, 1, 65_536, 0, 1_000_000]) {
        assert_eq!(bob.receive_message().await.unwrap(), vec![number; size]);
        assert_eq!(alice.receive_message().await.unwrap(), vec![100 + number; size]);
    }
}

#[tokio::test]
async fn dropping_the_future_of_a_message_loses_no_message() {
    let server = Mailbox::start().await;
    let (alice, bob) = (Wormhole::create(server.config()), Wormhole::create(server.config()));
    alice.set_code("4-x".parse().unwrap()).unwrap();
    bob.set_code("4-x".parse().unwrap()).unwrap();
    for number in 0..10_u8 {
        let early = tokio::time::timeout(Duration::ZERO, bob.receive_message()).await;
        assert!(early.is_err(), "a message came before it was sent");
        alice.send_message(vec![number]).await.unwrap();
        assert_eq!(bob.receive_message().await.unwrap(), [number]);
    }
}
