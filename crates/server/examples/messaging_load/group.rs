//! Messages to a large group: one encryption, one upload, and a connected device for each member.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wormhole_chat::{
    ContentHint, DeviceId, DistributionId, MultiRecipientMessage, SealedContent, SealedDevice,
    SealedKind, SealedRecipient, SenderCertificate, SenderKey, WebSocketMessage,
};

use crate::Failure;
use crate::accounts::{self, Account};
use crate::http::Http;
use crate::server::Server;
use crate::socket::Socket;
use crate::usage::{Usage, percentile, rounded};

/// The first account writes to all the others, one message after the other. A message is complete when the last device has it.
pub(crate) async fn run(
    server: &Server,
    members: usize,
    messages: usize,
) -> Result<Value, Failure> {
    let accounts = accounts::register(server, members + 1, true).await?;
    let (author, others) = accounts.split_first().ok_or("no account")?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for account in others {
        let socket = Socket::connect(&server.authority, account).await?;
        tasks.spawn(receive(socket, arrived.clone()));
    }
    drop(arrived);
    let mut author = Author::new(server, author, others).await?;
    let before = Usage::of(server.id());
    let mut times = Times::default();
    for number in 0..messages {
        let start = Instant::now();
        let upload = author.encrypt()?;
        times.encrypted.push(start.elapsed());
        author.upload(&upload, number).await?;
        times.accepted.push(start.elapsed());
        for _ in 0..members {
            match arrivals.recv().await {
                Some(at) => times.delivered.push(at.saturating_duration_since(start)),
                None => return Err(failure_of(tasks).await),
            }
        }
        times.complete.push(start.elapsed());
    }
    let cpu = Usage::of(server.id()).cpu - before.cpu;
    tasks.shutdown().await;
    Ok(json!({
        "members": members,
        "messages": messages,
        "encrypted_ms": percentile(&mut times.encrypted, 0.50),
        "accepted_ms": percentile(&mut times.accepted, 0.50),
        "delivered_p50_ms": percentile(&mut times.delivered, 0.50),
        "complete_ms": percentile(&mut times.complete, 0.50),
        "server_cpu_us_per_member": rounded(1e6 * cpu / (messages * members) as f64),
    }))
}

/// Times since the author began to encrypt.
#[derive(Default)]
struct Times {
    encrypted: Vec<Duration>,
    accepted: Vec<Duration>,
    delivered: Vec<Duration>,
    /// When the last member had the message.
    complete: Vec<Duration>,
}

/// The member who writes.
struct Author<'a> {
    account: &'a Account,
    http: Http,
    certificate: SenderCertificate,
    sender_key: SenderKey,
    members: Vec<SealedRecipient>,
    rng: ChaCha20Rng,
}

impl<'a> Author<'a> {
    async fn new(
        server: &Server,
        account: &'a Account,
        others: &[Account],
    ) -> Result<Self, Failure> {
        let mut http = Http::connect(&server.authority).await?;
        let answer = http.ask("GET", "/v1/certificate/delivery", &account.headers, &[]).await?;
        let certificate = answer.get("certificate").and_then(Value::as_str);
        let certificate = BASE64.decode(certificate.ok_or("no certificate")?.as_bytes())?;
        let members: Result<_, Failure> = others.iter().map(Self::member).collect();
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        Ok(Self {
            account,
            http,
            certificate: SenderCertificate::decode(&certificate)?,
            sender_key: SenderKey::random(DistributionId::random(&mut rng), &mut rng),
            members: members?,
            rng,
        })
    }

    fn member(account: &Account) -> Result<SealedRecipient, Failure> {
        Ok(SealedRecipient {
            account: account.id.parse()?,
            identity: *account.identity.public(),
            devices: vec![SealedDevice { device: DeviceId::PRIMARY, registration_id: 1 }],
        })
    }

    /// Encrypts 256 bytes once, and seals the message for all members.
    fn encrypt(&mut self) -> Result<Vec<u8>, Failure> {
        let mut text = [0; 256];
        self.rng.fill_bytes(&mut text);
        let content = SealedContent {
            certificate: self.certificate.clone(),
            kind: SealedKind::SenderKey,
            message: self.sender_key.encrypt(&text, &mut self.rng)?,
            hint: ContentHint::Resendable,
            group: Some(vec![1; 16]),
        };
        let us = &self.account.identity;
        let message = MultiRecipientMessage::seal(&content, us, &self.members, &mut self.rng)?;
        Ok(message.encode())
    }

    async fn upload(&mut self, message: &[u8], number: usize) -> Result<(), Failure> {
        let path = format!("/v1/messages/multi_recipient?ts={}", FIRST_TIMESTAMP + number as u64);
        let headers = format!("{}Content-Type: {MEDIA_TYPE}\r\n", self.account.headers);
        let answer = self.http.ask("PUT", &path, &headers, message).await?;
        let left_out = ["uuids404", "uuids413"];
        let is_empty = |key: &str| {
            answer.get(key).and_then(Value::as_array).is_none_or(|accounts| accounts.is_empty())
        };
        left_out.into_iter().all(is_empty).then_some(()).ok_or_else(|| answer.to_string().into())
    }
}

/// Confirms messages, and reports when each has arrived.
async fn receive(
    mut socket: Socket,
    arrived: mpsc::UnboundedSender<Instant>,
) -> Result<(), Failure> {
    loop {
        while let Some(message) = socket.next()? {
            let WebSocketMessage::Request(request) = message else { continue };
            socket.confirm(request.id.ok_or("a message without an id")?);
            if request.path == "/api/v1/message" {
                arrived.send(Instant::now())?;
            }
        }
        socket.flush().await?;
        socket.fill().await?;
    }
}

/// Why the devices have stopped to receive.
async fn failure_of(mut tasks: JoinSet<Result<(), Failure>>) -> Failure {
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(failure)) = ended {
            return failure;
        }
    }
    "no device receives".into()
}

const FIRST_TIMESTAMP: u64 = 1_700_000_000_000;

const MEDIA_TYPE: &str = "application/vnd.signal-messenger.mrm";
