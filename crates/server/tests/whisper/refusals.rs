//! Tests of calls and clients that are rejected.

use super::*;

#[tokio::test]
async fn error_messages_are_those_that_clients_expect() {
    let node = Node::start(&["--min-peers", "0"]);
    let cases = [
        ("shh_bogus", json!([]), "the method shh_bogus does not exist/is not available"),
        ("shh_getSymKey", json!(["00"]), "non-existent key ID"),
        ("shh_getPublicKey", json!(["00"]), "invalid id"),
        ("shh_deleteKeyPair", json!(["00"]), "key pair 00 not found"),
        ("shh_addSymKey", json!(["0x0102"]), "wrong key size: 2"),
        ("shh_addPrivateKey", json!(["0x0102"]), "invalid length, need 256 bits"),
        ("shh_getFilterMessages", json!(["00"]), "filter not found"),
        ("shh_deleteMessageFilter", json!(["00"]), "Unsubscribe: Invalid ID"),
        ("shh_subscribe", json!(["messages", {}]), "notifications not supported"),
        ("shh_getSymKey", json!([]), "missing value for required argument 0"),
        ("shh_post", json!([{}]), "specify either a symmetric or an asymmetric key"),
        (
            "shh_post",
            json!([{ "topic": "0x01" }]),
            "invalid argument 0: hex string has length 2, want 8 for Topic",
        ),
    ];
    for (method, params, expected) in cases {
        assert_eq!(node.refusal(method, params).await, expected, "{method}");
    }
    let key = node.call("shh_newSymKey", json!([])).await;
    let late = json!([{ "symKeyID": key, "topic": "0x01020304", "powTarget": 0.2 }]);
    assert!(node.refusal("shh_post", late).await.contains("(0 seconds) was insufficient"));
}

#[tokio::test]
async fn a_web_page_of_another_host_or_origin_is_rejected() {
    let node = Node::start(&["--rpc-origin", "https://mine.example", "--rpc-host", "mine.example"]);
    let refused = "HTTP/1.1 403 ";
    let rebound = node.ask("POST /", "host: evil.example:8545\r\n").await;
    assert!(rebound.starts_with(refused), "{rebound}");
    let foreign = "host: localhost\r\norigin: https://evil.example\r\n";
    assert!(node.ask("POST /", foreign).await.starts_with(refused));
    assert!(node.ask("OPTIONS /", foreign).await.starts_with(refused));
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert!(node.ask("GET /", &format!("{foreign}{upgrade}")).await.starts_with(refused));
    let mine = "host: mine.example\r\norigin: https://mine.example\r\n";
    let allowed = node.ask("OPTIONS /", mine).await;
    assert!(allowed.contains("Access-Control-Allow-Origin: https://mine.example"), "{allowed}");
}

#[tokio::test]
async fn without_the_token_only_health_is_available() {
    let token = Token::new("refusals");
    let node = Node::start(&["--rpc-token-file", token.path()]);
    let without = node.ask("GET /metrics", "host: localhost\r\n").await;
    assert!(without.starts_with("HTTP/1.1 401 "), "{without}");
    let wrong = "host: localhost\r\nauthorization: Bearer hush2\r\n";
    assert!(node.ask("GET /metrics", wrong).await.starts_with("HTTP/1.1 401 "));
    let right = "host: localhost\r\nauthorization: Bearer hush\r\n";
    let page = node.ask("GET /metrics", right).await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    // Without a token, everyone can see whether the node is running, but nothing else.
    let health = node.ask("GET /health", "host: node.example\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(node.ask("POST /health", "host: localhost\r\n").await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn an_address_that_other_machines_can_reach_needs_a_token() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    command.args(["whisper", "--listen", "127.0.0.1:0", "--rpc", "0.0.0.0:0"]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("set rpc-token-file"));
}

#[tokio::test]
async fn invalid_requests_are_rejected_and_the_node_continues() {
    let node = Node::start(&[]);
    let bodies = [
        ("{", -32700),
        ("", -32700),
        ("\"x\"", -32600),
        ("{}", -32600),
        (r#"{"id":1}"#, -32600),
        ("[]", -32600),
        ("[1]", -32600),
        (r#"[{"id":1}]"#, -32600),
    ];
    for (body, code) in bodies {
        let answer = node.send(body).await;
        let error = if answer.is_array() { &answer[0]["error"] } else { &answer["error"] };
        assert_eq!(error["code"], code, "{body}: {answer}");
    }
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "shh_version" });
    let answers = node.send(&Value::from(vec![call.clone(); 100]).to_string()).await;
    assert_eq!(answers.as_array().unwrap().len(), 100);
    let huge = node.send(&Value::from(vec![call; 101]).to_string()).await;
    assert!(huge["error"]["message"].as_str().unwrap().contains("batch"), "{huge}");
    let long = "host: localhost\r\ncontent-type: application/json\r\n\
                content-length: 99999999\r\n";
    assert!(node.ask("POST /", long).await.starts_with("HTTP/1.1 413 "));
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"shh_post\",\"params\":{}",
        "[".repeat(100_000)
    );
    assert!(!node.send(&deep).await["error"].is_null());
    assert_eq!(node.call("net_version", json!([])).await, "1");
}

#[tokio::test]
async fn every_id_is_returned_unchanged_and_notifications_are_executed() {
    let node = Node::start(&[]);
    for id in ["1", "-1", "1.50", "1e3", "123456789012345678901234567890", "\"x\"", "null"] {
        let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"shh_version"}}"#);
        let answer = node.post(&call).await;
        assert_eq!(answer, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"6.0\"}}\n"));
    }
    for id in ["true", "{}", "[1]"] {
        let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"shh_version"}}"#);
        let answer = node.send(&call).await;
        assert!(answer["error"]["code"] == -32600 && answer["id"].is_null(), "{answer}");
    }
    let notice =
        |work: &str| format!(r#"{{"jsonrpc":"2.0","method":"shh_setMinPoW","params":[{work}]}}"#);
    assert_eq!(node.post(&notice("0.5")).await, "");
    assert_eq!(node.call("shh_info", json!([])).await["minPow"], 0.5);
    let batch = format!("[{},{}]", notice("0.75"), notice("1"));
    assert_eq!(node.post(&batch).await, "");
    let version = r#"{"jsonrpc":"2.0","id":7,"method":"shh_version"}"#;
    let mixed = node.send(&format!("[{},{version},7]", notice("2"))).await;
    assert_eq!(mixed.as_array().unwrap().len(), 2, "{mixed}");
    assert_eq!((&mixed[0]["id"], &mixed[1]["error"]["code"]), (&json!(7), &json!(-32600)));
    assert_eq!(node.call("shh_info", json!([])).await["minPow"], 2.0);
}

#[tokio::test]
async fn incomplete_requests_and_handshakes_are_rejected() {
    let node = Node::start(&[]);
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let host = "host: localhost\r\n";
    let complete = format!("{host}{upgrade}connection: upgrade\r\n");
    let json = format!("{host}content-type: application/json\r\n");
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{complete}\r\n"), "101"),
        (format!("HEAD / HTTP/1.1\r\n{complete}\r\n"), "405"),
        (format!("GET / HTTP/1.0\r\n{complete}\r\n"), "505"),
        (format!("GET / HTTP/1.0\r\n{host}\r\n"), "405"),
        (format!("GET / HTTP/1.1\r\n{host}{upgrade}connection: close\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{upgrade}connection: upgrade\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\nhost: evil.example\r\n{complete}\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{complete}host: evil.example\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{json}{host}content-length: 2\r\n\r\n{{}}"), "400"),
        ("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\n{host}\r\n"), "405"),
        (format!("POST / HTTP/1.1\r\n{host}content-length: 2\r\n\r\n{{}}"), "415"),
        (format!("POST / HTTP/1.1\r\n{json}x: {}\r\n\r\n", "x".repeat(10_000)), "431"),
        (format!("POST / HTTP/1.1\r\n{json}{}\r\n", "x: y\r\n".repeat(64)), "431"),
    ] {
        let mut link = TcpStream::connect(node.rpc).await.unwrap();
        link.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        link.read_exact(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head).into_owned();
        assert_eq!(head.split(' ').nth(1), Some(status), "{request}");
    }
}
