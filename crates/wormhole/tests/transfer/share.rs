//! Sessions in which both sides offer and receive.

use std::fs;

use wormhole::code::Wormhole;
use wormhole::dilated;
use wormhole::transfer::share::{self, Event as ShareEvent, Session};

use super::*;

fn start(settings: &Settings, code: &Code) -> Session {
    let config = wormhole::code::Config { servers: settings.servers.clone(), ..share::config() };
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code.clone()).unwrap();
    let connection = dilated::Settings { relays: Vec::new(), ..dilated::Settings::default() };
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
            let (id, offer, skipped) = session.offer(path(it)).unwrap();
            assert!(id.is_outgoing() && skipped.is_empty());
            assert_eq!(offer.name().unwrap().as_sent(), it.file_name().unwrap().to_str().unwrap());
        }
        session.finish();
    }
    // Both write into the same folders, so "same" exists there or will.
    let ((seen_a, end_a), (seen_b, end_b)) =
        tokio::join!(follow(a, &to_a, ""), follow(b, &to_b, "unwanted"));
    assert_eq!((end_a, end_b), (Ok(()), Ok(())));
    assert_eq!((seen_a.sent, seen_a.received.len()), (3, 2));
    assert_eq!((seen_b.sent, seen_b.received.len()), (2, 3));
    assert_eq!(seen_a.failed, [Error::PeerRefused("transfer rejected".to_owned())]);
    assert_eq!(seen_b.failed, [Error::Rejected]);
    assert!(seen_a.peer_finished && seen_b.peer_finished && seen_a.progress);
    assert_eq!(to_a.names(), ["other", "same"]);
    assert_eq!(to_b.names(), ["d", "large", "same"]);
    assert!(fs::read(to_b.path().join("large")).unwrap() == large);
    assert!(fs::read(to_a.path().join("other")).unwrap() == large);
    assert_eq!(fs::read(to_b.path().join("d/x")).unwrap(), b"x");
    assert_eq!(fs::read(to_b.path().join("same")).unwrap(), b"of a");
}

#[tokio::test]
async fn a_side_that_only_receives_gets_a_reason_and_loses_nothing() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let mut session = start(&settings, &code);
    session.offer(path(&from.file("a", b"abc"))).unwrap();
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
    let (withdrawn, ..) = a.offer(path(&from.file("a", b"abc"))).unwrap();
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
    a.offer(path(&from.file("b", b"bcd"))).unwrap();
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
    a.offer(path(&source)).unwrap();
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
