//! The connection on which a new device gets its address, and then the message for it. (docs/chat-service.md "Linking a device")

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use wormhole_chat::{MAX_FRAME, WebSocketMessage, WebSocketRequest, WebSocketResponse};
use wormhole_kit::{LinkId, LinkIds};

use crate::chat::error::{RequestError, ServerFault};
use crate::chat::server::{Network, Server};
use crate::chat::service::Service;
use crate::net::{Frames, LinkEvent, Links, NetLink, WebSocket};

/// The open connection.
pub(super) struct ProvisioningSocket {
    links: Links,
    link: LinkId,
    keepalive: Instant,
    last_request: u64,
}

impl fmt::Debug for ProvisioningSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvisioningSocket").finish_non_exhaustive()
    }
}

impl ProvisioningSocket {
    /// Connects without an account.
    pub(super) async fn open(server: &Server, network: &Network) -> Result<Self, RequestError> {
        let service = Service::new(server, network)?;
        let (url, headers) = service.provisioning_websocket();
        let opened =
            WebSocket::connect_with(&url, headers, service.route(), Frames::Binary, MAX_FRAME)
                .await?;
        let (mut links, link) = (Links::default(), LinkIds::outgoing().allocate());
        links.insert(link, NetLink::WebSocket(Box::new(opened)));
        Ok(Self { links, link, keepalive: Instant::now() + KEEPALIVE, last_request: 0 })
    }

    /// Waits for the request that names our address. Returns its body.
    pub(super) async fn address(&mut self) -> Result<Vec<u8>, RequestError> {
        let waiting = timeout(ADDRESS_PATIENCE, self.request("/v1/address"));
        waiting.await.map_err(|_| ServerFault::NoAddress)?
    }

    /// Waits for the message.
    pub(super) async fn message(&mut self) -> Result<Vec<u8>, RequestError> {
        self.request("/v1/message").await
    }

    /// Waits for a request with this path, answers it, and returns its body. Others are refused.
    async fn request(&mut self, path: &str) -> Result<Vec<u8>, RequestError> {
        loop {
            let request = self.next().await?;
            let is_wanted = request.verb == "PUT" && request.path == path;
            self.respond(&request, if is_wanted { 200 } else { 404 });
            if is_wanted {
                self.flush().await;
                return request.body.ok_or_else(|| ServerFault::Format.into());
            }
        }
    }

    async fn next(&mut self) -> Result<WebSocketRequest, RequestError> {
        loop {
            let (links, at) = (&mut self.links, self.keepalive);
            let event = tokio::select! {
                event = poll_fn(|cx| links.poll_next(cx, true)) => event,
                () = sleep_until(at) => {
                    self.keep_alive();
                    continue;
                }
            };
            match event {
                LinkEvent::Opened(_) => {}
                LinkEvent::Lost(_, failure) => return Err(failure.into()),
                LinkEvent::Received(_, bytes) => match WebSocketMessage::decode(&bytes) {
                    Ok(WebSocketMessage::Request(request)) => return Ok(request),
                    Ok(WebSocketMessage::Response(_)) => {}
                    Err(_) => return Err(ServerFault::Format.into()),
                },
            }
        }
    }

    fn respond(&mut self, to: &WebSocketRequest, status: u16) {
        let Some(id) = to.id else { return };
        let message = Some(if status == 200 { "OK" } else { "Not Found" }.to_owned());
        let response = WebSocketResponse { id, status, message, ..WebSocketResponse::default() };
        self.links.send(self.link, WebSocketMessage::Response(response).encode());
    }

    /// Lets the connection write what it has. Nothing depends on it: the server removes the message when the connection ends.
    async fn flush(&mut self) {
        let links = &mut self.links;
        let writing = poll_fn(|cx| {
            let event = links.poll_next(cx, false);
            drop(event);
            std::task::Poll::Ready(())
        });
        writing.await;
    }

    fn keep_alive(&mut self) {
        self.last_request += 1;
        let request = WebSocketRequest {
            verb: "GET".to_owned(),
            path: "/v1/keepalive/provisioning".to_owned(),
            id: Some(self.last_request),
            ..WebSocketRequest::default()
        };
        self.links.send(self.link, WebSocketMessage::Request(request).encode());
        self.keepalive = Instant::now() + KEEPALIVE;
    }
}

/// How long the server may take to name the address.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(30);

/// The interval of keep-alives. The server closes connections that are silent for a minute or more.
const KEEPALIVE: Duration = Duration::from_secs(45);
