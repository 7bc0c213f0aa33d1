//! A hub on loopback: repositories at revisions, tricks with single files, a hold at any byte, a log of what was sent.

mod answers;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Files of a repository: path → bytes.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// `owner/name@revision` → files.
type Repositories = BTreeMap<String, Files>;

/// Longer than any wait between two steps of a test.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes sent at once.
const PIECE: usize = 64 << 10;

/// What the hub does with requests whose target contains a text.
#[derive(Clone, Copy)]
pub(super) enum Trick {
    /// Answers with a page, this status and this `X-Error-Code`.
    Page(u16, &'static str),
    /// Sends the client to another host.
    Redirect,
    /// Sends the whole file, whatever range is asked for.
    IgnoreRange,
    /// Sends other bytes of the same length.
    Wrong,
    /// Lists files without sizes and digests.
    Bare,
}

/// One request for a target, and what was sent for it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) target: String,
    pub(super) host: String,
    pub(super) token: Option<String>,
    pub(super) range: Option<usize>,
    sent: Arc<AtomicUsize>,
}

impl Seen {
    /// Returns the bytes of the body that were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

pub(super) struct Hub {
    pub(super) endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    repositories: Repositories,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tricks: Vec<(&'static str, Trick)>,
    /// A target that contains the text stops before this byte; `None` stops before the head.
    hold: Option<(String, Option<usize>)>,
    is_held: bool,
    seen: Vec<Seen>,
}

impl Hub {
    /// Starts a hub with repositories, each as `owner/name@revision`.
    pub(super) fn start(repositories: &[(&str, Files)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = |(name, files): &(&str, Files)| ((*name).to_owned(), files.clone());
        let repositories = repositories.iter().map(own).collect();
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { port, repositories, state, changed });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                // A client that was killed is no failure of the hub.
                thread::spawn(move || shared.serve(stream).ok());
            }
        });
        Self { endpoint: format!("http://127.0.0.1:{port}"), shared }
    }

    /// Plays a trick with targets that contain the text.
    pub(super) fn trick(&self, target: &'static str, trick: Trick) {
        self.shared.state().tricks.push((target, trick));
    }

    /// Stops the next answer to a target that contains the text.
    pub(super) fn hold(&self, target: &str, at: Option<usize>) {
        self.shared.state().hold = Some((target.to_owned(), at));
    }

    /// Waits until an answer is stopped.
    pub(super) fn wait_until_held(&self) {
        let state = self.shared.state();
        let wait = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.is_held);
        let (state, late) = wait.unwrap();
        assert!(!late.timed_out(), "nothing asked for {:?}; seen: {:?}", state.hold, state.seen);
    }

    /// Lets a stopped answer go on, and stops no more.
    pub(super) fn release(&self) {
        let mut state = self.shared.state();
        (state.hold, state.is_held) = (None, false);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Returns the requests whose target contains the text.
    pub(super) fn seen(&self, target: &str) -> Vec<Seen> {
        let state = self.shared.state();
        state.seen.iter().filter(|seen| seen.target.contains(target)).cloned().collect()
    }

    /// Forgets all requests.
    pub(super) fn forget(&self) {
        self.shared.state().seen.clear();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.release();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let target = first.split(' ').nth(1).unwrap_or_default();
        // A proxy is asked for whole addresses.
        let path =
            target.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        let target = path.unwrap_or(target).to_owned();
        let mut headers = BTreeMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let range = headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        let seen = Seen {
            target: target.clone(),
            host: headers.get("host").cloned().unwrap_or_default(),
            token: headers.get("authorization").cloned(),
            range: range.and_then(|range| range.split('-').next()?.parse().ok()),
            sent: Arc::default(),
        };
        self.state().seen.push(seen.clone());
        self.hold(&target, None);
        let tricks = self.state().tricks.clone();
        let trick = tricks.iter().find(|(text, _)| target.contains(text)).map(|(_, trick)| *trick);
        let (head, body) = answers::answer(&self.repositories, self.port, &seen, trick);
        self.send(stream, &seen, &head, &body)
    }

    /// Sends an answer piece by piece, and counts the bytes of its body.
    fn send(&self, mut stream: TcpStream, seen: &Seen, head: &str, body: &[u8]) -> io::Result<()> {
        let (length, target) = (body.len(), seen.target.as_str());
        write!(stream, "{head}content-length: {length}\r\nconnection: close\r\n\r\n")?;
        let stop = self.state().hold.clone().filter(|(text, _)| target.contains(text.as_str()));
        let stop = stop.and_then(|(_, at)| at).map_or(length, |at| at.min(length));
        for (part, held) in [(&body[..stop], true), (&body[stop..], false)] {
            for piece in part.chunks(PIECE) {
                stream.write_all(piece)?;
                seen.sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
            if held {
                self.hold(target, Some(stop));
            }
        }
        Ok(())
    }

    /// Waits while this answer is to be held here.
    fn hold(&self, target: &str, at: Option<usize>) {
        let mut state = self.state();
        let here = |state: &State| {
            let hold = state.hold.as_ref();
            hold.is_some_and(|(text, stop)| {
                target.contains(text.as_str()) && stop.is_some() == at.is_some()
            })
        };
        if here(&state) {
            state.is_held = true;
            self.changed.notify_all();
            drop(self.changed.wait_timeout_while(state, PATIENCE, |state| here(state)));
        }
    }
}
