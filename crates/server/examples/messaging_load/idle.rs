//! Sockets that do nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wormhole_chat::WebSocketMessage;

use crate::Failure;
use crate::accounts::{self, Account};
use crate::server::Server;
use crate::socket::Socket;
use crate::usage::{Usage, percentile, rounded};

pub(crate) async fn run(server: &Server, count: usize, hold: u64) -> Result<Value, Failure> {
    let accounts = accounts::register(server, count, false).await?;
    let before = Usage::of(server.id());
    let start = Instant::now();
    let works = (0..OPENERS).map(|opener| open(server, Arc::clone(&accounts), opener));
    let sockets = futures_util::future::try_join_all(works).await?;
    let mut sockets: Vec<Socket> = sockets.into_iter().flatten().collect();
    let seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(hold)).await;
    let settled = Usage::of(server.id());
    tokio::time::sleep(Duration::from_secs(hold)).await;
    let idle_cpu = Usage::of(server.id()).cpu - settled.cpu;
    let mut times = Vec::new();
    for socket in sockets.iter_mut().take(100) {
        times.push(keep_alive(socket).await?);
    }
    Ok(json!({
        "sockets": sockets.len(),
        "sockets_per_s": rounded(sockets.len() as f64 / seconds),
        "rss_before_mib": rounded(before.kib / 1024.0),
        "rss_mib": rounded(settled.kib / 1024.0),
        "kib_per_socket": rounded((settled.kib - before.kib) / sockets.len().max(1) as f64),
        "idle_cpu_pct": rounded(100.0 * idle_cpu / hold.max(1) as f64),
        "keepalive_p50_ms": percentile(&mut times, 0.50),
    }))
}

/// Opens a share of the sockets, and waits until each has got everything from its empty queue.
async fn open(
    server: &Server,
    accounts: Arc<Vec<Account>>,
    opener: usize,
) -> Result<Vec<Socket>, Failure> {
    let mut sockets = Vec::new();
    for account in accounts.iter().skip(opener).step_by(OPENERS) {
        let mut socket = Socket::connect(&server.authority, account).await?;
        let request = loop {
            match socket.next()? {
                Some(WebSocketMessage::Request(request)) => break request,
                Some(WebSocketMessage::Response(_)) => {}
                None => socket.fill().await?,
            }
        };
        socket.confirm(request.id.unwrap_or_default());
        socket.flush().await?;
        socket.shrink();
        sockets.push(socket);
    }
    Ok(sockets)
}

async fn keep_alive(socket: &mut Socket) -> Result<Duration, Failure> {
    let start = Instant::now();
    socket.request(1, "GET", "/v1/keepalive".to_owned(), None);
    socket.flush().await?;
    loop {
        match socket.next()? {
            Some(WebSocketMessage::Response(_)) => return Ok(start.elapsed()),
            Some(WebSocketMessage::Request(_)) => {}
            None => socket.fill().await?,
        }
    }
}

/// Sockets opened at the same time.
const OPENERS: usize = 50;
