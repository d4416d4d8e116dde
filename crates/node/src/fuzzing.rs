//! Entry points for the fuzz targets: the decoders for bytes of JSON-RPC clients and of other nodes.
//!
//! It exists only with the feature `fuzzing`, for the fuzz targets in `wormhole-fuzzing`. It is not part of
//! the public interface and changes without notice.

use serde_json::Value;

use crate::remote::RemoteMessage;
use crate::rpc::arguments::{Arguments, only};
use crate::rpc::json_stream::JsonSplitter;
use crate::rpc::jsonrpc::{self, Id, Message, Request, RpcError};
use crate::rpc::requests::{Criteria, NewMessage};

/// One request of a JSON-RPC message, and responses to it.
#[derive(Debug)]
pub struct Exchange {
    /// Whether the request has an id that the response must repeat.
    pub has_id: bool,
    /// The response of a server: a result for a valid request, an error otherwise.
    pub response: String,
    /// The response if the method fails with the name of the method as its text. `None` for an invalid
    /// request.
    pub failure: Option<String>,
}

/// Reads a JSON-RPC message with up to `max_batch` requests, and the arguments of each request as those
/// of `shh_post` and of `shh_newMessageFilter`.
///
/// # Errors
/// The error response to a message that is invalid as a whole.
pub fn read_json_rpc(bytes: &[u8], max_batch: usize) -> Result<Vec<Exchange>, String> {
    let requests = match Message::read(bytes, max_batch) {
        Err(error) => return Err(jsonrpc::response(Id::NULL, Err(&error))),
        Ok(Message::Batch(requests)) => requests,
        Ok(Message::Single(request)) => vec![request],
    };
    Ok(requests.into_iter().map(exchange).collect())
}

fn exchange(request: Request<'_>) -> Exchange {
    let (id, method) = match request {
        Request::Call(id, method) => (id, method),
        Request::Invalid(id) => {
            let response = jsonrpc::response(id, Err(&RpcError::invalid_request()));
            return Exchange { has_id: false, response, failure: None };
        }
        Request::Notification(method) => (Id::NULL, method),
    };
    let response = jsonrpc::response(id, Ok(method.params.unwrap_or("null")));
    // Whether they are valid does not matter here, only that reading them does not panic.
    let _either = Arguments::parse(method.params, 2).is_ok();
    let _either = only::<NewMessage>(method.params).is_ok();
    let _either = only::<Criteria>(method.params).is_ok();
    let failure = jsonrpc::response(id, Err(&RpcError::new(1, method.name)));
    Exchange { has_id: id != Id::NULL, response, failure: Some(failure) }
}

/// Splits a stream that arrives in pieces of `piece` bytes into JSON values of up to `limit` bytes.
/// `None` if the stream is invalid. `piece` must not be 0.
pub fn split_json_stream(bytes: &[u8], piece: usize, limit: usize) -> Option<Vec<Vec<u8>>> {
    let mut splitter = JsonSplitter::new(limit);
    let mut values = Vec::new();
    for piece in bytes.chunks(piece) {
        values.extend(splitter.push(piece).ok()?);
    }
    Some(values)
}

/// Reads a message as a node reports it. `None` if it is invalid.
pub fn read_remote_message(value: &Value) -> Option<RemoteMessage> {
    RemoteMessage::from_json(value).ok()
}
