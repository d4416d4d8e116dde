//! Loads a mailbox server, ours or any other, and measures it from outside.
//!
//! ```text
//! mailbox_load cycles --url ws://127.0.0.1:4000/v1 --clients 100 --cycles 2000 --pid SERVER
//! mailbox_load idle   --url ws://127.0.0.1:4000/v1 --links 9900 --pid SERVER [--claim]
//! mailbox_load wake   --url ws://127.0.0.1:4000/v1 --other ws://127.0.0.1:4010/v1 --messages 1000
//! ```
//!
//! One cycle is a whole rendezvous of two sides, each on a fresh link, as real clients do it: A
//! binds, allocates, claims, opens and adds; B binds, claims, opens and adds twice; A adds again;
//! once both have seen all four messages, both release, close and disconnect. `--clients` is the
//! number of cycles in flight. Prints one JSON object. This is no client library: it speaks as
//! little WebSocket as it can, so that the server is the bottleneck.

#![expect(clippy::as_conversions, reason = "counts become averages")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Loads a mailbox server and measures it from outside")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
    /// Address of the server
    #[arg(long, global = true, default_value = "ws://127.0.0.1:4000/v1")]
    url: String,
    /// Process id of the server, to measure its CPU time and memory
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Threads of this program
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Subcommand)]
enum Mode {
    /// Runs whole rendezvous
    Cycles {
        /// Cycles in flight
        #[arg(long, default_value_t = 100)]
        clients: usize,
        /// Cycles altogether
        #[arg(long, default_value_t = 1000)]
        cycles: i64,
        /// Seconds that one cycle may take
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
    /// Sends messages from a client of one node to a client of another node, one at a time
    Wake {
        /// Address of the other node
        #[arg(long)]
        other: String,
        /// Number of messages
        #[arg(long, default_value_t = 1000)]
        messages: usize,
    },
    /// Opens links and leaves them alone
    Idle {
        /// Number of links
        #[arg(long, default_value_t = 5000)]
        links: usize,
        /// Each link also holds a nameplate, an open mailbox and one message
        #[arg(long)]
        claim: bool,
        /// Seconds to stay idle
        #[arg(long, default_value_t = 4)]
        hold: u64,
    },
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_all()
        .build()?;
    let Arguments { mode, url, pid, .. } = arguments;
    let address = Arc::new(Address::parse(&url)?);
    let result = runtime.block_on(async {
        match mode {
            Mode::Cycles { clients, cycles, timeout } => {
                run_cycles(address, clients, cycles, Duration::from_secs(timeout), pid).await
            }
            Mode::Wake { other, messages } => {
                run_wake(&address, &Address::parse(&other)?, messages).await
            }
            Mode::Idle { links, claim, hold } => run_idle(address, links, claim, hold, pid).await,
        }
    });
    println!("{}", result?);
    Ok(())
}

fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Refused, the system's own error comes later and says it better.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Where the server is.
struct Address {
    authority: String,
    path: String,
}

impl Address {
    fn parse(url: &str) -> Result<Self, Failure> {
        let rest = url.strip_prefix("ws://").ok_or("the URL must start with ws://")?;
        let (authority, path) = rest.split_once('/').ok_or("the URL needs a path")?;
        Ok(Self { authority: authority.into(), path: format!("/{path}") })
    }
}

/// One side of a rendezvous, on its own link.
struct Side {
    name: String,
    stream: TcpStream,
    read: Vec<u8>,
    /// Bytes of `read` that are used up.
    used: usize,
    out: Vec<u8>,
    messages: usize,
    sent: HashMap<String, Instant>,
    echoes: Vec<Duration>,
}

/// What a server says, as far as anyone here listens. Borrowed: no text of these needs escapes.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    nameplate: Option<&'a str>,
    mailbox: Option<&'a str>,
    side: Option<&'a str>,
    phase: Option<&'a str>,
    error: Option<&'a str>,
}

/// What is kept of a frame that was waited for.
#[derive(Default)]
struct Answer {
    nameplate: Option<String>,
    mailbox: Option<String>,
}

impl Side {
    async fn connect(address: &Address) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(&address.authority).await?;
        stream.set_nodelay(true)?;
        let hello = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            address.path, address.authority
        );
        stream.write_all(hello.as_bytes()).await?;
        let mut side = Self {
            name: format!("{:010x}", next_number()),
            stream,
            read: Vec::new(),
            used: 0,
            out: Vec::new(),
            messages: 0,
            sent: HashMap::new(),
            echoes: Vec::new(),
        };
        side.skip_head().await?;
        side.expect("welcome").await?;
        side.say(&json!({"type": "bind", "appid": APP, "side": side.name}));
        Ok(side)
    }

    async fn skip_head(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                self.used = end + 4;
                break;
            }
            self.receive().await?;
        }
        if self.read.starts_with(b"HTTP/1.1 101") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&self.read).lines().next().unwrap_or_default().into())
    }

    /// Queues a message; it goes out before the next wait.
    fn say(&mut self, message: &Value) {
        frame(&mut self.out, 1, message.to_string().as_bytes());
    }

    fn add(&mut self, phase: &str) {
        self.sent.insert(phase.into(), Instant::now());
        let body = BODY;
        let add = format!(r#"{{"type":"add","phase":"{phase}","body":"{body}"}}"#);
        frame(&mut self.out, 1, add.as_bytes());
    }

    async fn ask(&mut self, question: &Value, answer: &str) -> Result<Answer, Failure> {
        self.say(question);
        self.expect(answer).await
    }

    async fn until(&mut self, messages: usize) -> Result<(), Failure> {
        self.flush().await?;
        while self.messages < messages {
            self.expect("message").await?;
        }
        Ok(())
    }

    async fn expect(&mut self, kind: &str) -> Result<Answer, Failure> {
        self.flush().await?;
        loop {
            let unread = self.read.get(self.used..).unwrap_or_default();
            let Some((opcode, start, end)) = whole_frame(unread) else {
                self.receive().await?;
                continue;
            };
            let payload = unread.get(start..end).unwrap_or_default();
            let mut answer = None;
            match opcode {
                1 => {
                    let said: Said<'_> = serde_json::from_slice(payload)?;
                    if said.kind == "message" {
                        self.messages += 1;
                        if said.side == Some(&self.name)
                            && let Some(sent) = said.phase.and_then(|phase| self.sent.get(phase))
                        {
                            self.echoes.push(sent.elapsed());
                        }
                    }
                    if let Some(error) = said.error {
                        return Err(format!("server error: {error}").into());
                    }
                    if said.kind == kind {
                        let (nameplate, mailbox) = (said.nameplate, said.mailbox);
                        answer = Some(Answer {
                            nameplate: nameplate.map(str::to_owned),
                            mailbox: mailbox.map(str::to_owned),
                        });
                    }
                }
                9 => frame(&mut self.out, 10, payload),
                _ => {}
            }
            self.used += end;
            if let Some(answer) = answer {
                return Ok(answer);
            }
            self.flush().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        if self.used == self.read.len() {
            self.read.clear();
            self.used = 0;
        }
        self.read.reserve(READ_SIZE);
        if self.stream.read_buf(&mut self.read).await? == 0 {
            return Err("the server closed the link".into());
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn leave(&mut self, nameplate: &str, mailbox: &str) -> Result<(), Failure> {
        self.ask(&json!({"type": "release", "nameplate": nameplate}), "released").await?;
        let close = json!({"type": "close", "mailbox": mailbox, "mood": "happy"});
        self.ask(&close, "closed").await?;
        frame(&mut self.out, 8, &1000_u16.to_be_bytes());
        self.flush().await
    }
}

/// Appends a client's frame. Its mask is fixed: nobody has to be protected here.
fn frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {}
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out.get_mut(start..).unwrap_or_default().chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }
}

/// Opcode and place of the payload of a server's frame, once it is whole.
fn whole_frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (start, length) = match bytes {
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        [_, length @ ..126, ..] => (2, usize::from(*length)),
        _ => return None,
    };
    let end = start + length;
    (bytes.len() >= end).then_some((bytes.first()? & 0x0f, start, end))
}

fn next_number() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One rendezvous; returns how long its echoes took.
async fn cycle(address: &Address) -> Result<Vec<Duration>, Failure> {
    let mut a = Side::connect(address).await?;
    let allocated = a.ask(&json!({"type": "allocate"}), "allocated").await?;
    let nameplate = allocated.nameplate.ok_or("no nameplate")?;
    let claim = json!({"type": "claim", "nameplate": nameplate});
    let mailbox = a.ask(&claim, "claimed").await?.mailbox.ok_or("no mailbox")?;
    a.say(&json!({"type": "open", "mailbox": mailbox}));
    a.add("pake");
    a.flush().await?;
    let mut b = Side::connect(address).await?;
    if b.ask(&claim, "claimed").await?.mailbox.as_ref() != Some(&mailbox) {
        return Err("the mailboxes differ".into());
    }
    b.say(&json!({"type": "open", "mailbox": mailbox}));
    b.add("pake");
    b.add("version");
    tokio::try_join!(a.until(3), b.until(3))?;
    a.add("version");
    tokio::try_join!(a.until(4), b.until(4))?;
    tokio::try_join!(a.leave(&nameplate, &mailbox), b.leave(&nameplate, &mailbox))?;
    a.echoes.append(&mut b.echoes);
    Ok(a.echoes)
}

/// What the cycles of one task took.
#[derive(Default)]
struct Taken {
    cycles: Vec<Duration>,
    echoes: Vec<Duration>,
    errors: Vec<String>,
}

async fn run_cycles(
    address: Arc<Address>,
    clients: usize,
    cycles: i64,
    timeout: Duration,
    pid: Option<u32>,
) -> Result<Value, Failure> {
    let left = Arc::new(AtomicI64::new(cycles));
    let before = Usage::of(pid);
    let own_before = Usage::of(Some(std::process::id()));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        let (address, left) = (Arc::clone(&address), Arc::clone(&left));
        tasks.spawn(async move {
            // Clients do not all come in the same instant.
            let spread = Duration::from_secs_f64((clients as f64 / 500.0).min(1.0));
            tokio::time::sleep(spread.mul_f64(number as f64 / clients as f64)).await;
            run_client(&address, &left, timeout).await
        });
    }
    let mut all = Taken::default();
    while let Some(taken) = tasks.join_next().await {
        let mut taken = taken?;
        all.cycles.append(&mut taken.cycles);
        all.echoes.append(&mut taken.echoes);
        all.errors.append(&mut taken.errors);
    }
    let seconds = start.elapsed().as_secs_f64();
    let (after, own_after) = (Usage::of(pid), Usage::of(Some(std::process::id())));
    let server_cpu = after.cpu - before.cpu;
    Ok(json!({
        "clients": clients,
        "cycles": all.cycles.len(),
        "errors": all.errors.len(),
        "error_sample": all.errors.first(),
        "seconds": rounded(seconds),
        "cycles_per_s": rounded(all.cycles.len() as f64 / seconds),
        "lat_p50_ms": percentile(&mut all.cycles, 0.50),
        "lat_p99_ms": percentile(&mut all.cycles, 0.99),
        "lat_max_ms": percentile(&mut all.cycles, 1.0),
        "echo_p50_ms": percentile(&mut all.echoes, 0.50),
        "echo_p99_ms": percentile(&mut all.echoes, 0.99),
        "client_cpu_pct": rounded(100.0 * (own_after.cpu - own_before.cpu) / seconds),
        "server_cpu_pct": rounded(100.0 * server_cpu / seconds),
        "server_cpu_ms_per_cycle": rounded(1000.0 * server_cpu / all.cycles.len().max(1) as f64),
        "server_rss_mib": rounded(after.kib / 1024.0),
    }))
}

async fn run_client(address: &Address, left: &AtomicI64, timeout: Duration) -> Taken {
    let mut taken = Taken::default();
    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
        let start = Instant::now();
        match tokio::time::timeout(timeout, cycle(address)).await {
            Ok(Ok(mut echoes)) => {
                taken.cycles.push(start.elapsed());
                taken.echoes.append(&mut echoes);
            }
            Ok(Err(error)) => taken.errors.push(error.to_string()),
            Err(_) => taken.errors.push("timed out".into()),
        }
    }
    taken
}

/// Measures how long a message takes from one client to the other, including its commit.
async fn run_wake(address: &Address, other: &Address, messages: usize) -> Result<Value, Failure> {
    let (mut a, mut b) = (Side::connect(address).await?, Side::connect(other).await?);
    let allocated = a.ask(&json!({"type": "allocate"}), "allocated").await?;
    let claim = json!({"type": "claim", "nameplate": allocated.nameplate});
    for side in [&mut a, &mut b] {
        let mailbox = side.ask(&claim, "claimed").await?.mailbox;
        side.say(&json!({"type": "open", "mailbox": mailbox}));
    }
    // Both have opened the mailbox when they get this.
    b.add("first");
    tokio::try_join!(a.until(1), b.until(1))?;
    let (mut deliveries, mut echoes) = (Vec::new(), Vec::new());
    for number in 1..=messages {
        let start = Instant::now();
        a.add(&number.to_string());
        a.flush().await?;
        let delivered = async { b.until(number + 1).await.map(|()| start.elapsed()) };
        let echoed = async { a.until(number + 1).await.map(|()| start.elapsed()) };
        let (delivery, echo) = tokio::try_join!(delivered, echoed)?;
        deliveries.push(delivery);
        echoes.push(echo);
    }
    Ok(json!({
        "messages": messages,
        "delivery_p50_ms": percentile(&mut deliveries, 0.50),
        "delivery_p99_ms": percentile(&mut deliveries, 0.99),
        "delivery_max_ms": percentile(&mut deliveries, 1.0),
        "echo_p50_ms": percentile(&mut echoes, 0.50),
        "echo_p99_ms": percentile(&mut echoes, 0.99),
    }))
}

async fn run_idle(
    address: Arc<Address>,
    links: usize,
    claim: bool,
    hold: u64,
    pid: Option<u32>,
) -> Result<Value, Failure> {
    let before = Usage::of(pid);
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for opener in 0..OPENERS {
        let address = Arc::clone(&address);
        let share = links / OPENERS + usize::from(opener < links % OPENERS);
        tasks.spawn(async move {
            let mut sides = Vec::new();
            for _ in 0..share {
                sides.push(settle(&address, claim).await.map_err(|error| error.to_string()));
            }
            sides
        });
    }
    let (mut sides, mut errors) = (Vec::new(), Vec::new());
    while let Some(opened) = tasks.join_next().await {
        for side in opened? {
            match side {
                Ok(side) => sides.push(side),
                Err(error) => errors.push(error),
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(hold)).await;
    let settled = Usage::of(pid);
    tokio::time::sleep(Duration::from_secs(hold)).await;
    let idle_cpu = Usage::of(pid).cpu - settled.cpu;
    let mut pings = Vec::new();
    for side in sides.iter_mut().take(100) {
        let start = Instant::now();
        side.ask(&json!({"type": "ping", "ping": 2}), "pong").await?;
        pings.push(start.elapsed());
    }
    let count = sides.len();
    drop(sides);
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(json!({
        "links": count,
        "claim": claim,
        "errors": errors.len(),
        "error_sample": errors.first(),
        "links_per_s": rounded(count as f64 / seconds),
        "rss_before_mib": rounded(before.kib / 1024.0),
        "rss_mib": rounded(settled.kib / 1024.0),
        "kib_per_link": rounded((settled.kib - before.kib) / count.max(1) as f64),
        "idle_cpu_pct": rounded(100.0 * idle_cpu / hold.max(1) as f64),
        "ping_p50_ms": percentile(&mut pings, 0.50),
        "ping_p99_ms": percentile(&mut pings, 0.99),
        "rss_after_close_mib": rounded(Usage::of(pid).kib / 1024.0),
    }))
}

/// Opens a link and brings it to rest.
async fn settle(address: &Address, claim: bool) -> Result<Side, Failure> {
    let mut side = Side::connect(address).await?;
    if claim {
        let allocated = side.ask(&json!({"type": "allocate"}), "allocated").await?;
        let nameplate = allocated.nameplate.ok_or("no nameplate")?;
        let claimed =
            side.ask(&json!({"type": "claim", "nameplate": nameplate}), "claimed").await?;
        side.say(&json!({"type": "open", "mailbox": claimed.mailbox}));
        side.add("pake");
        side.until(1).await?;
    } else {
        side.ask(&json!({"type": "ping", "ping": 1}), "pong").await?;
    }
    side.read = Vec::new();
    side.used = 0;
    Ok(side)
}

/// What a process has used so far.
#[derive(Clone, Copy, Default)]
struct Usage {
    /// Seconds on a core.
    cpu: f64,
    /// Resident memory.
    kib: f64,
}

impl Usage {
    /// Reads it from `/proc`; zero where there is no such thing.
    fn of(pid: Option<u32>) -> Self {
        let Some(pid) = pid else { return Self::default() };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        // Fields 14 and 15 of the line: user and system time; the name ends field 2.
        let ticks = fields.split_whitespace().skip(11).take(2);
        let cpu = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Self { cpu, kib: kib.unwrap_or_default() }
    }
}

/// In milliseconds.
fn percentile(times: &mut [Duration], share: f64) -> Option<f64> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    let at = ((times.len() as f64 * share) as usize).min(last);
    times.get(at).map(|time| rounded(time.as_secs_f64() * 1000.0))
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The application of `wormhole send`.
const APP: &str = "lothar.com/wormhole/text-or-file-xfer";

/// As long as a SPAKE2 message in its JSON, in hexadecimal.
const BODY: &str = "abababababababababababababababababababababababababababababababab\
    abababababababababababababababababababababababababababababababababab";

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// Bytes read at once; what a server says at once is shorter.
const READ_SIZE: usize = 2048;

/// Links opened at the same time in idle mode.
const OPENERS: usize = 50;

/// Clock ticks per second that Linux counts CPU time in.
const TICKS: f64 = 100.0;
