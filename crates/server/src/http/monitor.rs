//! The listener for monitoring: `/metrics` and `/health` over plain HTTP, on a separate port.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Pages, SETTINGS, pages};
use crate::ServerError;
use crate::host::{Listening, accept};
use crate::metrics::Metrics;
use crate::net;

/// Serves monitors until it is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    listener: TcpListener,
    pages: Pages,
}

impl Monitor {
    /// Starts listening.
    pub(crate) fn listen(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, ServerError> {
        let listener = net::listen(address)?;
        Listening::new("metrics", "http://{}/metrics", &listener).announce();
        let missing = "not found: there are /metrics and /health\n";
        Ok(Self { listener, pages: Pages::new(pages::for_monitors(metrics), missing) })
    }

    /// Responds to requests. Never ends.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
        let serve = |stream: TcpStream, _| {
            // A connection is closed if no permit is free.
            let permit = Arc::clone(&permits).try_acquire_owned().ok()?;
            let pages = self.pages.clone();
            Some(async move {
                let answer = |request| pages.answer(request);
                wormhole_http::serve(stream, &SETTINGS, pending(), answer).await;
                drop(permit);
            })
        };
        accept(self.listener, CancellationToken::new(), TaskTracker::new(), serve).await;
    }
}

/// Maximum number of requests at the same time. A monitor needs one.
const MAX_REQUESTS: usize = 32;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::metrics::Reading;

    async fn response(address: SocketAddr, line: &str) -> String {
        let mut link = TcpStream::connect(address).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        link.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        link.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn the_monitor_serves_metrics_and_health_on_its_own_port() {
        let metrics = Arc::new(Metrics::new(true));
        metrics.register("test", |registry| {
            registry.register("a", "Things", Reading::counter(|| 3));
        });
        let monitor = Monitor::listen("127.0.0.1:0".parse().unwrap(), metrics).unwrap();
        let address = monitor.listener.local_addr().unwrap();
        let running = tokio::spawn(monitor.run());
        assert!(response(address, "GET /metrics").await.ends_with("\nwormhole_test_a_total 3\n"));
        assert!(response(address, "GET /health").await.ends_with("\r\n\r\nok\n"));
        assert!(response(address, "GET /").await.starts_with("HTTP/1.1 404 "));
        assert!(response(address, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
        running.abort();
    }
}
