//! Self-attention of one text: scores of a few queries at a time, which never leave the cache.

use std::{cell::RefCell, ops::Range};

use super::{
    Isa, LANES,
    buffer::Buffer,
    by_rows,
    functions::exp,
    gemm::{Sheet, tile_rows},
    inputs::stride,
    multiply_add,
    relative::{Meeting, Places, Relative, Room},
    rows::{self, Norm},
    tiles::{Block, Floats, Tile},
};
use crate::threads::Team;

/// Scores that are kept at a time, unless a single tile has more: with keys and values they stay in the second-level
/// cache.
const SCORES: usize = 16 << 10;

/// The projections of some texts: in each row queries, keys and values side by side, head after head.
#[derive(Clone, Copy)]
pub(crate) struct Projections<'a> {
    /// Rows, and at least a panel of anything behind the last.
    pub(crate) values: &'a [f32],
    /// Where texts start, and the last ends.
    pub(crate) starts: &'a [usize],
    pub(crate) shape: &'a Shape,
    pub(crate) rotation: Option<&'a Rotation>,
    pub(crate) norms: Option<&'a ProjectionNorms>,
    pub(crate) distances: Option<&'a Distances>,
    pub(crate) relative: Option<(&'a Relative, &'a Places)>,
    /// How far a token sees, where it does not see all.
    pub(crate) reach: Option<usize>,
}

/// The projections of one text.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    projected: &'a [f32],
    length: usize,
    shape: &'a Shape,
    rotation: Option<&'a Rotation>,
    norms: Option<&'a ProjectionNorms>,
    distances: Option<&'a Distances>,
    relative: Option<Meeting<'a>>,
    reach: Option<usize>,
}

/// What all texts of a model have in common.
pub(crate) struct Shape {
    pub(crate) heads: usize,
    /// Heads of keys and values; each serves as many queries as there are more of those.
    pub(crate) kv_heads: usize,
    pub(crate) size: usize,
    /// Whether a token sees only those before it.
    pub(crate) causal: bool,
    /// What scores are multiplied with.
    pub(crate) scale: f32,
}

/// What is added to scores after that: for each head a number for each distance that a key may stand behind its query
/// in a text of this length, from `1 − length` to `length − 1`.
pub(crate) struct Distances {
    pub(crate) added: Vec<f32>,
    pub(crate) length: usize,
}

/// Cosine and sine of every position, `[positions, size / 2]`.
pub(crate) struct Rotation {
    pub(crate) cosines: Vec<f32>,
    pub(crate) sines: Vec<f32>,
}

/// The norms of queries and keys.
pub(crate) struct ProjectionNorms {
    pub(crate) query: Norm,
    pub(crate) key: Norm,
}

/// Room for the keys, queries and scores of one head.
#[derive(Default)]
pub(super) struct Space {
    keys: Buffer,
    /// Queries or keys, normalised and rotated.
    turned: Buffer,
    scores: Buffer,
    room: Room,
}

impl Shape {
    /// Returns the width of a row: all queries, keys and values.
    pub(crate) fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }
}

impl<'a> Heads<'a> {
    /// Returns the rows of a head, counted over queries, keys and values; each begins with it.
    #[inline(always)]
    fn head(&self, head: usize) -> &'a [f32] {
        &self.projected[head * self.shape.size..]
    }

    /// Returns what a head adds to scores, for the distances that this text has.
    fn added(&self, head: usize) -> Option<&'a [f32]> {
        let Distances { added, length } = self.distances?;
        let start = head * (2 * length - 1) + length - self.length;
        Some(&added[start..][..2 * self.length - 1])
    }

    /// Returns the tokens that a query sees.
    #[inline(always)]
    fn seen(&self, query: usize) -> Range<usize> {
        let end = if self.shape.causal { query + 1 } else { self.length };
        match self.reach {
            None => 0..end,
            Some(reach) => query.saturating_sub(reach)..end.min(query.saturating_add(reach + 1)),
        }
    }

    /// Says whether queries and keys are changed before they meet.
    fn are_turned(&self) -> bool {
        self.rotation.is_some() || self.norms.is_some()
    }
}

thread_local! {
    static SPACE: RefCell<Space> = RefCell::default();
}

/// Computes the contexts of all texts, row after row; a team shares out the heads.
pub(super) fn attend_all(
    isa: Isa,
    team: Team<'_>,
    projections: &Projections<'_>,
    contexts: &mut [f32],
) {
    let Projections { values, starts, shape, rotation, norms, distances, relative, reach } =
        *projections;
    assert!(
        starts.is_sorted() && shape.heads.is_multiple_of(shape.kv_heads),
        "heads do not overlap"
    );
    let y = Sheet::new(contexts, shape.heads * shape.size);
    team.run((starts.len() - 1) * shape.kv_heads, &|part| {
        let (text, group) = (part / shape.kv_heads, part % shape.kv_heads);
        let (start, end) = (starts[text], starts[text + 1]);
        let projected = &values[start * shape.width()..];
        let length = end - start;
        let relative = relative.map(|rows| Meeting::new(rows, length, shape.size));
        let heads = Heads { projected, length, shape, rotation, norms, distances, relative, reach };
        SPACE.with_borrow_mut(|space| {
            isa.attend(&heads, group, space, y.from(start, 0));
            [&mut space.keys, &mut space.turned, &mut space.scores]
                .into_iter()
                .for_each(Buffer::trim);
            space.room.trim();
        });
    });
}

/// Computes the contexts of the queries that one head of keys and values serves.
#[inline(always)]
pub(super) fn run<B: Block, const FUSED: bool, const M: usize, const N: usize>(
    heads: &Heads<'_>,
    group: usize,
    space: &mut Space,
    context: Sheet<'_>,
) {
    let shape = heads.shape;
    let per_group = shape.heads / shape.kv_heads;
    pack_keys::<B, FUSED, N>(heads, group, space);
    for head in group * per_group..(group + 1) * per_group {
        let Space { keys, turned, scores, room } = &mut *space;
        let mut queries = (heads.head(head), shape.width());
        if heads.are_turned() {
            turn_all::<FUSED>(heads, heads.norms.map(|norms| &norms.query), queries.0, turned);
            queries = (turned, shape.size);
        }
        if let Some(rows) = &heads.relative {
            let keys = (heads.head(shape.heads + group), shape.width());
            rows.meet_keys::<FUSED, M, N>(head, keys, heads.length, room);
        }
        let one = Head {
            number: head,
            added: heads.added(head),
            queries: queries.0,
            stride: queries.1,
            keys,
            values: heads.head(shape.heads + shape.kv_heads + group),
            context: context.from(0, head * shape.size),
        };
        attend::<FUSED, M, N>(heads, &one, scores, room);
    }
}

/// What one head of queries works on.
struct Head<'a> {
    number: usize,
    /// What is added to scores by distance, from the farthest key before a query on.
    added: Option<&'a [f32]>,
    queries: &'a [f32],
    stride: usize,
    /// In panels of `N` tokens.
    keys: &'a [f32],
    values: &'a [f32],
    context: Sheet<'a>,
}

/// Packs the keys of a head: a panel has `N` tokens side by side, for each value of a key one after another.
#[inline(always)]
fn pack_keys<B: Block, const FUSED: bool, const N: usize>(
    heads: &Heads<'_>,
    group: usize,
    space: &mut Space,
) {
    let (length, size) = (heads.length, heads.shape.size);
    let Space { keys, turned, .. } = space;
    keys.grow(length.next_multiple_of(N) * size);
    let mut rows = (heads.head(heads.shape.heads + group), heads.shape.width());
    if heads.are_turned() {
        turn_all::<FUSED>(heads, heads.norms.map(|norms| &norms.key), rows.0, turned);
        rows = (turned, size);
    }
    let (from, stride) = rows;
    let whole = (length / B::SIDE * B::SIDE, size / B::SIDE * B::SIDE);
    for token in (0..whole.0).step_by(B::SIDE) {
        for value in (0..whole.1).step_by(B::SIDE) {
            let to = &mut keys[(token / N * size + value) * N + token % N..];
            B::transpose(&from[token * stride + value..], stride, to, N);
        }
    }
    for token in 0..length {
        let rest = if token < whole.0 { whole.1..size } else { 0..size };
        for value in rest {
            keys[(token / N * size + value) * N + token % N] = from[token * stride + value];
        }
    }
}

/// Normalises and rotates the queries or keys of a head.
#[inline(always)]
fn turn_all<const FUSED: bool>(
    heads: &Heads<'_>,
    norm: Option<&Norm>,
    from: &[f32],
    to: &mut Buffer,
) {
    let size = heads.shape.size;
    to.grow(heads.length * size);
    for (token, to) in to.chunks_exact_mut(size).take(heads.length).enumerate() {
        turn::<FUSED>(heads, norm, token, &from[token * heads.shape.width()..][..size], to);
    }
}

/// Normalises and rotates one query or key.
#[inline(always)]
fn turn<const FUSED: bool>(
    heads: &Heads<'_>,
    norm: Option<&Norm>,
    token: usize,
    row: &[f32],
    to: &mut [f32],
) {
    to.copy_from_slice(row);
    if let Some(norm) = norm {
        rows::norm::<FUSED>(norm, to, row.len());
    }
    let Some(rotation) = heads.rotation else { return };
    let half = row.len() / 2;
    let (cosines, sines) =
        (&rotation.cosines[token * half..][..half], &rotation.sines[token * half..][..half]);
    let (left, right) = to.split_at_mut(half);
    for i in 0..half {
        let (a, b) = (left[i], right[i]);
        left[i] = a * cosines[i] - b * sines[i];
        right[i] = b * cosines[i] + a * sines[i];
    }
}

/// Computes the context of one head, as many queries at a time as their scores have room.
#[inline(always)]
fn attend<const FUSED: bool, const M: usize, const N: usize>(
    heads: &Heads<'_>,
    head: &Head<'_>,
    scores: &mut Buffer,
    room: &mut Room,
) {
    let width = stride(heads.length.next_multiple_of(N));
    let most = (SCORES / width / M).max(1) * M;
    scores.grow(most * width);
    let mut start = 0;
    while start < heads.length {
        let rows = most.min(heads.length - start);
        // From the first token that the first query sees, at the begin of a panel, to the last that the last one sees.
        let first = heads.seen(start).start / N * N;
        let block = Queries { start, rows, seen: first..heads.seen(start + rows - 1).end, width };
        score::<FUSED, M, N>(heads, head, &block, scores);
        if let Some(relative) = &heads.relative {
            let queries = (&head.queries[start * head.stride..], head.stride);
            relative.meet_queries::<FUSED, M, N>(head.number, queries, rows, room);
        }
        let mut inverse = [0.0; SCORES / LANES];
        for row in 0..rows {
            let own = heads.seen(start + row);
            let scores = &mut scores[row * width..][..block.seen.len()];
            let (before, rest) = scores.split_at_mut(own.start - first);
            let (scores, after) = rest.split_at_mut(own.len());
            let query = start + row;
            let added = match &heads.relative {
                Some(rows) => {
                    Some(rows.added::<N>((query, row), own.clone(), heads.shape.scale, room))
                }
                None => head
                    .added
                    .map(|added| &added[heads.length - 1 - query + own.start..][..own.len()]),
            };
            inverse[row] = 1.0 / softmax::<FUSED>(scores, heads.shape.scale, added);
            before.fill(0.0);
            after.fill(0.0);
        }
        weigh::<FUSED, M, N>(heads, head, &block, scores, &inverse);
        start += rows;
    }
}

/// Some queries, and which tokens they see.
struct Queries {
    start: usize,
    rows: usize,
    /// Their scores begin with the first of these.
    seen: Range<usize>,
    width: usize,
}

/// Computes the products of queries and keys.
#[inline(always)]
fn score<const FUSED: bool, const M: usize, const N: usize>(
    heads: &Heads<'_>,
    head: &Head<'_>,
    block: &Queries,
    scores: &mut [f32],
) {
    let size = heads.shape.size;
    for panel in 0..block.seen.len().div_ceil(N) {
        let keys = &head.keys[(block.seen.start + panel * N) * size..];
        let mut row = 0;
        while row < block.rows {
            let rows = tile_rows(block.rows - row, M);
            let queries = &head.queries[(block.start + row) * head.stride..];
            let place = &mut scores[row * block.width + panel * N..];
            by_rows!(rows, ROWS => {
                score_tile::<FUSED, ROWS, N>(queries, head.stride, keys, size, place, block.width);
            });
            row += rows;
        }
    }
}

#[inline(always)]
pub(super) fn score_tile<const FUSED: bool, const M: usize, const N: usize>(
    queries: &[f32],
    stride: usize,
    keys: &[f32],
    size: usize,
    place: &mut [f32],
    width: usize,
) {
    let sums = Floats::<FUSED>::sums::<M, N>(queries, stride, keys, N, size);
    for (row, sums) in sums.0.iter().enumerate() {
        place[row * width..][..N].copy_from_slice(sums);
    }
}

/// Computes the sums of values, weighted with scores.
#[inline(always)]
fn weigh<const FUSED: bool, const M: usize, const N: usize>(
    heads: &Heads<'_>,
    head: &Head<'_>,
    block: &Queries,
    scores: &[f32],
    inverse: &[f32],
) {
    let mut row = 0;
    while row < block.rows {
        let rows = tile_rows(block.rows - row, M);
        for column in (0..heads.shape.size).step_by(N) {
            let width = heads.shape.width();
            let values = (&head.values[block.seen.start * width + column..], width);
            let context = head.context.from(block.start + row, column);
            let scores = (&scores[row * block.width..], block.width);
            let count = N.min(heads.shape.size - column);
            by_rows!(rows, ROWS => {
                weigh_tile::<FUSED, ROWS, N>(scores, values, block.seen.len(), &inverse[row..], context, count);
            });
        }
        row += rows;
    }
}

#[inline(always)]
fn weigh_tile<const FUSED: bool, const M: usize, const N: usize>(
    (scores, width): (&[f32], usize),
    (values, stride): (&[f32], usize),
    seen: usize,
    inverse: &[f32],
    mut context: Sheet<'_>,
    count: usize,
) {
    let mut sums = Floats::<FUSED>::sums::<M, N>(scores, width, values, stride, seen);
    for row in 0..M {
        for column in 0..N {
            sums.0[row][column] *= inverse[row];
        }
        #[expect(unsafe_code, reason = "threads share out the heads of a text")]
        // SAFETY: `attend_all` gives each thread its own heads, which have their own columns of the context.
        let place = unsafe { context.part(row, 0..count) };
        place.copy_from_slice(&sums.0[row][..count]);
    }
}

/// Turns scores into weights that are not yet divided by their sum, which is returned.
#[inline(always)]
fn softmax<const FUSED: bool>(scores: &mut [f32], scale: f32, added: Option<&[f32]>) -> f32 {
    let Some(added) = added else { return weights::<FUSED>(scores, scale) };
    for (score, added) in scores.iter_mut().zip(added) {
        *score = multiply_add::<FUSED>(*score, scale, *added);
    }
    weights::<FUSED>(scores, 1.0)
}

#[inline(always)]
fn weights<const FUSED: bool>(scores: &mut [f32], scale: f32) -> f32 {
    let shift = -greatest(scores) * scale;
    let weight = |x: f32| exp::<FUSED>(multiply_add::<FUSED>(x, scale, shift));
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = weight(chunk[i]);
            sums[i] += chunk[i];
        }
    }
    for (x, sum) in rest.iter_mut().zip(&mut sums) {
        *x = weight(*x);
        *sum += *x;
    }
    rows::sum(&sums, |x| x)
}

/// Returns the greatest score; a NaN is passed over here and shows in the sum.
#[inline(always)]
fn greatest(scores: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = scores.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            most[i] = larger(most[i], chunk[i]);
        }
    }
    most.iter_mut().zip(rest).for_each(|(most, x)| *most = larger(*most, *x));
    most.into_iter().fold(f32::NEG_INFINITY, larger)
}
