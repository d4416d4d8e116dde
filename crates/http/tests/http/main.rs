//! Connections over real sockets: what clients get, whatever they send.
//!
//! Most of it is hyper's work. The tests state what it does, because our servers rely on it.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod bodies;
mod heads;
mod many_requests;
mod one_request;
mod smuggling;
mod web_sockets;

use std::time::Duration;

use axum::response::IntoResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wormhole_http::{Request, Requests, Response, Settings, Upgraded, body, handshake, serve};

/// A client's end of a connection that is being served.
struct Client {
    stream: TcpStream,
    /// Dropping it tells the server to stop.
    stop: oneshot::Sender<()>,
    served: JoinHandle<Option<Upgraded<TcpStream>>>,
}

impl Client {
    /// A connection that carries many requests, answered by [`echo`].
    async fn of_many() -> Self {
        Self::with(Requests::Many, echo).await
    }

    /// A connection that carries one request, answered by [`echo`].
    async fn of_one() -> Self {
        Self::with(Requests::One { time: EXCHANGE_TIME }, echo).await
    }

    async fn with<A, F>(requests: Requests, answer: A) -> Self
    where
        A: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send,
    {
        let settings = Settings { head_time: HEAD_TIME, requests };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            serve(accepted, &settings, async { drop(stopped.await) }, answer).await
        });
        Self { stream, stop, served }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next response: its status and its body.
    async fn response(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        (status(&head), String::from_utf8(body).unwrap())
    }

    /// Everything until the server closes the connection.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }

    /// The status of the only response to these bytes, after which the server closes the connection.
    async fn last_status(mut self, bytes: impl AsRef<[u8]>) -> u16 {
        self.send(bytes).await;
        let rest = self.rest().await;
        assert_eq!(rest.matches("\r\nDate: ").count(), 1, "{rest}");
        status(&rest)
    }
}

/// The status in a response that begins here.
fn status(response: &str) -> u16 {
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Opens WebSockets, and answers other requests with their method, path and body.
async fn echo(request: Request) -> Response {
    match handshake::check(&request) {
        Ok(None) => {}
        Ok(Some(accept)) => return accept.into_response(),
        Err(error) => return error.into_response(),
    }
    let words = format!("{} {}", request.method(), request.uri().path());
    match body::read(request.into_body(), MAX_BODY, BODY_TIME).await {
        Ok(body) => format!("{words} {}", String::from_utf8_lossy(&body)).into_response(),
        Err(error) => error.into_response(),
    }
}

/// A request without a body.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.org\r\n\r\n")
}

/// A request with a body and these header lines.
fn post(path: &str, lines: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: example.org\r\n{lines}\r\n{body}")
}

const HEAD_TIME: Duration = Duration::from_secs(10);
const EXCHANGE_TIME: Duration = Duration::from_secs(20);
const BODY_TIME: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 100;
