//! A reader who was away asks a mail server for what it missed.

use std::time::{Duration, SystemTime};

use rand_core::OsRng;
use wormhole_node::{
    ArchiveQuery, ArchiveSettings, Node, Stopped,
    devp2p::key::PrivateKey,
    fetch_archive,
    shh::{
        Bloom, Envelope, SymmetricKey, Topic, Work,
        archive::ArchiveRequest,
        filter::{Criteria, FilterKey},
    },
};

use super::restart::Folder;
use super::{connected, hear, opened, quick, sealed, start, start_beside, until};

/// A mail server.
async fn server(folder: &Folder, key: &SymmetricKey) -> Node {
    let mut settings = quick();
    settings.data = Some(folder.0.clone());
    settings.archive = Some(ArchiveSettings::new(key.clone()));
    start(settings).await
}

/// A request, sealed with the server's password and paid for.
async fn request(request: &ArchiveRequest, key: &SymmetricKey) -> Envelope {
    let signer = PrivateKey::random(&mut OsRng);
    wormhole_node::archive_request(request, key, &signer, Work::DEFAULT_MINIMUM).await.unwrap()
}

#[tokio::test]
async fn an_archive_sends_missed_messages_even_after_a_restart() {
    let folder = Folder::new("archive");
    let password = SymmetricKey::random(&mut OsRng);
    let mail = server(&folder, &password).await;
    let writer = start_beside(&mail).await;
    let key = SymmetricKey::random(&mut OsRng);
    let mut archived = Vec::new();
    for number in 0..20 {
        let envelope = sealed(&format!("missed {number}"), &key, None).await;
        archived.push(writer.post(envelope).await.unwrap());
    }
    until(async || (mail.status().await.unwrap().archived == Some(20)).then_some(())).await;
    writer.stop().await;
    mail.stop().await;

    // Nothing is left in the pool for those who come now.
    std::fs::remove_file(folder.0.join("pool")).unwrap();
    let mail = server(&folder, &password).await;
    assert_eq!(mail.status().await.unwrap().archived, Some(20));
    let reader = start_beside(&mail).await;
    reader.trust(mail.id()).await.unwrap();
    let mut heard = reader.envelopes();
    let everything = ArchiveRequest { from: 0, until: u32::MAX, bloom: Bloom::FULL };
    let asked = request(&everything, &password).await;
    let done = reader.request_archive(mail.id(), asked).await.unwrap().complete().await.unwrap();
    let mut answered = Vec::new();
    for _ in 0..20 {
        let (envelope, direct) = hear(&mut heard).await;
        assert!(direct && opened(&envelope, &key).payload.starts_with(b"missed "));
        answered.push(envelope.hash());
    }
    assert_eq!(done.last, answered.last().copied());
    answered.sort_unstable();
    archived.sort_unstable();
    assert_eq!(answered, archived);

    // A topic that nobody used.
    let bloom = Bloom::of([Topic([0xaa, 0xbb, 0xcc, 0xdd])]);
    let asked = request(&ArchiveRequest { bloom, ..everything }, &password).await;
    let done = reader.request_archive(mail.id(), asked).await.unwrap().complete().await.unwrap();
    assert_eq!(done.last, None);
    reader.stop().await;
    mail.stop().await;
}

#[tokio::test]
async fn all_that_was_missed_is_there_when_the_server_is_done_and_opens() {
    let folder = Folder::new("catch-up");
    let password = SymmetricKey::random(&mut OsRng);
    let mail = server(&folder, &password).await;
    let writer = start_beside(&mail).await;
    let keys = [(); 2].map(|()| SymmetricKey::random(&mut OsRng));
    for number in 0..20 {
        let envelope = sealed(&format!("missed {number}"), &keys[number % 2], None).await;
        writer.post(envelope).await.unwrap();
    }
    until(async || (mail.status().await.unwrap().archived == Some(20)).then_some(())).await;
    writer.stop().await;

    // It has never heard of the server.
    let reader = start(quick()).await;
    let mut missed = ArchiveQuery::since(SystemTime::now() - Duration::from_secs(3600));
    missed.topics = vec![super::TOPIC];
    let result = fetch_archive(&reader, &mail.enode(), &password, &missed).await.unwrap();
    assert!(result.is_complete);
    assert_eq!(result.envelopes.len(), 20);
    let criteria = Criteria {
        key: FilterKey::Symmetric(keys[0].clone()),
        signer: None,
        topics: vec![super::TOPIC],
        min_work: Work::NONE,
        direct: false,
    };
    let opened = result.decrypt(criteria).unwrap();
    let mut said: Vec<_> = opened.iter().map(|received| &received.message.payload).collect();
    said.sort_unstable();
    let mut expected: Vec<_> =
        (0..20).step_by(2).map(|number| format!("missed {number}").into_bytes()).collect();
    expected.sort_unstable();
    assert!(said.into_iter().eq(&expected));
    // It is parted with again.
    until(async || reader.peers().await.unwrap().is_empty().then_some(())).await;
    reader.stop().await;
    mail.stop().await;
}

#[tokio::test]
async fn an_existing_peer_stays_and_only_the_asked_server_can_complete_a_request() {
    let folder = Folder::new("stays");
    let password = SymmetricKey::random(&mut OsRng);
    let mail = server(&folder, &password).await;
    let reader = start_beside(&mail).await;
    let mut settings = quick();
    settings.static_peers = vec![reader.enode()];
    let friend = start(settings).await;
    connected(&reader, 2).await;
    reader.trust(friend.id()).await.unwrap();
    let mut missed = ArchiveQuery::since(SystemTime::now() - Duration::from_secs(3600));
    missed.topics = vec![Topic([9, 9, 9, 9])];
    // They come all the time.
    let other = sealed("from a friend", &SymmetricKey::random(&mut OsRng), None).await;
    let (mut heard, enode) = (reader.envelopes(), mail.enode());
    let sending = async {
        loop {
            friend.wait_connected(reader.id()).await.unwrap();
            friend.send_direct(reader.id(), other.clone()).await.unwrap();
            assert!(hear(&mut heard).await.1);
        }
    };
    let result = tokio::select! {
        result = fetch_archive(&reader, &enode, &password, &missed) => result.unwrap(),
        () = sending => unreachable!(),
    };
    assert!(result.is_complete && result.envelopes.is_empty());
    let peers = reader.peers().await.unwrap();
    assert!(peers.iter().any(|peer| peer.id == mail.id() && peer.is_static));
    for node in [reader, friend, mail] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_asks_for_more_work_than_usual_is_given_it() {
    let folder = Folder::new("work");
    let (password, work) = (SymmetricKey::random(&mut OsRng), Work::new(5.0).unwrap());
    let mut archive = ArchiveSettings::new(password.clone());
    archive.min_work = work;
    let mut settings = quick();
    (settings.min_work, settings.archive) = (work, Some(archive));
    settings.data = Some(folder.0.clone());
    let mail = start(settings).await;
    let reader = start(quick()).await;
    let missed = ArchiveQuery::since(SystemTime::now() - Duration::from_secs(3600));
    let result = fetch_archive(&reader, &mail.enode(), &password, &missed).await.unwrap();
    assert!(result.is_complete);
    reader.stop().await;
    mail.stop().await;
}

#[tokio::test]
async fn waiting_for_a_peer_ends_when_it_connects() {
    let (one, two) = (start(quick()).await, start(quick()).await);
    let waiting = one.wait_connected(two.id());
    let calling = async { two.add_peer(one.enode()).await.unwrap() };
    let (waited, _) =
        tokio::time::timeout(super::PATIENCE, async { tokio::join!(waiting, calling) })
            .await
            .expect("in time");
    assert_eq!(waited, Ok(()));
    assert_eq!(one.peers().await.unwrap()[0].id, two.id());
    assert_eq!(one.wait_connected(two.id()).await, Ok(()));
    two.stop().await;
    one.clone().stop().await;
    assert_eq!(one.wait_connected(one.id()).await, Err(Stopped));
}

#[tokio::test]
async fn requests_with_a_wrong_password_are_not_answered() {
    let folder = Folder::new("password");
    let password = SymmetricKey::random(&mut OsRng);
    let mail = server(&folder, &password).await;
    let reader = start_beside(&mail).await;
    reader.trust(mail.id()).await.unwrap();
    let everything = ArchiveRequest { from: 0, until: u32::MAX, bloom: Bloom::FULL };
    let guessed = request(&everything, &SymmetricKey::random(&mut OsRng)).await;
    let unanswered = reader.request_archive(mail.id(), guessed).await.unwrap();
    // The server answers in order, so that this would come second.
    let asked = request(&everything, &password).await;
    reader.request_archive(mail.id(), asked).await.unwrap().complete().await.unwrap();
    connected(&mail, 1).await;
    mail.stop().await;
    assert!(unanswered.complete().await.is_err());
    reader.stop().await;
}
