//! Messages between connected devices.
//!
//! A message is complete when its sender has the receipt: then the server has stored it, delivered it, removed it after the
//! confirmation, and done the same with the receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use wormhole_chat::{Envelope, EnvelopeKind, WebSocketMessage, WebSocketRequest};

use crate::Failure;
use crate::accounts::{self, Account};
use crate::server::Server;
use crate::socket::Socket;
use crate::usage::{Usage, percentile, rounded};

/// What all devices share.
struct Plan {
    accounts: Arc<Vec<Account>>,
    start: Instant,
    messages: usize,
    window: usize,
    /// Time between two messages of one device; zero to send as fast as possible.
    interval: Duration,
    /// Messages that were sent or are about to be.
    taken: AtomicUsize,
    /// Messages whose receipt has arrived.
    complete: AtomicUsize,
    ended: CancellationToken,
}

/// What one device has measured.
#[derive(Default)]
struct Times {
    accepted: Vec<Duration>,
    delivered: Vec<Duration>,
}

pub(crate) async fn run(
    server: &Server,
    devices: usize,
    messages: usize,
    window: usize,
    rate: Option<f64>,
) -> Result<Value, Failure> {
    let accounts = accounts::register(server, devices, true).await?;
    let mut sockets = Vec::new();
    for account in accounts.iter() {
        sockets.push(Socket::connect(&server.authority, account).await?);
    }
    let interval = rate.map(|rate| Duration::from_secs_f64(devices as f64 / rate));
    let (before, own_before) = (Usage::of(server.id()), Usage::of(std::process::id()));
    let plan = Arc::new(Plan {
        accounts,
        start: Instant::now(),
        messages,
        window,
        interval: interval.unwrap_or_default(),
        taken: AtomicUsize::new(0),
        complete: AtomicUsize::new(0),
        ended: CancellationToken::new(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        tasks.spawn(Device::new(number, socket, Arc::clone(&plan)).run());
    }
    let mut all = Times::default();
    while let Some(times) = tasks.join_next().await {
        let mut times = times??;
        all.accepted.append(&mut times.accepted);
        all.delivered.append(&mut times.delivered);
    }
    let seconds = plan.start.elapsed().as_secs_f64();
    let (after, own_after) = (Usage::of(server.id()), Usage::of(std::process::id()));
    Ok(json!({
        "messages": messages,
        "delivered": all.delivered.len(),
        "seconds": rounded(seconds),
        "messages_per_s": rounded(messages as f64 / seconds),
        "accepted_p50_ms": percentile(&mut all.accepted, 0.50),
        "accepted_p99_ms": percentile(&mut all.accepted, 0.99),
        "delivered_p50_ms": percentile(&mut all.delivered, 0.50),
        "delivered_p99_ms": percentile(&mut all.delivered, 0.99),
        "server_cpu_us_per_message": rounded(1e6 * (after.cpu - before.cpu) / messages as f64),
        "client_cpu_us_per_message": rounded(1e6 * (own_after.cpu - own_before.cpu) / messages as f64),
        "server_rss_mib": rounded(after.kib / 1024.0),
    }))
}

/// A device that writes to all the others in turn, and reads what they write.
struct Device {
    number: usize,
    socket: Socket,
    plan: Arc<Plan>,
    times: Times,
    /// When each unanswered request was sent.
    unanswered: std::collections::HashMap<u64, Instant>,
    sent: usize,
}

impl Device {
    fn new(number: usize, socket: Socket, plan: Arc<Plan>) -> Self {
        let (times, unanswered) = (Times::default(), Default::default());
        Self { number, socket, plan, times, unanswered, sent: 0 }
    }

    async fn run(mut self) -> Result<Times, Failure> {
        let ended = self.plan.ended.clone();
        // Devices do not all write at the same moment.
        let share = self.number as f64 / self.plan.accounts.len() as f64;
        let mut due = self.plan.start + self.plan.interval.mul_f64(share);
        let mut has_more = true;
        loop {
            while has_more && due <= Instant::now() && self.unanswered.len() < self.plan.window {
                has_more = self.write();
                due += self.plan.interval;
            }
            self.socket.flush().await?;
            let can_write = has_more && self.unanswered.len() < self.plan.window;
            tokio::select! {
                filled = self.socket.fill() => filled?,
                () = sleep_until(due.into()), if can_write => {}
                () = ended.cancelled() => return Ok(self.times),
            }
            while let Some(message) = self.socket.next()? {
                self.read(message)?;
            }
        }
    }

    /// Queues one message, unless all have been sent.
    fn write(&mut self) -> bool {
        if self.plan.taken.fetch_add(1, Ordering::Relaxed) >= self.plan.messages {
            return false;
        }
        self.sent += 1;
        let others = self.plan.accounts.len() - 1;
        let other = (self.number + 1 + self.sent % others) % self.plan.accounts.len();
        let Some(to) = self.plan.accounts.get(other) else { return false };
        let now = Instant::now();
        let mut content = [7; 256];
        let sent = now.duration_since(self.plan.start).as_nanos() as u64;
        content.iter_mut().zip(sent.to_be_bytes()).for_each(|(to, byte)| *to = byte);
        let body = format!(
            r#"{{"messages":[{{"type":1,"destinationDeviceId":1,"destinationRegistrationId":1,"content":"{}"}}],"timestamp":{}}}"#,
            BASE64.encode(&content),
            FIRST_TIMESTAMP + self.sent as u64,
        );
        let id = self.sent as u64;
        let path = format!("/v1/messages/{}", to.id);
        self.socket.request(id, "PUT", path, Some(body.into_bytes()));
        self.unanswered.insert(id, now);
        true
    }

    fn read(&mut self, message: WebSocketMessage) -> Result<(), Failure> {
        match message {
            WebSocketMessage::Response(response) if response.status == 200 => {
                let sent = self.unanswered.remove(&response.id);
                self.times.accepted.extend(sent.map(|sent| sent.elapsed()));
                Ok(())
            }
            WebSocketMessage::Response(response) => {
                let body = response.body.unwrap_or_default();
                Err(format!("{} {}", response.status, String::from_utf8_lossy(&body)).into())
            }
            WebSocketMessage::Request(request) => self.receive(request),
        }
    }

    fn receive(&mut self, request: WebSocketRequest) -> Result<(), Failure> {
        let id = request.id.ok_or("a message without an id")?;
        self.socket.confirm(id);
        if request.path != "/api/v1/message" {
            return Ok(());
        }
        let envelope = Envelope::decode(&request.body.unwrap_or_default())?;
        if envelope.kind == EnvelopeKind::Receipt {
            if self.plan.complete.fetch_add(1, Ordering::Relaxed) + 1 == self.plan.messages {
                self.plan.ended.cancel();
            }
            return Ok(());
        }
        let content = envelope.content.unwrap_or_default();
        let sent = content.first_chunk().ok_or("a message that nobody has sent")?;
        let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
        self.times.delivered.push(self.plan.start.elapsed().saturating_sub(sent));
        Ok(())
    }
}

/// The timestamp before a device's first message.
const FIRST_TIMESTAMP: u64 = 1_700_000_000_000;
