//! Bad input: malformed paths, headers and bodies, and bodies at their limits. Nothing of it may be a failure of the
//! server, and every error is JSON.

use serde_json::json;

use crate::client::{Answer, Client};
use crate::messages::{message, with_keys};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// Expects an error of the client, in JSON.
#[track_caller]
fn expect_refused(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert!(answer.json()["error"].is_string(), "{what}: {answer:?}");
}

/// Requests with a JSON body.
const WITH_BODY: [&str; 13] = [
    "/v1/accounts/code/123456",
    "/v1/accounts/attributes",
    "/v1/devices/123456",
    "/v1/provisioning/AAAAAAAAAAAAAAAAAAAAAA",
    "/v1/accounts/name",
    "/v1/accounts/apn",
    "/v1/accounts/gcm",
    "/v2/keys",
    "/v2/keys/signed",
    "/v1/directory/tokens",
    "/v1/messages/+14155550102",
    "/v1/profile",
    "/v1/acccounts/code/123456",
];

#[test]
fn malformed_json_is_refused_everywhere() {
    let server = Server::start(&[]);
    let (alice, _bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "\"text\"",
        "{\"a\":1",
        "{'a':1}",
        "{\"a\":1}}",
        "\u{feff}{}",
        "{}\0",
        "{\"a\":NaN}",
        &deep,
    ];
    for path in WITH_BODY {
        for body in bodies {
            expect_refused(&alice.put(path, body), &format!("{path} {:.20}", body));
        }
        let latin = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {}\r\n\
             Content-Length: 9\r\n\r\n",
            alice.headers[0].1
        );
        // The text of an unknown field does not matter.
        let answer = alice.send(&[latin.as_bytes(), b"{\"a\":\"\xe9\"}"].concat());
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
    alice.get("/v1/accounts/whoami").expect(200);
}

#[test]
fn malformed_values_in_json_are_refused() {
    let server = Server::start(&[]);
    let (alice, _bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let send = |change: serde_json::Value| {
        let mut body = message("hello", 1);
        for (field, value) in change.as_object().unwrap() {
            body["messages"][0][field] = value.clone();
        }
        alice.put(&format!("/v1/messages/{BOB}"), &body.to_string())
    };
    for content in
        ["!", "A", "AAAAA", "AA=A", "AA==AA==", "AAA\n", "ÄÄÄÄ", "AAAA AAAA", "=", "===="]
    {
        expect_refused(&send(json!({ "content": content })), content);
    }
    for number in
        ["-1", "1.5", "1e30", "\"\"", "\"x\"", "\"0x\"", "true", "[1]", "{}", "4294967296"]
    {
        let value: serde_json::Value = serde_json::from_str(number).unwrap();
        expect_refused(&send(json!({ "type": value })), number);
        expect_refused(&send(json!({ "destinationDeviceId": value })), number);
    }
    for (field, value) in [("content", json!(1)), ("content", json!(["AAAA"])), ("type", json!({}))]
    {
        expect_refused(&send(json!({ field: value })), field);
    }
    assert_eq!(send(json!({})).status, 200);
}

#[test]
fn malformed_paths_are_refused() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let long = "1".repeat(1000);
    let values = [
        "%ff",
        "%00",
        "+",
        "+1",
        "+0000000000",
        "+1415555O101",
        "+14155550101%0d%0aX:%20y",
        "+14155550101%20",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "-1",
        "18446744073709551616",
        "1e3",
        "0x10",
        "00000000-0000-0000-0000-00000000000g",
        "%E2%80%AE",
        "a@b@c",
        "+14155550101@",
        "@",
        "+14155550101@../../x",
        &long,
    ];
    for value in values {
        for path in [
            format!("/v1/accounts/sms/code/{value}"),
            format!("/v1/accounts/{value}/code/{ALICE}"),
            format!("/v2/keys/{value}"),
            format!("/v2/keys/{value}/1"),
            format!("/v2/keys/{value}/*"),
            format!("/v2/keys/{ALICE}/{value}x"),
            format!("/v1/directory/{value}"),
            format!("/v1/profile/{value}"),
            format!("/v1/profile/{ALICE}/{value}"),
            format!("/v1/certificate/{value}"),
            format!("/profiles/{value}"),
            format!("/v1/attachments/{value}"),
            format!("/attachments/{value}"),
            format!("/attachments/{value}?expires=1&signature={value}"),
            format!("/{value}"),
        ] {
            expect_refused(&alice.get(&path), &path);
        }
        for path in [
            format!("/v1/messages/{value}"),
            format!("/v1/accounts/code/{value}"),
            format!("/v1/accounts/{value}"),
            format!("/v1/devices/{value}"),
            format!("/v1/provisioning/{value}"),
            format!("/v1/profile/name/{value}"),
            format!("/attachments/{value}?expires={value}&owner={value}&signature={value}"),
        ] {
            expect_refused(&alice.put(&path, "{}"), &path);
        }
        for path in [
            format!("/v1/messages/uuid/{value}"),
            format!("/v1/messages/{ALICE}/{value}x"),
            format!("/v1/devices/{value}x"),
        ] {
            expect_refused(&alice.delete(&path), &path);
        }
    }
}

/// Sends a request with these lines in its head.
fn with_head(client: &Client, lines: &[u8]) -> Answer {
    let start = b"GET /v1/accounts/whoami HTTP/1.1\r\nConnection: close\r\n";
    client.send(&[&start[..], lines, b"\r\n"].concat())
}

#[test]
fn malformed_headers_are_refused() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let basic = format!("Authorization: {}\r\n", alice.headers[0].1);
    let cases: [&[u8]; 9] = [
        b"Host: localhost\r\nAuthorization: Basic !\r\n",
        b"Host: localhost\r\nAuthorization: Basic\r\n",
        b"Host: localhost\r\nAuthorization: Bearer AAAA\r\n",
        b"Host: localhost\r\nAuthorization: Basic \xff\xfe\r\n",
        b"Host: localhost\r\nAuthorization: Basic Og==\r\n",
        &[b"Host: localhost\r\n", basic.as_bytes(), basic.as_bytes()].concat(),
        &[b"Host: localhost\r\nX-PKG-NAME: \xe9\r\nX-PKG-TOKEN: x\r\n", basic.as_bytes()].concat(),
        &[b"Host: localhost\r\nX-PKG-NAME: com.example.one\r\n", basic.as_bytes()].concat(),
        &[b"Host: localhost\r\nX-PKG-TOKEN: x\r\n", basic.as_bytes()].concat(),
    ];
    for lines in cases {
        let answer = with_head(&alice, lines);
        assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(lines));
        expect_refused(&answer, "head");
    }
    let two_lengths = b"Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n";
    assert_eq!(with_head(&alice, two_lengths).status, 400);
    assert_eq!(with_head(&alice, b"Host: one\r\nHost: two\r\n").status, 400);
    let many = "X: y\r\n".repeat(100);
    assert_eq!(with_head(&alice, many.as_bytes()).status, 431);
    assert_eq!(with_head(&alice, format!("X: {}\r\n", "y".repeat(10_000)).as_bytes()).status, 431);
    assert_eq!(with_head(&alice, format!("Host: localhost\r\n{basic}").as_bytes()).status, 200);
}

#[test]
fn a_host_cannot_add_anything_to_the_address_of_an_attachment() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let ask = |host: &str| {
        let head = format!(
            "GET /v1/attachments HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\
             Authorization: {}\r\n\r\n",
            alice.headers[0].1
        );
        alice.send(head.as_bytes())
    };
    for host in ["a\"b", "a\\b", "a b", "a/../b?c#d", "user@evil", "<script>", "a,b", "a;b"] {
        let answer = ask(host);
        if answer.status == 200 {
            let location = answer.json()["location"].as_str().unwrap().to_owned();
            assert!(location.starts_with("http://localhost/attachments/"), "{location}");
        } else {
            assert_eq!(answer.status, 400, "{host}");
        }
    }
    for host in ["example.org", "example.org:4080", "127.0.0.1:1", "[::1]:4080"] {
        let location = ask(host).expect(200)["location"].as_str().unwrap().to_owned();
        assert!(location.starts_with(&format!("http://{host}/attachments/")), "{location}");
    }
}

#[test]
fn a_body_has_at_most_one_mebibyte() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let limit = 1 << 20;
    let attributes = r#"{"registrationId":1001,"fetchesMessages":true}"#;
    for length in [limit - 1, limit] {
        let body = format!("{attributes}{}", " ".repeat(length - attributes.len()));
        alice.put("/v1/accounts/attributes", &body).expect(200);
    }
    let head = format!(
        "PUT /v1/accounts/attributes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: {}\r\n",
        alice.headers[0].1
    );
    let announced = format!("{head}Content-Length: {}\r\n\r\n", limit + 1);
    assert_eq!(alice.send(announced.as_bytes()).expect(400)["error"], "too_large");
    // The same without an announced length. The server reads nothing after the last byte.
    let chunked = |length: usize, end: &str| {
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
        let spaces = " ".repeat(length - attributes.len());
        alice.send(format!("{head}{attributes}{spaces}{end}").as_bytes())
    };
    chunked(limit, "\r\n0\r\n\r\n").expect(200);
    assert_eq!(chunked(limit + 1, "").expect(400)["error"], "too_large");
}

#[test]
fn errors_are_json_also_for_handshakes_and_methods() {
    let server = Server::start(&[]);
    let client = server.client();
    expect_refused(&client.request("BREW", "/v1/keepalive", ""), "method");
    expect_refused(&client.request("POST", "/v1/keepalive", ""), "method");
    expect_refused(&client.request("POST", "/attachments/", "no form"), "form");
    for lines in [
        "Upgrade: websocket\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n",
        "Sec-WebSocket-Key: x\r\n",
    ] {
        let request = format!(
            "GET /v1/websocket/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
        );
        expect_refused(&client.send(request.as_bytes()), lines);
    }
    for query in
        ["?login=%2B14155550101", "?password=x", "?login=x&password=y", "?login=%ff&password=%ff"]
    {
        let request = format!(
            "GET /v1/websocket/{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut start = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 401", "{query}");
    }
}
