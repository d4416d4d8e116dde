//! Requests and responses on the WebSocket, in both directions (docs/chat-protocol.md
//! "WebSocket").
//!
//! One binary frame is one message. Who may ask for what is the service's concern.

use prost::Message;

/// One frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WebSocketMessage {
    /// Either side asks.
    Request(WebSocketRequest),
    /// Either side answers.
    Response(WebSocketResponse),
}

/// A request, with the parts of an HTTP request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebSocketRequest {
    /// `GET`, `PUT` and so on.
    pub verb: String,
    /// Path and query.
    pub path: String,
    /// What would be the body.
    pub body: Option<Vec<u8>>,
    /// Named by the asker; the response repeats it. Without one there is no response.
    pub id: Option<u64>,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// A response, with the parts of an HTTP response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebSocketResponse {
    /// The request's.
    pub id: u64,
    /// 200 and so on.
    pub status: u16,
    /// The reason that old clients expect.
    pub message: Option<String>,
    /// What would be the body.
    pub body: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

impl WebSocketMessage {
    /// Reads one binary frame.
    ///
    /// # Errors
    /// It is malformed. Close the socket with [`CLOSE_MALFORMED`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WebSocketError> {
        if bytes.len() > MAX_FRAME {
            return Err(WebSocketError::TooLong(bytes.len()));
        }
        let proto = MessageProto::decode(bytes).map_err(|_| WebSocketError::Malformed)?;
        match (proto.kind, proto.request, proto.response) {
            (Some(REQUEST), Some(request), _) => request.try_into().map(Self::Request),
            (Some(RESPONSE), _, Some(response)) => response.try_into().map(Self::Response),
            _ => Err(WebSocketError::Malformed),
        }
    }

    /// The binary frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut proto = MessageProto { kind: None, request: None, response: None };
        match self {
            Self::Request(request) => {
                proto.kind = Some(REQUEST);
                proto.request = Some(RequestProto {
                    verb: Some(request.verb.clone()),
                    path: Some(request.path.clone()),
                    body: request.body.clone(),
                    id: request.id,
                    headers: join(&request.headers),
                });
            }
            Self::Response(response) => {
                proto.kind = Some(RESPONSE);
                proto.response = Some(ResponseProto {
                    id: Some(response.id),
                    status: Some(response.status.into()),
                    message: response.message.clone(),
                    body: response.body.clone(),
                    headers: join(&response.headers),
                });
            }
        }
        proto.encode_to_vec()
    }
}

impl TryFrom<RequestProto> for WebSocketRequest {
    type Error = WebSocketError;

    fn try_from(proto: RequestProto) -> Result<Self, WebSocketError> {
        let (verb, path) = proto.verb.zip(proto.path).ok_or(WebSocketError::Malformed)?;
        let is_verb = (1..=MAX_VERB).contains(&verb.len()) && verb.bytes().all(is_letter);
        let is_path = path.starts_with('/') && path.len() <= MAX_PATH && is_plain(&path);
        if !is_verb || !is_path {
            return Err(WebSocketError::Malformed);
        }
        let headers = split(proto.headers)?;
        Ok(Self { verb, path, body: proto.body, id: proto.id, headers })
    }
}

impl TryFrom<ResponseProto> for WebSocketResponse {
    type Error = WebSocketError;

    fn try_from(proto: ResponseProto) -> Result<Self, WebSocketError> {
        let (id, status) = proto.id.zip(proto.status).ok_or(WebSocketError::Malformed)?;
        let status = u16::try_from(status).map_err(|_| WebSocketError::Malformed)?;
        if !(100..1000).contains(&status) {
            return Err(WebSocketError::Malformed);
        }
        let headers = split(proto.headers)?;
        Ok(Self { id, status, message: proto.message, body: proto.body, headers })
    }
}

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WebSocketError {
    /// The fields are not those of a message, or have characters that HTTP would not allow.
    #[error("malformed frame")]
    Malformed,
    /// It is longer than any frame may be.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

/// Whether the text has no space, control or non-ASCII character, so that it cannot become two
/// lines of anything.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn join(headers: &[(String, String)]) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}:{value}")).collect()
}

fn split(lines: Vec<String>) -> Result<Vec<(String, String)>, WebSocketError> {
    if lines.len() > MAX_HEADERS || lines.iter().map(String::len).sum::<usize>() > MAX_HEADER_BYTES
    {
        return Err(WebSocketError::Malformed);
    }
    let pairs = lines.iter().map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim_matches(' ');
        let is_name = !name.is_empty() && is_plain(name);
        let is_value = !value.chars().any(char::is_control);
        (is_name && is_value).then(|| (name.to_owned(), value.to_owned()))
    });
    pairs.collect::<Option<_>>().ok_or(WebSocketError::Malformed)
}

#[derive(Message)]
struct MessageProto {
    #[prost(uint32, optional, tag = "1")]
    kind: Option<u32>,
    #[prost(message, optional, tag = "2")]
    request: Option<RequestProto>,
    #[prost(message, optional, tag = "3")]
    response: Option<ResponseProto>,
}

#[derive(Message)]
struct RequestProto {
    #[prost(string, optional, tag = "1")]
    verb: Option<String>,
    #[prost(string, optional, tag = "2")]
    path: Option<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    body: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "4")]
    id: Option<u64>,
    #[prost(string, repeated, tag = "5")]
    headers: Vec<String>,
}

#[derive(Message)]
struct ResponseProto {
    #[prost(uint64, optional, tag = "1")]
    id: Option<u64>,
    #[prost(uint32, optional, tag = "2")]
    status: Option<u32>,
    #[prost(string, optional, tag = "3")]
    message: Option<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    body: Option<Vec<u8>>,
    #[prost(string, repeated, tag = "5")]
    headers: Vec<String>,
}

/// The kind of a request.
const REQUEST: u32 = 1;

/// The kind of a response.
const RESPONSE: u32 = 2;

/// The close code for a frame that cannot be read.
pub const CLOSE_MALFORMED: u16 = 1018;

/// Bytes of a frame at most.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Characters of a verb at most.
const MAX_VERB: usize = 16;

/// Bytes of path and query at most.
const MAX_PATH: usize = 8192;

/// Headers of a message at most.
const MAX_HEADERS: usize = 64;

/// Bytes of all headers together at most.
const MAX_HEADER_BYTES: usize = 16 * 1024;
