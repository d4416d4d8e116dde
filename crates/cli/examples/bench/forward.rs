//! Forwarded TCP ports: this program and fowl, in all combinations, compared with a connection without a wormhole.
//!
//! Both ends of the forwarded connections are threads of this process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::Bench;
use crate::measure::{NEVER, Running, as_f64, median};
use crate::report::{Report, Table};
use crate::servers::{Maker, Servers};

/// The program at one end of the wormhole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Ours,
    Fowl,
}

/// What is measured together.
#[derive(Clone, Copy, Debug)]
struct Stack {
    name: &'static str,
    /// The end with the service, and the end with the listening port. `None` is a direct connection.
    ends: Option<(End, End)>,
}

/// One run. Times in seconds.
#[derive(Clone, Copy, Debug)]
struct Figures {
    download: f64,
    round_trip: f64,
    short: f64,
}

const STACKS: &[Stack] = &[
    Stack { name: "this program", ends: Some((End::Ours, End::Ours)) },
    Stack { name: "service: this program, client: fowl", ends: Some((End::Ours, End::Fowl)) },
    Stack { name: "service: fowl, client: this program", ends: Some((End::Fowl, End::Ours)) },
    Stack { name: "fowl", ends: Some((End::Fowl, End::Fowl)) },
    Stack { name: "no wormhole", ends: None },
];

/// The listening port of the client.
const PORT: u16 = 4200;

/// Round trips per run.
const ROUND_TRIPS: usize = 200;

/// Short connections per run.
const SHORT: usize = 50;

/// Time limit for a client and a service to find each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures all stacks.
///
/// # Errors
/// A program failed, or sent other bytes than expected.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let servers = Servers::start(bench, Maker::Ours, &bench.memory)?;
    let service = start_service()?;
    let mut figures = vec![Vec::new(); STACKS.len()];
    for run in 0..bench.arguments.runs() {
        for (number, (stack, figures)) in STACKS.iter().zip(&mut figures).enumerate() {
            eprintln!("forwarding, {}, run {}", stack.name, run + 1);
            let code = format!("{}-purple-sausages", run * STACKS.len() + number + 1);
            figures.push(measure_stack(bench, &servers, *stack, service, &code)?);
        }
    }
    servers.stop();
    report.add(table(bench, &figures));
    Ok(())
}

fn measure_stack(
    bench: &Bench,
    servers: &Servers,
    stack: Stack,
    service: SocketAddr,
    code: &str,
) -> Result<Figures> {
    let Some((offers, listens)) = stack.ends else { return run_client(bench, service) };
    let first = command(bench, servers, offers, &format!("--service=web:{}", service.port()), code);
    let first = Running::start(first, "", NEVER)?;
    let second = command(bench, servers, listens, &format!("--client=web:{PORT}"), code);
    let second = Running::start(second, "", NEVER)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let result = wait_for_service(address).and_then(|()| run_client(bench, address));
    second.stop();
    first.stop();
    result
}

fn command(bench: &Bench, servers: &Servers, end: End, option: &str, code: &str) -> Command {
    let mut command = match end {
        End::Ours => {
            let mut command = Command::new(bench.binary("wormhole"));
            command.args(["--relay-url", &servers.site.mailbox]);
            command.args(["--transit-helper", &format!("tcp:{}", servers.site.relay), "forward"]);
            command
        }
        End::Fowl => {
            let mut command = Command::new(bench.python("fowl"));
            command.args(["--no-logo", "--mailbox", &servers.site.mailbox]);
            command
        }
    };
    command.arg(option).arg(code);
    command.current_dir(&bench.memory).env("HOME", &bench.memory).env("LC_ALL", "C.UTF-8");
    command
}

/// Waits until connections to the client reach the service. fowl refuses them while it starts.
fn wait_for_service(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if TcpStream::connect(address).is_ok_and(|socket| echo(socket).is_ok()) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the service cannot be reached")
}

fn echo(mut socket: TcpStream) -> Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&[ECHO, 7])?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    ensure!(answer == [7], "another byte came back");
    Ok(())
}

fn run_client(bench: &Bench, address: SocketAddr) -> Result<Figures> {
    Ok(Figures {
        download: download(address, size(bench))?,
        round_trip: round_trips(address)?,
        short: short_connections(address)?,
    })
}

/// Number of bytes of a download.
const fn size(bench: &Bench) -> u64 {
    bench.arguments.scaled(256 << 20)
}

fn download(address: SocketAddr, size: u64) -> Result<f64> {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(&[DOWNLOAD])?;
    socket.write_all(&size.to_be_bytes())?;
    let (start, mut buffer) = (Instant::now(), vec![0; 1 << 18]);
    let mut rest = size;
    while rest > 0 {
        let count = socket.read(&mut buffer)?;
        ensure!(count > 0, "the connection ended {rest} bytes too early");
        rest = rest.checked_sub(u64::try_from(count)?).context("more bytes than expected")?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn round_trips(address: SocketAddr) -> Result<f64> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.write_all(&[ECHO])?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        socket.write_all(&[1])?;
        socket.read_exact(&mut [0])?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(&times))
}

fn short_connections(address: SocketAddr) -> Result<f64> {
    let mut times = Vec::with_capacity(SHORT);
    for _ in 0..SHORT {
        let start = Instant::now();
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.write_all(&[&[ECHO][..], &[1; 100]].concat())?;
        socket.read_exact(&mut [0; 100])?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(&times))
}

/// The first byte of a connection: all that follows comes back.
const ECHO: u8 = b'e';

/// The first byte of a connection: a length of 8 bytes follows, and as many bytes come back.
const DOWNLOAD: u8 = b'd';

/// Starts the service behind the wormhole. It runs until this process ends.
fn start_service() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // A client may leave at any time.
            thread::spawn(move || drop(serve(socket)));
        }
    });
    Ok(address)
}

fn serve(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut kind = [0];
    socket.read_exact(&mut kind)?;
    if kind == [DOWNLOAD] {
        let mut length = [0; 8];
        socket.read_exact(&mut length)?;
        let mut rest = u64::from_be_bytes(length);
        let bytes = vec![0x5a; 1 << 18];
        while rest > 0 {
            let now = bytes.get(..usize::try_from(rest)?).unwrap_or(&bytes);
            socket.write_all(now)?;
            rest -= u64::try_from(now.len())?;
        }
    } else {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut bytes) {
            socket.write_all(bytes.get(..count).unwrap_or_default())?;
        }
    }
    Ok(())
}

fn table(bench: &Bench, figures: &[Vec<Figures>]) -> Table {
    let mut table = Table::new(
        "A forwarded TCP port, direct",
        &["program", "download, MiB/s", "round trip, ms", "open, 100 bytes and back, ms"],
    );
    let size = as_f64(i64::try_from(size(bench) >> 20).unwrap_or(i64::MAX));
    for (stack, figures) in STACKS.iter().zip(figures) {
        let of = |what: fn(&Figures) -> f64| median(&figures.iter().map(what).collect::<Vec<_>>());
        table.row(vec![
            stack.name.to_owned(),
            format!("{:.0}", size / of(|figures| figures.download)),
            format!("{:.2}", of(|figures| figures.round_trip) * 1e3),
            format!("{:.2}", of(|figures| figures.short) * 1e3),
        ]);
    }
    table
}
