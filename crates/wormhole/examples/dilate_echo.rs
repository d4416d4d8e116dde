//! Dilates a wormhole and echoes every stream of subprotocol `echo`, until the peer leaves.
//!
//! ```text
//! dilate_echo [--mailbox URL] [--relay tcp:HOST:PORT] [--appid ID] [--follow] [--direct] CODE
//! ```
//!
//! A half-closed stream is echoed to its end. The peer has left when it says so, or after 30 seconds without a
//! connection.

use std::error::Error;
use std::time::Duration;

use wormhole::code::{AppId, Code, Config, MailboxUrl, Wormhole};
use wormhole::dilated::{self, Settings, Subchannel};
use wormhole::transit::{RelayHint, RelayPolicy, TcpHint};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut config, mut code) = (Config::default(), None);
    let mut settings = Settings {
        subprotocols: Some(vec![ECHO.to_owned()]),
        patience: Some(Duration::from_secs(30)),
        ..Settings::default()
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--mailbox" => config.servers = vec![value()?.parse::<MailboxUrl>()?],
            "--relay" => settings.relays = vec![RelayHint::tcp(value()?.parse::<TcpHint>()?)],
            "--appid" => config.app_id = AppId::new(value()?),
            "--follow" => settings.lead = false,
            "--direct" => settings.policy = RelayPolicy::Never,
            _ => code = Some(Code::parse(&argument)?),
        }
    }
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code.ok_or("no code was given")?)?;
    let dilated = wormhole.dilate(settings).await?;
    let mut streams = dilated.listen(ECHO)?;
    println!("connected: {}", dilated.connected().await?);
    let end = loop {
        match streams.accept().await {
            Ok(stream) => drop(tokio::spawn(echo(stream))),
            Err(end) => break end,
        }
    };
    println!("{end}");
    dilated.close().await?;
    // The peer has left, or is gone.
    if matches!(end, dilated::Error::Ended(_)) { Ok(()) } else { Err(end.into()) }
}

/// Sends everything back, and ends when the peer ends.
async fn echo(stream: Subchannel) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let copied = tokio::io::copy(&mut reader, &mut writer).await;
    let ended = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
    if let Err(error) = copied.and(ended) {
        println!("a stream ended: {error}");
    }
}

const ECHO: &str = "echo";
