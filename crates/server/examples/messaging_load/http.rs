//! Requests over one HTTP connection, one after the other.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

/// An open connection.
pub(crate) struct Http {
    stream: TcpStream,
    authority: Arc<str>,
    /// Bytes that were read after the last answer.
    read: Vec<u8>,
}

/// The head of an answer.
pub(crate) struct Head {
    status: u16,
    length: usize,
}

impl Http {
    pub(crate) async fn connect(authority: &Arc<str>) -> Result<Self, Failure> {
        let stream = TcpStream::connect(&**authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, authority: Arc::clone(authority), read: Vec::new() })
    }

    /// Sends a request and returns the JSON of a 200 answer. `headers` end in a line break each.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Value, Failure> {
        self.send(method, path, headers, body).await?;
        let head = self.head().await?;
        while self.read.len() < head.length {
            self.fill().await?;
        }
        let rest = self.read.split_off(head.length);
        let body = std::mem::replace(&mut self.read, rest);
        if head.status != 200 {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("{method} {path}: {} {text}", head.status).into());
        }
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Fetches a path, and returns the number of bytes.
    pub(crate) async fn download(&mut self, path: &str) -> Result<usize, Failure> {
        self.send("GET", path, "", &[]).await?;
        let head = self.head().await?;
        if head.status != 200 {
            return Err(format!("GET of an attachment: {}", head.status).into());
        }
        let mut seen = self.read.len();
        let mut piece = vec![0; 256 << 10];
        while seen < head.length {
            match self.stream.read(&mut piece).await? {
                0 => return Err("the server closed the connection".into()),
                count => seen += count,
            }
        }
        self.read.clear();
        Ok(seen)
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(), Failure> {
        let length = body.len();
        let authority = &self.authority;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.stream.write_all(body).await?;
        Ok(())
    }

    async fn head(&mut self) -> Result<Head, Failure> {
        let end = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.fill().await?,
            }
        };
        let rest = self.read.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.read, rest))?.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(Ok(0), str::parse)?;
        Ok(Head { status: status.ok_or("malformed answer")?, length })
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}
