//! Who opens a WebSocket, and what that client may do.

use data_encoding::BASE64;
use tokio_tungstenite::tungstenite;
use wormhole_chat::WebSocketMessage;

use super::{ALICE, BOB, Socket, request};
use crate::client::Client;
use crate::messages::{message, with_keys};
use crate::server::Server;

/// The status code with which the server refuses to open a WebSocket.
fn refusal(result: Result<Socket, tungstenite::Error>) -> u16 {
    match result {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the WebSocket is open"),
    }
}

#[tokio::test]
async fn credentials_are_in_the_address_or_in_a_header() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let number = &ALICE[1..];
    let password = alice.password.replace('+', "%2B");
    let basic = alice.headers[0].1.clone();
    let by_id = format!("?login={}.1&password={password}&agent=OWD&version=v1", alice.uuid);
    // An unescaped plus sign means a space, and old clients do not escape it.
    let queries = [
        format!("?login=+{number}&password={password}"),
        format!("?login=%2B{number}.1&password={password}"),
        by_id,
    ];
    for query in queries {
        let mut socket = Socket::try_open(&server.address, &query, &[]).await.unwrap();
        let account = socket.ask("GET", "/v1/accounts/whoami", "").await;
        let body = String::from_utf8(account.body.unwrap()).unwrap();
        assert!(account.status == 200 && body.contains(&alice.uuid), "{query}: {body}");
    }
    let headers = [("Authorization", basic.as_str())];
    let mut socket = Socket::try_open(&server.address, "", &headers).await.unwrap();
    assert_eq!(socket.ask("GET", "/v1/accounts/whoami", "").await.status, 200);
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let password = alice.password.replace('+', "%2B");
    let queries = [
        format!("?login=%2B{}&password=wrong", &ALICE[1..]),
        format!("?login=%2B{}&password={password}", &BOB[1..]),
        format!("?login=%2B{}.2&password={password}", &ALICE[1..]),
        format!("?login=%2B{}.undefined&password={password}", &ALICE[1..]),
        format!("?login=%2B{}", &ALICE[1..]),
        format!("?password={password}"),
        "?login=&password=".to_owned(),
        "?login=a&login=b&password=c".to_owned(),
    ];
    for query in queries {
        let refused = Socket::try_open(&server.address, &query, &[]).await;
        assert_eq!(refusal(refused), 401, "{query}");
    }
    let basic = format!("Basic {}", BASE64.encode(format!("{ALICE}:wrong").as_bytes()));
    for header in [basic.as_str(), "Basic !", "Bearer token"] {
        let refused = Socket::try_open(&server.address, "", &[("Authorization", header)]).await;
        assert_eq!(refusal(refused), 401, "{header}");
    }
}

#[tokio::test]
async fn the_app_of_the_headers_must_be_the_app_of_the_account() {
    let server = Server::start(&[]);
    let token = server.add_app("com.example.two");
    let alice = Client::register(&server, ALICE, Some(("com.example.two", &token)));
    let basic = alice.headers[0].1.clone();
    let open = async |name: &str, token: &str| {
        let headers =
            [("Authorization", basic.as_str()), ("X-PKG-NAME", name), ("X-PKG-TOKEN", token)];
        Socket::try_open(&server.address, "", &headers).await
    };
    assert!(open("com.example.two", &token).await.is_ok());
    // Some clients cannot send headers here.
    let without = [("Authorization", basic.as_str())];
    assert!(Socket::try_open(&server.address, "", &without).await.is_ok());
    assert_eq!(refusal(open("com.example.two", "wrong").await), 401);
    assert_eq!(refusal(open("com.example.one", &token).await), 401);
    server.app(&["revoke", "com.example.two"]);
    assert_eq!(refusal(Socket::try_open(&server.address, "", &without).await), 401);
}

#[tokio::test]
async fn a_client_without_credentials_reaches_only_what_needs_none() {
    let server = Server::start(&[]);
    let (alice, _bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
    assert_eq!(socket.ask("GET", "/v1/keepalive", "").await.status, 200);
    let body = message("hello", 1).to_string();
    let to_bob = format!("/v1/messages/{BOB}");
    let keys = format!("/v2/keys/{BOB}/*");
    for (verb, path, body) in [
        ("GET", "/v1/accounts/whoami", ""),
        ("GET", "/v1/messages", ""),
        ("PUT", to_bob.as_str(), body.as_str()),
        ("GET", keys.as_str(), ""),
        ("GET", "/v1/devices", ""),
        ("GET", "/v1/attachments", ""),
    ] {
        assert_eq!(socket.ask(verb, path, body).await.status, 401, "{verb} {path}");
    }
    // Not even with the credentials of a device inside of the request.
    let WebSocketMessage::Request(mut inside) = request("GET", "/v1/accounts/whoami", "", Some(99))
    else {
        panic!()
    };
    inside.headers.push(("Authorization".into(), alice.headers[0].1.clone()));
    socket.send(&WebSocketMessage::Request(inside.clone())).await;
    assert_eq!(socket.response().await.status, 401);
    // And a device stays who it is.
    let bob = Client::register(&server, "+14155550103", None);
    let mut socket = Socket::open(&server, &bob).await;
    socket.expect_empty().await;
    socket.send(&WebSocketMessage::Request(inside)).await;
    let account = socket.response().await;
    let body = String::from_utf8(account.body.unwrap()).unwrap();
    assert!(account.status == 200 && body.contains(&bob.uuid), "{body}");
}

#[tokio::test]
async fn a_second_login_closes_the_first() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut first = Socket::open(&server, &alice).await;
    first.expect_empty().await;
    let mut second = Socket::open(&server, &alice).await;
    assert_eq!(first.closed().await, Some(4409));
    second.expect_empty().await;
    assert_eq!(second.ask("GET", "/v1/keepalive", "").await.status, 200);
}

#[tokio::test]
async fn a_deleted_account_loses_its_connection() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut socket = Socket::open(&server, &alice).await;
    socket.expect_empty().await;
    alice.delete("/v1/accounts/me").expect(200);
    assert_eq!(socket.closed().await, Some(4409));
}
