//! What is added to scores where rows for distances meet queries and keys, as DeBERTa has it.
//!
//! Of a block of queries the products with all rows are kept, and of a head those of all keys: room that grows with the
//! length of a text, and with the number of rows, but never with the square of either.

use std::ops::Range;

use super::{attention::score_tile, buffer::Buffer, by_rows, gemm::tile_rows, inputs::stride};

/// The rows of a layer, as keys and as queries.
pub(crate) struct Relative {
    pub(crate) keys: Option<Panels>,
    pub(crate) queries: Option<Panels>,
}

/// Rows in panels as wide as a tile, head after head: a panel has its rows side by side, value after value.
pub(crate) struct Panels {
    values: Vec<f32>,
    /// Numbers of a head.
    head: usize,
}

/// Which row a key meets that stands `1 − length` to `length − 1` behind its query.
pub(crate) struct Places {
    pub(crate) rows: Vec<usize>,
    pub(crate) length: usize,
}

/// What the rows give with the queries of a block, and with all keys of a head.
#[derive(Default)]
pub(super) struct Room {
    queries: Buffer,
    keys: Buffer,
    added: Buffer,
}

/// The rows as one text meets them.
#[derive(Clone, Copy)]
pub(super) struct Meeting<'a> {
    relative: &'a Relative,
    /// By how far a key stands behind its query, for the distances of this text.
    places: &'a [usize],
    size: usize,
}

impl Panels {
    /// Packs rows of heads that stand side by side.
    pub(super) fn new(rows: &[f32], heads: usize, size: usize, width: usize) -> Self {
        let head = (rows.len() / (heads * size)).next_multiple_of(width) * size;
        let mut values = vec![0.0; heads * head];
        for (row, numbers) in rows.chunks_exact(heads * size).enumerate() {
            for (i, number) in numbers.iter().enumerate() {
                let (at, value) = (i / size * head, i % size);
                values[at + (row / width * size + value) * width + row % width] = *number;
            }
        }
        Self { values, head }
    }
}

impl Room {
    /// Frees what a long text has made larger than others need it.
    pub(super) fn trim(&mut self) {
        [&mut self.queries, &mut self.keys, &mut self.added].into_iter().for_each(Buffer::trim);
    }
}

impl<'a> Meeting<'a> {
    /// Takes the rows of a layer for a text of this length, with heads of this size.
    pub(super) fn new(
        (relative, places): (&'a Relative, &'a Places),
        length: usize,
        size: usize,
    ) -> Self {
        let places = &places.rows[places.length - length..][..2 * length - 1];
        Self { relative, places, size }
    }

    /// Returns the panels that this text needs: rows fall with the distance behind.
    fn panels(&self, width: usize) -> Range<usize> {
        let ends = [self.places.last(), self.places.first()].map(|end| end.copied().unwrap_or(0));
        ends[0] / width..ends[1] / width + 1
    }

    /// Computes what the rows of a head give with all keys.
    #[inline(always)]
    pub(super) fn meet_keys<const FUSED: bool, const M: usize, const N: usize>(
        &self,
        head: usize,
        keys: (&[f32], usize),
        count: usize,
        room: &mut Room,
    ) {
        self.meet::<FUSED, M, N>(self.relative.queries.as_ref(), head, keys, count, &mut room.keys);
    }

    /// Computes what the rows of a head give with some queries.
    #[inline(always)]
    pub(super) fn meet_queries<const FUSED: bool, const M: usize, const N: usize>(
        &self,
        head: usize,
        queries: (&[f32], usize),
        count: usize,
        room: &mut Room,
    ) {
        self.meet::<FUSED, M, N>(
            self.relative.keys.as_ref(),
            head,
            queries,
            count,
            &mut room.queries,
        );
    }

    #[inline(always)]
    fn meet<const FUSED: bool, const M: usize, const N: usize>(
        &self,
        side: Option<&Panels>,
        head: usize,
        (values, apart): (&[f32], usize),
        count: usize,
        to: &mut Buffer,
    ) {
        let Some(side) = side else { return };
        let panels = self.panels(N);
        let width = stride(panels.len() * N);
        to.grow(count * width);
        for (place, panel) in panels.enumerate() {
            let rows = &side.values[head * side.head + panel * N * self.size..];
            let mut row = 0;
            while row < count {
                let height = tile_rows(count - row, M);
                let (values, to) = (&values[row * apart..], &mut to[row * width + place * N..]);
                by_rows!(height, ROWS => {
                    score_tile::<FUSED, ROWS, N>(values, apart, rows, self.size, to, width);
                });
                row += height;
            }
        }
    }

    /// Returns what is added to the scores of a query, which is row `row` of its block, with some keys.
    #[inline(always)]
    pub(super) fn added<'b, const N: usize>(
        &self,
        (query, row): (usize, usize),
        keys: Range<usize>,
        scale: f32,
        room: &'b mut Room,
    ) -> &'b [f32] {
        let panels = self.panels(N);
        let (first, width) = (panels.start * N, stride(panels.len() * N));
        let length = self.places.len().div_ceil(2);
        let places = &self.places[length - 1 - query + keys.start..][..keys.len()];
        room.added.grow(length);
        let added = &mut room.added[..keys.len()];
        added.fill(0.0);
        if self.relative.keys.is_some() {
            let met = &room.queries[row * width..][..width];
            added.iter_mut().zip(places).for_each(|(added, place)| *added += met[place - first]);
        }
        if self.relative.queries.is_some() {
            let met = room.keys[keys.start * width..].chunks_exact(width);
            let each = added.iter_mut().zip(places).zip(met);
            each.for_each(|((added, place), met)| *added += met[place - first]);
        }
        added.iter_mut().for_each(|added| *added *= scale);
        added
    }
}
