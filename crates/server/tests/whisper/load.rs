//! Tests of clients that request more than the limits allow.

use super::*;

/// Maximum number of filters.
const FILTERS: usize = 10_000;

/// A batch with `count` copies of a request.
fn batch(method: &str, params: &Value, count: usize) -> String {
    let call = |id| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    Value::from((0..count).map(call).collect::<Vec<_>>()).to_string()
}

/// Creates the maximum number of filters, for a key and a topic.
async fn make_filters(node: &Node, wanted: &Value) {
    for _ in 0..FILTERS / 100 {
        let made = node.send(&batch("shh_newMessageFilter", wanted, 100)).await;
        let made = made.as_array().unwrap();
        assert!(made.len() == 100 && made.iter().all(|one| one["result"].is_string()));
    }
}

/// A number from the metrics page.
async fn counted(node: &Node, name: &str) -> u64 {
    let page = node.ask("GET /metrics", "host: localhost\r\n").await;
    let line =
        page.lines().find_map(|line| line.strip_prefix(&format!("wormhole_whisper_{name} ")));
    line.map_or(u64::MAX, |number| number.trim().parse().unwrap())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ten_thousand_filters_do_not_exceed_their_common_memory_limit() {
    let node = Node::start(&["--min-peers", "0", "--min-pow", "0"]);
    let key = node.call("shh_newSymKey", json!([])).await;
    let wanted = json!([{ "symKeyID": key, "topics": ["0x01020304"] }]);
    make_filters(&node, &wanted).await;
    let refused = node.refusal("shh_newMessageFilter", wanted).await;
    assert_eq!(refused, "too many filters: the limit is 10000");
    let before = node.megabytes();
    let payload = format!("0x{}", "ab".repeat(4096));
    let message = json!([{
        "symKeyID": key, "topic": "0x01020304", "payload": payload, "powTarget": 0.0, "powTime": 1,
    }]);
    // With a copy in every filter, these messages would need eight gigabytes.
    for _ in 0..2 {
        let posted = node.send(&batch("shh_post", &message, 100)).await;
        assert!(posted.as_array().unwrap().iter().all(|one| one["result"].is_string()));
    }
    until(async || counted(&node, "delivered_total").await == 2_000_000).await;
    assert!(counted(&node, "unread").await <= 40_000);
    assert!(node.megabytes() < before + 100, "{before} MB, then {} MB", node.megabytes());
}

#[tokio::test]
async fn filters_that_are_not_polled_expire() {
    let node = Node::start(&["--filter-seconds", "1"]);
    let key = node.call("shh_newSymKey", json!([])).await;
    make_filters(&node, &json!([{ "symKeyID": key, "topics": ["0x01020304"] }])).await;
    until(async || counted(&node, "filters").await == 0).await;
}

#[tokio::test]
async fn a_batch_over_the_limit_is_rejected_completely() {
    let node = Node::start(&[]);
    let key = node.call("shh_newSymKey", json!([])).await;
    let wanted = json!([{ "symKeyID": key, "topics": ["0x01020304"] }]);
    let huge = node.send(&batch("shh_newMessageFilter", &wanted, FILTERS)).await;
    assert_eq!(huge["error"]["code"], -32010, "{huge}");
    let larger = batch("shh_newMessageFilter", &wanted, 4 * FILTERS);
    let head = format!(
        "host: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        larger.len()
    );
    assert!(node.ask("POST /", &head).await.starts_with("HTTP/1.1 413 "));
    // The state is read once per second.
    until(async || counted(&node, "filters").await != u64::MAX).await;
    assert_eq!(counted(&node, "filters").await, 0);
    let one = node.send(&batch("shh_newMessageFilter", &wanted, 1)).await;
    assert!(one[0]["result"].is_string(), "{one}");
}
