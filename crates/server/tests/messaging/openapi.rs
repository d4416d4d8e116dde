//! The description of the API.

use crate::server::Server;

#[test]
fn the_served_document_is_the_stored_one() {
    let server = Server::start(&[]);
    let served = server.client().get("/openapi.json");
    assert_eq!(served.json()["openapi"], "3.1.0");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let stored = std::fs::read(path).unwrap_or_default();
    assert!(
        served.body == stored,
        "docs/openapi.json is outdated: replace it with what the server answers to GET /openapi.json"
    );
}
