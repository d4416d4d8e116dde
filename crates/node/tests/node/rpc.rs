//! The JSON-RPC server at the end of its life.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use wormhole_node::messaging::{Messenger, MessengerSettings};
use wormhole_node::rpc::{RpcServer, RpcServerSettings};

use super::*;

/// A call that takes a minute.
fn endless_call(key: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"shh_post","params":[{{"symKeyID":"{key}",
            "topic":"0x01020304","ttl":60,"powTarget":1e12,"powTime":60}}]}}"#
    )
}

/// An HTTP request with this body.
fn post(body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn calls_that_still_run_after_the_drain_time_are_ended_with_their_connections() {
    let messenger = Messenger::new(start(quick()).await, &MessengerSettings::default());
    let mut settings = RpcServerSettings::default();
    settings.drain = Duration::from_millis(500);
    let server = RpcServer::new(messenger, settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        server.serve(listener, async { drop(stopped.await) }).await;
    });

    let mut http = TcpStream::connect(address).await.unwrap();
    let new_key = r#"{"jsonrpc":"2.0","id":1,"method":"shh_newSymKey","params":[]}"#;
    http.write_all(post(new_key).as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let count = http.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    let key = answer.split(r#""result":""#).nth(1).unwrap().split('"').next().unwrap();
    http.write_all(post(&endless_call(key)).as_bytes()).await.unwrap();

    let stream = TcpStream::connect(address).await.unwrap();
    let (mut web, _) = client_async(format!("ws://{address}/"), stream).await.unwrap();
    web.send(Message::text(endless_call(key))).await.unwrap();
    // A later call is answered, so the first one is running.
    let version = r#"{"jsonrpc":"2.0","id":2,"method":"shh_version"}"#;
    web.send(Message::text(version)).await.unwrap();
    let answer = web.next().await.unwrap().unwrap();
    assert_eq!(answer.into_text().unwrap(), r#"{"jsonrpc":"2.0","id":2,"result":"6.0"}"#);

    let begun = Instant::now();
    drop(stop);
    timeout(PATIENCE, serving).await.expect("in time").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(http.read(&mut [0]).await.unwrap_or(0), 0);
    while let Some(Ok(message)) = web.next().await {
        assert!(message.is_close(), "{message:?}");
    }
}
