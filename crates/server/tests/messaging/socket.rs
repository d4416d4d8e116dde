//! The WebSocket, used by a client that confirms, refuses or ignores each message as a test says.

mod crash;
mod credentials;
mod delivery;
mod frames;
mod limits;
mod nodes;
pub(crate) mod provisioning;

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use wormhole_chat::{Envelope, WebSocketMessage, WebSocketRequest, WebSocketResponse};

use crate::client::Client;
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// An open WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Requests of the server that arrived while the client waited for an answer.
    waiting: VecDeque<WebSocketRequest>,
    last_id: u64,
}

/// What the server sends.
#[derive(Debug)]
enum Arrival {
    Message(WebSocketMessage),
    /// The server closed the WebSocket with this code; `None` if the connection just ended.
    Closed(Option<u16>),
}

impl Socket {
    /// Opens a WebSocket of a device, with the credentials in the address.
    pub(crate) async fn open(server: &Server, client: &Client) -> Self {
        Self::connect(&server.address, client).await.unwrap()
    }

    /// The same at an address where perhaps no server runs.
    async fn connect(address: &str, client: &Client) -> Result<Self, tungstenite::Error> {
        let number = client.number.replace('+', "%2B");
        let password = client.password.replace('+', "%2B");
        Self::try_open(address, &format!("?login={number}&password={password}"), &[]).await
    }

    /// Opens a WebSocket with this query and these headers.
    async fn try_open(
        address: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let url = format!("ws://{address}/v1/websocket/{query}");
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await?;
        let (stream, _) = client_async(request, stream).await?;
        Ok(Self { stream, waiting: VecDeque::new(), last_id: 0 })
    }

    /// The next thing that the server sends.
    async fn next(&mut self) -> Arrival {
        let next = tokio::time::timeout(TIMEOUT, self.stream.next()).await;
        match next.expect("the server sent nothing") {
            Some(Ok(Message::Binary(bytes))) => {
                Arrival::Message(WebSocketMessage::decode(&bytes).unwrap())
            }
            Some(Ok(Message::Close(frame))) => {
                Arrival::Closed(frame.map(|frame| frame.code.into()))
            }
            None | Some(Err(_)) => Arrival::Closed(None),
            Some(Ok(other)) => panic!("unexpected frame {other:?}"),
        }
    }

    /// The next request of the server.
    pub(crate) async fn request(&mut self) -> WebSocketRequest {
        if let Some(request) = self.waiting.pop_front() {
            return request;
        }
        match self.next().await {
            Arrival::Message(WebSocketMessage::Request(request)) => request,
            other @ (Arrival::Message(_) | Arrival::Closed(_)) => {
                panic!("expected a request: {other:?}")
            }
        }
    }

    /// The next message of the queue, with the id of its request.
    async fn message(&mut self) -> (u64, Envelope) {
        let request = self.request().await;
        assert_eq!((request.verb.as_str(), request.path.as_str()), ("PUT", "/api/v1/message"));
        (request.id.unwrap(), Envelope::decode(&request.body.unwrap()).unwrap())
    }

    /// Expects that the server announces the end of the stored messages.
    async fn expect_empty(&mut self) {
        let request = self.request().await;
        assert_eq!((request.verb.as_str(), request.path.as_str()), ("PUT", "/api/v1/queue/empty"));
        self.answer(request.id.unwrap(), 200).await;
    }

    /// Answers a request of the server.
    async fn answer(&mut self, id: u64, status: u16) {
        let message = Some("OK".to_owned());
        let response = WebSocketResponse { id, status, message, body: None, headers: Vec::new() };
        self.send(&WebSocketMessage::Response(response)).await;
    }

    async fn send(&mut self, message: &WebSocketMessage) {
        self.stream.send(Message::Binary(message.encode().into())).await.unwrap();
    }

    /// Sends a request without waiting for the answer, and returns its id.
    async fn begin(&mut self, verb: &str, path: &str, body: &str) -> u64 {
        self.last_id += 1;
        let id = Some(self.last_id);
        self.send(&request(verb, path, body, id)).await;
        self.last_id
    }

    /// Opens a WebSocket of a client without credentials.
    pub(crate) async fn anonymous(server: &Server) -> Self {
        Self::try_open(&server.address, "", &[]).await.unwrap()
    }

    /// The next message of the queue, with the id of its request.
    pub(crate) async fn next_message(&mut self) -> (u64, Envelope) {
        loop {
            let request = self.request().await;
            if request.path == "/api/v1/message" {
                let envelope = Envelope::decode(&request.body.unwrap()).unwrap();
                return (request.id.unwrap(), envelope);
            }
        }
    }

    /// Sends a request with these headers and waits for its answer.
    pub(crate) async fn ask_with(
        &mut self,
        verb: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> WebSocketResponse {
        self.last_id += 1;
        let mut message = request(verb, path, body, Some(self.last_id));
        if let WebSocketMessage::Request(request) = &mut message {
            let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            request.headers.extend(headers);
        }
        self.send(&message).await;
        self.response().await
    }

    /// Sends a request and waits for its answer.
    async fn ask(&mut self, verb: &str, path: &str, body: &str) -> WebSocketResponse {
        let id = self.begin(verb, path, body).await;
        let response = self.response().await;
        assert_eq!(response.id, id);
        response
    }

    /// The next answer of the server. Its requests wait meanwhile.
    async fn response(&mut self) -> WebSocketResponse {
        loop {
            match self.next().await {
                Arrival::Message(WebSocketMessage::Response(response)) => return response,
                Arrival::Message(WebSocketMessage::Request(request)) => {
                    self.waiting.push_back(request);
                }
                Arrival::Closed(code) => panic!("closed with {code:?}"),
            }
        }
    }

    /// Waits until the server closes the WebSocket, and returns the code.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Arrival::Closed(code) = self.next().await {
                return code;
            }
        }
    }
}

/// A request of a client.
fn request(verb: &str, path: &str, body: &str, id: Option<u64>) -> WebSocketMessage {
    let body = (!body.is_empty()).then(|| body.as_bytes().to_vec());
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    WebSocketMessage::Request(WebSocketRequest {
        verb: verb.into(),
        path: path.into(),
        body,
        id,
        headers,
    })
}

/// How long a test waits for the server.
const TIMEOUT: Duration = Duration::from_secs(30);
