//! Just enough HTTP/1.1 to say hello, show a page and become a WebSocket.
//!
//! One request per link, nothing in its body. The head is bounded in size and time. There is no
//! general web server here: idle WebSocket links are to cost as little memory as possible, and an
//! HTTP library keeps buffers for what will never come again.

#[cfg(test)]
mod corpus;
mod monitor;
mod request;
pub(crate) mod websocket;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::Stream;
pub(crate) use monitor::Monitor;
pub(crate) use request::{NoRequest, Request};

impl Request {
    /// Reads the head of the request; returns it with the bytes that came after it.
    pub(crate) async fn read(stream: &mut Stream) -> Result<(Self, Vec<u8>), NoRequest> {
        let reading = Self::read_patiently(stream);
        tokio::time::timeout(HEAD_TIMEOUT, reading).await.unwrap_or(Err(NoRequest::Gone))
    }

    async fn read_patiently(stream: &mut Stream) -> Result<(Self, Vec<u8>), NoRequest> {
        let mut bytes = Vec::with_capacity(FIRST_READ);
        loop {
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return Err(NoRequest::Gone),
                Ok(_) => {}
            }
            if let Some((request, length)) = Self::parse(&bytes)? {
                return Ok((request, bytes.split_off(length.min(bytes.len()))));
            }
            if bytes.len() >= MAX_HEAD {
                return Err(NoRequest::TooLong);
            }
        }
    }
}

/// Answers with a page of text and ends the link.
pub(crate) async fn respond(
    stream: &mut Stream,
    status: &str,
    page: &str,
    with_page: bool,
) -> io::Result<()> {
    let shown = if with_page { page } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{shown}",
        page.len()
    );
    let sending = async {
        stream.write_all(head.as_bytes()).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(HEAD_TIMEOUT, sending).await?
}

/// Time for a request to come and for a page to go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head, in bytes.
const MAX_HEAD: usize = 8192;

/// Room for the head of a usual client, in bytes.
const FIRST_READ: usize = 1024;
