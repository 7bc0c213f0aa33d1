//! How a request body is read: within a size, from a client that keeps sending, and all of them within a budget.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// How long a client may pause inside a body.
const PAUSE: Duration = Duration::from_secs(30);
/// How long an upload is looked at, and what it must have brought by then.
const PACE_WINDOW: Duration = Duration::from_secs(60);
const PACE_BYTES: usize = 16 << 10;
/// How long a whole body may take.
const WHOLE: Duration = Duration::from_secs(600);
/// Bodies of the greatest size that may be in memory at once; small ones hardly count.
const GREATEST: usize = 8;
/// What the budget is counted in, because a semaphore has too few permits for bytes.
const UNIT_BYTES: usize = 1 << 10;

/// Bodies up to this size are understood where they arrive, in less time than another thread takes to wake up and
/// answer; a great one would keep a thread that serves sockets from all others.
const SMALL_BYTES: usize = 64 << 10;

/// The memory that all bodies share.
pub(crate) struct Bodies {
    limit_bytes: usize,
    units: Arc<Semaphore>,
}

/// A body in memory. Its share of the budget is free again when it is dropped.
pub(crate) struct Whole {
    bytes: Bytes,
    share: Share,
}

/// A part of the memory that all bodies share; whoever keeps what was in the body keeps this with it.
pub(crate) struct Share {
    _permits: Option<OwnedSemaphorePermit>,
}

impl std::ops::Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Whole {
    /// Returns what the body says, and its share of the memory.
    pub(crate) async fn understand<T: Send + 'static>(
        self,
        read: impl FnOnce(&[u8]) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Share), Error> {
        let Self { bytes, share } = self;
        let said = if bytes.len() <= SMALL_BYTES {
            read(&bytes)
        } else {
            tokio::task::spawn_blocking(move || read(&bytes)).await?
        };
        Ok((said?, share))
    }
}

impl Bodies {
    /// Allows bodies of at most so many bytes.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let units = (limit_bytes / UNIT_BYTES + 1).saturating_mul(GREATEST);
        let units = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        Self { limit_bytes, units }
    }

    /// Reads a whole body.
    pub(crate) async fn read(&self, body: Body) -> Result<Whole, Error> {
        tokio::time::timeout(WHOLE, self.gather(body)).await.map_err(|_elapsed| Error::Slow)?
    }

    async fn gather(&self, body: Body) -> Result<Whole, Error> {
        let mut frames = body.into_data_stream();
        let (mut whole, mut share): (_, Option<OwnedSemaphorePermit>) = (BytesMut::new(), None);
        while let Some(frame) = next(&mut frames).await? {
            if whole.len() + frame.len() > self.limit_bytes {
                return Err(Error::TooLarge(self.limit_bytes));
            }
            whole.extend_from_slice(&frame);
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = (whole.len() / UNIT_BYTES).saturating_sub(held);
            let more = u32::try_from(more).map_err(|_huge| Error::TooLarge(self.limit_bytes))?;
            let more = Arc::clone(&self.units).try_acquire_many_owned(more);
            let more = more.map_err(|_full| Error::Busy)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        Ok(Whole { bytes: whole.freeze(), share: Share { _permits: share } })
    }
}

/// Tells uploads that bring next to nothing from those that are only slow.
pub(crate) struct Pace {
    since: Instant,
    bytes: usize,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// Counts bytes; an error when a minute has brought too few.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.since.elapsed() < PACE_WINDOW {
            return Ok(());
        }
        let is_slow = self.bytes < PACE_BYTES;
        *self = Self::new();
        if is_slow { Err(Error::Slow) } else { Ok(()) }
    }
}

/// Returns the next part of a body; none at its end.
pub(crate) async fn next(frames: &mut BodyDataStream) -> Result<Option<Bytes>, Error> {
    let frame = tokio::time::timeout(PAUSE, frames.next()).await.map_err(|_elapsed| Error::Slow)?;
    frame.transpose().map_err(|_cut| Error::BadRequest("unexpected EOF".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_a_budget() {
        let bodies = Bodies::new(100 * UNIT_BYTES);
        let body = |units: usize| Body::from(vec![b' '; units * UNIT_BYTES]);
        let too_large = bodies.read(body(101)).await.err();
        assert_eq!(too_large, Some(Error::TooLarge(100 * UNIT_BYTES)));
        let mut held = Vec::new();
        for _ in 0..GREATEST {
            held.push(bodies.read(body(100)).await.ok());
        }
        assert!(held.iter().all(Option::is_some));
        assert_eq!(bodies.read(body(100)).await.err(), Some(Error::Busy));
        held.pop();
        assert!(bodies.read(body(100)).await.is_ok());
    }
}
