//! The HTTP client against servers that answer badly.

use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A client of the server at this listener.
fn client(listener: &TcpListener) -> HttpClient {
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    HttpClient::new(Origin::of(&url).unwrap(), Route::default())
}

async fn ask(client: &HttpClient, limit: usize) -> Result<HttpAnswer, HttpFailure> {
    client.request(Request::get("/path").body(Bytes::new()).unwrap(), limit).await
}

/// Accepts a connection and reads the head of a request.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The result of a request that a server answers with these bytes, and then closes the connection.
async fn answered(bytes: &[u8], limit: usize) -> Result<HttpAnswer, HttpFailure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let serve = async {
        let mut stream = accept(&listener).await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    tokio::join!(ask(&client, limit), serve).0
}

#[tokio::test]
async fn answers_are_read_up_to_their_limit() {
    let answer = b"HTTP/1.1 413 x\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nhello";
    let expected = HttpAnswer {
        status: 413,
        retry_after: Some(Duration::from_secs(7)),
        body: b"hello".to_vec(),
    };
    assert_eq!(answered(answer, 5).await, Ok(expected));
    assert_eq!(answered(answer, 4).await, Err(HttpFailure::TooLong));
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1000]].concat();
    assert_eq!(answered(&endless, 999).await, Err(HttpFailure::TooLong));
}

#[tokio::test]
async fn malformed_and_truncated_answers_are_failures() {
    for bytes in
        [&b"SSH-2.0-OpenSSH\r\n\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x16", b"HTTP/9.9 x\r\n"]
    {
        assert_eq!(answered(bytes, 9).await, Err(HttpFailure::NotHttp), "{bytes:?}");
    }
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"] {
        let failure = answered(bytes, 9).await;
        assert!(matches!(failure, Err(HttpFailure::Link(_))), "{failure:?}");
    }
}

#[tokio::test]
async fn a_request_is_repeated_if_the_server_has_closed_an_idle_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let serve = async {
        let mut stream = accept(&listener).await;
        stream.write_all(answer).await.unwrap();
        // The second request comes on the same connection.
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("GET /path HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
        stream.write_all(answer).await.unwrap();
        drop(stream);
        let mut stream = accept(&listener).await;
        stream.write_all(answer).await.unwrap();
        stream
    };
    let asked = async {
        for _ in 0..3 {
            assert_eq!(ask(&client, 0).await.unwrap().status, 200);
        }
    };
    tokio::join!(serve, asked);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_after_a_minute() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let start = Instant::now();
    assert_eq!(ask(&client, 9).await, Err(HttpFailure::Link(LinkFailure::TimedOut)));
    assert!(start.elapsed() <= REQUEST_TIME);
}
