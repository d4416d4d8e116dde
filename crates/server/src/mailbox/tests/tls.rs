//! Tests that data which TLS buffers while the socket is full is sent later.

use super::*;
use crate::net::testing;

/// Time limit for the arrival of sent data.
const SOON: Duration = Duration::from_secs(10);

/// A client that requests all messages, and perhaps closes, but does not read for a while. Returns the number of
/// received messages, and the close code.
async fn late_reader(address: SocketAddr, count: usize, closes: bool) -> (usize, Option<u16>) {
    let stream = testing::connect(testing::narrow(address).await).await;
    let request = format!("wss://{address}/v1");
    let (mut link, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for message in [
        json!({"type": "bind", "appid": "app", "side": "two"}),
        json!({"type": "open", "mailbox": "m"}),
    ] {
        link.send(Message::text(message.to_string())).await.unwrap();
    }
    if closes {
        link.send(Message::Close(None)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (mut messages, mut code) = (0, None);
    while closes || messages < count {
        match tokio::time::timeout(SOON, link.next()).await.unwrap_or(None) {
            Some(Ok(Message::Close(close))) => code = close.map(|close| close.code.into()),
            Some(Ok(message)) => {
                messages += usize::from(message.to_text().unwrap().contains("\"phase\""));
            }
            Some(Err(_)) | None => break,
        }
    }
    (messages, code)
}

#[tokio::test]
async fn a_client_that_reads_late_receives_the_last_answers_and_the_close_frame() {
    let world = World::with_tls("late");
    let stream = TcpStream::connect(world.address).await.unwrap();
    let stream = testing::connect(stream).await;
    let request = format!("wss://{}/v1", world.address);
    let (mut writer, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for message in [
        json!({"type": "bind", "appid": "app", "side": "one"}),
        json!({"type": "open", "mailbox": "m"}),
    ] {
        writer.send(Message::text(message.to_string())).await.unwrap();
    }
    // At some of these sizes, the socket is full before the last bytes.
    for count in 1..=24 {
        let body = "ab".repeat(8_000);
        let add = json!({"type": "add", "phase": count.to_string(), "body": body});
        writer.send(Message::text(add.to_string())).await.unwrap();
        let echoed = |message: Message| message.to_text().unwrap().contains("\"phase\"");
        while !echoed(writer.next().await.unwrap().unwrap()) {}
        assert_eq!(late_reader(world.address, count, false).await, (count, None));
        assert_eq!(late_reader(world.address, count, true).await, (count, Some(1000)));
    }
    drop(writer);
    world.stop().await;
}
