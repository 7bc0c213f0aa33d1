//! Which failures the daemon tells apart, and the HTTP status of each.

use http::StatusCode;

/// A failure, with everything that a client may be told about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The service could not start.
    #[error("{0}")]
    Start(String),
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Something is refused, whatever the request says.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The body is larger than the limit.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The client stopped sending.
    #[error("the request body did not arrive in time")]
    Slow,
    /// Too much is waiting already.
    #[error("server busy, please try again.  maximum pending requests exceeded")]
    Busy,
    /// Not built yet.
    #[error("{0}")]
    NotImplemented(String),
    /// Everything else.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Returns the status that an answer with this failure has.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Start(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns when a client should try again, where that would help.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        (*self == Self::Busy).then_some(1)
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        match error {
            registry::Error::NotFound(_) => Self::NotFound(error.to_string()),
            registry::Error::Shared(_) => Self::Forbidden(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::TooLong { .. }
            | engine::Error::NoRoom
            | engine::Error::NoTokens
            | engine::Error::TooManyParts(_)
            | engine::Error::NoImages
            | engine::Error::Image(_)
            | engine::Error::Tokenizer(_) => Self::BadRequest(error.to_string()),
            engine::Error::Unsupported(_) | engine::Error::Repository { .. } => {
                Self::Internal(error.to_string())
            }
            // Behind the first line stands a backtrace, which is nobody else's business.
            engine::Error::Tensor(error) => {
                Self::Internal(error.to_string().lines().next().unwrap_or_default().to_owned())
            }
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        // What a panic says may hold paths; the log has it.
        tracing::error!(%error, "a task failed");
        Self::Internal("internal error, see the log of the service".to_owned())
    }
}
