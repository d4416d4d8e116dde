//! A device whose store is replaced with an older copy: messages arrive, each once, and it is noticed.

use std::path::Path;

use wormhole::chat::Event;

use crate::sync::take;
use crate::world::{Person, World, next_event, say};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Makes a copy of the store of a person whose client is not running.
fn back_up(person: &Person) {
    copy(&person.folder.0.join("store"), &person.folder.0.join("backup"));
}

/// Replaces the store with the copy.
fn restore(person: &Person) {
    let store = person.folder.0.join("store");
    std::fs::remove_dir_all(&store).unwrap();
    copy(&person.folder.0.join("backup"), &store);
}

#[tokio::test]
async fn attack_23_a_restored_store_misses_no_message_and_is_noticed() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550831", "+14155550832"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    for (from, to, person) in [(&a, &b, &bob), (&b, &a, &alice)] {
        say(from, &person.destination(), "hello").await;
        take(to).await;
    }
    a.close().await.unwrap();
    world.refuse_sealed(&alice).await;
    let a = alice.open().await;
    b.close().await.unwrap();
    back_up(&bob);
    // What is not in the copy: a message in each direction, so both sides have other keys.
    let b = bob.open().await;
    say(&a, &bob.destination(), "forgotten").await;
    take(&b).await;
    a.close().await.unwrap();
    say(&b, &alice.destination(), "sent after the backup").await;
    b.close().await.unwrap();
    restore(&bob);
    let a = alice.open().await;
    assert_eq!(take(&a).await.text.as_deref(), Some("sent after the backup"));
    say(&a, &bob.destination(), "for the restored one").await;
    let b = bob.open().await;
    let mut events = b.messages();
    next_event(&mut events, |event| matches!(event, Event::StoreIsOlder)).await;
    assert_eq!(take(&b).await.text.as_deref(), Some("for the restored one"));
    // In both directions, each message once.
    for number in 0..3 {
        let text = format!("number {number}");
        for (from, to, person) in [(&b, &a, &alice), (&a, &b, &bob)] {
            say(from, &person.destination(), &text).await;
            assert_eq!(take(to).await.text, Some(text.clone()));
        }
    }
}

#[tokio::test]
async fn attack_23_a_restored_sender_is_understood_although_its_keys_were_used_before() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550833", "+14155550834"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    for (from, to, person) in [(&a, &b, &bob), (&b, &a, &alice)] {
        say(from, &person.destination(), "hello").await;
        take(to).await;
    }
    a.close().await.unwrap();
    back_up(&alice);
    let a = alice.open().await;
    for text in ["one", "two"] {
        say(&a, &bob.destination(), text).await;
        assert_eq!(take(&b).await.text.as_deref(), Some(text));
    }
    // The receipts arrive before the copy is used.
    a.close().await.unwrap();
    let a = alice.open().await;
    next_event(&mut a.messages(), |event| matches!(event, Event::UpToDate)).await;
    a.close().await.unwrap();
    restore(&alice);
    let a = alice.open().await;
    for text in ["three", "four", "five"] {
        say(&a, &bob.destination(), text).await;
        assert_eq!(take(&b).await.text.as_deref(), Some(text));
    }
}
