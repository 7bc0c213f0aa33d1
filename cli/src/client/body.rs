//! What a request carries.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use tokio::io::AsyncRead;
use tower::BoxError;

/// The content of a request or an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How much of a file is read before it is sent on.
const CHUNK_BYTES: usize = 256 * 1024;

/// Returns a body without content.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body with these bytes.
pub(super) fn from(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns the value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Body> {
    Ok(from(serde_json::to_vec(value)?))
}

/// Returns a body that reads the file while it is being sent.
pub(super) fn file(file: tokio::fs::File, size_bytes: u64) -> Body {
    FileBody { file, left: Some(size_bytes), chunk: BytesMut::new() }.boxed_unsync()
}

/// Returns a body that is whatever comes out of a pipe.
pub(super) fn pipe(file: tokio::fs::File) -> Body {
    FileBody { file, left: None, chunk: BytesMut::new() }.boxed_unsync()
}

struct FileBody {
    file: tokio::fs::File,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
    chunk: BytesMut,
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let left =
            this.left.map_or(CHUNK_BYTES, |left| usize::try_from(left).unwrap_or(CHUNK_BYTES));
        this.chunk.resize(left.min(CHUNK_BYTES), 0);
        let mut buffer = tokio::io::ReadBuf::new(&mut this.chunk);
        if let Err(error) = ready!(Pin::new(&mut this.file).poll_read(context, &mut buffer)) {
            return Poll::Ready(Some(Err(error.into())));
        }
        let read = buffer.filled().len();
        match &mut this.left {
            None if read == 0 => return Poll::Ready(None),
            Some(_) if read == 0 => {
                return Poll::Ready(Some(Err("the file became shorter while it was sent".into())));
            }
            None => {}
            Some(left) => *left -= read as u64,
        }
        Poll::Ready(Some(Ok(Frame::data(this.chunk.split_to(read).freeze()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_file_arrives_whole() {
        let content: Vec<u8> = (0..600_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut named = tempfile::NamedTempFile::new().expect("file");
        named.write_all(&content).expect("written");
        let open = tokio::fs::File::open(named.path()).await.expect("open");
        let body = file(open, content.len() as u64);
        assert!(body.collect().await.expect("read").to_bytes() == content);
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let named = tempfile::NamedTempFile::new().expect("file");
        let open = tokio::fs::File::open(named.path()).await.expect("open");
        assert!(file(open, 10).collect().await.is_err());
    }
}
