//! How do bytes from a socket reach the disk? Through a bounded channel to a blocking thread.

use bytes::Bytes;
use modelfiles::Digest;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Staging;
use crate::error::{Error, Result};

/// Chunks that wait for the disk; a chunk is what one socket read gave, at most about 1 MiB.
const QUEUE_CHUNKS: usize = 16;

/// A staging that is written on its own thread.
pub struct Pump {
    sender: mpsc::Sender<Bytes>,
    writer: JoinHandle<Result<Staging>>,
}

impl Staging {
    /// Moves the staging to a thread that may block. Must be called inside a tokio runtime.
    pub fn pump(mut self) -> Pump {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE_CHUNKS);
        let writer = spawn_blocking(move || {
            while let Some(bytes) = receiver.blocking_recv() {
                self.write(&bytes)?;
            }
            Ok(self)
        });
        Pump { sender, writer }
    }
}

impl Pump {
    /// Hands over the next bytes; false when writing has failed and `stop` will say why.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.sender.send(bytes).await.is_ok()
    }

    /// Waits until everything is written, and returns the staging.
    pub async fn stop(self) -> Result<Staging> {
        drop(self.sender);
        self.writer.await.map_err(|error| Error::Corrupt(format!("writer stopped: {error}")))?
    }

    /// Waits until everything is written, and makes it a blob.
    pub async fn finish(self) -> Result<(Digest, u64)> {
        let staging = self.stop().await?;
        crate::blocking(move || staging.finish()).await
    }
}
