//! A reader who was away, and a node that kept what was said.

use wormhole_node::ArchiveSettings;
use wormhole_node::shh::{SymmetricKey, Topic};

use super::{Folder, connected, our_node, sealed, until, world};

/// Fetches from a node whose archive holds what was said in two rooms; one of them is ours.
async fn fetch(archive_password: &'static str) -> world::Ended {
    let folder = Folder::new();
    let data = folder.0.join("mail server");
    let mail = our_node(|settings| {
        let key = SymmetricKey::from_password("let me in");
        settings.archive = Some(ArchiveSettings::new(key));
        settings.data = Some(data);
    })
    .await;
    let writer = our_node(|settings| settings.static_peers = vec![mail.enode()]).await;
    connected(&writer).await;
    let key = SymmetricKey::from_password("hush");
    for (text, topic) in [("\u{1b}[31mone", "lobby"), ("two", "lobby"), ("three", "elsewhere")] {
        writer.post(sealed(text, Topic::of_word(topic), &key).await).await.unwrap();
    }
    until(async || mail.status().await.unwrap().archived == Some(3)).await;
    writer.stop().await;

    let enode = mail.enode().to_string();
    let ended = tokio::task::spawn_blocking(move || {
        let mut command =
            folder.command(&["whisper", "archive", "--server", &enode, "--topic", "lobby"]);
        command.env("WORMHOLE_WHISPER_PASSWORD", "hush");
        command.env("WORMHOLE_ARCHIVE_PASSWORD", archive_password);
        world::Running::start(command).end()
    });
    let ended = ended.await.unwrap();
    mail.stop().await;
    ended
}

#[tokio::test]
async fn messages_from_the_archive_are_fetched_and_shown_safely() {
    let ended = fetch("let me in").await;
    assert_eq!(ended.exit, 0, "{ended}");
    let out = ended.out();
    let mut texts: Vec<_> = out.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["\\u{1b}[31mone", "two"], "{ended}");
    assert!(ended.stderr.contains("2 of them for you"), "{ended}");
}

#[tokio::test]
async fn without_the_archive_s_password_nothing_comes() {
    let ended = fetch("wrong").await;
    ended.failed(1, "did not confirm that the list is complete");
    assert!(ended.out().is_empty(), "{ended}");
    assert!(ended.stderr.contains("is the password of the archive right"));
}
