//! How does a file come over HTTP, whatever the line does to it? In parts, resumed, retried, of checked sizes.

mod course;
mod line;
mod small;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, RANGE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Settings;
use crate::error::{Error, Result};
use crate::pull::Meter;
use crate::store::Staging;
use course::{Course, Parts};
pub use line::Line;
use small::denied;
pub(super) use small::{Small, authorised, root_cause};

/// How often a file may change on its server while it is fetched.
const RESTARTS: u32 = 3;
/// The longest pause between two attempts, also when the server asks for a longer one.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);
/// The longest pause that is not a server's wish.
const GROWING_LIMIT: Duration = Duration::from_secs(20);
/// A connection that brings less in twice the time for standing still does not count as one.
const CRAWL_BYTES_PER_SECOND: u64 = 256;
/// How long the speed of all connections is looked at before another one is tried.
const LOOK: Duration = Duration::from_secs(1);

/// How requests to a place say who asks.
pub(super) trait Access: Send + Sync {
    /// Adds to a request who asks.
    fn prepare(&self, request: RequestBuilder) -> RequestBuilder;

    /// Looks for another right to ask after a refusal; false when there is none.
    fn renew<'a>(&'a self, _refusal: &'a Response) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(false) })
    }
}

/// One file to download.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a Settings,
    pub(super) url: Url,
    /// The size, where it is known.
    pub(super) size: Option<u64>,
    /// The file in words, for errors.
    pub(super) what: String,
    /// The repository of the file.
    pub(super) repo: &'a str,
    pub(super) access: &'a dyn Access,
}

/// A download that runs.
struct Transfer<'a> {
    download: &'a Download<'a>,
    staging: &'a Staging,
    course: Mutex<Course>,
    meter: Mutex<&'a mut Meter>,
    /// Bytes that are here, or on their way to the disk.
    bytes: AtomicU64,
    /// Set when the connections are to end.
    stop: watch::Sender<bool>,
    /// Whether the server's name for the version of the file is believed.
    heeds_tags: bool,
}

/// What an answer to a request is good for.
enum Answer {
    /// Its body is the part, up to this place.
    Part(u64),
    /// Its body is the whole file.
    Whole,
    /// Nothing, but asking again may help.
    Again(Broken),
    /// Nothing: the file is another one than before, or parts of it cannot be had.
    Restart(&'static str),
}

/// How an attempt ended.
enum Outcome {
    /// So many bytes came, and more were not expected.
    Complete(u64),
    Broken(Broken),
    Restart(&'static str),
}

/// Why an attempt failed.
struct Broken {
    reason: String,
    pause: Option<Duration>,
    has_crawled: bool,
}

impl Download<'_> {
    /// Brings what is missing into the staging.
    pub(super) async fn run(&self, staging: Staging, meter: &mut Meter) -> Result<Staging> {
        if self.size.is_some_and(|size| size < staging.held().end()) {
            staging.restart()?;
        }
        let settings = self.settings;
        let mut course = Course::new(self.size, settings.chunk, settings.line.connections());
        for restarts in 0..=RESTARTS {
            let transfer = Transfer {
                download: self,
                staging: &staging,
                course: Mutex::new(course),
                meter: Mutex::new(&mut *meter),
                bytes: AtomicU64::new(staging.size()),
                stop: watch::Sender::new(false),
                // Servers behind one name may name a version differently; then its digest decides.
                heeds_tags: restarts == 0,
            };
            let outcome = transfer.run().await?;
            course = transfer.course.into_inner().unwrap_or_else(PoisonError::into_inner);
            let Some(reason) = outcome else { return Ok(staging) };
            tracing::debug!(what = self.what, reason, "transfer starts over");
            meter.say(&format!("{}: {reason}, starting over", self.what));
            staging.restart()?;
            course.restart();
        }
        Err(Error::unreachable(&self.what, "the file changes while it is fetched"))
    }
}

impl Transfer<'_> {
    /// Runs connections until everything is here; a reason when it has to start over.
    async fn run(&self) -> Result<Option<&'static str>> {
        let mut connections = FuturesUnordered::new();
        let mut end = Ok(None);
        let (mut since, mut before) = (Instant::now(), self.bytes.load(Ordering::Relaxed));
        loop {
            while !*self.stop.borrow() && connections.len() < self.course().width() {
                let Some(part) = self.claim() else { break };
                connections.push(self.attempt(part));
            }
            let Some(outcome) = connections.next().await else { return end };
            match outcome {
                Ok(None) => {}
                Ok(Some(reason)) if matches!(end, Ok(None)) => end = Ok(Some(reason)),
                Ok(Some(_)) => {}
                Err(error) => end = Err(error),
            }
            if !matches!(end, Ok(None)) {
                self.stop.send_replace(true);
            }
            if since.elapsed() >= LOOK {
                let bytes = self.bytes.load(Ordering::Relaxed);
                let speed = bytes.saturating_sub(before) as f64 / since.elapsed().as_secs_f64();
                self.course().measured(speed);
                (since, before) = (Instant::now(), bytes);
            }
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self) -> Option<Range<u64>> {
        let held = self.staging.held();
        self.course().claim(&held)
    }

    /// Fetches a part; a reason when the transfer has to start over.
    async fn attempt(&self, part: Range<u64>) -> Result<Option<&'static str>> {
        let begin = Instant::now();
        let outcome = self.fetch(&part).await?;
        let Broken { reason, pause, has_crawled } = match outcome {
            Outcome::Complete(bytes) => {
                self.course().done(&part, bytes, begin.elapsed());
                return Ok(None);
            }
            Outcome::Restart(reason) => return Ok(Some(reason)),
            Outcome::Broken(broken) => broken,
        };
        self.course().release(&part);
        if *self.stop.borrow() {
            return Ok(None);
        }
        tracing::debug!(what = self.download.what, reason, ?part, "transfer broke");
        let idle = self.course().failed(self.staging.size(), has_crawled);
        let idle =
            idle.ok_or_else(|| Error::unreachable(&self.download.what, self.kept(reason)))?;
        let growing = self.download.settings.pause * 2_u32.pow(idle);
        let pause = pause.unwrap_or_else(|| spread(growing.min(GROWING_LIMIT)));
        let mut stop = self.stop.subscribe();
        drop(timeout(pause.min(PAUSE_LIMIT), stop.wait_for(|stop| *stop)).await);
        Ok(None)
    }

    /// Adds to the last reason what a further pull will find.
    fn kept(&self, reason: String) -> String {
        match self.staging.size() {
            0 => reason,
            _ => {
                format!("{reason}; what has arrived is kept, and the next pull goes on from there")
            }
        }
    }

    async fn fetch(&self, part: &Range<u64>) -> Result<Outcome> {
        let Download { client, settings, url, access, .. } = self.download;
        let _connection = settings.line.connection().await;
        // A compressed body would not be the file.
        let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        let mut request = access.prepare(request);
        let is_last = self.download.size.is_none_or(|size| size == part.end);
        if part.start > 0 || !is_last {
            let end = if is_last { String::new() } else { (part.end - 1).to_string() };
            request = request.header(RANGE, format!("bytes={}-{end}", part.start));
        }
        let mut stop = self.stop.subscribe();
        let response = tokio::select! {
            response = timeout(settings.stall, request.send()) => response,
            _ = stop.wait_for(|stop| *stop) => return Ok(Outcome::Broken(broken("stopped"))),
        };
        let response = match response {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Ok(Outcome::Broken(broken(root_cause(&error)))),
            Err(_) => return Ok(Outcome::Broken(broken("no answer"))),
        };
        match self.judge(&response, part).await? {
            Answer::Part(end) => self.receive(response, part.start, Some(end)).await,
            Answer::Whole => {
                let length = response.content_length();
                self.receive(response, 0, self.download.size.or(length)).await
            }
            Answer::Again(broken) => Ok(Outcome::Broken(broken)),
            Answer::Restart(reason) => Ok(Outcome::Restart(reason)),
        }
    }

    async fn judge(&self, response: &Response, part: &Range<u64>) -> Result<Answer> {
        let status = response.status();
        let Download { url, what, repo, access, .. } = self.download;
        // A signed address of a content network may have expired; the next attempt gets a new one.
        let moved = response.url().origin() != url.origin();
        match status {
            StatusCode::PARTIAL_CONTENT => self.judge_part(response, part),
            StatusCode::OK => self.judge_whole(response, part),
            StatusCode::RANGE_NOT_SATISFIABLE if part.start > 0 => {
                self.course().parts = Parts::Refused;
                Ok(Answer::Restart("the server refused to resume"))
            }
            StatusCode::UNAUTHORIZED if !moved && access.renew(response).await? => {
                Ok(Answer::Again(broken("the right to ask ran out")))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !moved => {
                Err(denied(what, repo, response))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Error::NotOffered(what.clone())),
            _ => {
                let pause = retry_after(response);
                Ok(Answer::Again(Broken { pause, ..broken(status.to_string()) }))
            }
        }
    }

    fn judge_part(&self, response: &Response, part: &Range<u64>) -> Result<Answer> {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let Some((start, end, total)) = range.and_then(parse_range) else {
            return Ok(Answer::Again(broken("it does not say which part it sends")));
        };
        if start != part.start {
            return Ok(Answer::Again(broken("it sends another part than was asked for")));
        }
        let size = self.download.size;
        if total.is_some_and(|total| size.is_some_and(|size| size != total)) {
            return Ok(Answer::Restart("the server has another size of it now"));
        }
        if self.has_changed(response)? {
            return Ok(Answer::Restart("it has changed on the server"));
        }
        let mut course = self.course();
        if course.parts == Parts::Unknown {
            course.parts = Parts::Sent;
        }
        Ok(Answer::Part(end.saturating_add(1).min(part.end)))
    }

    /// The whole file comes, be it that it was asked for or that the server does not know parts.
    fn judge_whole(&self, response: &Response, part: &Range<u64>) -> Result<Answer> {
        let mut course = self.course();
        let is_asked = part.start == 0 && self.download.size.is_none_or(|size| size == part.end);
        if !is_asked && course.parts == Parts::Sent {
            return Ok(Answer::Again(broken("it sent all of the file instead of a part")));
        }
        if !is_asked {
            course.whole();
        }
        drop(course);
        if self.staging.size() > 0 {
            self.staging.restart()?;
            self.bytes.store(0, Ordering::Relaxed);
        }
        if let Some(tag) = tag(response) {
            self.staging.set_tag(tag)?;
        }
        Ok(Answer::Whole)
    }

    /// Tells whether the file is another one than the parts that are here are of.
    fn has_changed(&self, response: &Response) -> Result<bool> {
        let Some(tag) = tag(response) else { return Ok(false) };
        match self.staging.tag() {
            Some(known) => Ok(self.heeds_tags && known != tag),
            None => self.staging.set_tag(tag).map(|()| false),
        }
    }

    /// Writes what comes, up to an end that must be reached where it is known.
    async fn receive(
        &self,
        mut response: Response,
        start: u64,
        end: Option<u64>,
    ) -> Result<Outcome> {
        let Download { settings, what, .. } = self.download;
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let pump = self.staging.pump_at(start);
        let mut stop = self.stop.subscribe();
        let mut at = start;
        let mut crawl = Crawl::new(settings.stall);
        let broken = loop {
            if is_part && end == Some(at) {
                break None;
            }
            let chunk = tokio::select! {
                chunk = timeout(settings.stall, response.chunk()) => chunk,
                _ = stop.wait_for(|stop| *stop) => break Some(broken("stopped")),
            };
            let mut chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if end.is_none_or(|end| end == at) => break None,
                Ok(Ok(None)) => break Some(broken("the transfer ended early")),
                Ok(Err(error)) => break Some(broken(root_cause(&error))),
                Err(_) => break Some(broken("the transfer stood still")),
            };
            let room = end.map_or(u64::MAX, |end| end - at);
            if chunk.len() as u64 > room {
                if !is_part {
                    self.staging.stop(pump).await?;
                    return Err(Error::unreachable(what, "it sends more bytes than it announced"));
                }
                chunk.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            }
            let length = chunk.len();
            at += length as u64;
            self.check_limit(at)?;
            if !pump.send(chunk).await {
                break Some(broken("the file could not be written"));
            }
            let bytes = self.bytes.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            self.meter.lock().unwrap_or_else(PoisonError::into_inner).at(bytes);
            settings.line.pay(length).await;
            if crawl.is_one(length as u64) {
                let reason = "the transfer crawls".to_owned();
                break Some(Broken { reason, pause: None, has_crawled: true });
            }
        };
        self.staging.stop(pump).await?;
        Ok(broken.map_or(Outcome::Complete(at - start), Outcome::Broken))
    }

    /// Ends a file without an announced size that grows beyond what may be pulled.
    fn check_limit(&self, size: u64) -> Result<()> {
        match self.download.settings.limit {
            Some(limit) if size > limit => Err(Error::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }
}

/// Tells when a connection brings so little for so long that another one is better.
struct Crawl {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Crawl {
    fn new(stall: Duration) -> Self {
        Self { window: stall * 2, since: Instant::now(), bytes: 0 }
    }

    fn is_one(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.since.elapsed() < self.window {
            return false;
        }
        let is_slow = self.bytes < CRAWL_BYTES_PER_SECOND * self.window.as_secs();
        (self.since, self.bytes) = (Instant::now(), 0);
        is_slow
    }
}

/// Returns what the server calls the version of the file, unless it says itself that this is not exact.
fn tag(response: &Response) -> Option<&str> {
    let tag = response.headers().get(ETAG)?.to_str().ok()?;
    (!tag.starts_with("W/") && tag.len() < 1024).then_some(tag)
}

fn broken(reason: impl Into<String>) -> Broken {
    Broken { reason: reason.into(), pause: None, has_crawled: false }
}

/// Makes a pause a quarter shorter or longer, so that connections that broke together do not come back so.
fn spread(pause: Duration) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let part = now.map_or(0, |time| time.subsec_nanos()) % 1000;
    pause.mul_f64(0.75 + f64::from(part) / 2000.0)
}

/// Returns how long a server wants to be left alone.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Parses `bytes 5-9/10` into the first and the last byte, and the total, which may be `*`.
fn parse_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end).then_some((start, end, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, 9, None)));
        for text in ["", "bytes */10", "5-9/10", "bytes x-9/10", "bytes 5", "bytes 9-5/10"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
