//! Tests with two sides, and with a third side that is rejected.

use super::*;

#[tokio::test]
async fn the_welcome_contains_the_configured_texts_and_the_address_of_the_client() {
    let options = ["--motd", "hello", "--advertise-version", "1.2", "--signal-error", "no"];
    let world = World::new("welcome", &options);
    let peer = world.connected().await;
    let port = peer.link.get_ref().local_addr().unwrap().port();
    let expected = json!({"motd": "hello", "current_cli_version": "1.2", "error": "no",
        "your-address": {"port": port, "ipv4": "127.0.0.1"}});
    assert_eq!(peer.welcome, expected);
    world.stop().await;
}

#[tokio::test]
async fn two_sides_with_one_nameplate_receive_every_message_once() {
    let world = World::new("meet", &[]);
    let mut one = world.bound("one").await;
    let allocated = one.request(json!({"type": "allocate"}), "allocated").await;
    let nameplate = allocated["nameplate"].as_str().unwrap();
    let mailbox = one.claim(nameplate).await;
    one.open(&mailbox).await;
    let add = json!({"type": "add", "phase": "pake", "body": "00ff", "id": "ab"});
    let echo = one.request(add, "message").await;
    assert!(echo["server_rx"].as_f64().unwrap() > 1.6e9);
    let mut two = world.bound("two").await;
    assert_eq!(two.claim(nameplate).await, mailbox);
    two.open(&mailbox).await;
    assert_eq!(two.receive().await, echo);
    two.add("version").await;
    assert_eq!(one.phase().await, "version");
    for peer in [&mut one, &mut two] {
        peer.request(json!({"type": "release"}), "released").await;
    }
    for peer in [&mut one, &mut two] {
        peer.request(json!({"type": "close", "mood": "happy"}), "closed").await;
    }
    one.send_json(json!({"type": "list"})).await;
    one.expect("ack").await;
    assert_eq!(one.receive().await, json!({"type": "nameplates", "nameplates": []}));
    world.stop().await;
}

#[tokio::test]
async fn a_client_can_send_all_its_messages_at_once() {
    let world = World::new("pipeline", &[]);
    let mut one = world.connected().await;
    for message in [
        json!({"type": "bind", "appid": "app", "side": "one"}),
        json!({"type": "open", "mailbox": "m"}),
        json!({"type": "add", "phase": "0", "body": ""}),
        json!({"type": "ping", "ping": 2}),
        json!({"type": "add", "phase": "1", "body": ""}),
        json!({"type": "close"}),
    ] {
        one.send_json(message).await;
    }
    let mut kinds = Vec::new();
    while kinds.last() != Some(&json!("closed")) {
        kinds.push(one.receive().await["type"].clone());
    }
    let expected =
        ["ack", "ack", "ack", "message", "ack", "pong", "ack", "message", "ack", "closed"];
    assert_eq!(kinds, expected);
    world.stop().await;
}

#[tokio::test]
async fn a_third_side_is_rejected_and_does_not_affect_the_first_two() {
    let world = World::new("third", &[]);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    let mailbox = one.claim("4").await;
    two.claim("4").await;
    one.open(&mailbox).await;
    two.open(&mailbox).await;
    let mut three = world.bound("three").await;
    three.assert_refused(json!({"type": "claim", "nameplate": "4"}), "crowded").await;
    three.assert_refused(json!({"type": "open", "mailbox": mailbox}), "crowded").await;
    let add = json!({"type": "add", "phase": "pake", "body": "00"});
    three.assert_refused(add, "must open mailbox before adding").await;
    three.assert_refused(json!({"type": "close", "mailbox": mailbox}), "crowded").await;
    three.request(json!({"type": "release", "nameplate": "4"}), "released").await;
    // Both connect again, as after a lost link, and find their mailbox unchanged.
    drop((one, two));
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    assert_eq!(one.claim("4").await, mailbox);
    assert_eq!(two.claim("4").await, mailbox);
    one.open(&mailbox).await;
    two.open(&mailbox).await;
    one.add("pake").await;
    assert_eq!(two.phase().await, "pake");
    world.stop().await;
}

#[tokio::test]
async fn links_of_one_side_count_as_one_side_and_all_receive_messages() {
    let world = World::new("same-side", &[]);
    let (mut one, mut again) = (world.bound("one").await, world.bound("one").await);
    let mut two = world.bound("two").await;
    for peer in [&mut one, &mut again, &mut two] {
        peer.open("m").await;
        peer.ping().await;
    }
    one.add("0").await;
    assert_eq!((again.phase().await, two.phase().await), ("0".into(), "0".into()));
    world.stop().await;
}

#[tokio::test]
async fn a_link_that_has_closed_its_mailbox_receives_no_more_messages() {
    let world = World::new("deaf", &[]);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    one.open("m").await;
    two.open("m").await;
    one.request(json!({"type": "close", "mood": "happy"}), "closed").await;
    two.add("0").await;
    one.ping().await;
    world.stop().await;
}

#[tokio::test]
async fn with_disallow_list_the_list_of_nameplates_is_empty() {
    let world = World::new("unlisted", &["--disallow-list"]);
    let mut one = world.bound("one").await;
    one.claim("4").await;
    let list = one.request(json!({"type": "list"}), "nameplates").await;
    assert_eq!(list["nameplates"], json!([]));
    world.stop().await;
    let world = World::new("listed", &[]);
    let mut one = world.bound("one").await;
    one.claim("44").await;
    let list = one.request(json!({"type": "list"}), "nameplates").await;
    assert_eq!(list["nameplates"], json!([{"id": "44"}]));
    world.stop().await;
}

#[tokio::test]
async fn usage_is_recorded_in_the_tables_of_the_reference_server() {
    let folder = Folder::new("records");
    let path = folder.0.join("usage.sqlite");
    let usage = path.to_str().unwrap();
    let world = World::new("usage", &["--usage-db", usage, "--blur-usage", "100000"]);
    let mut one = world.connected().await;
    let version = json!(["python", "0.24.0"]);
    let bind = json!({"type": "bind", "appid": "app", "side": "one", "client_version": version});
    one.send_json(bind).await;
    one.expect("ack").await;
    let mailbox = one.claim("4").await;
    one.open(&mailbox).await;
    one.request(json!({"type": "release"}), "released").await;
    one.request(json!({"type": "close", "mood": "scary"}), "closed").await;
    drop(one);
    world.stop().await;
    let database = rusqlite::Connection::open(&path).unwrap();
    let row = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let client = "SELECT app_id || side || implementation || version FROM client_versions";
    assert_eq!(row(client), "apponepython0.24.0");
    assert_eq!(row("SELECT app_id || result FROM nameplates"), "applonely");
    assert_eq!(row("SELECT app_id || for_nameplate || result FROM mailboxes"), "app1scary");
    assert_eq!(row("SELECT '' || (started % 100000) FROM mailboxes"), "0");
    assert_eq!(row("SELECT '' || blur_time FROM current"), "100000");
    assert_eq!(row("SELECT '' || version FROM version"), "2");
}

#[tokio::test]
async fn clients_do_not_wait_for_usage_records() {
    let folder = Folder::new("slow-records");
    let path = folder.0.join("usage.sqlite");
    let world = World::new("slow-usage", &["--usage-db", path.to_str().unwrap()]);
    let mut one = world.bound("one").await;
    one.open("m").await;
    one.ping().await;
    let other = rusqlite::Connection::open(&path).unwrap();
    // The server cannot write its record of the mailbox during this transaction; it retries for five seconds.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let closed = one.request(json!({"type": "close", "mood": "happy"}), "closed");
    tokio::time::timeout(Duration::from_secs(3), closed).await.unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    drop((one, other));
    world.stop().await;
    let database = rusqlite::Connection::open(&path).unwrap();
    let rows = "SELECT COUNT(*) FROM mailboxes";
    assert_eq!(database.query_row(rows, [], |row| row.get(0)), Ok(1));
}

#[tokio::test]
async fn unused_mailboxes_are_removed_but_not_those_with_listeners() {
    let world = World::new("prune", &["--prune-seconds", "1", "--expiry-seconds", "3"]);
    let mut one = world.bound("one").await;
    one.claim("1").await;
    let kept = one.request(json!({"type": "allocate"}), "allocated").await["nameplate"].clone();
    let mut two = world.bound("one").await;
    let mailbox = two.claim(kept.as_str().unwrap()).await;
    two.open(&mailbox).await;
    let expected = json!([{"id": kept}]);
    while one.request(json!({"type": "list"}), "nameplates").await["nameplates"] != expected {}
    two.add("0").await;
    world.stop().await;
}
