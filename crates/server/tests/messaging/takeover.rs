//! After a second registration of a number, the first client can do nothing more in its name, not even complete earlier requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::keys::keys;
use crate::messages::{message, with_keys};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// A request that the server has authenticated, and whose body it waits for.
struct Begun {
    stream: TcpStream,
    body: String,
}

impl Begun {
    fn put(server: &Server, client: &Client, path: &str, body: &Value) -> Self {
        let (body, authorization) = (body.to_string(), &client.headers[0].1);
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
             Connection: close\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        )
        .unwrap();
        // The server asks for the body once it knows who sends it.
        let mut asks = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut asks).unwrap();
        assert!(asks.starts_with(b"HTTP/1.1 100"));
        Self { stream, body }
    }

    /// Sends the body; returns the status of the answer.
    fn finish(mut self) -> u16 {
        self.stream.write_all(self.body.as_bytes()).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Registers the number of a client again, with another password.
fn register_again(server: &Server, number: &str) -> Client {
    let mut owner = server.client();
    owner.get(&format!("/v1/accounts/sms/code/{number}")).expect(200);
    let code = server.code(number);
    owner.log_in(number, "the password of the owner", None);
    let attributes = r#"{"registrationId":1001,"fetchesMessages":true}"#;
    owner.put(&format!("/v1/accounts/code/{code}"), attributes).expect(200);
    owner
}

#[test]
fn a_request_that_began_before_a_second_registration_is_refused() {
    let server = Server::start(&[]);
    let (thief, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let attributes = json!({"registrationId": 9, "discoverableByPhoneNumber": false});
    let requests = [
        Begun::put(&server, &thief, &format!("/v1/messages/{BOB}"), &message("hello", 1)),
        Begun::put(&server, &thief, "/v2/keys", &keys(3, 1)),
        Begun::put(&server, &thief, "/v2/keys/signed", &keys(1, 1)["signedPreKey"]),
        Begun::put(&server, &thief, "/v1/accounts/attributes", &attributes),
        Begun::put(&server, &thief, "/v1/accounts/name", &json!({"deviceName": "x"})),
    ];
    let owner = register_again(&server, ALICE);
    let published = keys(4, 1);
    owner.put("/v2/keys", &published.to_string()).expect(200);
    for request in requests {
        assert_eq!(request.finish(), 401);
    }
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"], json!([]));
    let bundle = bob.get(&format!("/v2/keys/{ALICE}/1")).expect(200);
    assert_eq!(bundle["identityKey"], published["identityKey"]);
}
