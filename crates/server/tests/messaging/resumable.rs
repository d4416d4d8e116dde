//! Uploads of attachments that are continued after an interruption, with the protocol tus 1.0.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Answer, Client};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// An upload of an account.
struct Upload {
    client: Client,
    form: Value,
}

impl Upload {
    fn new(client: &Client) -> Self {
        let form = client.get("/v4/attachments/form/upload").expect(200);
        assert_eq!(form["cdn"], 3);
        assert_eq!(form["signedUploadLocation"], format!("http://localhost{PATH}"));
        Self { client: client.clone(), form }
    }

    /// An upload that has begun.
    fn begun(client: &Client, length: usize) -> Self {
        let upload = Self::new(client);
        let created = upload.create(length);
        assert_eq!(created.status, 201, "{}", created.head);
        assert!(created.head.contains(&format!("Location: http://localhost{}", upload.path())));
        upload
    }

    fn key(&self) -> &str {
        self.form["key"].as_str().unwrap()
    }

    fn path(&self) -> String {
        format!("{PATH}/{}", self.key())
    }

    /// The first lines of a request.
    fn head(&self, method: &str, path: &str) -> String {
        let header = |name: &str| self.form["headers"][name].as_str().unwrap();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\n\
             Authorization: {}\r\nUpload-Metadata: {}\r\n",
            header("Authorization"),
            header("Upload-Metadata")
        )
    }

    fn create(&self, length: usize) -> Answer {
        let head = self.head("POST", PATH);
        self.client.send(format!("{head}Upload-Length: {length}\r\n\r\n").as_bytes())
    }

    fn patch_head(&self, offset: usize, length: usize) -> String {
        format!(
            "{}Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n",
            self.head("PATCH", &self.path())
        )
    }

    fn patch(&self, offset: usize, bytes: &[u8]) -> Answer {
        let head = self.patch_head(offset, bytes.len());
        self.client.send(&[head.as_bytes(), bytes].concat())
    }

    /// Sends a part of what it announces, and leaves the connection open.
    fn begin_patch(
        &self,
        server: &Server,
        offset: usize,
        announced: usize,
        sent: &[u8],
    ) -> TcpStream {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(self.patch_head(offset, announced).as_bytes()).unwrap();
        stream.write_all(sent).unwrap();
        stream
    }

    fn ask(&self) -> Answer {
        self.client.send(format!("{}\r\n", self.head("HEAD", &self.path())).as_bytes())
    }

    /// How many bytes the server says that it has.
    fn offset(&self) -> usize {
        let answer = self.ask();
        assert_eq!(answer.status, 200, "{}", answer.head);
        offset_in(&answer)
    }

    /// Waits until so many bytes are in the server's file, perhaps not on the disk yet.
    fn until_written(&self, server: &Server, bytes: u64) {
        let partial = server.folder().join("blobs/partial");
        let folder = std::fs::read_dir(&partial).unwrap().next().unwrap().unwrap().path();
        while std::fs::metadata(folder.join(self.key())).unwrap().len() < bytes {
            std::thread::yield_now();
        }
    }

    fn download(&self) -> Answer {
        self.client.get(&format!("/attachments/{}", self.key()))
    }
}

fn offset_in(answer: &Answer) -> usize {
    let head = answer.head.to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("upload-offset: "));
    line.unwrap_or_else(|| panic!("no offset: {}", answer.head)).trim().parse().unwrap()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

#[test]
fn an_upload_continues_where_the_connection_was_lost() {
    let server = Server::start(&[]);
    let upload = Upload::begun(&Client::register(&server, ALICE, None), 900_000);
    assert_eq!(upload.offset(), 0);
    let content = content(900_000);
    let mut at = 0;
    for end in [1, 70_000, 500_000, 899_999] {
        drop(upload.begin_patch(&server, at, 900_000 - at, &content[at..end]));
        at = upload.offset();
        assert!(at <= end, "{at} of {end}");
    }
    // What has arrived completely counts completely. The server may still read a lost request, and refuse the next one.
    let deadline = Instant::now() + Duration::from_secs(20);
    let (end, answer) = loop {
        let at = upload.offset();
        let end = at + (900_000 - at) / 2;
        let answer = upload.patch(at, &content[at..end]);
        if answer.status != 409 || Instant::now() > deadline {
            break (end, answer);
        }
    };
    assert_eq!((answer.status, offset_in(&answer)), (204, end), "{}", answer.head);
    assert_eq!(upload.download().status, 403, "it is not complete");
    assert_eq!(upload.patch(end, &content[end..]).status, 204);
    assert!(upload.download().body == content, "another content");
    assert_eq!(upload.offset(), 900_000, "the client may not know yet");
    assert_eq!(upload.create(900_000).status, 409);
    assert_eq!(upload.patch(0, b"other").status, 404);
    // Clients of 2014 find it, too.
    upload.client.get(&format!("/v1/attachments/{}", upload.key())).expect(200);
}

#[test]
fn an_upload_continues_after_the_server_was_killed() {
    let mut server = Server::start(&[]);
    let mut upload = Upload::begun(&Client::register(&server, ALICE, None), 20 << 20);
    let content = content(20 << 20);
    assert_eq!(upload.patch(0, &content[..1000]).status, 204);
    let half = upload.begin_patch(&server, 1000, (20 << 20) - 1000, &content[1000..18 << 20]);
    upload.until_written(&server, 17 << 20);
    server = server.restart();
    drop(half);
    upload.client = upload.client.at(&server);
    let offset = upload.offset();
    assert!((1000..=18 << 20).contains(&offset), "{offset}");
    assert_eq!(upload.patch(offset, &content[offset..]).status, 204);
    assert!(upload.download().body == content, "another content");
    let left = std::fs::read_dir(server.folder().join("blobs/partial"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
}

#[test]
fn a_new_request_ends_one_whose_connection_is_lost_without_notice() {
    let server = Server::start(&[]);
    let upload = Upload::begun(&Client::register(&server, ALICE, None), 10);
    let lost = upload.begin_patch(&server, 0, 10, b"01234");
    upload.until_written(&server, 5);
    assert_eq!(upload.offset(), 5);
    assert_eq!(upload.patch(5, b"56789").status, 204);
    drop(lost);
    assert_eq!(upload.download().body, b"0123456789");
}

#[test]
fn only_the_bytes_at_the_right_offset_are_taken() {
    let server = Server::start(&[]);
    let upload = Upload::begun(&Client::register(&server, ALICE, None), 10);
    assert_eq!(upload.patch(0, b"0123").status, 204);
    // Overlapping, with a gap, beyond the end, and not a number.
    for offset in [0, 3, 5, 10, 11, usize::MAX] {
        let answer = upload.patch(offset, b"xx");
        assert_eq!(answer.expect(409)["error"], "bad_offset", "{offset}");
    }
    let lie = upload.patch_head(4, 2).replace("Upload-Offset: 4", "Upload-Offset: +4");
    upload.client.send(format!("{lie}xx").as_bytes()).expect(400);
    assert_eq!(upload.patch(4, b"456789x").expect(400)["error"], "too_large");
    let untyped = upload.patch_head(4, 2).replace("offset+octet", "octet");
    upload.client.send(format!("{untyped}xx").as_bytes()).expect(415);
    let unversioned = upload.patch_head(4, 2).replace("Tus-Resumable: 1.0.0", "X: y");
    upload.client.send(format!("{unversioned}xx").as_bytes()).expect(412);
    assert_eq!(upload.offset(), 4);
    assert_eq!(upload.create(10).status, 201, "a repeated request changes nothing");
    assert_eq!(upload.create(11).expect(409)["error"], "exists");
    assert_eq!(upload.patch(4, b"456789").status, 204);
    assert_eq!(upload.download().body, b"0123456789");
}

#[test]
fn nobody_else_continues_an_upload() {
    let server = Server::start(&[]);
    let upload = Upload::begun(&Client::register(&server, ALICE, None), 10);
    assert_eq!(upload.patch(0, b"0123").status, 204);
    let mut foreign = Upload::begun(&Client::register(&server, BOB, None), 10);
    let own = foreign.form.clone();
    foreign.form["key"] = upload.form["key"].clone();
    assert_eq!(foreign.patch(4, b"456789").expect(403)["error"], "not_allowed");
    assert_eq!(foreign.ask().status, 403);
    foreign.form["headers"]["Upload-Metadata"] = upload.form["headers"]["Upload-Metadata"].clone();
    foreign.create(10).expect(403);
    // The proof of one account in the name of another.
    let proof = |form: &Value| form["headers"]["Authorization"].as_str().unwrap().to_owned();
    let (alice, bob) = (proof(&upload.form), proof(&own));
    let mixed = alice.replacen(&alice[7..23], &bob[7..23], 1);
    foreign.form["headers"]["Authorization"] = mixed.into();
    assert_eq!(foreign.patch(4, b"456789").status, 403);
    // The folder of an account is not chosen by the client.
    foreign.form["headers"]["Authorization"] = alice.replacen(&alice[7..23], "..", 1).into();
    assert_eq!(foreign.ask().status, 403);
    assert_eq!(upload.offset(), 4);
    let removed = format!("{}\r\n", upload.head("DELETE", &upload.path()));
    assert_eq!(upload.client.send(removed.as_bytes()).status, 204);
    assert_eq!(upload.ask().status, 404);
}

#[test]
fn an_account_has_so_many_uploads_and_the_oldest_ones_make_room() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let uploads: Vec<_> = (0..9).map(|_| Upload::begun(&alice, 100)).collect();
    let found = uploads.iter().filter(|upload| upload.ask().status == 200).count();
    assert_eq!(found, 8);
    assert_eq!(uploads[8].offset(), 0);
    // By their length when they are complete, four of the longest fit.
    let long: Vec<_> = (0..5).map(|_| Upload::begun(&alice, 100 << 20)).collect();
    let found = long.iter().filter(|upload| upload.ask().status == 200).count();
    assert_eq!(found, 4);
    for length in [0, (100 << 20) + 1] {
        assert!(matches!(Upload::new(&alice).create(length).status, 400 | 422), "{length}");
    }
    // A busy one is not removed.
    let busy = Upload::begun(&Client::register(&server, BOB, None), 100 << 20);
    let mut writing = busy.begin_patch(&server, 0, 100 << 20, b"begin");
    for _ in 0..8 {
        Upload::begun(&busy.client, 1 << 20);
    }
    writing.write_all(b"more").unwrap();
    assert!(busy.offset() <= 9);
    let mut end = Vec::new();
    let _closed = writing.read_to_end(&mut end);
}

#[test]
fn what_arrives_counts_towards_the_limits_of_account_and_server() {
    let server = Server::start(&["--blob-bytes", "1000"]);
    let upload = Upload::begun(&Client::register(&server, ALICE, None), 1100);
    assert_eq!(upload.patch(0, &[1; 600]).status, 204);
    assert_eq!(upload.patch(600, &[1; 500]).expect(507)["error"], "full");
    assert_eq!(upload.offset(), 600);
    let removed = format!("{}\r\n", upload.head("DELETE", &upload.path()));
    assert_eq!(upload.client.send(removed.as_bytes()).status, 204);
    let other = Upload::begun(&upload.client, 1000);
    assert_eq!(other.patch(0, &[1; 1000]).status, 204, "the room is free again");
}

/// Where uploads begin.
const PATH: &str = "/attachments/resumable";
