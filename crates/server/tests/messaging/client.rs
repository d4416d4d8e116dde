//! A client of the API that sends exactly what a test says: one request on each connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;

use crate::server::Server;

/// A client, with or without an account.
#[derive(Clone)]
pub(crate) struct Client {
    address: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) number: String,
    pub(crate) password: String,
    pub(crate) uuid: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Expects this status, and returns the JSON.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        let empty = String::new;
        Self {
            address: address.to_owned(),
            headers: Vec::new(),
            number: empty(),
            password: empty(),
            uuid: empty(),
        }
    }

    /// A client with a new account, in the default app or with the headers of another one.
    pub(crate) fn register(server: &Server, number: &str, app: Option<(&str, &str)>) -> Self {
        let mut client = server.client();
        client.log_in(number, &format!("password-of-{number}"), app);
        client.get(&format!("/v1/accounts/sms/code/{number}")).expect(200);
        let code = server.code(number).replace('-', "");
        let attributes = r#"{"registrationId":1001,"fetchesMessages":true}"#;
        let registered = client.put(&format!("/v1/accounts/code/{code}"), attributes).expect(200);
        registered["uuid"].as_str().unwrap().clone_into(&mut client.uuid);
        client
    }

    /// The same client, of a server with another address.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { address: server.address.clone(), ..self.clone() }
    }

    /// Sends these credentials from now on.
    pub(crate) fn log_in(&mut self, user: &str, password: &str, app: Option<(&str, &str)>) {
        (self.number, self.password) = (user.to_owned(), password.to_owned());
        let basic = BASE64.encode(format!("{user}:{password}").as_bytes());
        self.headers = vec![("Authorization".into(), format!("Basic {basic}"))];
        if let Some((name, token)) = app {
            self.headers.push(("X-PKG-NAME".into(), name.into()));
            self.headers.push(("X-PKG-TOKEN".into(), token.into()));
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.request("PUT", path, body)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, "")
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head +=
                &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        self.send([head.as_bytes(), b"\r\n", body.as_bytes()].concat().as_slice())
    }

    /// Sends these bytes and closes the connection, without reading the answer.
    pub(crate) fn send_and_leave(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Until the server has noticed.
        let _answer = stream.read_to_end(&mut Vec::new());
    }

    /// Sends these bytes and reads the whole answer.
    pub(crate) fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        parse(&answer)
    }
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}
