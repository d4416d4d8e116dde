//! The WebSocket on which the server delivers messages. It is opened again after each loss, with growing pauses.
//! (docs/chat-service.md "WebSocket")

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wormhole_chat::{MAX_FRAME, WebSocketMessage, WebSocketRequest, WebSocketResponse};
use wormhole_kit::{LinkId, LinkIds};

use super::requests::pause;
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::Service;
use crate::net::{Frames, LinkEvent, LinkFailure, Links, NetLink, WebSocket};

/// The connection for messages.
pub(super) struct Socket {
    service: Arc<Service>,
    links: Links,
    ids: LinkIds,
    state: State,
    /// Failed attempts since messages last arrived.
    attempt: u32,
    last_request: u64,
}

enum State {
    Opening(Opening),
    Open { link: LinkId, keepalive: Instant },
    Waiting(Instant),
}

type Opening = Pin<Box<dyn Future<Output = Result<NetLink, RequestError>> + Send>>;

/// An event of the connection.
pub(super) enum SocketEvent {
    /// It is open.
    Opened,
    /// It was lost, or could not be opened.
    Lost(RequestError),
    /// A request of the server.
    Request(Incoming),
}

/// A request of the server, and where its response belongs.
pub(super) struct Incoming {
    pub(super) request: WebSocketRequest,
    pub(super) origin: RequestOrigin,
}

/// Where the response to a request belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RequestOrigin {
    link: LinkId,
    id: Option<u64>,
}

impl Socket {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            links: Links::default(),
            ids: LinkIds::outgoing(),
            state: State::Waiting(Instant::now()),
            attempt: 0,
            last_request: 0,
        }
    }

    /// Waits for the next event. Reads nothing from an open connection unless `reads` is set, but writes in any case.
    pub(super) async fn next(&mut self, reads: bool) -> SocketEvent {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Opening(open(Arc::clone(&self.service)));
                }
                State::Opening(opening) => match opening.await {
                    Ok(link) => return self.opened(link),
                    Err(error) => return self.handle_lost(error),
                },
                State::Open { link, keepalive } => {
                    let (link, at) = (*link, *keepalive);
                    let links = &mut self.links;
                    tokio::select! {
                        event = poll_fn(|cx| links.poll_next(cx, reads)) => {
                            if let Some(event) = self.handle(link, event) {
                                return event;
                            }
                        }
                        () = sleep_until(at) => self.keep_alive(link),
                    }
                }
            }
        }
    }

    /// Answers a request with a status. Does nothing if its connection is lost.
    pub(super) fn respond(&mut self, to: RequestOrigin, status: u16) {
        let RequestOrigin { link, id: Some(id) } = to else { return };
        let message = Some(if status == 200 { "OK" } else { "Not Found" }.to_owned());
        let response = WebSocketResponse { id, status, message, ..WebSocketResponse::default() };
        self.links.send(link, WebSocketMessage::Response(response).encode());
    }

    /// Resets the pause before the next connection: the server has delivered everything that waited.
    pub(super) const fn reset_pause(&mut self) {
        self.attempt = 0;
    }

    /// Sends what is queued, and closes the connection.
    pub(super) async fn close(mut self) {
        if let State::Open { link, .. } = self.state {
            self.links.close(link);
        }
        self.links.finish().await;
    }

    fn opened(&mut self, opened: NetLink) -> SocketEvent {
        let link = self.ids.allocate();
        self.links.insert(link, opened);
        self.state = State::Open { link, keepalive: Instant::now() + KEEPALIVE };
        SocketEvent::Opened
    }

    fn handle_lost(&mut self, error: RequestError) -> SocketEvent {
        let wait = error.retry_after().unwrap_or_else(|| pause(self.attempt, &error));
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Waiting(Instant::now() + wait);
        SocketEvent::Lost(error)
    }

    fn handle(&mut self, link: LinkId, event: LinkEvent) -> Option<SocketEvent> {
        match event {
            // The server sends requests and does not read our responses.
            LinkEvent::Received(..) if self.links.queued(link) > MAX_QUEUED => {
                Some(self.misbehaved(link))
            }
            LinkEvent::Received(_, bytes) => {
                let message = WebSocketMessage::decode(&bytes);
                self.links.recycle(bytes);
                match message {
                    Ok(WebSocketMessage::Request(request)) => {
                        let origin = RequestOrigin { link, id: request.id };
                        Some(SocketEvent::Request(Incoming { request, origin }))
                    }
                    // The answer to a keep-alive: that it arrived is enough.
                    Ok(WebSocketMessage::Response(_)) => None,
                    Err(_) => Some(self.misbehaved(link)),
                }
            }
            LinkEvent::Lost(_, failure) => Some(self.handle_lost(failure.into())),
            LinkEvent::Opened(_) => None,
        }
    }

    fn misbehaved(&mut self, link: LinkId) -> SocketEvent {
        drop(self.links.take(link));
        self.handle_lost(ServerFault::Socket.into())
    }

    fn keep_alive(&mut self, link: LinkId) {
        self.last_request += 1;
        let request = WebSocketRequest {
            verb: "GET".to_owned(),
            path: "/v1/keepalive".to_owned(),
            id: Some(self.last_request),
            ..WebSocketRequest::default()
        };
        self.links.send(link, WebSocketMessage::Request(request).encode());
        self.state = State::Open { link, keepalive: Instant::now() + KEEPALIVE };
    }
}

/// Opens the WebSocket. If the server refuses the credentials, asks it again over HTTP, which says what is wrong.
fn open(service: Arc<Service>) -> Opening {
    Box::pin(async move {
        let (url, headers) = service.websocket();
        let opened =
            WebSocket::connect_with(&url, headers, service.route(), Frames::Binary, MAX_FRAME)
                .await;
        match opened {
            Ok(socket) => Ok(NetLink::WebSocket(Box::new(socket))),
            Err(LinkFailure::NotAWebSocket(401)) => match service.whoami().await {
                Ok(_) => Err(RequestError::Unavailable(401)),
                Err(error) => Err(error),
            },
            Err(failure) => Err(failure.into()),
        }
    })
}

/// Maximum number of responses that wait to be written. Our server sends at most 256 messages before it gets a response.
const MAX_QUEUED: usize = 1024;

/// The interval of keep-alives. Servers close connections that are silent for a minute or more.
const KEEPALIVE: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::time::sleep;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::chat::{Network, Server};
    use crate::net::testing::link;

    #[tokio::test(start_paused = true)]
    async fn a_connection_survives_an_application_that_takes_nothing_for_two_minutes() {
        let server = Server::new("http://127.0.0.1:1".parse().unwrap());
        let service = Service::new(&server, &Network::default()).unwrap();
        let mut socket = Socket::new(Arc::new(service));
        let (ours, mut theirs) = link(Frames::Binary).await;
        assert!(matches!(socket.opened(ours), SocketEvent::Opened));
        let State::Open { link, .. } = socket.state else { panic!("not open") };
        let (verb, path) = ("PUT".to_owned(), "/api/v1/queue/empty".to_owned());
        let request = WebSocketRequest { verb, path, id: Some(1), ..WebSocketRequest::default() };
        let message = WebSocketMessage::Request(request).encode();
        theirs.send(Message::binary(message)).await.unwrap();
        // Earlier messages are acknowledged meanwhile.
        socket.respond(RequestOrigin { link, id: Some(7) }, 200);
        let (mut requests, mut responses) = (0, 0);
        let until = Instant::now() + Duration::from_secs(120);
        while Instant::now() < until {
            tokio::select! {
                _ = socket.next(false) => panic!("the connection has an event"),
                message = theirs.next() => {
                    let Message::Binary(bytes) = message.unwrap().unwrap() else { continue };
                    match WebSocketMessage::decode(&bytes).unwrap() {
                        WebSocketMessage::Request(_) => requests += 1,
                        WebSocketMessage::Response(response) => responses += response.id,
                    }
                }
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
        assert_eq!((requests, responses), (2, 7));
        match socket.next(true).await {
            SocketEvent::Request(incoming) => assert_eq!(incoming.request.id, Some(1)),
            SocketEvent::Lost(error) => panic!("{error}"),
            SocketEvent::Opened => panic!("opened again"),
        }
    }
}
