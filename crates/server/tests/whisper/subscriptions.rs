//! Tests of permanent connections: WebSocket and the Unix socket.

use wormhole_node::remote::{MessageFilter, MessageKey, PostRequest, RemoteNode, RemoteUrl};
use wormhole_node::shh::Topic;

use super::*;

async fn connect(node: &Node) -> RemoteNode {
    let url = RemoteUrl::parse(&format!("ws://{}", node.rpc)).unwrap();
    RemoteNode::connect(&url, None).await.unwrap()
}

#[tokio::test]
async fn an_asymmetric_message_is_pushed_with_its_signer() {
    let alice = Node::start(&[]);
    let bob = Node::start(&["--peer", &alice.enode]);
    let (at_alice, at_bob) = (connect(&alice).await, connect(&bob).await);
    let (reader, signer) = (wormhole_node::new_key(), wormhole_node::new_key());
    let (topic, own) = (Topic([1, 2, 3, 4]), at_alice.add_private_key(&reader).await.unwrap());
    let wanted = MessageFilter::under(topic);
    let mut inbox = at_alice.watch(&MessageKey::Private(own), &wanted).await.unwrap();
    let to = MessageKey::Public(reader.public_key());
    let mut posting = PostRequest::new(to, topic, b"for you".to_vec());
    posting.signer = Some(at_bob.add_private_key(&signer).await.unwrap());
    let hash = at_bob.post(&posting).await.unwrap();
    let message = tokio::time::timeout(Duration::from_secs(30), inbox.next());
    let message = message.await.unwrap().unwrap();
    assert_eq!((message.payload.as_slice(), &message.hash), (b"for you".as_slice(), &hash));
    assert_eq!(message.signer, Some(signer.public_key()));
    let peers = at_alice.peers().await.unwrap();
    assert_eq!((peers.len(), peers[0].network.inbound), (1, true));
    assert_eq!(at_alice.enode().await.unwrap(), alice.enode);
}

#[cfg(unix)]
#[tokio::test]
async fn requests_on_a_unix_socket_are_answered_one_after_the_other() {
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixStream;

    let folder = Folder::new("ipc");
    let path = folder.path("rpc.sock");
    let node = Node::start(&["--min-peers", "0", "--ipc", &path]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (reading, mut writing) = UnixStream::connect(&path).await.unwrap().into_split();
    let mut lines = BufReader::new(reading).lines();
    let key = node.call("shh_newSymKey", json!([])).await;
    let wanted = json!(["messages", { "symKeyID": key, "topics": ["0x01020304"] }]);
    let begin = json!({ "jsonrpc": "2.0", "id": 1, "method": "shh_subscribe", "params": wanted });
    writing.write_all(begin.to_string().as_bytes()).await.unwrap();
    let answer: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let id = answer["result"].clone();
    assert_eq!(id.as_str().map(str::len), Some(34), "{answer}");
    let message = json!([{
        "symKeyID": key, "topic": "0x01020304", "payload": "0x6869", "powTarget": 0.2, "powTime": 10,
    }]);
    let hash = node.call("shh_post", message).await;
    let event: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (&event["params"]["subscription"], &event["params"]["result"]["hash"]),
        (&id, &hash)
    );
    for (end, said) in [(json!([id]), "true"), (json!([id]), "subscription not found")] {
        let end = json!({ "jsonrpc": "2.0", "id": 2, "method": "shh_unsubscribe", "params": end });
        writing.write_all(format!("{end}\n").as_bytes()).await.unwrap();
        let answer = lines.next_line().await.unwrap().unwrap();
        assert!(answer.contains(said), "{answer}");
    }
    writing.write_all(b"hello").await.unwrap();
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert_eq!(node.call("shh_version", json!([])).await, "6.0");
}

#[cfg(unix)]
#[tokio::test]
async fn a_stopped_node_keeps_its_identity_after_a_restart() {
    let folder = Folder::new("again");
    let data = ["--data", &folder.path("data")];
    let mut node = Node::start(&data);
    let (link, id) = (connect(&node).await, node.enode.split('@').next().unwrap().to_owned());
    assert_eq!(link.version().await.unwrap(), "6.0");
    let process = node.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || node.process.wait().unwrap()).await.unwrap();
    assert!(ended.success());
    let again = Node::start(&data);
    assert!(again.enode.starts_with(&id));
}
