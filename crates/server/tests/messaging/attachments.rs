//! Attachments: the seed's way, and the later one with a form.

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
    alice.get(&format!("/v1/attachments/{}", text("key"))).expect(404);
}
