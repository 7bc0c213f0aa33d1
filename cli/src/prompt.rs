//! Which text `run` embeds: what is piped in, then what stands on the command line.

use std::io::{self, IsTerminal as _, Read};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::output;

/// A text of this size is far beyond what any model reads.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How long a text on the command line waits for one from a pipe.
///
/// Programs often start others with a standard input that nobody writes to or closes.
const PIPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Joins standard input, unless it is a terminal, and the words.
pub(crate) async fn read(words: &[String]) -> Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(words.join(" "));
    }
    let wait = if words.is_empty() { Duration::MAX } else { PIPE_TIMEOUT };
    let piped = piped(stdin, wait).await?.unwrap_or_else(|| {
        output::note("note: nothing came through standard input, so only the arguments are used");
        String::new()
    });
    Ok(join(piped, words))
}

/// Reads everything; `None` when not even a first byte or the end comes in time.
async fn piped(source: impl Read + Send + 'static, wait: Duration) -> Result<Option<String>> {
    let (began, first) = oneshot::channel();
    let (ended, all) = oneshot::channel();
    std::thread::spawn(move || {
        let mut source = source.take(MAX_BYTES);
        let mut bytes = vec![0; 1];
        let read = source.read(&mut bytes);
        // Nobody listens any more when the wait was over, and then nothing is lost.
        let _ = began.send(());
        let rest = read.and_then(|read| {
            bytes.truncate(read);
            source.read_to_end(&mut bytes)
        });
        drop(ended.send(rest.map(|_| bytes)));
    });
    if timeout(wait, first).await.is_err() {
        return Ok(None);
    }
    let bytes = all.await.context("standard input could not be read")??;
    Ok(Some(String::from_utf8(bytes).context("standard input is not UTF-8")?))
}

/// Puts a blank between the piped text and the words when there are both.
fn join(piped: String, words: &[String]) -> String {
    match (piped.is_empty(), words.is_empty()) {
        (_, true) => piped,
        (true, false) => words.join(" "),
        (false, false) => format!("{piped} {}", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_text_comes_first() {
        let words = ["additional".to_owned(), "args".to_owned()];
        assert_eq!(join("piped text".to_owned(), &words), "piped text additional args");
        assert_eq!(join(String::new(), &words), "additional args");
        assert_eq!(join("a\n".to_owned(), &[]), "a\n");
    }

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end() {
        let text = piped("why is the sky blue?\n".as_bytes(), PIPE_TIMEOUT).await.expect("read");
        assert_eq!(text.as_deref(), Some("why is the sky blue?\n"));
        let empty = piped(io::empty(), PIPE_TIMEOUT).await.expect("read");
        assert_eq!(empty.as_deref(), Some(""));
        assert!(piped(&[0xff_u8, 0xfe][..], PIPE_TIMEOUT).await.is_err());
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_writes_to_is_given_up() {
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        struct Silent(std::sync::mpsc::Receiver<()>);
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0.recv().map_or(Ok(0), |()| Ok(1))
            }
        }
        let text = piped(Silent(receiver), Duration::from_millis(20)).await.expect("given up");
        assert_eq!(text, None);
    }
}
