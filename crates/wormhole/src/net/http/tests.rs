//! The HTTP client against servers that answer badly.

use hyper::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::*;

/// A client of the server at this listener.
fn client(listener: &TcpListener) -> HttpClient {
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    HttpClient::new(Origin::of(&url).unwrap(), Route::default())
}

async fn ask(client: &HttpClient, limit: usize) -> Result<HttpResponse, HttpFailure> {
    client.request(Request::get("/path").body(Bytes::new()).unwrap(), limit).await
}

/// Accepts a connection and reads the head of a request.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The result of a request that a server answers with these bytes, and then closes the connection.
async fn answered(bytes: &[u8], limit: usize) -> Result<HttpResponse, HttpFailure> {
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
    let expected = HttpResponse {
        status: 413,
        retry_after: Some(Duration::from_secs(7)),
        body: b"hello".to_vec(),
        is_repeated: false,
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

#[tokio::test]
async fn a_request_is_repeated_on_a_new_connection_if_an_idle_one_is_dead() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let serve = async {
        let mut dead = accept(&listener).await;
        dead.write_all(answer).await.unwrap();
        // The next request gets no answer on this connection, and the one after it does not use it.
        read_head(&mut dead).await;
        let mut stream = accept(&listener).await;
        stream.write_all(answer).await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        (dead, stream)
    };
    let asked = async {
        let mut times = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(ask(&client, 0).await.unwrap().status, 200);
            times.push(start.elapsed());
        }
        times
    };
    let (_, times) = tokio::join!(serve, asked);
    assert!(times[1] >= REUSED_HEAD_TIME && times[1] < HEAD_TIME / 2, "{times:?}");
    assert!(times[2] < REUSED_HEAD_TIME, "{times:?}");
}

#[tokio::test]
async fn a_request_that_must_not_be_repeated_uses_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let serve = async {
        let mut idle = accept(&listener).await;
        idle.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        drop(accept(&listener).await);
        idle
    };
    let asked = async {
        assert_eq!(ask(&client, 0).await.unwrap().status, 200);
        client.request_once(Request::get("/path").body(Bytes::new()).unwrap(), 0).await
    };
    let (_, once) = tokio::join!(serve, asked);
    assert!(matches!(once, Err(HttpFailure::Link(_))), "{once:?}");
}

#[tokio::test]
async fn a_failure_says_whether_the_server_may_have_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let refused = |why: &LinkFailure| *why == LinkFailure::Io(io::ErrorKind::ConnectionRefused);
    let serve = async {
        let mut idle = accept(&listener).await;
        idle.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        idle
    };
    let (mut idle, first) = tokio::join!(serve, ask(&client, 0));
    assert_eq!(first.unwrap().status, 200);
    // The server reads the next request, and goes away without an answer.
    let serve = async {
        read_head(&mut idle).await;
        drop((listener, idle));
    };
    let ((), second) = tokio::join!(serve, ask(&client, 0));
    assert!(matches!(&second, Err(HttpFailure::Link(why)) if refused(why)), "{second:?}");
    let third = ask(&client, 0).await;
    assert!(matches!(&third, Err(HttpFailure::NotConnected(why)) if refused(why)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_after_a_minute() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let timed_out = HttpFailure::Link(LinkFailure::TimedOut);
    let start = Instant::now();
    assert_eq!(ask(&client, 9).await, Err(timed_out.clone()));
    assert!(start.elapsed() <= REQUEST_TIME);
    // The same if the body is read in pieces.
    let start = Instant::now();
    let request = Request::get("/path").body(body(Bytes::new())).unwrap();
    assert_eq!(client.send(request).await.map(|response| response.status), Err(timed_out.clone()));
    assert!(start.elapsed() <= HEAD_TIME + Duration::from_secs(1));
    // A long request may take longer.
    let start = Instant::now();
    let long = Request::put("/path").body(Bytes::from(vec![0; 180 << 10])).unwrap();
    assert_eq!(client.request(long, 9).await, Err(timed_out));
    let time = start.elapsed().as_secs();
    assert!((60 + 44..=60 + 46).contains(&time), "{time}");
}

/// A response whose pieces a test writes.
async fn streamed(client: &HttpClient) -> (StreamedResponse, DuplexStream) {
    let (ours, mut theirs) = duplex(1 << 20);
    let connection = Connection::over(Box::new(ours)).await.unwrap();
    let request = Request::get("/path").body(body(Bytes::new())).unwrap();
    let serve = async {
        read_head(&mut theirs).await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        theirs
    };
    let (response, theirs) = tokio::join!(client.exchange(connection, request, HEAD_TIME), serve);
    (response.unwrap(), theirs)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_too_slowly_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    // Some bytes at once, and then a byte every 20 seconds.
    let (mut response, mut server) = streamed(&client).await;
    server.write_all(&[b'x'; 100_000]).await.unwrap();
    let mut received = 0;
    while received < 100_000 {
        received += response.piece().await.unwrap().unwrap().len();
    }
    let serve = async {
        while server.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(20)).await;
        }
    };
    let read = async {
        let start = Instant::now();
        let result = loop {
            match response.piece().await {
                Ok(Some(_)) => {}
                result => break result,
            }
        };
        drop(response);
        (result, start.elapsed().as_secs())
    };
    let ((result, seconds), ()) = tokio::join!(read, serve);
    assert_eq!(result, Err(HttpFailure::Link(LinkFailure::TimedOut)));
    assert!((55..=65).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_body_may_take_long_if_it_does_not_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&listener);
    let (mut response, mut server) = streamed(&client).await;
    let serve = async {
        for _ in 0..100 {
            sleep(Duration::from_secs(10)).await;
            server.write_all(&[b'x'; 48 << 10]).await.unwrap();
        }
        drop(server);
    };
    let read = async {
        let mut received = 0;
        while let Some(piece) = response.piece().await.unwrap() {
            received += piece.len();
            // Our own slowness does not count.
            sleep(Duration::from_secs(5)).await;
        }
        received
    };
    let ((), received) = tokio::join!(serve, read);
    assert_eq!(received, 100 * (48 << 10));
}
