//! Attachments: the way of clients of 2014, and the later one with a form.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Answer, Client};
use crate::server::Server;

const ALICE: &str = "+14155550101";

/// The path and the query of an address.
fn path(location: &Value) -> String {
    let location = location.as_str().unwrap();
    let rest = location.strip_prefix("http://localhost/").unwrap();
    format!("/{rest}")
}

fn upload(client: &Client, path: &str, content: &[u8]) -> Answer {
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    client.send(&[head.as_bytes(), content].concat())
}

fn download(client: &Client, path: &str, headers: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    client.send(request.as_bytes())
}

#[test]
fn an_attachment_is_allocated_uploaded_once_and_downloaded() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let nobody = server.client();
    let allocation = alice.get("/v1/attachments/").expect(200);
    let id = allocation["id"].as_u64().unwrap();
    assert_eq!(allocation["idString"], id.to_string());
    let to = path(&allocation["location"]);
    alice.get(&format!("/v1/attachments/{id}")).expect(404);
    let content = vec![7; 300_000];
    upload(&nobody, &to, &content).expect(200);
    assert_eq!(upload(&nobody, &to, b"other").expect(409)["error"], "exists");
    let from = path(&alice.get(&format!("/v1/attachments/{id}")).expect(200)["location"]);
    let whole = download(&nobody, &from, "");
    assert_eq!((whole.status, whole.body.len()), (200, content.len()));
    assert!(whole.body == content);
    let part = download(&nobody, &from, "Range: bytes=299999-\r\n");
    assert_eq!((part.status, part.body.as_slice()), (206, &[7][..]));
    assert!(part.head.contains("Content-Range: bytes 299999-299999/300000"), "{}", part.head);
    assert_eq!(download(&nobody, &from, "Range: bytes=300000-\r\n").status, 416);
}

#[test]
fn an_attachment_is_downloaded_200_times_a_day() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let allocation = alice.get("/v1/attachments").expect(200);
    upload(&alice, &path(&allocation["location"]), &[7; 1000]).expect(200);
    let id = allocation["idString"].as_str().unwrap();
    let from = path(&alice.get(&format!("/v1/attachments/{id}")).expect(200)["location"]);
    let nobody = server.client();
    for _ in 0..199 {
        assert_eq!(download(&nobody, &from, "").status, 200);
    }
    // Parts count for what they contain.
    for range in ["0-499", "500-999"] {
        assert_eq!(download(&nobody, &from, &format!("Range: bytes={range}\r\n")).status, 206);
    }
    assert_eq!(download(&nobody, &from, "").expect(413)["error"], "rate_limited");
}

#[test]
fn an_address_allows_one_thing_with_one_attachment() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let allocation = alice.get("/v1/attachments").expect(200);
    let to = path(&allocation["location"]);
    let id = allocation["idString"].as_str().unwrap();
    let other = to.replace(id, "12345");
    let later = to.replace("expires=1", "expires=2");
    for wrong in [other.as_str(), later.as_str(), &format!("/attachments/{id}")] {
        assert_eq!(
            upload(&alice, wrong, b"content").expect(403)["error"],
            "not_allowed",
            "{wrong}"
        );
    }
    upload(&alice, &to, b"content").expect(200);
    assert_eq!(download(&alice, &to, "").expect(403)["error"], "not_allowed");
    assert_eq!(download(&alice, &format!("/attachments/{id}"), "").status, 403);
    server.client().get("/v1/attachments").expect(401);
    assert_eq!(download(&alice, "/attachments/..%2f..%2fmessaging.sqlite", "").status, 404);
}

#[test]
fn an_upload_that_stops_or_is_too_long_is_not_stored() {
    let server = Server::start(&["--blob-bytes", "1000"]);
    let alice = Client::register(&server, ALICE, None);
    let allocation = alice.get("/v1/attachments").expect(200);
    let to = path(&allocation["location"]);
    assert_eq!(upload(&alice, &to, &[0; 1001]).expect(507)["error"], "full");
    let huge = format!("PUT {to} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857601\r\n\r\n");
    let stopped = format!("PUT {to} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    alice.send_and_leave(huge.as_bytes());
    alice.send_and_leave(stopped.as_bytes());
    alice.get(&format!("/v1/attachments/{}", allocation["id"])).expect(404);
    upload(&alice, &to, &[0; 1000]).expect(200);
}

#[test]
fn a_form_is_posted_and_its_key_downloads_the_file() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let form = alice.get("/v2/attachments/form/upload").expect(200);
    let field = |name: &str, value: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let text = |name: &str| form[name].as_str().unwrap();
    let post = |signature: &str, content: &str| {
        let fields = [
            field("key", text("key")),
            field("x-amz-credential", text("credential")),
            field("acl", text("acl")),
            field("x-amz-algorithm", text("algorithm")),
            field("x-amz-date", text("date")),
            field("policy", text("policy")),
            field("x-amz-signature", signature),
            field("Content-Type", "application/octet-stream"),
            field("file", content),
        ];
        let body = format!("{}--x--\r\n", fields.concat());
        let head = format!(
            "POST /attachments/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        alice.send(format!("{head}{body}").as_bytes())
    };
    assert_eq!(post("AAAA", "content").expect(403)["error"], "not_allowed");
    post(text("signature"), "content").expect(200);
    post(text("signature"), "other").expect(409);
    let from = format!("/attachments/{}", text("key"));
    assert_eq!(download(&server.client(), &from, "").body, b"content");
    assert_eq!(form["key"], form["attachmentIdString"], "clients use either");
    // The signature of a form is for that file in that way.
    let expires = text("policy");
    let put = format!("{from}?expires={expires}&signature={}", text("signature"));
    upload(&alice, &put, b"content").expect(403);
    // Clients of 2014 ask for an address first.
    let located = alice.get(&format!("/v1/attachments/{}", form["attachmentId"])).expect(200);
    assert_eq!(download(&server.client(), &path(&located["location"]), "").body, b"content");
}

/// Begins an upload of 10 bytes and sends 9 of them.
fn begin_upload(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123456789");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Waits until so many uploads have begun.
fn until_begun(server: &Server, uploads: usize) {
    let incoming = server.folder().join("blobs/incoming");
    while std::fs::read_dir(&incoming).unwrap().count() < uploads {
        std::thread::yield_now();
    }
}

#[test]
fn an_attachment_is_uploaded_once_at_a_time() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let allocation = alice.get("/v1/attachments").expect(200);
    let to = path(&allocation["location"]);
    let mut first = begin_upload(&server, &to);
    until_begun(&server, 1);
    assert_eq!(upload(&alice, &to, b"second").expect(409)["error"], "uploading");
    first.write_all(b"0").unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    assert_eq!(upload(&alice, &to, b"third").expect(409)["error"], "exists");
}

#[test]
fn a_half_written_upload_is_forgotten_when_the_client_or_the_server_ends() {
    for is_killed in [false, true] {
        let mut server = Server::start(&["--blob-bytes", "14"]);
        let mut alice = Client::register(&server, ALICE, None);
        let allocation = alice.get("/v1/attachments").expect(200);
        let to = path(&allocation["location"]);
        let half = begin_upload(&server, &to);
        until_begun(&server, 1);
        if is_killed {
            server = server.restart();
            alice = alice.at(&server);
        }
        drop(half);
        alice.get(&format!("/v1/attachments/{}", allocation["id"])).expect(404);
        // The space of the half is free again.
        let other = path(&alice.get("/v1/attachments").expect(200)["location"]);
        while upload(&alice, &other, &[0; 6]).status != 200 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn attachments_are_stored_up_to_the_last_byte_of_the_limit() {
    let server = Server::start(&["--blob-bytes", "1000"]);
    let alice = Client::register(&server, ALICE, None);
    let cases = [(400, 200), (601, 507), (599, 200), (2, 507), (1, 200), (1, 507), (0, 200)];
    for (bytes, expected) in cases {
        let to = path(&alice.get("/v1/attachments").expect(200)["location"]);
        upload(&alice, &to, &vec![7; bytes]).expect(expected);
    }
}

#[test]
fn of_uploads_that_together_exceed_the_limit_one_is_stored_and_the_other_gives_its_share_back() {
    let server = Server::start(&["--blob-bytes", "19"]);
    let alice = Client::register(&server, ALICE, None);
    let allocate = || path(&alice.get("/v1/attachments").expect(200)["location"]);
    let mut uploads = [(); 2].map(|()| begin_upload(&server, &allocate()));
    until_begun(&server, 2);
    let mut answers = [[0; 12]; 2];
    for (upload, answer) in uploads.iter_mut().zip(&mut answers) {
        upload.write_all(b"0").unwrap();
        upload.read_exact(answer).unwrap();
    }
    answers.sort_unstable();
    assert_eq!(answers, [*b"HTTP/1.1 200", *b"HTTP/1.1 507"]);
    let incoming = server.folder().join("blobs/incoming");
    while std::fs::read_dir(&incoming).unwrap().count() > 0 {
        std::thread::yield_now();
    }
    for (bytes, expected) in [(10, 507), (9, 200), (1, 507)] {
        upload(&alice, &allocate(), &vec![7; bytes]).expect(expected);
    }
}

#[test]
fn slow_uploads_do_not_stop_others() {
    let server = Server::start(&[]);
    let mut slow = Vec::new();
    for account in 0..ACCOUNTS {
        let client = Client::register(&server, &format!("+1415555{:04}", 3000 + account), None);
        for _ in 0..50 {
            let to = path(&client.get("/v1/attachments").expect(200)["location"]);
            slow.push(begin_upload(&server, &to));
        }
    }
    until_begun(&server, slow.len());
    let alice = Client::register(&server, ALICE, None);
    let to = path(&alice.get("/v1/attachments").expect(200)["location"]);
    let mut quick = begin_upload(&server, &to);
    quick.write_all(b"0").unwrap();
    let mut start = [0; 12];
    quick.read_exact(&mut start).expect("the upload waits for the slow ones");
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[test]
fn an_attachment_has_at_most_100_mebibytes() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let to = path(&alice.get("/v1/attachments").expect(200)["location"]);
    let announced = format!(
        "PUT {to} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        LONGEST + 1
    );
    assert_eq!(alice.send(announced.as_bytes()).expect(400)["error"], "too_large");
    upload(&alice, &to, &vec![7; LONGEST]).expect(200);
}

#[test]
fn a_form_whose_file_does_not_begin_is_refused() {
    let server = Server::start(&[]);
    let head = "POST /attachments/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000000\r\n\r\n";
    let long = "y".repeat(50_000);
    let field = |name: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nvalue\r\n")
    };
    for body in [
        format!("--x\r\nX-Header: {long}{long}{long}"),
        format!("{long}{long}{long}"),
        field("other").repeat(3000),
    ] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // The server does not read everything.
        let _sent = stream.write_all(body.as_bytes());
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("the server waits for more");
        assert_eq!(&start, b"HTTP/1.1 400");
    }
}

/// With their uploads, more than the threads of the server's pool.
const ACCOUNTS: u32 = 11;

/// The longest attachment, in bytes.
const LONGEST: usize = 100 << 20;
