//! A mailbox server and a transit relay, as small as tests need them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};
use wormhole::code::MailboxUrl;
use wormhole::transit::{Priority, RelayAddress, RelayHint, TcpHint};

/// The one mailbox there is: what was said, and who listens.
#[derive(Default)]
struct Mailbox {
    messages: Vec<Value>,
    listeners: Vec<mpsc::UnboundedSender<Value>>,
}

/// Starts a mailbox server for two sides.
pub(crate) async fn mailbox() -> MailboxUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    let mailbox = Arc::new(Mutex::new(Mailbox::default()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&mailbox)));
        }
    });
    url.parse().unwrap()
}

async fn serve(stream: TcpStream, mailbox: Arc<Mutex<Mailbox>>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let (sender, mut outgoing) = mpsc::unbounded_channel::<Value>();
    let _kept = sender.send(json!({ "type": "welcome", "welcome": {} }));
    let mut side = Value::Null;
    loop {
        tokio::select! {
            Some(message) = outgoing.recv() => {
                if socket.send(Message::text(message.to_string())).await.is_err() {
                    return;
                }
            }
            frame = socket.next() => {
                let Some(Ok(frame)) = frame else { return };
                let Ok(text) = frame.into_text() else { continue };
                let Ok(request) = serde_json::from_str::<Value>(&text) else { continue };
                if request["type"] == "bind" {
                    side = request["side"].clone();
                }
                answer(&request, &side, &sender, &mut mailbox.lock().unwrap());
            }
        }
    }
}

fn answer(
    request: &Value,
    side: &Value,
    sender: &mpsc::UnboundedSender<Value>,
    mailbox: &mut Mailbox,
) {
    let reply = |value: Value| sender.send(value).unwrap_or_default();
    reply(json!({ "type": "ack", "id": request["id"] }));
    match request["type"].as_str().unwrap_or_default() {
        "allocate" => reply(json!({ "type": "allocated", "nameplate": "4" })),
        "claim" => reply(json!({ "type": "claimed", "mailbox": "m" })),
        "release" => reply(json!({ "type": "released" })),
        "close" => reply(json!({ "type": "closed" })),
        "open" => {
            mailbox.messages.iter().for_each(|message| reply(message.clone()));
            mailbox.listeners.push(sender.clone());
        }
        "add" => {
            let message = json!({
                "type": "message", "side": side, "phase": request["phase"],
                "body": request["body"], "id": request["id"], "server_rx": 0.0,
            });
            mailbox.listeners.retain(|listener| listener.send(message.clone()).is_ok());
            mailbox.messages.push(message);
        }
        _ => {}
    }
}

/// Starts a transit relay.
pub(crate) async fn relay() -> RelayHint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut waiting: HashMap<String, TcpStream> = HashMap::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::with_capacity(1, stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let token = line.split(' ').nth(2).unwrap().to_owned();
            let mut stream = stream.into_inner();
            let Some(mut other) = waiting.remove(&token) else {
                waiting.insert(token, stream);
                continue;
            };
            tokio::spawn(async move {
                stream.write_all(b"ok\n").await.unwrap();
                other.write_all(b"ok\n").await.unwrap();
                let _ended = copy_bidirectional(&mut stream, &mut other).await;
            });
        }
    });
    RelayHint::tcp(TcpHint::new(address.ip().to_string(), address.port()))
}

/// Starts a transit relay that speaks WebSocket.
pub(crate) async fn websocket_relay() -> RelayHint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut waiting = None;
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = accept_async(stream).await.unwrap();
            let line = socket.next().await.unwrap().unwrap();
            assert!(line.is_binary() && line.into_data().starts_with(b"please relay "));
            let Some(mut other) = waiting.take() else {
                waiting = Some(socket);
                continue;
            };
            tokio::spawn(async move {
                let ok = || Message::binary(b"ok\n".to_vec());
                socket.send(ok()).await.unwrap();
                WebSocketStream::send(&mut other, ok()).await.unwrap();
                let ((to_one, from_one), (to_other, from_other)) = (socket.split(), other.split());
                let _ended = tokio::join!(from_one.forward(to_other), from_other.forward(to_one));
            });
        }
    });
    RelayHint {
        name: None,
        addresses: vec![RelayAddress::WebSocket { url, priority: Priority::default() }],
    }
}
