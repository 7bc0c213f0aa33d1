//! Which parts of a file are there? Ranges in order, those that touch joined.

use std::ops::Range;

/// The parts of a file that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents(Vec<Range<u64>>);

impl Extents {
    /// Adds a part.
    pub(crate) fn insert(&mut self, part: Range<u64>) {
        if part.is_empty() {
            return;
        }
        let first = self.0.partition_point(|held| held.end < part.start);
        let last = self.0.partition_point(|held| held.start <= part.end);
        let touched = &self.0[first..last];
        let start = touched.first().map_or(part.start, |held| held.start.min(part.start));
        let end = touched.last().map_or(part.end, |held| held.end.max(part.end));
        self.0.splice(first..last, std::iter::once(start..end));
    }

    /// Takes a part away.
    pub(crate) fn remove(&mut self, part: &Range<u64>) {
        if part.is_empty() {
            return;
        }
        let rest = |held: &Range<u64>| {
            [held.start..held.end.min(part.start), held.start.max(part.end)..held.end]
        };
        self.0 = self.0.iter().flat_map(rest).filter(|held| !held.is_empty()).collect();
    }

    /// Returns the number of bytes that are there.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|held| held.end - held.start).sum()
    }

    /// Returns where the part that begins at the file's beginning ends.
    pub(crate) fn prefix(&self) -> u64 {
        self.0.first().filter(|held| held.start == 0).map_or(0, |held| held.end)
    }

    /// Returns where the last part ends.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, |held| held.end)
    }

    /// Returns the first part of a file of this size that is not there.
    pub(crate) fn gap(&self, size: u64) -> Option<Range<u64>> {
        let start = self.prefix();
        let next = self.0.iter().map(|held| held.start).find(|&held| held > start);
        let end = next.unwrap_or(size).min(size);
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_touch_are_joined() {
        let mut held = Extents::default();
        assert_eq!((held.prefix(), held.total(), held.gap(9)), (0, 0, Some(0..9)));
        held.insert(4..6);
        assert_eq!((held.prefix(), held.end(), held.gap(9)), (0, 6, Some(0..4)));
        held.insert(7..9);
        held.insert(0..2);
        assert_eq!((held.prefix(), held.total(), held.gap(9)), (2, 6, Some(2..4)));
        held.insert(2..4);
        assert_eq!((held.prefix(), held.gap(9)), (6, Some(6..7)));
        held.insert(3..8);
        assert_eq!((held.gap(9), held.gap(12)), (None, Some(9..12)));
        held.remove(&(5..7));
        assert_eq!(held, Extents(vec![0..5, 7..9]));
        held.insert(4..4);
        assert_eq!(held.total(), 7);
    }

    #[test]
    fn any_order_gives_the_same() {
        // A small congruential generator: orders differ, and every run is the same.
        let mut state = 7_u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for _ in 0..500 {
            let (mut held, mut bytes) = (Extents::default(), [false; 40]);
            for _ in 0..12 {
                let (start, length) = (next(40), next(9));
                let part = start..(start + length).min(40);
                let is_there = next(4) > 0;
                match is_there {
                    true => held.insert(part.clone()),
                    false => held.remove(&part),
                }
                part.for_each(|at| bytes[usize::try_from(at).unwrap()] = is_there);
                assert_eq!(held.total(), bytes.iter().filter(|&&byte| byte).count() as u64);
                let gap = held.gap(40).map(|gap| gap.start);
                assert_eq!(gap, bytes.iter().position(|byte| !byte).map(|at| at as u64));
                assert!(held.0.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
