//! Self-attention of one text and one head, whose scores never leave the cache.

use super::{gemm::tile, multiply_add, rows};

/// The projections of one text, `[length, 3·heads·size]`: queries, keys and values side by side.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub(crate) projected: &'a [f32],
    pub(crate) heads: usize,
    pub(crate) size: usize,
}

/// The keys or values of one head in panels, as a product wants its weights.
struct Panels {
    values: Vec<f32>,
    count: usize,
}

impl Heads<'_> {
    fn stride(&self) -> usize {
        3 * self.heads * self.size
    }

    /// Returns the number of tokens.
    pub(crate) fn length(&self) -> usize {
        self.projected.len() / self.stride()
    }

    /// Returns the rows of one part of a head: 0 queries, 1 keys, 2 values. Rows are a stride apart.
    #[inline(always)]
    fn part(&self, part: usize, head: usize) -> &[f32] {
        &self.projected[(part * self.heads + head) * self.size..]
    }

    /// Returns the keys: a panel has `N` tokens side by side, for each value of a key one after another.
    #[inline(always)]
    fn keys<const N: usize>(&self, head: usize) -> Panels {
        let (length, size) = (self.length(), self.size);
        let count = length.div_ceil(N);
        let mut values = vec![0.0; count * N * size];
        for (token, row) in self.part(1, head).chunks(self.stride()).take(length).enumerate() {
            let panel = &mut values[token / N * N * size..][..N * size];
            let places = panel[token % N..].iter_mut().step_by(N);
            places.zip(&row[..size]).for_each(|(place, value)| *place = *value);
        }
        Panels { values, count }
    }

    /// Returns the values: a panel has `N` of their columns side by side, for each token one after another.
    #[inline(always)]
    fn values<const N: usize>(&self, head: usize) -> Panels {
        let (length, size) = (self.length(), self.size);
        let count = size.div_ceil(N);
        let mut values = vec![0.0; count * N * length];
        for (token, row) in self.part(2, head).chunks(self.stride()).take(length).enumerate() {
            for (panel, part) in row[..size].chunks(N).enumerate() {
                values[(panel * length + token) * N..][..part.len()].copy_from_slice(part);
            }
        }
        Panels { values, count }
    }
}

/// Returns the context of one head, `[length, size]`.
#[inline(always)]
pub(super) fn run<const FUSED: bool, const M: usize, const N: usize>(
    heads: &Heads<'_>,
    head: usize,
) -> Vec<f32> {
    let (length, size) = (heads.length(), heads.size);
    let (keys, values) = (heads.keys::<N>(head), heads.values::<N>(head));
    let queries = heads.part(0, head);
    let mut scores = vec![0.0; M * keys.count * N];
    let mut context = vec![0.0; length * size];
    let mut row = 0;
    while row < length {
        let rows = M.min(length - row);
        let queries = &queries[row * heads.stride()..];
        let context = &mut context[row * size..][..rows * size];
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match rows {
                    $($rows => block::<FUSED, $rows, N>(heads, queries, (&keys, &values), &mut scores, context),)*
                    _ => unreachable!("blocks have 1 to 12 rows"),
                }
            };
        }
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
        row += rows;
    }
    context
}

/// Computes the context of `M` queries.
#[inline(always)]
fn block<const FUSED: bool, const M: usize, const N: usize>(
    heads: &Heads<'_>,
    queries: &[f32],
    (keys, values): (&Panels, &Panels),
    scores: &mut [f32],
    context: &mut [f32],
) {
    let (length, size) = (heads.length(), heads.size);
    let width = keys.count * N;
    for panel in 0..keys.count {
        let sums =
            tile::<FUSED, M, N>(queries, heads.stride(), size, &keys.values[panel * N * size..]);
        for (row, sums) in sums.iter().enumerate() {
            scores[row * width + panel * N..][..N].copy_from_slice(sums);
        }
    }
    let scale = 1.0 / (size as f32).sqrt();
    let mut inverse = [0.0; M];
    for (row, inverse) in inverse.iter_mut().enumerate() {
        *inverse = 1.0 / softmax::<FUSED>(&mut scores[row * width..][..length], scale);
    }
    for panel in 0..values.count {
        let sums = tile::<FUSED, M, N>(scores, width, length, &values.values[panel * N * length..]);
        let count = N.min(size - panel * N);
        for ((row, sums), inverse) in sums.iter().enumerate().zip(inverse) {
            let place = &mut context[row * size + panel * N..][..count];
            place.iter_mut().zip(sums).for_each(|(place, sum)| *place = sum * inverse);
        }
    }
}

/// Turns scores into weights that are not yet divided by their sum, which is returned.
#[inline(always)]
fn softmax<const FUSED: bool>(scores: &mut [f32], scale: f32) -> f32 {
    let greatest =
        scores.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
    let shift = -greatest * scale;
    scores
        .iter_mut()
        .for_each(|x| *x = rows::exp::<FUSED>(multiply_add::<FUSED>(*x, scale, shift)));
    rows::sum(scores, |x| x)
}
