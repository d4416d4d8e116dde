//! Mailbox servers that refuse, are called in the wrong way, do not answer, or hang up.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::world::{Ended, Running, World};

/// The certificate of the private authority that signed the server's.
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transfers/tls/ca.pem");

/// Makes the mailbox server speak TLS.
const TLS: [&str; 4] = [
    "--tls-certificate",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transfers/tls/server.pem"),
    "--tls-key",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transfers/tls/server.key"),
];

/// Sends a text through the mailbox server at `url`.
fn send_through(world: &World, url: &str) -> Running {
    let mut command = world.command("sender", &["send", "--text", "x"]);
    command.env("WORMHOLE_RELAY_URL", url);
    Running::start(command)
}

#[track_caller]
fn expect(ended: &Ended, sentence: &str, hint: &str) {
    ended.failed(1, sentence);
    assert!(ended.stderr.contains(&format!("wormhole: hint: {hint}")), "{ended}");
}

#[test]
fn a_server_that_has_enough_of_our_address_says_so_in_words() {
    let world = World::with_mailbox_options(&["--links-per-address", "1", "--limit-loopback"]);
    let first = world.send(&["--text", "x"]);
    first.code();
    let second = world.send(&["--text", "x"]).end();
    expect(&second, "too many connections from your address", "try again in a minute");
}

#[test]
fn a_private_certificate_authority_is_refused_until_it_is_named() {
    let world = World::with_mailbox_options(&TLS);
    let url = world.mailbox_url();
    assert!(url.starts_with("wss://"), "{url}");
    let refused = send_through(&world, url).end();
    expect(
        &refused,
        "the server's certificate is not trusted",
        "if the server uses a private certificate authority",
    );
    assert!(refused.stderr.contains("SSL_CERT_FILE"), "{refused}");
    let trusting = |place: &str, arguments: &[&str]| {
        let mut command = world.command(place, arguments);
        command.env("SSL_CERT_FILE", CA);
        Running::start(command)
    };
    let sender = trusting("sender", &["send", "--text", "x"]);
    let received = trusting("receiver", &["receive", &sender.code()]).end();
    assert_eq!((received.exit, received.out().as_str()), (0, "x"), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_server_that_is_called_with_the_wrong_scheme_is_tried_with_the_other() {
    let world = World::with_mailbox_options(&TLS);
    let address = world.mailbox_address();
    let ended = send_through(&world, &format!("ws://{address}/v1")).end();
    expect(&ended, "the server requires TLS here", &format!("try wss://{address}/v1"));
    let world = World::new();
    let address = world.mailbox_address();
    let ended = send_through(&world, &format!("wss://{address}/v1")).end();
    expect(&ended, "the server does not use TLS here", &format!("try ws://{address}/v1"));
}

#[test]
fn a_server_that_hangs_up_at_a_plain_greeting_may_want_tls() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _request = stream.read(&mut [0; 4096]).unwrap();
    });
    let ended = send_through(&world, &format!("ws://{address}/v1")).end();
    server.join().unwrap();
    expect(&ended, "cannot be reached", &format!("if the server uses TLS, try wss://{address}/v1"));
}

#[test]
fn waiting_for_a_server_that_does_not_answer_is_said() {
    let world = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/v1", silent.local_addr().unwrap());
    for arguments in [["send", "--text", "x"], ["receive", "--only-text", "7-a-b"]] {
        let mut command = world.command("sender", &arguments);
        command.env("WORMHOLE_RELAY_URL", &url);
        let waiting = Running::start(command);
        waiting.wait_for(&format!("Connecting to the mailbox server {url}"));
        waiting.signal("INT");
        waiting.end().failed(130, "interrupted");
    }
}

/// Passes connections on to a server, and cuts each after the server's first words.
fn cut_after_welcome(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let mut upgrade = vec![0; 4096];
            let length = client.read(&mut upgrade).unwrap();
            server.write_all(&upgrade[..length]).unwrap();
            let mut said = Vec::new();
            while !said.windows(7).any(|bytes| bytes == b"welcome") {
                let mut bytes = [0; 4096];
                let length = server.read(&mut bytes).unwrap();
                said.extend_from_slice(&bytes[..length]);
                client.write_all(&bytes[..length]).unwrap();
            }
            let _ = client.shutdown(Shutdown::Both);
        }
    });
    format!("ws://{address}/v1")
}

#[test]
fn the_reason_is_shown_when_a_server_keeps_hanging_up() {
    let world = World::new();
    let sender = send_through(&world, &cut_after_welcome(world.mailbox_address()));
    // Closed or reset, as the timing has it.
    let reason = sender.wait_for("The mailbox server still cannot be reached (the ");
    let is_explained = reason.contains(" was closed") || reason.contains(" was lost");
    assert!(is_explained && reason.contains("); next attempt in "), "{reason}");
    sender.signal("INT");
    let ended = sender.end();
    ended.failed(130, "interrupted");
    assert_eq!(
        ended.stderr.matches("Lost the connection to the mailbox server").count(),
        1,
        "{ended}"
    );
    assert!(!ended.stderr.contains("Reconnected"), "{ended}");
}

#[cfg(unix)]
#[test]
fn a_long_proof_of_work_for_the_server_is_announced() {
    let world = World::with_mailbox_options(&["--hashcash-bits", "26"]);
    let sender = world.send(&["--text", "x"]);
    sender.wait_for("The mailbox server requires a proof of work of 26 bits: computing it..");
    sender.signal("INT");
    sender.end().failed(130, "interrupted");
}
