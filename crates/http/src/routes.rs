//! Answers requests with the handlers of an axum router.

use std::fmt;

use axum::{BoxError, Router, body::Bytes};
use hyper::body::Body;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::Response;

/// The handlers of an axum router, as an async function. Clones are cheap.
#[derive(Clone)]
pub struct Routes(TowerToHyperService<Router>);

impl Routes {
    /// These handlers.
    pub fn new(router: Router) -> Self {
        Self(TowerToHyperService::new(router))
    }

    /// The response of the handler for this request.
    pub async fn answer<B>(&self, request: hyper::Request<B>) -> Response
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        match self.0.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}
