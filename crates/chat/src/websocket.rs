//! Requests and responses on the WebSocket, in both directions (docs/chat-protocol.md "WebSocket").
//!
//! One binary frame is one message. Authorization is up to the service.

use prost::Message;

/// A message on the WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WebSocketMessage {
    /// A request of either side.
    Request(WebSocketRequest),
    /// A response of either side.
    Response(WebSocketResponse),
}

/// A request, with the parts of an HTTP request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebSocketRequest {
    /// `GET`, `PUT` and so on.
    pub verb: String,
    /// Path and query of the URL.
    pub path: String,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Chosen by the requester and repeated in the response. Without an id there is no response.
    pub id: Option<u64>,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

/// A response, with the parts of an HTTP response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebSocketResponse {
    /// The id of the request.
    pub id: u64,
    /// The status code, such as 200.
    pub status: u16,
    /// The reason phrase, which old clients require.
    pub message: Option<String>,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

impl WebSocketMessage {
    /// Decodes one binary frame.
    ///
    /// # Errors
    /// The frame is malformed. Close the socket with [`CLOSE_MALFORMED`].
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

    /// Encodes the message as a binary frame.
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

/// Why a frame is not a valid message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WebSocketError {
    /// The bytes are not a message, or contain characters that HTTP does not permit.
    #[error("malformed frame")]
    Malformed,
    /// It is too long.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

/// Whether the text has no space, control or non-ASCII character, so that it cannot inject another
/// header line.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// With the space that clients expect: they compare `X-Signal-Key: true` as a whole.
fn join(headers: &[(String, String)]) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
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

/// The type of a request.
const REQUEST: u32 = 1;

/// The type of a response.
const RESPONSE: u32 = 2;

/// The close code for a malformed frame.
pub const CLOSE_MALFORMED: u16 = 1018;

/// Maximum length of a frame.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Maximum length of a verb.
const MAX_VERB: usize = 16;

/// Maximum length of path and query in bytes.
const MAX_PATH: usize = 8192;

/// Maximum number of headers of a message.
const MAX_HEADERS: usize = 64;

/// Maximum total length of all headers in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
