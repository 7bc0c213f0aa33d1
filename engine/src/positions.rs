//! How a token's place enters the numbers: angles by which queries and keys turn, what distances add to scores, and
//! which rows they are that meet queries and keys.

/// What is added to the score of a key, by how far from its query it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distances {
    /// A learned number for each head and each bucket of distances, finer near by; half of the buckets lie behind.
    /// As T5 does (Raffel et al., 2020).
    Buckets {
        /// Rows of the table.
        buckets: usize,
        /// From here on all distances share the last bucket.
        farthest: usize,
    },
    /// The distance times a slope of the head, subtracted (ALiBi: Press, Smith and Lewis, 2021).
    Slopes,
}

impl Distances {
    /// Returns the rows of the learned table; 0 when there is none.
    pub(crate) fn buckets(&self) -> usize {
        match self {
            Self::Buckets { buckets, .. } => *buckets,
            Self::Slopes => 0,
        }
    }

    /// Returns what each head adds for a key that stands `1 − length` to `length − 1` behind its query, head after
    /// head; `table` holds a row for each bucket with a number for each head.
    pub(crate) fn added(&self, table: &[f32], heads: usize, length: usize) -> Vec<f32> {
        let distances = || 1 - length.cast_signed()..length.cast_signed();
        match *self {
            Self::Slopes => {
                let row = |slope: f32| distances().map(move |d| -slope * d.unsigned_abs() as f32);
                slopes(heads).into_iter().flat_map(row).collect()
            }
            Self::Buckets { buckets, farthest } => {
                let places: Vec<usize> =
                    distances().map(|d| bucket(d, buckets, farthest)).collect();
                let row = |head: usize| places.iter().map(move |place| table[place * heads + head]);
                (0..heads).flat_map(row).collect()
            }
        }
    }
}

/// Rows that stand for distances, and meet queries and keys as those meet each other (DeBERTa: He et al., 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    /// Rows for distances to each side.
    pub span: usize,
    /// From here on all distances to a side share the last row, and before it far ones share rows too; without it
    /// every distance has its own.
    pub farthest: Option<usize>,
    /// Whether the rows become keys, which meet queries.
    pub keys: bool,
    /// Whether the rows become queries, which meet keys.
    pub queries: bool,
    /// Whether they become so as tokens do, and not by layers of their own.
    pub shared: bool,
    /// Whether they have a norm before that.
    pub norm: bool,
}

impl Relative {
    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> usize {
        2 * self.span
    }

    /// Returns how often the rows are projected in each layer.
    pub(crate) fn sides(&self) -> usize {
        usize::from(self.keys) + usize::from(self.queries)
    }

    /// Returns the row for a key that stands `1 − length` to `length − 1` behind its query.
    pub(crate) fn places(&self, length: usize) -> Vec<usize> {
        let distances = 1 - length.cast_signed()..length.cast_signed();
        distances.map(|behind| self.row(-behind)).collect()
    }

    /// Returns the row for a query that stands so far behind its key. In f32, as transformers computes it.
    fn row(&self, distance: isize) -> usize {
        let (near, far) = (self.span / 2, distance.unsigned_abs());
        let place = match self.farthest {
            Some(farthest) if far > near => {
                let scale = ((farthest - 1) as f64 / near as f64) as f32;
                let share = (far as f32 / near as f32).ln() / scale.ln();
                near + (share * (near - 1) as f32).ceil() as usize
            }
            _ => far,
        };
        match distance > 0 {
            true => (self.span + place).min(2 * self.span - 1),
            false => self.span.saturating_sub(place),
        }
    }
}

/// Returns the bucket of a distance: one for each of the nearest, then wider and wider ones. In f32, as transformers
/// computes it: at the edge of a bucket the last bit decides.
fn bucket(distance: isize, buckets: usize, farthest: usize) -> usize {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let (near, distance) = (half / 2, distance.unsigned_abs());
    if distance < near {
        return side + distance;
    }
    let scale = (farthest as f64 / near as f64).ln() as f32;
    let far = (distance as f32 / near as f32).ln() / scale * (half - near) as f32;
    side + (near + far as usize).min(half - 1)
}

/// Returns the slopes of heads: a geometric series for a power of two, and for other numbers every other one of the
/// next finer series behind it.
fn slopes(heads: usize) -> Vec<f32> {
    let series = |count: usize| {
        let ratio = 2f64.powf(-8.0 / count as f64);
        (1..=count).map(move |i| ratio.powi(i as i32) as f32)
    };
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    series(whole).chain(series(2 * whole).step_by(2)).take(heads).collect()
}

/// Returns by which angle each pair of a head turns from one token to the next: 1 / base^(2i / size).
///
/// transformers rounds every step to f32, and so do we: a far position multiplies what these numbers differ by. Nor
/// may angles be more exact than its own, which are f32 products of position and frequency.
pub(crate) fn frequencies(base: f64, size: usize) -> Vec<f32> {
    let exponent = |i: usize| (2 * i) as f32 / size as f32;
    (0..size / 2).map(|i| 1.0 / base.powf(f64::from(exponent(i))) as f32).collect()
}

/// Returns the angles of so many positions, `[positions, pairs]`.
pub(crate) fn angles(frequencies: &[f32], length: usize) -> impl Iterator<Item = f32> {
    (0..length).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of T5's own function for 32 buckets up to a distance of 128.
    #[test]
    fn buckets_are_those_of_t5() {
        let near = |d| bucket(d, 32, 128);
        assert_eq!(
            [0, -1, -7, -8, -11, -12, -16, -127, -500].map(near),
            [0, 1, 7, 8, 8, 9, 10, 15, 15]
        );
        assert_eq!([1, 7, 8, 16, 500].map(near), [17, 23, 24, 26, 31]);
    }

    /// The sum of row times place over distances of −600 to 600, and some of them, as transformers' own code has them.
    #[test]
    fn rows_are_those_of_deberta() {
        for (span, farthest, sum, rows) in [
            (256, Some(512), 264_620_950, [0, 1, 87, 127, 128, 251, 256, 261, 384, 385, 425, 511]),
            (8, Some(64), 8_144_284, [0, 0, 0, 0, 0, 3, 8, 13, 15, 15, 15, 15]),
            (20, None, 21_092_630, [0, 0, 0, 0, 0, 15, 20, 25, 39, 39, 39, 39]),
            (32, Some(130), 34_074_833, [0, 0, 0, 1, 1, 27, 32, 37, 63, 63, 63, 63]),
        ] {
            let (keys, queries, shared, norm) = (true, true, true, false);
            let relative = Relative { span, farthest, keys, queries, shared, norm };
            let row = |distance| relative.row(distance);
            let found: usize = (0..=1200).map(|at: usize| at * row(at.cast_signed() - 600)).sum();
            assert_eq!(found, sum, "{relative:?}");
            let distances = [-600, -511, -200, -129, -128, -5, 0, 5, 128, 129, 200, 511];
            assert_eq!(distances.map(row), rows, "{relative:?}");
        }
    }

    #[test]
    fn slopes_of_any_number_of_heads() {
        assert_eq!(
            slopes(8),
            [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015_625, 0.007_812_5, 0.003_906_25]
        );
        let twelve = slopes(12);
        assert_eq!(twelve[..8], slopes(8));
        assert!(
            (twelve[8] - 0.5f32.sqrt()).abs() < 1e-7 && (twelve[9] - 0.5f32.powf(1.5)).abs() < 1e-7
        );
    }
}
