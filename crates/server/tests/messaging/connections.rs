//! Limits of connections: how many one address may have, and how long one may be slow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::Server;

/// A connection whose reads fail after 20 s.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a request that leaves the connection open, as far as the client is concerned.
fn ask(stream: &mut TcpStream, headers: &str) {
    let request = format!("GET /v1/keepalive HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// Reads one answer of a connection that stays open.
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n{}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the answer is not complete");
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_connection_over_the_limit_is_refused_and_closed() {
    let server = Server::start(&["--links-per-address", "1", "--limit-loopback"]);
    let mut first = connect(&server);
    ask(&mut first, "");
    assert!(answer(&mut first).starts_with("HTTP/1.1 200 "));
    let mut second = connect(&server);
    ask(&mut second, "");
    let mut refused = String::new();
    second.read_to_string(&mut refused).expect("the connection stays open");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("too_many_connections"), "{refused}");
    // The first one is still counted and still works.
    ask(&mut first, "");
    assert!(answer(&mut first).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_connection_of_a_proxy_is_counted_for_each_of_its_clients() {
    let server = Server::start(&["--links-per-address", "1", "--trust-proxy", "x-real-ip"]);
    let mut shared = connect(&server);
    ask(&mut shared, "X-Real-IP: 192.0.2.1\r\n");
    answer(&mut shared);
    ask(&mut shared, "X-Real-IP: 192.0.2.2\r\n");
    answer(&mut shared);
    // Nobody uses it for the first client any more.
    let mut other = connect(&server);
    ask(&mut other, "X-Real-IP: 192.0.2.1\r\n");
    answer(&mut other);
    // The second client has one already.
    ask(&mut other, "X-Real-IP: 192.0.2.2\r\n");
    let mut refused = String::new();
    other.read_to_string(&mut refused).expect("the connection stays open");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
}

/// Begins a request with this many of the bytes that it announces.
fn begin_request(server: &Server, authorization: &str, announced: usize, sent: usize) -> TcpStream {
    let mut stream = connect(server);
    let head = format!(
        "PUT /v1/accounts/code/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
         Content-Length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may refuse it before it has read everything.
    let _sent = stream.write_all(&vec![b' '; sent]);
    stream
}

#[test]
fn bodies_that_never_end_use_limited_memory() {
    let server = Server::start(&["--memory-per-address", "4194304"]);
    let mut client = server.client();
    client.log_in("+14155550101", "password-of-alice", None);
    let authorization = &client.headers[0].1;
    let part = |sent| begin_request(&server, authorization, BODY, sent);
    let waiting: Vec<_> = (0..10).map(|_| part(BODY - 1)).collect();
    // Four of them fit, so at least six are refused.
    let (sender, answers) = std::sync::mpsc::channel();
    for mut stream in waiting.iter().map(|stream| stream.try_clone().unwrap()) {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut start = [0; 12];
            if stream.read_exact(&mut start).is_ok() {
                let _ended = sender.send(String::from_utf8_lossy(&start).into_owned());
            }
        });
    }
    for _ in 0..6 {
        let answer = answers.recv_timeout(Duration::from_secs(20)).expect("it uses more memory");
        assert_eq!(answer, "HTTP/1.1 413");
    }
    // A short request is possible nevertheless, and a long one after the others have ended.
    assert_eq!(client.put("/v1/accounts/code/1", "no JSON").status, 415);
    for stream in &waiting {
        // Those that were refused are closed already.
        let _closed = stream.shutdown(std::net::Shutdown::Both);
    }
    let mut start = [0; 12];
    let deadline = Instant::now() + Duration::from_secs(20);
    while start != *b"HTTP/1.1 415" {
        assert!(Instant::now() < deadline, "the memory of closed connections is still in use");
        let mut stream = begin_request(&server, authorization, BODY, BODY);
        stream.read_exact(&mut start).unwrap();
    }
}

/// The longest body, in bytes.
const BODY: usize = 1 << 20;
