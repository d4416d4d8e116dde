//! The listener for monitoring: `/metrics` and `/health` over plain HTTP, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{NoRequest, Request};
use crate::ServerError;
use crate::host::{Listening, accept};
use crate::metrics::Metrics;
use crate::net::{self, Stream};

/// Answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    listener: TcpListener,
    metrics: Arc<Metrics>,
}

impl Monitor {
    /// Starts listening.
    pub(crate) fn listen(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, ServerError> {
        let listener = net::listen(address)?;
        Listening::new("metrics", "http://{}/metrics", &listener).announce();
        Ok(Self { listener, metrics })
    }

    /// Answers requests, for ever.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
        let serve = |stream, _| {
            // Connections that come while all permits are taken are closed.
            let permit = Arc::clone(&permits).try_acquire_owned().ok()?;
            let metrics = Arc::clone(&self.metrics);
            Some(async move {
                answer(stream, &metrics).await;
                drop(permit);
            })
        };
        accept(self.listener, CancellationToken::new(), TaskTracker::new(), serve).await;
    }
}

async fn answer(stream: TcpStream, metrics: &Metrics) {
    let mut stream = Stream::Plain(stream);
    let (status, page, with_page) = match Request::read(&mut stream).await {
        Ok((request, _)) => {
            let (status, page) = page(&request, metrics);
            (status, page, !request.is_head)
        }
        Err(NoRequest::Gone) => return,
        Err(error) => ("400 Bad Request", format!("{error}\n"), true),
    };
    // The client may be gone already.
    let _ = super::respond(&mut stream, status, &page, with_page).await;
}

fn page(request: &Request, metrics: &Metrics) -> (&'static str, String) {
    match request.path.as_str() {
        _ if !request.is_get => ("405 Method Not Allowed", "only GET\n".into()),
        "/health" => ("200 OK", "ok\n".into()),
        "/metrics" => ("200 OK", metrics.render()),
        _ => ("404 Not Found", "not found: there are /metrics and /health\n".into()),
    }
}

/// Requests that may be under way at the same time. A monitor needs one.
const MAX_REQUESTS: usize = 32;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::metrics;

    async fn answer_to(address: SocketAddr, line: &str) -> String {
        let mut link = TcpStream::connect(address).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        link.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        link.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_health_are_at_a_listener_of_their_own() {
        let metrics = Arc::new(Metrics::new(true));
        metrics.register(|page| metrics::write(page, "a_total", "counter", "Things.", 3));
        let monitor = Monitor::listen("127.0.0.1:0".parse().unwrap(), metrics).unwrap();
        let address = monitor.listener.local_addr().unwrap();
        let running = tokio::spawn(monitor.run());
        assert!(answer_to(address, "GET /metrics").await.ends_with("\nwormhole_a_total 3\n"));
        assert!(answer_to(address, "GET /health").await.ends_with("\r\n\r\nok\n"));
        assert!(answer_to(address, "GET /").await.starts_with("HTTP/1.1 404 "));
        assert!(answer_to(address, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
        running.abort();
    }
}
