//! The service inside this process, called without a socket.

use anyhow::Result;
use daemon::Config;
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use tower::BoxError;
use tower::util::{BoxCloneService, ServiceExt as _};

use super::Service;
use super::body::Body;

/// Returns the router that `vecuna serve` would put on a socket.
pub(super) fn service(config: Config) -> Result<Service> {
    let service = daemon::local(config)?
        .map_request(name_host)
        .map_response(|response| response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
        .map_err(BoxError::from);
    Ok(BoxCloneService::new(service))
}

/// The service checks which host it was asked for, as a browser may be lied to by its resolver.
fn name_host(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    request
}
