//! How do the bytes of an archive pass between a socket and a blocking thread? Through a bounded channel.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::BUFFER_BYTES;

/// Chunks that wait for the other side.
const QUEUE_CHUNKS: usize = 8;
/// How long the other side may take nothing; it holds up a thread.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// What a blocking thread reads of bytes that a task sends.
pub struct Inlet {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

/// What a blocking thread writes for a task that receives it.
pub struct Outlet {
    sender: mpsc::Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
    runtime: Handle,
}

impl Inlet {
    /// Returns an inlet and what is to be filled for it. The sender's end is the end of the bytes.
    pub fn new() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
        (sender, Self { receiver, chunk: Bytes::new() })
    }
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let read = self.chunk.len().min(buffer.len());
        buffer[..read].copy_from_slice(&self.chunk.split_to(read));
        Ok(read)
    }
}

impl Outlet {
    /// Returns an outlet and what comes out of it. Must be called inside a tokio runtime.
    pub fn new() -> (Self, mpsc::Receiver<io::Result<Bytes>>) {
        let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
        (Self { sender, chunk: Vec::new(), runtime: Handle::current() }, receiver)
    }

    /// Ends the bytes with the reason why they are not whole.
    pub fn fail(self, error: io::Error) {
        // Who does not receive any more need not be told.
        self.send(Err(error)).ok();
    }

    fn send(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        match self.runtime.block_on(timeout(PAUSE, self.sender.send(chunk))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_late) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(2 * BUFFER_BYTES));
        self.send(Ok(chunk.into()))
    }
}
