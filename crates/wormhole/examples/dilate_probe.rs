//! Dilates a wormhole to a peer that echoes (such as `dilate_echo`), and measures it on demand. For benchmarks.
//!
//! ```text
//! dilate_probe --mailbox URL [--relay tcp:HOST:PORT] --appid ID CODE
//! ```
//!
//! With a relay, it uses nothing else. It prints `ready` when it is connected, and then reads commands from standard input
//! and answers each with a line:
//!
//! | command | answer |
//! |---|---|
//! | `ping` | `pong`, when a byte has come back on a stream that stays open |
//! | `round-trips N` | the median of N round trips of a byte on this stream, in milliseconds |
//! | `short N` | the median of N times to open a stream, send 100 bytes and its end, and get them back to the end |

use std::error::Error;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wormhole::code::{AppId, Code, Config, MailboxUrl, Wormhole};
use wormhole::dilated::{Dilated, Settings, Subchannel};
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut config, mut code) = (Config::default(), None);
    let mut settings =
        Settings { policy: RelayPolicy::Never, relays: vec![], ..Settings::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--mailbox" => config.servers = vec![value()?.parse::<MailboxUrl>()?],
            "--relay" => {
                settings.policy = RelayPolicy::Only;
                settings.relays = vec![RelayHint::tcp(value()?.parse::<TcpHint>()?)];
            }
            "--appid" => config.app_id = AppId::new(value()?),
            _ => code = Some(Code::parse(&argument)?),
        }
    }
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code.ok_or("no code was given")?)?;
    let dilated = wormhole.dilate(settings).await?;
    dilated.connected().await?;
    println!("ready");
    let mut stream = dilated.connect(ECHO)?;
    // A blocking read of each command: while nothing is asked, the connection lives on in another thread.
    let (commands, mut asked) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if commands.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = asked.recv().await {
        println!("{}", answer(&dilated, &mut stream, &line).await?);
    }
    dilated.close().await?;
    Ok(())
}

/// Executes a command.
async fn answer(
    dilated: &Dilated,
    stream: &mut Subchannel,
    line: &str,
) -> Result<String, Box<dyn Error>> {
    let (command, count) = line.split_once(' ').unwrap_or((line, "1"));
    let mut times = Vec::new();
    for _ in 0..count.parse::<usize>()? {
        let start = Instant::now();
        if command == "short" {
            short(dilated).await?;
        } else {
            stream.write_all(b"x").await?;
            stream.read_exact(&mut [0]).await?;
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).ok_or("a count of at least 1")?;
    Ok(if command == "ping" { "pong".to_owned() } else { median.to_string() })
}

/// Opens a stream, and sends 100 bytes and its end, which come back.
async fn short(dilated: &Dilated) -> Result<(), Box<dyn Error>> {
    let mut stream = dilated.connect(ECHO)?;
    stream.write_all(&[7; 100]).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer == [7; 100] { Ok(()) } else { Err("other bytes came back".into()) }
}

const ECHO: &str = "echo";
