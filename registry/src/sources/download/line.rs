//! How much may all transfers take of the line? So many connections, and so many bytes a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// What all transfers of one process share.
#[derive(Clone, Debug)]
pub struct Line(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    connections: Semaphore,
    /// Bytes per second, and when the bytes so far are paid for.
    rate: Option<(u64, Mutex<Instant>)>,
}

impl Line {
    /// Returns a line with so many connections, and so many bytes a second.
    pub fn new(connections: usize, rate: Option<u64>) -> Self {
        let rate = rate.map(|rate| (rate.max(1), Mutex::new(Instant::now())));
        let most = connections.max(1);
        Self(Arc::new(Shared { most, connections: Semaphore::new(most), rate }))
    }

    /// Returns how many connections there may be.
    pub(super) fn connections(&self) -> usize {
        self.0.most
    }

    /// Waits for a connection; they are given in the order of asking.
    pub(in crate::sources) async fn connection(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.connections.acquire().await.ok()
    }

    /// Waits until bytes that have come are paid for, so that no more are read before.
    pub(in crate::sources) async fn pay(&self, bytes: usize) {
        let Some((rate, paid)) = &self.0.rate else { return };
        let price = Duration::from_secs_f64(bytes as f64 / *rate as f64);
        let until = {
            let mut paid = paid.lock().unwrap_or_else(PoisonError::into_inner);
            *paid = (*paid).max(Instant::now()) + price;
            *paid
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_are_paid_for_together() {
        let line = Line::new(2, Some(1000));
        let begin = Instant::now();
        tokio::join!(line.pay(500), line.pay(1500), async {
            line.pay(1000).await;
            line.pay(1000).await;
        });
        assert_eq!(begin.elapsed().as_millis(), 4000);
        Line::new(2, None).pay(usize::MAX).await;
        assert_eq!(begin.elapsed().as_millis(), 4000);
    }
}
