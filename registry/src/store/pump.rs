//! How do bytes from a socket reach the disk? Through a bounded channel to a blocking thread.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use modelfiles::Digest;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::Staging;
use super::staging::Scribe;
use crate::error::{Error, Result};

/// Chunks that wait for the disk; a chunk is what one socket read gave, at most about 1 MiB.
const QUEUE_CHUNKS: usize = 16;

/// Chunks of one of several parts that wait; there are many parts at once, and memory is small.
const PART_QUEUE_CHUNKS: usize = 4;
/// Bytes of a part that are noted at once.
const NOTE_BYTES: u64 = 256 << 10;
/// What was written is noted at the latest after this time.
const NOTE_DELAY: Duration = Duration::from_millis(50);

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

/// A part of a staging that is written on its own thread.
pub(crate) struct PartPump {
    sender: mpsc::Sender<Bytes>,
    writer: JoinHandle<io::Result<()>>,
}

impl Staging {
    /// Begins to write the part at this place on a thread that may block. Must be called inside a tokio runtime.
    pub(crate) fn pump_at(&self, at: u64) -> PartPump {
        let (sender, receiver) = mpsc::channel(PART_QUEUE_CHUNKS);
        let (scribe, runtime) = (self.scribe(at), Handle::current());
        let writer = spawn_blocking(move || write_part(scribe, receiver, &runtime));
        PartPump { sender, writer }
    }

    /// Waits until a part is written and noted.
    pub(crate) async fn stop(&self, pump: PartPump) -> Result<()> {
        drop(pump.sender);
        let written = pump.writer.await.map_err(io::Error::other);
        written.flatten().map_err(|cause| self.io(cause))
    }
}

impl PartPump {
    /// Hands over the next bytes; false when writing has failed and `stop` will say why.
    pub(crate) async fn send(&self, bytes: Bytes) -> bool {
        self.sender.send(bytes).await.is_ok()
    }
}

/// Writes what comes. Whatever is written is noted soon, so that a kill at any moment costs little.
fn write_part(
    mut scribe: Scribe,
    mut receiver: mpsc::Receiver<Bytes>,
    runtime: &Handle,
) -> io::Result<()> {
    let mut noted = Instant::now();
    loop {
        let next = async { timeout(NOTE_DELAY, receiver.recv()).await };
        let written = match runtime.block_on(next) {
            Ok(Some(bytes)) => match scribe.write(&bytes) {
                Ok(unnoted) if unnoted < NOTE_BYTES && noted.elapsed() < NOTE_DELAY => continue,
                written => written.map(drop),
            },
            Ok(None) => return scribe.note(),
            Err(_late) => Ok(()),
        };
        scribe.note()?;
        written?;
        noted = Instant::now();
    }
}
