//! Requests for the keys of devices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wormhole_chat::WebSocketMessage;

use crate::Failure;
use crate::accounts::{self, Account};
use crate::server::Server;
use crate::socket::Socket;
use crate::usage::{Usage, percentile, rounded};

/// Each device asks for the keys of the others in turn, with a few requests at the same time. At most as many requests as
/// there are one-time keys should be made.
pub(crate) async fn run(
    server: &Server,
    devices: usize,
    requests: usize,
) -> Result<Value, Failure> {
    let accounts = accounts::register(server, devices, true).await?;
    let mut sockets = Vec::new();
    for account in accounts.iter() {
        sockets.push(Socket::connect(&server.authority, account).await?);
    }
    let before = Usage::of(server.id());
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        let share = requests / devices + usize::from(number < requests % devices);
        tasks.spawn(ask(number, socket, Arc::clone(&accounts), share));
    }
    let mut times = Vec::new();
    while let Some(found) = tasks.join_next().await {
        times.append(&mut found??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = Usage::of(server.id()).cpu - before.cpu;
    Ok(json!({
        "bundles": times.len(),
        "seconds": rounded(seconds),
        "bundles_per_s": rounded(times.len() as f64 / seconds),
        "p50_ms": percentile(&mut times, 0.50),
        "p99_ms": percentile(&mut times, 0.99),
        "server_cpu_us_per_bundle": rounded(1e6 * cpu / times.len().max(1) as f64),
    }))
}

async fn ask(
    number: usize,
    mut socket: Socket,
    accounts: Arc<Vec<Account>>,
    requests: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut sent = Vec::with_capacity(requests);
    let mut times = Vec::with_capacity(requests);
    while times.len() < requests {
        while sent.len() < requests && sent.len() - times.len() < WINDOW {
            let other = (number + 1 + sent.len() % (accounts.len() - 1)) % accounts.len();
            let to = accounts.get(other).ok_or("no other device")?;
            socket.request(sent.len() as u64, "GET", format!("/v2/keys/{}/1", to.id), None);
            sent.push(Instant::now());
        }
        socket.flush().await?;
        socket.fill().await?;
        while let Some(message) = socket.next()? {
            match message {
                WebSocketMessage::Request(request) => {
                    socket.confirm(request.id.unwrap_or_default());
                }
                WebSocketMessage::Response(response) if response.status == 200 => {
                    let at = sent.get(usize::try_from(response.id)?);
                    times.push(at.ok_or("an answer without a request")?.elapsed());
                }
                WebSocketMessage::Response(response) => {
                    return Err(format!("keys: {}", response.status).into());
                }
            }
        }
    }
    Ok(times)
}

/// Unanswered requests of one device.
const WINDOW: usize = 4;
