//! Through Tor. A scripted control port names the port of a scripted SOCKS proxy, which connects to the real mailbox
//! server whatever name it is asked for.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use wormhole::code::{Config, Error, Wormhole};
use wormhole::net::tor::{ControlPort, Tor, TorError, TorSource};
use wormhole::net::{LinkFailure, SocksRefusal};
use wormhole::transit::{self, Transit};

use crate::mailbox::Mailbox;

/// Starts a control port that names this SOCKS port.
async fn start_control(socks: SocketAddr) -> ControlPort {
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = control.local_addr().unwrap().port();
    let listening = format!("250-net/listeners/socks=\"{socks}\"\r\n");
    tokio::spawn(async move {
        let mut stream = BufReader::new(control.accept().await.unwrap().0);
        for answer in ["250-AUTH METHODS=NULL\r\n", "", &listening] {
            stream.read_line(&mut String::new()).await.unwrap();
            stream.write_all(format!("{answer}250 OK\r\n").as_bytes()).await.unwrap();
        }
    });
    ControlPort::Tcp { host: "127.0.0.1".into(), port }
}

/// Starts both ports, and returns the names that the proxy is asked for.
async fn start(server: &Mailbox) -> (ControlPort, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = start_control(socks.local_addr().unwrap()).await;
    let (names, asked) = tokio::sync::mpsc::unbounded_channel();
    let mailbox = server.proxy.address;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socks.accept().await {
            let mut start = [0; 3 + 5];
            stream.read_exact(&mut start[..3]).await.unwrap();
            stream.write_all(&[5, 0]).await.unwrap();
            stream.read_exact(&mut start[..5]).await.unwrap();
            let mut name = vec![0; usize::from(start[4]) + 2];
            stream.read_exact(&mut name).await.unwrap();
            name.truncate(usize::from(start[4]));
            names.send(String::from_utf8(name).unwrap()).unwrap();
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(mailbox).await.unwrap();
                copy_bidirectional(&mut stream, &mut onward).await
            });
        }
    });
    (control, asked)
}

#[tokio::test]
async fn a_wormhole_goes_through_tor_and_leaves_names_to_it() {
    let server = Mailbox::start().await;
    let (control, mut asked) = start(&server).await;
    let tor = Tor::at_control_port(control.clone()).await.unwrap();
    assert_eq!(*tor.source(), TorSource::ControlPort(control));
    let wormhole = Wormhole::create(Config {
        servers: vec!["ws://mailbox.example:4000/v1".parse().unwrap()],
        tor: Some(tor),
        ..Config::default()
    });
    assert!(wormhole.welcome().await.is_ok());
    assert_eq!(asked.recv().await.as_deref(), Some("mailbox.example"));
}

/// Starts a control port that names a SOCKS port, which gives this answer to every request.
async fn start_refusing(answer: &'static [u8]) -> ControlPort {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = start_control(socks.local_addr().unwrap()).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socks.accept().await {
            stream.read_exact(&mut [0; 3]).await.unwrap();
            stream.write_all(&[5, 0]).await.unwrap();
            let mut start = [0; 5];
            stream.read_exact(&mut start).await.unwrap();
            stream.read_exact(&mut vec![0; usize::from(start[4]) + 2]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
    });
    control
}

#[tokio::test]
async fn the_refusal_of_the_proxy_is_the_reason_that_the_server_cannot_be_reached() {
    for (code, refusal) in [
        (1, SocksRefusal::Failed(1)),
        (2, SocksRefusal::Forbidden),
        (4, SocksRefusal::Unreachable),
        (5, SocksRefusal::Refused),
    ] {
        let answer = Vec::leak(vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        let tor = Tor::at_control_port(start_refusing(answer).await).await.unwrap();
        let wormhole = Wormhole::create(Config {
            servers: vec!["ws://mailbox.example:4000/v1".parse().unwrap()],
            tor: Some(tor),
            ..Config::default()
        });
        let error = wormhole.welcome().await.unwrap_err();
        assert_eq!(error, Error::ServerUnreachable(LinkFailure::ProxyRefused(refusal)));
    }
}

#[tokio::test]
async fn a_side_behind_tor_does_not_announce_its_addresses() {
    let server = Mailbox::start().await;
    let (control, _asked) = start(&server).await;
    let tor = Tor::at_control_port(control).await.unwrap();
    let open = transit::Settings { relays: Vec::new(), ..transit::Settings::default() };
    assert_ne!(Transit::new(open.clone()).unwrap().info().hints, []);
    let hidden = transit::Settings { tor: Some(tor), ..open };
    assert_eq!(Transit::new(hidden).unwrap().info().hints, []);
}

#[tokio::test]
async fn a_control_port_that_is_closed_is_reported() {
    let port = ControlPort::Tcp { host: "127.0.0.1".into(), port: 1 };
    let error = Tor::at_control_port(port.clone()).await.unwrap_err();
    assert_eq!(error, TorError::ControlPortSilent(port));
}
