//! Tests which messages nodes forward to each other.

use super::*;

/// Posts a text with a topic and a key, and returns the hash of its envelope.
async fn post(node: &Node, key: &Value, more: Value) -> Value {
    let mut message = json!({
        "symKeyID": key, "topic": "0x01020304", "payload": "0x6869", "powTarget": 0.2, "powTime": 10,
    });
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    node.call("shh_post", json!([message])).await
}

/// Creates a filter for all messages that the key decrypts.
async fn filter(node: &Node, key: &Value, direct: bool) -> Value {
    let wanted = json!([{ "symKeyID": key, "topics": ["0x01020304"], "allowP2P": direct }]);
    node.call("shh_newMessageFilter", wanted).await
}

async fn key(node: &Node) -> Value {
    node.call("shh_generateSymKeyFromPassword", json!(["hush"])).await
}

async fn connected(node: &Node, peers: &str) {
    until(async || node.call("net_peerCount", json!([])).await == peers).await;
}

#[tokio::test]
async fn a_light_node_receives_messages_and_sends_its_own_but_forwards_none() {
    let light = Node::start(&["--light", "--min-peers", "2"]);
    let alice = Node::start(&["--peer", &light.enode]);
    let bob = Node::start(&["--peer", &light.enode]);
    connected(&light, "0x2").await;
    let at_light = filter(&light, &key(&light).await, false).await;
    let at_bob = filter(&bob, &key(&bob).await, false).await;
    let of_alice = post(&alice, &key(&alice).await, json!({})).await;
    assert_eq!(poll(&light, &at_light).await[0]["hash"], of_alice);
    let own = post(&light, &key(&light).await, json!({})).await;
    let received = poll(&bob, &at_bob).await;
    assert_eq!((received.len(), &received[0]["hash"]), (1, &own));
}

#[tokio::test]
async fn a_direct_message_reaches_only_the_peer_that_trusts_the_sender() {
    let alice = Node::start(&[]);
    let (bob, carol) =
        (Node::start(&["--peer", &alice.enode]), Node::start(&["--peer", &alice.enode]));
    connected(&alice, "0x2").await;
    let trusting = alice.call("shh_markTrustedPeer", json!([bob.enode])).await;
    assert_eq!(trusting, true);
    let shared = key(&alice).await;
    let direct = filter(&alice, &shared, true).await;
    let usual = filter(&alice, &shared, false).await;
    let at_carol = filter(&carol, &key(&carol).await, true).await;
    // It needs no proof of work, because it is not forwarded.
    let more = json!({ "targetPeer": alice.enode, "powTarget": 0.0 });
    let sent = post(&bob, &key(&bob).await, more).await;
    assert_eq!(poll(&alice, &direct).await[0]["hash"], sent);
    let known = post(&alice, &shared, json!({})).await;
    assert_eq!(poll(&alice, &usual).await[0]["hash"], known);
    let received = poll(&carol, &at_carol).await;
    assert_eq!((received.len(), &received[0]["hash"]), (1, &known));

    let stranger = Node::start(&[]);
    let message = json!([{
        "symKeyID": key(&bob).await, "topic": "0x01020304", "powTarget": 1e30, "powTime": 3600,
        "targetPeer": stranger.enode,
    }]);
    let refused = bob.refusal("shh_post", message).await;
    assert!(refused.starts_with("Could not find peer with ID: "), "{refused}");
}
