//! Events as JSON, one object per line (docs/json.md).
//!
//! Numbers are bytes and seconds. Later versions may add keys, but never change the meaning of existing ones.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wormhole::code;
use wormhole::transfer::{Event, MetadataLoss, Offer, Report, Unsendable, ZipPath};
use wormhole::transit::Path;

use crate::failure::ErrorReport;

/// The JSON object for an event of the SDK; `None` for events that are not reported.
pub(crate) fn event(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Wormhole(event) => return wormhole_event(event),
        Event::ServerRetry { why, failures, pause } => json!({
            "event": "server-retry", "reason": why.to_string(),
            "failures": failures, "pause": pause.as_secs_f64(),
        }),
        Event::PortTaken { port, kind } => {
            json!({"event": "port-taken", "port": port, "why": kind.to_string()})
        }
        Event::Offer(offered) => with_offer("offer", offered),
        Event::Text(text) => json!({"event": "text", "text": text}),
        Event::Accepted => json!({"event": "accepted"}),
        Event::Connected(path) => connected(path),
        Event::ConnectionLost => json!({"event": "connection-lost"}),
        Event::Resuming { done, total } => {
            json!({"event": "resuming", "done": done, "total": total})
        }
        Event::Kept(path) => {
            let mut kept = json!({"event": "kept"});
            add_path(&mut kept, path);
            kept
        }
        Event::Progress { done, total } => {
            json!({"event": "progress", "done": done, "total": total})
        }
        Event::AwaitingConfirmation => json!({"event": "awaiting-confirmation"}),
        Event::Done(report) => done(report),
        // A program gets a `question` instead.
        Event::CodeWanted(_) => return None,
        // A later event of the SDK.
        _ => return None,
    })
}

/// The object for a connection to the other side.
pub(crate) fn connected(path: &Path) -> Value {
    let (via, local) = (via(path), path.is_local());
    json!({"event": "connected", "via": via, "local": local, "address": path.to_string()})
}

/// The object for an event of the wormhole.
fn wormhole_event(event: &code::Event) -> Option<Value> {
    Some(match event {
        code::Event::Welcome(welcome) => json!({"event": "welcome", "motd": welcome.motd}),
        code::Event::Code(code) => json!({"event": "code", "code": code.to_string()}),
        code::Event::ServerLost => json!({"event": "server-lost"}),
        code::Event::ServerFound => json!({"event": "server-found"}),
        code::Event::CodeConsumed => json!({"event": "code-consumed"}),
        code::Event::Key(_) => json!({"event": "key-established"}),
        code::Event::Verifier(verifier) => {
            json!({"event": "verifier", "verifier": verifier.to_string()})
        }
        code::Event::Closed(_)
        | code::Event::Dilation { .. }
        | code::Event::Message(_)
        | code::Event::NameplateClaimed
        | code::Event::Nameplates(_)
        | code::Event::Server(_)
        | code::Event::ServerRetry { .. }
        | code::Event::Version(_) => return None,
        // A later event of the SDK.
        _ => return None,
    })
}

/// The offer of this side.
pub(crate) fn sending(offer: &Offer) -> Value {
    with_offer("sending", offer)
}

/// The first event. It shows early whether standard output can be written.
pub(crate) fn connecting(server: &str) -> Value {
    json!({"event": "connecting", "server": server})
}

/// A question that is answered by a line on standard input.
pub(crate) fn question(about: &str, answers: &[&str]) -> Value {
    json!({"event": "question", "about": about, "answers": answers})
}

/// A question about an offer of a shared session. Its answer may name the same number.
pub(crate) fn question_about_offer(id: u64) -> Value {
    let mut value = question("accept", &["y", "n"]);
    set(&mut value, "id", id);
    value
}

/// The last line of a command that failed.
pub(crate) fn error(report: &ErrorReport) -> Value {
    json!({
        "event": "error",
        "message": report.message,
        "hint": report.hint,
        "exit": report.exit,
    })
}

fn with_offer(event: &str, offer: &Offer) -> Value {
    let name = offer.name().map(|name| name.as_sent());
    match offer {
        Offer::Directory { zip_size, bytes, files, .. } => json!({
            "event": event, "kind": "directory", "name": name,
            "size": bytes, "files": files, "carried": zip_size,
        }),
        Offer::File { size, .. } => {
            json!({"event": event, "kind": "file", "name": name, "size": size})
        }
        Offer::Stream { .. } => json!({"event": event, "kind": "stream", "name": name}),
        Offer::Text(text) => json!({"event": event, "kind": "text", "size": text.len()}),
        _ => json!({"event": event, "kind": "unknown", "name": name}),
    }
}

fn done(report: &Report) -> Value {
    let mut done = json!({
        "event": "done",
        "bytes": report.bytes,
        "resumed": report.resumed,
        "seconds": report.elapsed.as_secs_f64(),
        "via": report.path.as_ref().map(via),
        "path": null,
        "changed": report.changed.iter().map(changed).collect::<Vec<_>>(),
        "omitted": report.omitted.iter().map(ZipPath::as_str).collect::<Vec<_>>(),
        "omitted_more": report.omitted_more,
        "lost": report.lost.as_deref().map(lost),
    });
    if let Some(path) = &report.written {
        add_path(&mut done, path);
    }
    done
}

/// Permissions and times that could not be set.
fn lost(lost: &MetadataLoss) -> Value {
    let mut value = json!({
        "permissions": lost.permissions,
        "times": lost.times,
        "links": lost.links,
        "unflushed": lost.unflushed,
        "reason": lost.why,
    });
    add_path(&mut value, &lost.path);
    value
}

/// Adds a value to an event.
pub(crate) fn set(event: &mut Value, key: &str, value: impl Into<Value>) {
    event[key] = value.into();
}

/// Adds a path under `path`. JSON is Unicode: if the path is not, `path_bytes` has its bytes as hexadecimal digits,
/// and `path` is only for display.
pub(crate) fn add_path(event: &mut Value, path: &std::path::Path) {
    event["path"] = path.to_string_lossy().into();
    if path.to_str().is_none() {
        let bytes = path.as_os_str().as_encoded_bytes();
        event["path_bytes"] = HEXLOWER.encode(bytes).into();
    }
}

/// A file that changed while it was sent.
fn changed(unsendable: &Unsendable) -> Value {
    let mut changed = json!({"why": unsendable.why.to_string()});
    add_path(&mut changed, &unsendable.path);
    changed
}

/// `direct` or `relay`.
fn via(path: &Path) -> &'static str {
    match path {
        Path::Accepted(_) | Path::Direct(_) => "direct",
        Path::Relay(_) => "relay",
        // A later kind of connection.
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use wormhole::transfer::PeerName;

    use super::*;

    #[test]
    fn names_are_passed_on_exactly() {
        let offer = Offer::File { name: PeerName::new("a\u{1b}\n\"b"), size: 3, attributes: None };
        let line = event(&Event::Offer(offer)).unwrap().to_string();
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["name"], "a\u{1b}\n\"b");
        assert!(!line.contains('\n'));
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_unicode_keeps_its_bytes() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        let mut event = json!({});
        add_path(&mut event, std::path::Path::new("/tmp/é"));
        assert_eq!(event, json!({"path": "/tmp/é"}));
        add_path(&mut event, std::path::Path::new(OsStr::from_bytes(b"/tmp/\xff")));
        assert_eq!(event, json!({"path": "/tmp/\u{fffd}", "path_bytes": "2f746d702fff"}));
    }

    #[test]
    fn an_unknown_total_is_null() {
        let value = event(&Event::Progress { done: 1, total: None }).unwrap();
        assert_eq!(value, json!({"event": "progress", "done": 1, "total": null}));
    }
}
