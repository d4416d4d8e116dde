//! Methods about the node.

use serde_json::json;

use super::super::desk::Desk;
use super::super::{Node, Stopped};
use super::arguments::none;
use super::{Answer, ErrorObjectOwned, refused};

/// What comes of a method, if it is one of these.
pub(super) async fn answer(
    node: &Node,
    _desk: &Desk,
    method: &str,
    params: Option<&str>,
) -> Option<Answer> {
    Some(match method {
        "shh_version" => none(params).map(|()| "6.0".into()),
        "shh_info" => info(node, params).await,
        _ => return None,
    })
}

async fn info(node: &Node, params: Option<&str>) -> Answer {
    none(params)?;
    let status = node.status().await.map_err(stopped)?;
    Ok(json!({
        "memory": status.bytes,
        "messages": status.envelopes,
        "minPow": status.min_work.as_f64(),
        "maxMessageSize": status.max_size,
    }))
}

fn stopped(stopped: Stopped) -> ErrorObjectOwned {
    refused(stopped.to_string())
}
