//! The pages for monitors: health and metrics of the messaging service.

use crate::client::Client;
use crate::messages::with_keys;
use crate::server::Server;

#[test]
fn monitors_see_health_and_metrics() {
    let server = Server::start(&["--metrics-listen", "127.0.0.1:0"]);
    let _alice = with_keys(&server, "+14155550101", 1);
    let monitor = Client::new(&server.metrics());
    let health = monitor.get("/health");
    assert_eq!((health.status, health.body.as_slice()), (200, &b"ok\n"[..]));
    let metrics = String::from_utf8(monitor.get("/metrics").body).unwrap();
    for name in ["accounts", "devices", "messages", "sockets", "refused_links_total"] {
        let is_metric = |line: &str| line.starts_with(&format!("wormhole_messaging_{name} "));
        assert!(metrics.lines().any(is_metric), "{name} is missing in {metrics}");
    }
    assert!(!metrics.contains("+1415555"), "{metrics}");
}
