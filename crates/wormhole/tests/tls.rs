//! TLS to a mailbox server and to a relay: which certificates are accepted, and the errors for the others.
//!
//! The trusted certificates of a process are read from the environment once. So each test runs itself again in a process
//! that trusts the authority of the tests, or another one.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wormhole::code::{Config, Error, Wormhole};
use wormhole::net::LinkFailure;
use wormhole::transit::{
    self, Priority, RelayAddress, RelayHint, RelayPolicy, Role, Secret, Settings, Transit,
    TransitKey,
};
use wormhole_server::testing::TestServers;

/// A file of the folder with certificates.
macro_rules! certificate {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/", $name)
    };
}

/// The variable with the trusted certificates.
const TRUSTED: &str = "SSL_CERT_FILE";

/// Whether this process trusts the certificates in this file. Otherwise runs the test with this name in such a process.
fn trusts(file: &str, test: &str) -> bool {
    if std::env::var(TRUSTED).is_ok_and(|trusted| trusted == file) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(TRUSTED, file).env_remove("SSL_CERT_DIR");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    false
}

/// The same for the authority of the tests.
fn trusts_authority(test: &str) -> bool {
    trusts(certificate!("authority.pem"), test)
}

/// Servers with this certificate.
async fn servers(certificate: &str) -> TestServers {
    let key = certificate!("server.key");
    TestServers::start(&["--tls-certificate", certificate, "--tls-key", key]).await
}

/// What a wormhole makes of the server at this host with this certificate.
async fn connect(certificate: &str, host: &str) -> Result<(), Error> {
    let servers = servers(certificate).await;
    let url = format!("wss://{host}:{}/v1", servers.mailbox().port());
    let config = Config { servers: vec![url.parse().unwrap()], ..Config::default() };
    Wormhole::create(config).welcome().await.map(drop)
}

/// The text of the error.
async fn rejection(certificate: &str, host: &str) -> String {
    match connect(certificate, host).await {
        Err(Error::ServerUnreachable(failure @ LinkFailure::Tls(_))) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_the_user_trusts_is_accepted() {
    if trusts_authority("a_certificate_of_an_authority_that_the_user_trusts_is_accepted") {
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(connect(certificate!("server.pem"), host).await, Ok(()), "{host}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_rejected() {
    // The server's own certificate is not an authority.
    let trusted = certificate!("other-name.pem");
    if trusts(trusted, "a_certificate_of_an_unknown_authority_is_rejected") {
        let text = rejection(certificate!("server.pem"), "localhost").await;
        assert_eq!(text, "TLS failed: the server's certificate is not trusted");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_rejected() {
    if trusts_authority("a_certificate_for_another_name_is_rejected") {
        for host in ["localhost", "127.0.0.1"] {
            let text = rejection(certificate!("other-name.pem"), host).await;
            assert_eq!(text, "TLS failed: the server's certificate is for another name");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_not_yet_valid_is_rejected() {
    if trusts_authority("a_certificate_that_has_expired_or_is_not_yet_valid_is_rejected") {
        for certificate in [certificate!("expired.pem"), certificate!("future.pem")] {
            let text = rejection(certificate, "localhost").await;
            let expected =
                "TLS failed: the server's certificate has expired, or the clock here is wrong";
            assert_eq!(text, expected);
        }
    }
}

#[tokio::test]
async fn a_system_without_trusted_certificates_is_reported() {
    let trusted = certificate!("README.md");
    if trusts(trusted, "a_system_without_trusted_certificates_is_reported") {
        let text = rejection(certificate!("server.pem"), "localhost").await;
        assert_eq!(text, "TLS failed: this system has no trusted certificates");
    }
}

/// The text of the error of a wormhole whose server answers the start of TLS with these bytes.
async fn after_hello(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/v1", listener.local_addr().unwrap());
    let config = Config { servers: vec![url.parse().unwrap()], ..Config::default() };
    let wormhole = Wormhole::create(config);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The header of a TLS record with the client's hello.
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.unwrap();
        assert_eq!(header[..2], [0x16, 3]);
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (welcome, ()) = tokio::join!(wormhole.welcome(), serve);
    welcome.unwrap_err().to_string()
}

#[tokio::test]
async fn a_server_that_does_not_complete_the_handshake_is_reported() {
    if trusts_authority("a_server_that_does_not_complete_the_handshake_is_reported") {
        for (answer, text) in [
            // A fatal alert: the handshake has failed.
            (&b"\x15\x03\x03\x00\x02\x02\x28"[..], "TLS failed: the TLS handshake was interrupted"),
            (
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                "TLS failed: the server does not use TLS here: use ws://",
            ),
            (b"", "the connection was lost"),
            (b"\x16\x03\x03\x01\x00half", "the connection was lost"),
        ] {
            let expected = format!("the mailbox server cannot be reached: {text}");
            assert_eq!(after_hello(answer).await, expected);
        }
    }
}

#[tokio::test]
async fn a_relay_with_tls_connects_two_sides() {
    if trusts_authority("a_relay_with_tls_connects_two_sides") {
        let servers = servers(certificate!("server.pem")).await;
        let url = format!("wss://localhost:{}/", servers.websocket_relay().port());
        let (one, other) = meet(url.clone()).await;
        let (mut one, mut other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.path().to_string(), format!("->relay:{url}"));
        let record = vec![7; 1 << 20];
        let (sent, received) = tokio::join!(one.send_record(&record), other.receive_record());
        sent.unwrap();
        assert!(received.unwrap() == record);
    }
}

#[tokio::test]
async fn a_relay_with_the_certificate_of_another_is_rejected() {
    if trusts_authority("a_relay_with_the_certificate_of_another_is_rejected") {
        let servers = servers(certificate!("other-name.pem")).await;
        let url = format!("wss://localhost:{}/", servers.websocket_relay().port());
        let (one, _) = meet(url.clone()).await;
        assert_eq!(
            one.unwrap_err().to_string(),
            format!(
                "the only connection attempt failed (the relay {url}: TLS failed: the server's \
                 certificate is for another name)"
            )
        );
    }
}

/// Two sides that only permit the relay at this URL.
async fn meet(
    url: String,
) -> (Result<transit::Pipe, transit::Error>, Result<transit::Pipe, transit::Error>) {
    let address = RelayAddress::WebSocket { url, priority: Priority::default() };
    let relays = vec![RelayHint { name: None, addresses: vec![address] }];
    let settings = Settings { policy: RelayPolicy::Only, relays, ..Settings::default() };
    let (one, other) = (Transit::new(settings.clone()).unwrap(), Transit::new(settings).unwrap());
    let (for_one, for_other) = (other.info(), one.info());
    let key = TransitKey::new(Secret::new([9; 32]));
    tokio::join!(
        one.connect(Role::Sender, &key, &for_one),
        other.connect(Role::Receiver, &key, &for_other)
    )
}
