//! The ways between two sides, and what a lost connection to the mailbox server does to a transfer.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use wormhole::code;
use wormhole::transfer::{self, CodeSource};
use wormhole::transit::{self, RaceError, RelayHint, RelayPolicy, TcpHint};

use super::*;
use crate::proxy::{Lost, Proxy};

#[tokio::test]
async fn a_sender_that_may_only_use_a_relay_and_a_receiver_that_may_not_find_no_way() {
    let servers = TestServers::start(&[]).await;
    let (mut settings, code) = settings_for(&servers);
    let (from, to) = (Folder::new(), Folder::new());
    settings.relays = vec![servers::relay(&servers)];
    settings.relay = RelayPolicy::Only;
    let sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
    settings.relay = RelayPolicy::Never;
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    for outcome in [sent, received] {
        let is_no_way = |error: &Error| {
            let race = RaceError::NoCommonMethod;
            let expected = transit::Error::NotConnected { race, relay: None, last: None };
            *error == Error::NoConnection(expected) || matches!(error, Error::PeerRefused(_))
        };
        assert!(outcome.as_ref().is_err_and(is_no_way), "{outcome:?}");
    }
    assert_eq!(to.names(), Vec::<String>::new());
    assert_eq!(servers.metric("transit_relay_bytes_total"), 0);
}

#[tokio::test]
async fn a_direct_connection_is_preferred_to_a_relay() {
    let servers = TestServers::start(&[]).await;
    let (mut settings, code) = settings_for(&servers);
    settings.relays = vec![servers::relay(&servers)];
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", &[1; 200_000]);
    let (sent, received) =
        transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.unwrap().path.unwrap().is_direct());
    assert!(received.unwrap().path.unwrap().is_direct());
    // A handshake may go there, but no data.
    assert!(servers.metric("transit_relay_bytes_total") < 1000);
}

#[tokio::test]
async fn transfers_at_the_same_time_do_not_mix() {
    let servers = TestServers::start(&[]).await;
    let (mut settings, _) = settings_for(&servers);
    settings.code = None;
    let (from, to) = (Folder::new(), Folder::new());
    let mut running = tokio::task::JoinSet::new();
    for number in 0..8_u8 {
        let file = from.file(&format!("file {number}"), &vec![number; 50_000]);
        let mut sender = transfer::send(path(&file), settings.clone()).unwrap();
        let (settings, destination) = (settings.clone(), to.destination(OnExists::Refuse));
        running.spawn(async move {
            let code = CodeSource::Code(sender.code().await.unwrap());
            let receiver = transfer::receive(code, settings);
            let ((sent, _), (received, _)) =
                tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
            assert!(sent.is_ok() && received.is_ok());
        });
    }
    while let Some(finished) = running.join_next().await {
        finished.unwrap();
    }
    assert_eq!(to.names().len(), 8);
    for number in 0..8_u8 {
        let arrived = std::fs::read(to.path().join(format!("file {number}"))).unwrap();
        assert_eq!(arrived, vec![number; 50_000]);
    }
}

/// Settings for a proxy in front of the mailbox server.
async fn proxied(servers: &TestServers) -> (Proxy, Settings, Code) {
    let proxy = Proxy::start(servers.mailbox()).await;
    let (mut settings, code) = settings_for(servers);
    settings.servers = vec![format!("ws://{}/v1", proxy.address).parse().unwrap()];
    (proxy, settings, code)
}

#[tokio::test]
async fn a_sender_that_waits_for_its_peer_reconnects_to_a_lost_server_and_reports_it() {
    let servers = TestServers::start(&[]).await;
    let (proxy, settings, code) = proxied(&servers).await;
    let mut sender = transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap();
    proxy.received("open").await;
    proxy.stay_down();
    let failures = loop {
        let event = sender.next().await.unwrap().unwrap();
        if let Event::ServerRetry { failures, .. } = event {
            break failures;
        }
    };
    assert!(failures >= 1);
    proxy.cut_all();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let ((sent, _), (received, _)) = tokio::join!(finish(sender, None), finish(receiver, None));
    assert!(sent.is_ok() && received.is_ok());
}

#[tokio::test]
async fn links_to_the_server_that_are_cut_during_the_negotiation_are_reopened() {
    let servers = TestServers::start(&[]).await;
    let (proxy, settings, code) = proxied(&servers).await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"contents");
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        offer(&mut receiver).await;
        proxy.cut_all();
        receiver.accept(to.destination(OnExists::Refuse));
        finish(receiver, None).await
    };
    let ((sent, _), (received, _)) = tokio::join!(finish(sender, None), receiving);
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"contents");
}

/// Sends a text while this message is lost with the link to the server.
async fn send_text_despite(lost: Lost) {
    let servers = TestServers::start(&[]).await;
    let (proxy, settings, code) = proxied(&servers).await;
    let happened = proxy.lose(lost);
    let sender = transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let reopen = async {
        happened.await;
        proxy.cut_all();
    };
    let ((sent, _), (received, events), ()) =
        tokio::join!(finish(sender, None), finish(receiver, None), reopen);
    assert!(sent.is_ok() && received.is_ok(), "{lost:?}: {sent:?} {received:?}");
    let texts = events.iter().filter(|event| matches!(event, Event::Text(_))).count();
    assert_eq!(texts, 1, "{lost:?}");
}

#[tokio::test]
async fn a_text_arrives_once_when_its_message_is_lost_with_the_link_to_the_server() {
    let requests = send_text_despite(Lost::Request("add", "0"));
    tokio::join!(requests, send_text_despite(Lost::Answer("message", "0")));
}

/// A source that gives its second half when the test allows it.
struct Halves {
    given: usize,
    go_on: mpsc::Receiver<()>,
}

impl Read for Halves {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.given += 1;
        if self.given == 2 {
            let _allowed = self.go_on.recv();
        }
        if self.given > 2 {
            return Ok(0);
        }
        buffer[0] = b'x';
        Ok(1)
    }
}

#[tokio::test]
async fn a_transfer_that_has_begun_finishes_without_the_mailbox_server() {
    let servers = TestServers::start(&[]).await;
    let (proxy, settings, code) = proxied(&servers).await;
    let to = Folder::new();
    let (allow, go_on) = mpsc::channel();
    let reader = Box::new(Halves { given: 0, go_on });
    let what = Outgoing::Stream { name: "s".into(), reader };
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        offer(&mut receiver).await;
        receiver.accept(to.destination(OnExists::Refuse));
        while !matches!(receiver.next().await, Some(Ok(Event::Progress { done: 1, .. }))) {}
        proxy.stay_down();
        allow.send(()).unwrap();
        finish(receiver, None).await
    };
    let ((sent, _), (received, _)) = tokio::join!(finish(sender, None), receiving);
    assert_eq!(sent.unwrap().bytes, 2);
    assert_eq!(received.unwrap().bytes, 2);
    assert_eq!(std::fs::read(to.path().join("s")).unwrap(), b"xx");
}

#[tokio::test]
async fn a_sender_whose_server_lost_its_data_ends_instead_of_waiting_for_ever() {
    let servers = TestServers::start(&[]).await;
    let (proxy, settings, _) = proxied(&servers).await;
    let sender = transfer::send(Outgoing::Text("a".into()), settings).unwrap();
    proxy.received("open").await;
    let empty = TestServers::start(&[]).await;
    proxy.move_to(empty.mailbox());
    let (outcome, _) = finish(sender, None).await;
    assert_eq!(outcome, Err(Error::Code(code::Error::MailboxLost)));
}

/// A proxy for TCP connections to this address, which cuts each of them after so many bytes in one direction. Returns its
/// address, and the number of connections that it has cut.
async fn cutting_proxy(
    to: std::net::SocketAddr,
    most: u64,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cuts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&cuts);
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let Ok(mut there) = TcpStream::connect(to).await else { return };
                let (from_here, mut to_here) = here.split();
                let (from_there, mut to_there) = there.split();
                let (mut from_here, mut from_there) = (from_here.take(most), from_there.take(most));
                tokio::select! {
                    _ = tokio::io::copy(&mut from_here, &mut to_there) => {}
                    _ = tokio::io::copy(&mut from_there, &mut to_here) => {}
                }
                if from_here.limit() == 0 || from_there.limit() == 0 {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (address, cuts)
}

#[tokio::test]
async fn a_transfer_whose_connection_is_cut_again_and_again_goes_on_by_itself() {
    let servers = TestServers::start(&[]).await;
    let (mut settings, code) = settings_for(&servers);
    let (proxy, cuts) = cutting_proxy(servers.relay(), 24 << 20).await;
    settings.relays = vec![RelayHint::tcp(TcpHint::new(proxy.ip().to_string(), proxy.port()))];
    settings.relay = RelayPolicy::Only;
    let (from, to) = (Folder::new(), Folder::new());
    // It cannot be compressed.
    let mut contents = vec![0; 96 << 20];
    OsRng.fill_bytes(&mut contents);
    let source = from.file("a", &contents);
    let sender = transfer::send(path(&source), settings.clone()).unwrap();
    let sending = tokio::spawn(finish(sender, None));
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    offer(&mut receiver).await;
    receiver.accept(to.destination(OnExists::Refuse));
    let (received, _) = finish(receiver, None).await;
    let (sent, _) = timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert!(received.is_ok() && sent.is_ok(), "{received:?} {sent:?}");
    assert!(std::fs::read(to.path().join("a")).unwrap() == contents);
    // Short losses may pass without an event.
    assert!(cuts.load(Ordering::Relaxed) > 1, "it was not cut again and again");
}
