//! Schemathesis, which invents requests from the served `OpenAPI` document: none may be a failure of the server.
//! `scripts/peers` installs it; without `WORMHOLE_PEERS` this test passes without having looked, except under `CI`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::client::Client;
use crate::messages::with_keys;
use crate::server::Server;

/// Runs it against a server.
fn run(program: &Path, server: &Server, options: &[&str]) -> Output {
    let url = format!("http://{}/openapi.json", server.address);
    Command::new(program)
        .args(["run", &url, "--checks", "not_a_server_error,content_type_conformance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--seed", "11", "--generation-database", "none", "--no-color"])
        .args(["--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"])
        .args(options)
        .current_dir(server.folder())
        .output()
        .unwrap()
}

fn expect_success(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
}

#[test]
fn invented_requests_cause_no_failures() {
    let Some(program) = program() else { return };
    let server = Server::start(&[]);
    let alice: Client = with_keys(&server, "+14155550101", 1);
    // It cannot make up messages for many recipients.
    let skipped = ["--exclude-path", "/v1/accounts/me", "--exclude-path", MULTI_RECIPIENT];
    expect_success(&run(&program, &server, &skipped));
    let login = format!("{}:{}", alice.number, alice.password);
    // With its account, it must not delete this account.
    let options = [&["--auth", &login], &skipped[..]].concat();
    expect_success(&run(&program, &server, &options));
    alice.get("/v1/accounts/whoami").expect(200);
}

fn program() -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
        eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
        return None;
    };
    Some(PathBuf::from(peers).join("schemathesis/bin/schemathesis"))
}

/// Its bodies are not JSON.
const MULTI_RECIPIENT: &str = "/v1/messages/multi_recipient";

/// Requests of the last phase, for each operation.
const EXAMPLES: &str = "30";
