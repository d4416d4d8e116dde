//! Tests the real binary when its database file is removed: it reports this, acknowledges nothing that would be lost,
//! and ends with an error.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "JSON values do not panic")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Sends a message, and waits for an answer of this type.
async fn request(link: &mut WebSocketStream<TcpStream>, message: &Value, kind: &str) -> Value {
    link.send(Message::text(message.to_string())).await.unwrap();
    loop {
        let text = link.next().await.unwrap().unwrap().into_text().unwrap();
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == kind {
            return frame;
        }
    }
}

#[tokio::test]
async fn a_server_whose_database_is_removed_refuses_requests_and_stops() {
    let unique = format!("wormhole-lost-database-{}", std::process::id());
    let folder = std::env::temp_dir().join(unique);
    std::fs::create_dir(&folder).unwrap();
    let db = folder.join("mailbox.sqlite");
    let mut process = Command::new(env!("CARGO_BIN_EXE_wormhole-server"))
        .args(["mailbox", "--listen", "127.0.0.1:0", "--db"])
        .arg(&db)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url = lines
        .find_map(|line| line.split_once(" listening on ").map(|(_, url)| url.to_owned()))
        .expect("the server did not start");
    let address = url.strip_prefix("ws://").unwrap().strip_suffix("/v1").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut link, _) = tokio_tungstenite::client_async(&url, stream).await.unwrap();
    request(&mut link, &json!({"type": "bind", "appid": "app", "side": "one"}), "ack").await;
    request(&mut link, &json!({"type": "claim", "nameplate": "4"}), "claimed").await;

    std::fs::remove_file(&db).unwrap();
    let refusal = request(&mut link, &json!({"type": "release"}), "error").await;
    assert_eq!(refusal["error"], "the server cannot store this now, try again later");
    assert_eq!(process.wait().unwrap().code(), Some(1));
    let logged: Vec<String> = lines.collect();
    let reason = "the file was removed or replaced while the server was using it";
    assert!(
        logged.iter().any(|line| line.contains(" ERROR ") && line.contains(reason)),
        "{logged:?}"
    );
    let last = logged.last().unwrap();
    assert!(
        last.starts_with("wormhole-server: error: database ") && last.ends_with(reason),
        "{last}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
