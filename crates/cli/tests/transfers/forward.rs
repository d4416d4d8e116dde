//! `wormhole forward` on both sides: a page through it, and how it ends.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::world::{Running, World};

const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

/// Starts a web server with one page, and returns its port.
fn web_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read_exact(&mut byte).is_ok() {
                request.push(byte[0]);
            }
            // The browser may have left.
            let _left = socket.write_all(PAGE.as_bytes());
        }
    });
    port
}

/// Requests the page, and returns everything up to the end.
fn get(address: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Both sides; the first one has the service. A page has been transferred.
fn pair(world: &World) -> (Running, Running) {
    let service = format!("web:{}", web_server());
    let offering = Running::start(world.command("sender", &["forward", "--service", &service]));
    let lines = offering.wait_for_lines(1, " forward ");
    let code = lines[0].rsplit(' ').next().unwrap().to_owned();
    let command = world.command("receiver", &["forward", "--client", "web", &code]);
    let listening = Running::start(command);
    let address = listening.wait_for("web is at ");
    assert_eq!(get(&address), PAGE);
    (offering, listening)
}

#[test]
fn a_page_is_forwarded_and_ctrl_c_on_either_side_ends_both() {
    let world = World::new();
    for first_leaves in [true, false] {
        let (offering, listening) = pair(&world);
        let (leaving, staying) =
            if first_leaves { (offering, listening) } else { (listening, offering) };
        leaving.signal("INT");
        let left = leaving.end();
        assert_eq!(left.exit, 130, "{left}");
        let stayed = staying.end();
        assert_eq!(stayed.exit, 0, "{stayed}");
        assert!(stayed.stderr.contains("The other side has ended the session."), "{stayed}");
        assert!(stayed.stderr.contains("1 connection, "), "{stayed}");
    }
}

#[test]
fn a_session_continues_while_the_mailbox_server_is_restarted() {
    let mut world = World::new();
    let (offering, listening) = pair(&world);
    world.restart_mailbox();
    let address = listening.last_after("web is at ");
    assert_eq!(get(&address), PAGE);
    listening.signal("INT");
    assert_eq!(listening.end().exit, 130);
    assert_eq!(offering.end().exit, 0);
}
