//! Reads the body of a request within limits of size and time: as a whole, or in pieces. Also changes the pieces of an
//! answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use axum::response::IntoResponse;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::Response;

/// Why a body could not be read. As a response, it has the matching status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before the body did, or its encoding is invalid. Status 400.
    #[error("the request ended before its body")]
    Incomplete,
    /// The client sent it too slowly. Status 408.
    #[error("the body of the request arrived too slowly")]
    TooSlow,
    /// It is longer than allowed. Status 413.
    #[error("request is too large")]
    TooLarge,
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// Reads a whole body of at most `max_bytes` within `time`.
///
/// # Errors
/// [`BodyError`]; it can be the response to the request. A body whose `Content-Length` is too large is refused before any
/// of it is read.
pub async fn read<B>(body: B, max_bytes: usize, time: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let body = limited(body, max_bytes)?;
    let whole = timeout(time, body.collect()).await.map_err(|_| BodyError::TooSlow)?;
    Ok(whole.map_err(BodyError::of)?.to_bytes())
}

/// A body that is read in pieces, so that it need not fit into memory.
#[derive(Debug)]
pub struct Pieces<B> {
    body: Limited<B>,
    idle_time: Duration,
}

impl<B> Pieces<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// Reads a body of at most `max_bytes`, each piece of it within `idle_time`. There is no limit for the time of the
    /// whole body.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] if the `Content-Length` says so.
    pub fn new(body: B, max_bytes: usize, idle_time: Duration) -> Result<Self, BodyError> {
        Ok(Self { body: limited(body, max_bytes)?, idle_time })
    }

    /// The next piece; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`BodyError`]; it can be the response to the request. Nothing more can be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let next = timeout(self.idle_time, self.body.frame()).await;
            let Some(frame) = next.map_err(|_| BodyError::TooSlow)? else { return Ok(None) };
            // Trailers have no meaning here.
            if let Ok(piece) = frame.map_err(BodyError::of)?.into_data() {
                return Ok(Some(piece));
            }
        }
    }
}

/// A response whose body is sent in pieces that `change` returns. It must not change their length.
pub fn map_pieces<F>(response: Response, change: F) -> Response
where
    F: FnMut(Bytes) -> Bytes + Send + Unpin + 'static,
{
    response.map(|body| axum::body::Body::new(Mapped { body, change }))
}

/// A body with changed pieces.
struct Mapped<F> {
    body: axum::body::Body,
    change: F,
}

impl<F: FnMut(Bytes) -> Bytes + Unpin> Body for Mapped<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| frame.map_data(&mut self.change))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body with a limit, unless its announced length is over the limit already.
fn limited<B: Body>(body: B, max_bytes: usize) -> Result<Limited<B>, BodyError> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).is_ok_and(|announced| announced <= max_bytes) {
        Ok(Limited::new(body, max_bytes))
    } else {
        Err(BodyError::TooLarge)
    }
}

impl BodyError {
    /// The meaning of an error of [`Limited`].
    fn of(error: BoxError) -> Self {
        if error.is::<LengthLimitError>() { Self::TooLarge } else { Self::Incomplete }
    }
}
