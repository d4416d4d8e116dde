//! A wormhole through Tor: a scripted one, which connects to the real mailbox server whatever name it is asked for.

use tokio::net::TcpListener;
use wormhole::code::{Config, Error, Wormhole};
use wormhole::net::tor::{ControlPort, Tor, TorError, TorSource};
use wormhole::net::{LinkFailure, SocksRefusal};
use wormhole::transit::{self, Transit};

use crate::mailbox::Mailbox;
use crate::scripted_tor::{answering, connecting_to, start_control};

#[tokio::test]
async fn a_wormhole_goes_through_tor_and_leaves_names_to_it() {
    let server = Mailbox::start().await;
    let (tor, mut asked) = connecting_to(server.proxy.address).await;
    let wormhole = Wormhole::create(Config {
        servers: vec!["ws://mailbox.example:4000/v1".parse().unwrap()],
        tor: Some(tor),
        ..Config::default()
    });
    assert!(wormhole.welcome().await.is_ok());
    assert_eq!(asked.recv().await.as_deref(), Some("mailbox.example"));
}

#[tokio::test]
async fn the_refusal_of_the_proxy_is_the_reason_that_the_server_cannot_be_reached() {
    for (code, refusal) in [
        (1, SocksRefusal::Failed(1)),
        (2, SocksRefusal::Forbidden),
        (4, SocksRefusal::Unreachable),
        (5, SocksRefusal::Refused),
    ] {
        let tor = answering([5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;
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
    let (tor, _asked) = connecting_to(server.proxy.address).await;
    let open = transit::Settings { relays: Vec::new(), ..transit::Settings::default() };
    assert_ne!(Transit::new(open.clone()).unwrap().info().hints, []);
    let hidden = transit::Settings { tor: Some(tor), ..open };
    assert_eq!(Transit::new(hidden).unwrap().info().hints, []);
}

#[tokio::test]
async fn a_tor_remembers_how_it_was_found() {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let control = start_control(socks).await;
    let tor = Tor::at_control_port(control.clone()).await.unwrap();
    assert_eq!(*tor.source(), TorSource::ControlPort(control));
    assert_eq!(tor.socks_port(), socks);
}

#[tokio::test]
async fn a_control_port_that_is_closed_is_reported() {
    let port = ControlPort::Tcp { host: "127.0.0.1".into(), port: 1 };
    let error = Tor::at_control_port(port.clone()).await.unwrap_err();
    assert_eq!(error, TorError::ControlPortSilent(port));
}
