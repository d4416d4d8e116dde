//! Sessions in which both sides offer and receive.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wormhole::code::Wormhole;
use wormhole::dilated;
use wormhole::transfer::PeerName;
use wormhole::transfer::share::{self, Event as ShareEvent, Session, TransferId};
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};
use wormhole_magic::transfer::dilated::{Mode, SUBPROTOCOL, frame};

use super::dilated_liars::peer;
use super::*;

fn start(settings: &Settings, code: &Code) -> Session {
    let connection = dilated::Settings { relays: Vec::new(), ..dilated::Settings::default() };
    start_with(settings, code, connection)
}

fn start_with(settings: &Settings, code: &Code, connection: dilated::Settings) -> Session {
    let config = wormhole::code::Config { servers: settings.servers.clone(), ..share::config() };
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code.clone()).unwrap();
    share::start(wormhole, share::Settings { connection, max_entries: None })
}

/// What one side has seen.
#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    received: Vec<PathBuf>,
    failed: Vec<Error>,
    peer_finished: bool,
    progress: bool,
}

/// Follows a session to its end. Accepts everything except what has this name.
async fn follow(
    mut session: Session,
    to: &Folder,
    refused: &str,
) -> (Seen, Result<(), share::Error>) {
    let mut seen = Seen::default();
    let following = async {
        while let Some(event) = session.next().await {
            match event? {
                ShareEvent::Offered { id, offer } => {
                    if offer.name().unwrap().as_sent() == refused {
                        session.refuse(id);
                    } else {
                        session.accept(id, to.destination(OnExists::KeepBoth));
                    }
                }
                ShareEvent::Done { id, report } if id.is_outgoing() => {
                    assert_eq!(report.written, None);
                    seen.sent += 1;
                }
                ShareEvent::Done { report, .. } => seen.received.extend(report.written),
                ShareEvent::Failed { error, .. } => seen.failed.push(error),
                ShareEvent::PeerFinished => seen.peer_finished = true,
                ShareEvent::Progress { .. } => seen.progress = true,
                _ => {}
            }
        }
        Ok(())
    };
    let ended = timeout(PATIENCE, following).await.expect("the session is stuck");
    (seen, ended)
}

#[tokio::test]
async fn both_sides_offer_accept_and_refuse_in_one_session() {
    let (settings, code) = settings().await;
    let (from_a, from_b) = (Folder::new(), Folder::new());
    let (to_a, to_b) = (Folder::new(), Folder::new());
    let large = vec![7; 9 << 20];
    let paths_a = [
        from_a.file("large", &large),
        from_a.file("d/x", b"x").parent().unwrap().to_owned(),
        from_a.file("unwanted", b"no"),
        from_a.file("same", b"of a"),
    ];
    let paths_b = [from_b.file("other", &large), from_b.file("same", b"of b")];
    let (mut a, mut b) = (start(&settings, &code), start(&settings, &code));
    for (session, paths) in [(&mut a, &paths_a[..]), (&mut b, &paths_b[..])] {
        for it in paths {
            let (id, offer, skipped) = session.offer(path(it)).await.unwrap();
            assert!(id.is_outgoing() && skipped.is_empty());
            assert_eq!(offer.name().unwrap().as_sent(), it.file_name().unwrap().to_str().unwrap());
        }
        session.finish();
    }
    fs::write(to_b.path().join("same"), "old").unwrap();
    let ((seen_a, end_a), (seen_b, end_b)) =
        tokio::join!(follow(a, &to_a, ""), follow(b, &to_b, "unwanted"));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
    assert_eq!((seen_a.sent, seen_a.received.len()), (3, 2));
    assert_eq!((seen_b.sent, seen_b.received.len()), (2, 3));
    assert_eq!(seen_a.failed, [Error::PeerRefused("transfer rejected".to_owned())]);
    assert_eq!(seen_b.failed, [Error::Rejected]);
    assert!(seen_a.peer_finished && seen_b.peer_finished && seen_a.progress);
    assert_eq!(to_a.names(), ["other", "same"]);
    assert_eq!(to_b.names(), ["d", "large", "same", "same (1)"]);
    assert!(fs::read(to_b.path().join("large")).unwrap() == large);
    assert!(fs::read(to_a.path().join("other")).unwrap() == large);
    assert_eq!(fs::read(to_b.path().join("d/x")).unwrap(), b"x");
    assert_eq!(fs::read(to_b.path().join("same (1)")).unwrap(), b"of a");
}

#[tokio::test]
async fn a_side_that_only_receives_gets_a_reason_and_loses_nothing() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let mut session = start(&settings, &code);
    session.offer(path(&from.file("a", b"abc"))).await.unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let ((received, _), (seen, end)) = tokio::join!(
        finish(receiver, Some(to.destination(OnExists::Refuse))),
        follow(session, &to, "")
    );
    let Err(Error::PeerRefused(reason)) = received else { panic!("{received:?}") };
    assert!(reason.contains("wormhole share"), "{reason}");
    assert_eq!(end, Err(share::Error::PeerCannotShare));
    assert!(seen.received.is_empty() && to.names().is_empty());
}

#[tokio::test]
async fn an_offer_that_is_withdrawn_fails_alone_and_the_session_goes_on() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let (mut a, mut b) = (start(&settings, &code), start(&settings, &code));
    let (withdrawn, ..) = a.offer(path(&from.file("a", b"abc"))).await.unwrap();
    let waiting = async {
        while !matches!(b.next().await, Some(Ok(ShareEvent::Offered { .. }))) {}
        a.cancel(withdrawn);
        loop {
            if let Some(Ok(ShareEvent::Failed { error, .. })) = b.next().await {
                return error;
            }
        }
    };
    let error = timeout(PATIENCE, waiting).await.unwrap();
    assert_eq!(error, Error::PeerRefused("transfer cancelled".to_owned()));
    a.offer(path(&from.file("b", b"bcd"))).await.unwrap();
    a.finish();
    b.finish();
    let ((seen, end_a), (_, end_b)) = tokio::join!(follow(a, &to, ""), follow(b, &to, ""));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
    assert_eq!((seen.sent, seen.failed), (1, vec![Error::Cancelled]));
    assert_eq!(to.names(), ["b"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_side_that_leaves_keeps_what_has_arrived_for_a_later_session() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let source = from.file("a", b"");
    // Sparse, so that it takes a while only on the way.
    fs::File::options().write(true).open(&source).unwrap().set_len(4 << 30).unwrap();
    let (mut a, mut b) = (start(&settings, &code), start(&settings, &code));
    a.offer(path(&source)).await.unwrap();
    let arriving = async {
        loop {
            match b.next().await.unwrap().unwrap() {
                ShareEvent::Offered { id, .. } => b.accept(id, to.destination(OnExists::Refuse)),
                ShareEvent::Progress { done, .. } if done > 12 << 20 => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, arriving).await.unwrap();
    assert_eq!(timeout(PATIENCE, b.close()).await.unwrap(), [to.path().join("a.part")]);
    assert_eq!(to.names(), ["a.part", "a.part.resume"]);
    let (seen, end) = follow(a, &to, "").await;
    assert!(matches!(end, Err(share::Error::Dilated(_))), "{end:?}");
    assert_eq!(seen.failed.len(), 1);
}

#[tokio::test]
async fn a_side_with_more_offers_than_places_sends_them_all_and_hears_that_the_peer_is_done() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let (mut a, mut b) = (start(&settings, &code), start(&settings, &code));
    for number in 0..70 {
        a.offer(path(&from.file(&number.to_string(), b"x"))).await.unwrap();
    }
    a.finish();
    b.finish();
    let offered = async {
        let mut ids = Vec::new();
        while ids.len() < 32 {
            if let ShareEvent::Offered { id, .. } = b.next().await.unwrap().unwrap() {
                ids.push(id);
            }
        }
        ids
    };
    let ids = timeout(PATIENCE, offered).await.unwrap();
    let hearing =
        async { while !matches!(a.next().await.unwrap().unwrap(), ShareEvent::PeerFinished) {} };
    timeout(PATIENCE, hearing).await.unwrap();
    ids.into_iter().for_each(|id| b.accept(id, to.destination(OnExists::Refuse)));
    let ((seen, end_a), (_, end_b)) = tokio::join!(follow(a, &to, ""), follow(b, &to, ""));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
    assert_eq!((seen.sent, seen.failed), (70, vec![]));
    assert_eq!(to.names().len(), 70);
}

#[tokio::test]
async fn an_offer_that_waits_for_a_place_can_be_cancelled() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let (mut a, b) = (start(&settings, &code), start(&settings, &code));
    let file = from.file("a", b"x");
    let mut ids = Vec::new();
    for _ in 0..33 {
        ids.push(a.offer(path(&file)).await.unwrap().0);
    }
    a.cancel(ids[32]);
    let cancelled = async {
        loop {
            if let ShareEvent::Failed { id, error, .. } = a.next().await.unwrap().unwrap() {
                return (id, error);
            }
        }
    };
    assert_eq!(timeout(PATIENCE, cancelled).await.unwrap(), (ids[32], Error::Cancelled));
    drop((b, to));
}

#[tokio::test]
async fn nothing_can_be_offered_after_the_end_of_the_offers() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let mut session = start(&settings, &code);
    session.finish();
    let refused = session.offer(path(&from.file("a", b"x"))).await;
    assert_eq!(refused.map(|(id, ..)| id), Err(Error::Finished));
}

#[tokio::test]
async fn a_session_that_is_closed_before_the_peer_comes_frees_its_code() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let session = start(&settings, &code);
    assert!(timeout(PATIENCE, session.close()).await.unwrap().is_empty());
    // A code that is in use by one program has no room for two more.
    let (mut a, mut b) = (start(&settings, &code), start(&settings, &code));
    a.finish();
    b.finish();
    let ((_, end_a), (_, end_b)) = tokio::join!(follow(a, &to, ""), follow(b, &to, ""));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
}

/// Waits for the next offer of the peer.
async fn offered(session: &mut Session) -> TransferId {
    loop {
        if let ShareEvent::Offered { id, .. } = session.next().await.unwrap().unwrap() {
            return id;
        }
    }
}

/// Waits until a transfer fails.
async fn failed(session: &mut Session) -> Error {
    loop {
        if let ShareEvent::Failed { error, .. } = session.next().await.unwrap().unwrap() {
            return error;
        }
    }
}

#[tokio::test]
async fn a_peer_that_withdraws_many_offers_is_refused_and_the_session_goes_on() {
    withdraw_many(false).await;
}

#[tokio::test]
async fn a_peer_that_breaks_off_many_offers_is_refused_even_if_all_are_accepted() {
    withdraw_many(true).await;
}

async fn withdraw_many(accepts: bool) {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let (mut a, mut b) = (start(&settings, &code), start(&settings, &code));
    let file = from.file("a", b"x");
    let withdrawing = async {
        for _ in 0..100 {
            let (id, ..) = a.offer(path(&file)).await.unwrap();
            let offer = offered(&mut b).await;
            a.cancel(id);
            if accepts {
                b.accept(offer, to.destination(OnExists::KeepBoth));
            }
            failed(&mut a).await;
            failed(&mut b).await;
        }
        a.offer(path(&file)).await.unwrap();
        failed(&mut a).await
    };
    let error = timeout(PATIENCE, withdrawing).await.unwrap();
    assert_eq!(error, Error::PeerRefused("too many offers were withdrawn".to_owned()));
    b.offer(path(&file)).await.unwrap();
    a.finish();
    b.finish();
    let ((_, end_a), (seen, end_b)) = tokio::join!(follow(a, &to, ""), follow(b, &to, ""));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
    assert_eq!((seen.sent, to.names()), (1, vec!["a".to_owned()]));
}

#[tokio::test]
async fn an_offer_with_more_behind_it_is_never_shown_and_the_session_goes_on() {
    let (settings, code) = settings().await;
    let mut session = start(&settings, &code);
    let peer = peer(Mode::Share, &settings, code).await;
    let mut offer = Vec::new();
    frame::offer(&mut offer, &Offer::File { name: PeerName::new("a"), size: 1, attributes: None });
    let mut early = offer.clone();
    frame::file_end(&mut early, &[0; 32]);
    let mut wrong = peer.connect(SUBPROTOCOL).unwrap();
    wrong.write_all(&early).await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, wrong.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"");
    let mut right = peer.connect(SUBPROTOCOL).unwrap();
    right.write_all(&offer).await.unwrap();
    assert_eq!(timeout(PATIENCE, offered(&mut session)).await.unwrap().number(), 2);
}

/// A relay behind a network that a test takes down and up.
async fn behind_a_network(relay: std::net::SocketAddr) -> (RelayHint, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (network, is_up) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut is_up = is_up.clone();
            tokio::spawn(async move {
                let mut relay = TcpStream::connect(relay).await.unwrap();
                tokio::select! {
                    _ended = tokio::io::copy_bidirectional(&mut client, &mut relay) => {}
                    _down = is_up.wait_for(|is_up| !is_up) => {}
                }
            });
        }
    });
    (RelayHint::tcp(TcpHint::new("127.0.0.1", port)), network)
}

#[tokio::test]
async fn transfers_go_on_after_the_connection_was_lost() {
    let servers = TestServers::start(&[]).await;
    let (settings, code) = settings_for(&servers);
    let (from, to) = (Folder::new(), Folder::new());
    let source = from.file("a", b"");
    // Sparse, so that it takes a while only on the way.
    fs::File::options().write(true).open(&source).unwrap().set_len(256 << 20).unwrap();
    let (relay, network) = behind_a_network(servers.relay()).await;
    let connection = dilated::Settings {
        policy: RelayPolicy::Only,
        relays: vec![relay],
        ..dilated::Settings::default()
    };
    let mut a = start_with(&settings, &code, connection.clone());
    let mut b = start_with(&settings, &code, connection);
    a.offer(path(&source)).await.unwrap();
    a.finish();
    let losing = async {
        let id = offered(&mut b).await;
        b.accept(id, to.destination(OnExists::Refuse));
        b.finish();
        loop {
            match b.next().await.unwrap().unwrap() {
                ShareEvent::Progress { done, .. } if done > 8 << 20 => {
                    network.send_replace(false);
                }
                ShareEvent::ConnectionLost => return,
                ShareEvent::Done { .. } => panic!("complete without a connection"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, losing).await.unwrap();
    network.send_replace(true);
    let ((seen, end_a), (received, end_b)) = tokio::join!(follow(a, &to, ""), follow(b, &to, ""));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
    assert_eq!((seen.sent, received.received), (1, vec![to.path().join("a")]));
    assert_eq!(fs::metadata(to.path().join("a")).unwrap().len(), 256 << 20);
}
