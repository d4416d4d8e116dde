//! Tests of answers, statuses and limits of the service.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;

fn response(status: u16, body: &str) -> HttpResponse {
    HttpResponse { status, retry_after: None, body: body.into(), is_repeated: false }
}

#[test]
fn only_the_service_can_confirm_a_message() {
    for (body, needs_sync) in [(r#"{"needsSync":false}"#, false), (r#"{"needsSync":true}"#, true)] {
        assert_eq!(sent(response(200, body)), Ok(Response::Sent { needs_sync }));
    }
    for body in ["", "{}", "[]", "[false]", r#"{"ok":true}"#, "<html>", r#"{"needsSync":1}"#] {
        assert_eq!(
            sent(response(200, body)),
            Err(RequestError::InvalidAnswer(ServerFault::Format)),
            "{body}"
        );
    }
    assert!(read::<json::Accepted>(b"{}").is_ok());
    assert!(read::<json::Accepted>(b"[]").is_err());
}

#[test]
fn a_mismatch_that_names_no_device_is_a_fault_of_the_server() {
    for (status, body) in [
        (409, "{}"),
        (409, r#"{"missingDevices":[],"extraDevices":[]}"#),
        (409, r#"{"missingDevices":[0,128],"extraDevices":[]}"#),
        (410, r#"{"staleDevices":[]}"#),
        (410, r#"{"staleDevices":[4294967295]}"#),
    ] {
        let result = sent(response(status, body));
        assert_eq!(result, Err(RequestError::Unavailable(status)), "{body}");
    }
    let named = sent(response(410, r#"{"staleDevices":[1]}"#));
    assert_eq!(named, Ok(Response::Stale(vec![wormhole_chat::DeviceId::PRIMARY])));
}

#[test]
fn only_the_service_can_say_that_an_account_does_not_exist() {
    let error = |body: &str| RequestError::from_status(401, None, body.as_bytes());
    assert_eq!(error(r#"{"error":"bad_credentials"}"#), RequestError::CredentialsRefused);
    assert_eq!(error(r#"{"error":"bad_package"}"#), RequestError::AppRefused);
    // A proxy, or a login page of the network.
    for body in ["", "<html>", "{}", r#"{"message":"login required"}"#] {
        assert_eq!(error(body), RequestError::InvalidAnswer(ServerFault::Format), "{body}");
    }
    assert_eq!(error(r#"{"error":"new"}"#), RequestError::Refused(401));
}

#[test]
fn a_storage_does_not_speak_about_the_account() {
    let wait = Some(Duration::from_secs(7));
    for (status, error) in [
        (401, RequestError::Refused(401)),
        (403, RequestError::Refused(403)),
        (404, RequestError::NotFound),
        (429, RequestError::TooMany(Duration::from_secs(7))),
        (503, RequestError::Unavailable(503)),
        (507, RequestError::StorageFull),
    ] {
        assert_eq!(RequestError::from_storage_status(status, wait), error);
    }
}

#[test]
fn at_most_four_files_are_transferred_at_the_same_time() {
    let server = Server::new("http://127.0.0.1:1".parse().unwrap());
    let service = Service::new(&server, &Network::default()).unwrap();
    let turns: Vec<_> = (0..4).map(|_| service.transfer_turn().now_or_never()).collect();
    assert!(turns.iter().all(|turn| matches!(turn, Some(Some(_)))));
    assert!(service.transfer_turn().now_or_never().is_none());
    drop(turns);
    assert!(service.transfer_turn().now_or_never().is_some());
}

fn error_of(status: u16, body: &str) -> RequestError {
    RequestError::from_status(status, None, body.as_bytes())
}

#[test]
fn only_refusals_with_a_known_code_of_the_service_are_final() {
    let error = |code: &str| format!(r#"{{"error":"{code}","message":"no"}}"#);
    assert_eq!(error_of(403, &error("intra_app")), RequestError::IntraApp);
    assert_eq!(error_of(404, &error("not_found")), RequestError::NotFound);
    for (status, code) in [(400, "bad_destination"), (400, "too_large"), (422, "invalid")] {
        assert_eq!(error_of(status, &error(code)), RequestError::Invalid(status));
    }
    for (status, code) in [
        (400, "bad_body"),
        (400, "blocked by the firewall"),
        (403, "forbidden"),
        (404, "no route"),
        (408, "too_slow"),
        (422, "unknown"),
        (425, "too_early"),
    ] {
        assert_eq!(error_of(status, &error(code)), RequestError::Refused(status), "{code}");
    }
    assert_eq!(error_of(403, "<html>"), RequestError::InvalidAnswer(ServerFault::Format));
    assert_eq!(
        error_of(404, r#"{"detail":"no"}"#),
        RequestError::InvalidAnswer(ServerFault::Format)
    );
}
