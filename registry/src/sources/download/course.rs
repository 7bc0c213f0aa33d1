//! Which part of a file is asked for next, and by how many connections? Decided from what came so far, without a
//! clock of its own or a socket.

use std::ops::Range;
use std::time::Duration;

use crate::store::Extents;

/// Attempts in a row that bring nothing.
const IDLE_TRIES: u32 = 8;
/// Attempts that fail in all; a line that breaks more often is not worth the wait.
const TRIES: u32 = 1_000;
/// How long a connection should be busy with one part.
const PART_TIME: Duration = Duration::from_secs(3);
/// More connections are worth it when they bring at least this much more.
const GAIN: f64 = 1.1;

/// What is known about parts of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// Nobody has asked yet.
    Unknown,
    /// The server sends parts.
    Sent,
    /// The server sends the whole file only.
    Refused,
}

/// The course of one transfer.
#[derive(Debug)]
pub(super) struct Course {
    size: Option<u64>,
    pub(super) parts: Parts,
    /// What connections are busy with.
    claimed: Extents,
    /// How much is asked for at once; by the speed of the line, within bounds.
    chunk: u64,
    chunks: (u64, u64),
    width: usize,
    most: usize,
    best: f64,
    idle: u32,
    failures: u32,
    before: u64,
    /// A file of unknown size has come to its end.
    is_complete: bool,
}

impl Course {
    pub(super) fn new(size: Option<u64>, chunk: u64, most: usize) -> Self {
        let chunk = chunk.max(1);
        Self {
            size,
            parts: Parts::Unknown,
            claimed: Extents::default(),
            chunk,
            chunks: ((chunk / 8).max(1), chunk.saturating_mul(16)),
            width: most.min(2),
            most,
            best: 0.0,
            idle: 0,
            failures: 0,
            before: 0,
            is_complete: false,
        }
    }

    /// Returns how many connections there should be.
    pub(super) fn width(&self) -> usize {
        if self.parts == Parts::Sent { self.width.max(1) } else { 1 }
    }

    /// Claims the next part that is neither here nor claimed; without an end where the size is unknown.
    pub(super) fn claim(&mut self, held: &Extents) -> Option<Range<u64>> {
        let Some(size) = self.size.filter(|_| self.parts != Parts::Refused) else {
            // One request for all that is missing, or for all there is.
            let end = self.size.unwrap_or(u64::MAX);
            let start = if self.parts == Parts::Refused { 0 } else { held.prefix() };
            let is_here = self.size.is_some_and(|size| held.prefix() == size);
            let is_free = self.claimed.total() == 0 && !is_here && !self.is_complete;
            self.claimed.insert(start..end);
            return is_free.then_some(start..end);
        };
        let mut taken = self.claimed.clone();
        let mut gap = held.gap(size);
        // The first gap of both: parts that are here are added to the claimed ones, one gap after another.
        while let Some(open) = gap {
            let free = first_free(&taken, &open);
            if let Some(free) = free {
                // A rest that is not worth a request of its own goes with what comes before.
                let length = free.end - free.start;
                let length = if length > self.chunk + self.chunk / 2 { self.chunk } else { length };
                let part = free.start..free.start + length;
                self.claimed.insert(part.clone());
                return Some(part);
            }
            taken.insert(0..open.end);
            let mut filled = held.clone();
            filled.insert(0..open.end);
            gap = filled.gap(size);
        }
        None
    }

    /// The server sends the whole file instead of the part.
    pub(super) fn whole(&mut self) {
        self.parts = Parts::Refused;
        self.claimed.insert(0..self.size.unwrap_or(u64::MAX));
    }

    /// A connection is done with a part, which took this long.
    pub(super) fn done(&mut self, part: &Range<u64>, bytes: u64, time: Duration) {
        self.is_complete = self.size.is_none();
        self.release(part);
        let speed = bytes as f64 / time.as_secs_f64().max(1e-3);
        let wanted = (speed * PART_TIME.as_secs_f64()) as u64;
        self.chunk = wanted.clamp(self.chunks.0, self.chunks.1);
    }

    /// A connection is no longer busy with a part.
    pub(super) fn release(&mut self, part: &Range<u64>) {
        if self.parts == Parts::Refused {
            self.claimed = Extents::default();
        } else {
            self.claimed.remove(part);
        }
    }

    /// All connections together were this fast for a while: one more is tried as long as that helps.
    pub(super) fn measured(&mut self, speed: f64) {
        if speed > self.best * GAIN {
            self.best = speed;
            self.width = (self.width + 1).min(self.most);
        }
    }

    /// An attempt failed; returns how many did in a row without a byte, or `None` when it is enough.
    pub(super) fn failed(&mut self, held: u64, has_crawled: bool) -> Option<u32> {
        self.idle = if held > self.before && !has_crawled { 0 } else { self.idle + 1 };
        self.before = self.before.max(held);
        self.failures += 1;
        (self.idle < IDLE_TRIES && self.failures < TRIES).then_some(self.idle)
    }

    /// Everything is thrown away; how often attempts failed is not.
    pub(super) fn restart(&mut self) {
        self.claimed = Extents::default();
        self.before = 0;
    }
}

/// Returns the first part of an open range that is not taken.
fn first_free(taken: &Extents, open: &Range<u64>) -> Option<Range<u64>> {
    let mut taken = taken.clone();
    taken.insert(0..open.start);
    taken.gap(open.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(parts: &[Range<u64>]) -> Extents {
        let mut held = Extents::default();
        parts.iter().for_each(|part| held.insert(part.clone()));
        held
    }

    fn first(bytes: u64) -> Extents {
        let mut held = Extents::default();
        held.insert(0..bytes);
        held
    }

    #[test]
    fn parts_are_claimed_in_order_and_never_twice() {
        let mut course = Course::new(Some(100), 16, 4);
        let here = held(&[10..20, 50..60]);
        let mut claims = Vec::new();
        while let Some(part) = course.claim(&here) {
            claims.push(part);
        }
        assert_eq!(claims, [0..10, 20..36, 36..50, 60..76, 76..100]);
        course.release(&(36..50));
        assert_eq!(course.claim(&here), Some(36..50));
        assert_eq!(course.claim(&here), None);
        assert_eq!(Course::new(Some(0), 16, 4).claim(&held(&[])), None);
    }

    #[test]
    fn without_a_size_there_is_one_claim() {
        let mut course = Course::new(None, 16, 4);
        assert_eq!(course.claim(&first(5)), Some(5..u64::MAX));
        assert_eq!(course.claim(&first(5)), None);
        course.release(&(5..u64::MAX));
        assert_eq!(course.claim(&first(9)), Some(9..u64::MAX));
    }

    #[test]
    fn a_fast_line_gets_larger_parts_and_more_connections_while_they_help() {
        let mut course = Course::new(Some(1 << 40), 1 << 20, 4);
        assert_eq!(course.width(), 1, "nobody knows yet whether parts are sent");
        course.parts = Parts::Sent;
        assert_eq!(course.width(), 2);
        course.done(&(0..1 << 20), 1 << 20, Duration::from_millis(100));
        let second = course.claim(&Extents::default()).unwrap();
        assert_eq!(second.end - second.start, 16 << 20, "no more than sixteen times the first");
        course.done(&second, 1 << 20, Duration::from_secs(60));
        let third = course.claim(&Extents::default()).unwrap();
        assert_eq!(third.end - third.start, 1 << 17);
        for (speed, width) in [(100.0, 3), (105.0, 3), (120.0, 4), (500.0, 4)] {
            course.measured(speed);
            assert_eq!(course.width(), width, "{speed}");
        }
        course.whole();
        assert_eq!(course.width(), 1);
    }

    #[test]
    fn progress_forgives_and_crawling_does_not() {
        let mut course = Course::new(Some(100), 16, 4);
        for round in 1..20 {
            assert_eq!(course.failed(round, false), Some(0));
        }
        for idle in 1..8 {
            assert_eq!(course.failed(40 + u64::from(idle), true), Some(idle));
        }
        assert_eq!(course.failed(99, true), None);
    }
}
