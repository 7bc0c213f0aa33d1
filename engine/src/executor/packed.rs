//! How a plan runs on our kernels: weights in panels, and three buffers per thread that stay for the next pass.
//!
//! A pack passes through a layer in blocks of rows whose inner values stay in the second-level cache. Alone, a
//! thread takes one block after another; together, threads share out the blocks, or the columns of each product if
//! there are few rows.

mod layer;
mod load;
mod mixture;

use std::{cell::RefCell, iter, sync::Mutex};

use layer::{Layer, RowTasks};
pub(crate) use load::Loader;
use mixture::Mixture;

use crate::{
    Error, Plan,
    executor::adapters::TaskRows,
    kernels::{
        Buffer, Distances, Epilogue, Inputs, Isa, Norm, Packed, Places, Product, ProjectionNorms,
        Projections, Relative, Rotation, Rows, Shape, stride,
    },
    plan::{Activation, Placement, Positions, ProjectionNorm, TILED_BLOCK_ROWS},
    positions,
    threads::Team,
    tokens::Tokens,
    weights::Matrix,
};

/// Bytes of inner values of a block of rows: with the inputs of the next product they stay in the second-level cache.
const BLOCK_BYTES: usize = 640 << 10;
/// A block has a multiple of so many rows: of the height of every tile.
const BLOCK_ROWS: usize = 24;
/// Fewer rows than this per thread, and products are shared out by their columns instead.
const ROWS_PER_THREAD: usize = 48;

/// The weights of an encoder.
pub(crate) struct Encoder {
    plan: Plan,
    isa: Isa,
    shape: Shape,
    entry: Entry,
    task_rows: Option<TaskRows>,
    /// Position rows, with the row of token type 0 added. That row alone where there are no position rows, and nothing
    /// where there is neither.
    added: Vec<f32>,
    /// By how much the row of token type 1 differs, if there is one.
    second_type: Vec<f32>,
    embedding_norm: Option<Norm>,
    /// What is learned of distances: a row for each bucket.
    distances: Vec<f32>,
    blocks: Vec<Block>,
    final_norm: Option<Norm>,
}

/// What makes rows of what comes in.
enum Entry {
    Tokens(Matrix),
    /// Of an image, and what stands before its patches, or nothing.
    Patches {
        weights: Packed,
        class: Vec<f32>,
    },
}

/// What one pass reads.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) texts: &'a [&'a Tokens],
    /// Values of all patches, where the texts are images.
    pub(crate) pixels: &'a [f32],
    /// Where texts start, and the last ends.
    pub(crate) starts: &'a [usize],
}

struct Block {
    /// How far a token sees, where it does not see all.
    reach: Option<usize>,
    /// Query, key and value as one layer.
    projection: Layer,
    projection_norms: Option<ProjectionNorms>,
    relative: Option<Relative>,
    attention_output: Layer,
    attention_norm: Option<Norm>,
    attention_after_norm: Option<Norm>,
    inner: Inner,
    output_norm: Norm,
    output_after_norm: Option<Norm>,
}

/// The feed-forward layer of a block, or its experts.
enum Inner {
    One(Box<FeedForward>),
    Mixture(Mixture),
}

struct FeedForward {
    gate: Option<Layer>,
    up: Layer,
    down: Layer,
}

/// What one pass works on: rows of hidden states, of projections, and of what attention makes of them.
#[derive(Default)]
struct Pack {
    hidden: Buffer,
    projected: Buffer,
    context: Buffer,
}

/// What one thread works on inside an operation.
#[derive(Default)]
struct Scratch {
    inputs: Inputs,
    normal: Buffer,
    inner: Buffer,
    wide: Buffer,
}

thread_local! {
    static PACK: RefCell<Pack> = RefCell::default();
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One pass over a pack.
struct Pass<'a> {
    encoder: &'a Encoder,
    team: Team<'a>,
    starts: &'a [usize],
    rotation: Option<Rotation>,
    /// The rotation of layers with a window, where it differs.
    near: Option<Rotation>,
    distances: Option<Distances>,
    /// The row for a key by how far it stands behind its query, where such rows meet queries and keys.
    places: Option<Places>,
    tasks: RowTasks,
}

impl Encoder {
    /// Computes the hidden states of all texts, row after row, and hands them to `heads`.
    pub(crate) fn forward<T>(
        &self,
        input: &Input<'_>,
        team: Team<'_>,
        heads: impl FnOnce(&[f32]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Input { texts, starts, .. } = *input;
        let rows = starts[texts.len()];
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let (rotation, near) = self.rotations(longest);
        let distances = self.distances(longest);
        let places = self
            .plan
            .relative
            .map(|relative| Places { rows: relative.places(longest), length: longest });
        let tasks = self.tasks(texts);
        let pass = Pass { encoder: self, team, starts, rotation, near, distances, places, tasks };
        PACK.with_borrow_mut(|pack| {
            pack.hidden.grow(rows * self.plan.hidden);
            // A tile of values reads beyond the last.
            pack.projected.grow(rows * self.shape.width() + self.isa.tile().1);
            pack.context.grow(rows * self.plan.query_width());
            let hidden = &mut pack.hidden[..rows * self.plan.hidden];
            self.embed(input, team, hidden);
            for block in &self.blocks {
                pass.project(block, hidden, &mut pack.projected[..rows * self.shape.width()]);
                pass.attend(block, &pack.projected, &mut pack.context);
                pass.attention_output(block, &pack.context, hidden);
                match &block.inner {
                    Inner::One(layers) => pass.feed_forward(block, layers, hidden),
                    Inner::Mixture(mixture) => pass.mix(mixture, &block.output_norm, hidden),
                }
            }
            if let Some(norm) = &self.final_norm {
                self.isa.norm(norm, hidden, self.plan.hidden);
            }
            let found = heads(hidden);
            [&mut pack.hidden, &mut pack.projected, &mut pack.context]
                .into_iter()
                .for_each(Buffer::trim);
            found
        })
    }

    /// Writes the sums of token and position rows, normalised.
    fn embed(&self, input: &Input<'_>, team: Team<'_>, hidden: &mut [f32]) {
        let width = self.plan.hidden;
        let table = match &self.entry {
            Entry::Tokens(table) => Some(table.view()),
            Entry::Patches { weights, class } => {
                self.read_patches(input, team, (weights, class), hidden);
                None
            }
        };
        let places = input.texts.iter().flat_map(|text| {
            text.ids.iter().enumerate().map(|(at, id)| (at, id, at >= text.second, text.task))
        });
        for (row, (at, id, is_second, task)) in hidden.chunks_exact_mut(width).zip(places) {
            if let Some(table) = &table {
                table.read(*id as usize, row);
            }
            if let (Some(rows), Some(task)) = (&self.task_rows, task) {
                rows.add(task, *id, row);
            }
            if self.plan.embedding_scale != 1.0 {
                row.iter_mut().for_each(|x| *x *= self.plan.embedding_scale);
            }
            let place = match self.plan.positions {
                Positions::Learned { first, .. } => first + at,
                Positions::Rotary { .. } | Positions::None { .. } => 0,
            };
            if let Some(added) = self.added.get(place * width..(place + 1) * width) {
                row.iter_mut().zip(added).for_each(|(x, y)| *x += y);
            }
            if is_second {
                row.iter_mut().zip(&self.second_type).for_each(|(x, y)| *x += y);
            }
            if let Some(norm) = &self.embedding_norm {
                self.isa.norm(norm, row, width);
            }
        }
    }

    /// Writes the rows of images: what stands before their patches, and what a layer makes of each patch.
    fn read_patches(
        &self,
        input: &Input<'_>,
        team: Team<'_>,
        (weights, class): (&Packed, &[f32]),
        hidden: &mut [f32],
    ) {
        let (hidden_width, width) = (self.plan.hidden, weights.inputs());
        let mut pixels = input.pixels;
        for ends in input.starts.windows(2) {
            let image = &mut hidden[ends[0] * hidden_width..ends[1] * hidden_width];
            let (first, patches) = image.split_at_mut(class.len());
            first.copy_from_slice(class);
            let rows = patches.len() / hidden_width;
            let from = Rows { values: pixels, stride: width, width };
            pixels = &pixels[rows * width..];
            SCRATCH.with_borrow_mut(|scratch| {
                self.isa.fill(weights.format(), &from, rows, &mut scratch.inputs);
                let epilogue = Epilogue::Write(Activation::Identity);
                let product = Product { weights, inputs: &scratch.inputs, rows, epilogue };
                self.isa.product(team, product, patches, hidden_width);
            });
        }
    }

    /// Returns how far the pairs of a head turn at each position: in most layers, and in those with a window.
    fn rotations(&self, length: usize) -> (Option<Rotation>, Option<Rotation>) {
        let Positions::Rotary { frequencies, near, .. } = &self.plan.positions else {
            return (None, None);
        };
        let rotation = |frequencies: &[f32]| Rotation {
            cosines: positions::angles(frequencies, length).map(f32::cos).collect(),
            sines: positions::angles(frequencies, length).map(f32::sin).collect(),
        };
        (Some(rotation(frequencies)), near.as_deref().map(rotation))
    }

    /// Returns the task of each row, where there are tasks.
    fn tasks(&self, texts: &[&Tokens]) -> RowTasks {
        let Some(adapters) = &self.plan.adapters else {
            return RowTasks { of_rows: Vec::new(), rank: 0 };
        };
        let rows = texts.iter().flat_map(|text| iter::repeat_n(text.task, text.ids.len()));
        RowTasks { of_rows: rows.collect(), rank: adapters.rank }
    }

    /// Returns what is added to scores, by distance.
    fn distances(&self, length: usize) -> Option<Distances> {
        let kind = self.plan.distances?;
        Some(Distances { added: kind.added(&self.distances, self.plan.heads, length), length })
    }
}

impl Pass<'_> {
    /// Computes queries, keys and values.
    fn project(&self, block: &Block, hidden: &[f32], projected: &mut [f32]) {
        let (plan, isa) = (&self.encoder.plan, self.encoder.isa);
        let width = self.encoder.shape.width();
        self.blocks(projected, width, |start, y, team, scratch| {
            let rows = y.len() / width;
            let hidden = &hidden[start * plan.hidden..][..rows * plan.hidden];
            let weights = &block.projection.weights;
            self.fill((hidden, start), block.attention_norm.as_ref(), &block.projection, scratch);
            let epilogue = Epilogue::Write(Activation::Identity);
            isa.product(
                team,
                Product { weights, inputs: &scratch.inputs, rows, epilogue },
                y,
                width,
            );
            if let (ProjectionNorm::Whole, Some(norms)) =
                (plan.projection_norm, &block.projection_norms)
            {
                isa.norm(&norms.query, y, width);
                isa.norm(&norms.key, &mut y[plan.query_width()..], width);
            }
        });
    }

    /// Computes the attention of every text to itself.
    fn attend(&self, block: &Block, values: &[f32], contexts: &mut [f32]) {
        let heads = self.encoder.plan.projection_norm == ProjectionNorm::Heads;
        let projections = Projections {
            values,
            starts: self.starts,
            shape: &self.encoder.shape,
            rotation: block.reach.and(self.near.as_ref()).or(self.rotation.as_ref()),
            norms: heads.then_some(block.projection_norms.as_ref()).flatten(),
            distances: self.distances.as_ref(),
            relative: block.relative.as_ref().zip(self.places.as_ref()),
            reach: block.reach,
        };
        self.encoder.isa.attend_all(self.team, &projections, contexts);
    }

    /// Adds to the hidden states what attention gives.
    fn attention_output(&self, block: &Block, contexts: &[f32], hidden: &mut [f32]) {
        let (plan, isa) = (&self.encoder.plan, self.encoder.isa);
        let (stride, layer) = (plan.query_width(), &block.attention_output);
        self.blocks(hidden, plan.hidden, |start, y, team, scratch| {
            let rows = y.len() / plan.hidden;
            let from = Rows { values: &contexts[start * stride..], stride, width: stride };
            let Scratch { inputs, normal, wide, .. } = scratch;
            layer.fill(isa, &from, rows, self.tasks(start), (inputs, wide));
            let norms = (block.attention_norm.as_ref(), block.attention_after_norm.as_ref());
            self.add(team, (&layer.weights, inputs, rows), norms, normal, y);
        });
    }

    /// Adds to the hidden states what the feed-forward layer gives.
    fn feed_forward(&self, block: &Block, layers: &FeedForward, hidden: &mut [f32]) {
        let (plan, isa) = (&self.encoder.plan, self.encoder.isa);
        let stride = stride(plan.inner);
        self.blocks(hidden, plan.hidden, |start, y, team, scratch| {
            let rows = y.len() / plan.hidden;
            self.fill((y, start), Some(&block.output_norm), &layers.up, scratch);
            let Scratch { inputs, normal, inner, wide } = scratch;
            inner.grow(rows * stride);
            let mut inwards = |layer: &Layer, epilogue| {
                let weights = &layer.weights;
                isa.product(
                    team,
                    Product { weights, inputs: &*inputs, rows, epilogue },
                    inner,
                    stride,
                );
            };
            match &layers.gate {
                None => inwards(&layers.up, Epilogue::Write(plan.activation)),
                Some(gate) => {
                    inwards(gate, Epilogue::Write(plan.activation));
                    inwards(&layers.up, Epilogue::Multiply);
                }
            }
            let from = Rows { values: inner, stride, width: plan.inner };
            layers.down.fill(isa, &from, rows, self.tasks(start), (inputs, wide));
            let norms = (Some(&block.output_norm), block.output_after_norm.as_ref());
            self.add(team, (&layers.down.weights, inputs, rows), norms, normal, y);
        });
    }

    /// Returns the tasks of rows from the first of these on, and how many further inputs each has.
    fn tasks(&self, first: usize) -> (&[Option<usize>], usize) {
        let RowTasks { of_rows, rank } = &self.tasks;
        (of_rows.get(first..).unwrap_or_default(), *rank)
    }

    /// Makes hidden states the inputs of a layer, normalised where norms stand before; the first is row `start`.
    fn fill(
        &self,
        (hidden, start): (&[f32], usize),
        norm: Option<&Norm>,
        layer: &Layer,
        scratch: &mut Scratch,
    ) {
        let (plan, isa) = (&self.encoder.plan, self.encoder.isa);
        let Scratch { inputs, normal, wide, .. } = scratch;
        let mut values = hidden;
        if let Some(norm) = norm.filter(|_| !plan.placement.is_after()) {
            normal.grow(hidden.len());
            let normal = &mut normal[..hidden.len()];
            normal.copy_from_slice(hidden);
            isa.norm(norm, normal, plan.hidden);
            values = normal;
        }
        let rows = Rows { values, stride: plan.hidden, width: plan.hidden };
        let count = hidden.len() / plan.hidden;
        layer.fill(isa, &rows, count, self.tasks(start), (inputs, wide));
    }

    /// Adds a product to hidden states, and normalises them or what is added, as the plan has it.
    fn add(
        &self,
        team: Team<'_>,
        (weights, inputs, rows): (&Packed, &Inputs, usize),
        (norm, after): (Option<&Norm>, Option<&Norm>),
        room: &mut Buffer,
        y: &mut [f32],
    ) {
        let (plan, isa) = (&self.encoder.plan, self.encoder.isa);
        let product = |epilogue| Product { weights, inputs, rows, epilogue };
        let Some(after) = after else {
            isa.product(team, product(Epilogue::Add), y, plan.hidden);
            if let Some(norm) = norm.filter(|_| plan.placement.is_after()) {
                isa.norm(norm, y, plan.hidden);
            }
            return;
        };
        room.grow(y.len());
        let made = &mut room[..y.len()];
        if let (Placement::Twice, Some(norm)) = (plan.placement, norm) {
            made.copy_from_slice(y);
            isa.product(team, product(Epilogue::Add), made, plan.hidden);
            isa.norm(norm, made, plan.hidden);
            y.iter_mut().zip(made).for_each(|(y, x)| *y += *x);
            return isa.norm(after, y, plan.hidden);
        }
        isa.product(team, product(Epilogue::Write(Activation::Identity)), made, plan.hidden);
        isa.norm(after, made, plan.hidden);
        y.iter_mut().zip(made).for_each(|(y, x)| *y += *x);
    }

    /// Cuts rows of `y` into blocks and does something with each, given the number of its first row. A team shares
    /// out the blocks if there are enough rows, else takes part in the work on each.
    fn blocks(
        &self,
        y: &mut [f32],
        width: usize,
        work: impl Fn(usize, &mut [f32], Team<'_>, &mut Scratch) + Sync,
    ) {
        self.blocks_of(self.encoder.block_rows(), y, width, work);
    }

    /// Does the same with blocks of at most so many rows.
    fn blocks_of(
        &self,
        most: usize,
        y: &mut [f32],
        width: usize,
        work: impl Fn(usize, &mut [f32], Team<'_>, &mut Scratch) + Sync,
    ) {
        let rows = y.len() / width;
        // Blocks alike: a short one at the end would read all weights for a few rows.
        let most = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
        let threads = self.team.threads();
        if threads == 1 || rows < ROWS_PER_THREAD * threads {
            return SCRATCH.with_borrow_mut(|scratch| {
                for (index, y) in y.chunks_mut(most * width).enumerate() {
                    work(index * most, y, self.team, scratch);
                }
            });
        }
        let count = rows.div_ceil(most).next_multiple_of(threads);
        let size = rows.div_ceil(count);
        let parts: Vec<_> = y.chunks_mut(size * width).map(|part| Mutex::new(Some(part))).collect();
        self.team.run(parts.len(), &|index| {
            let part = parts[index].lock().ok().and_then(|mut part| part.take());
            if let Some(y) = part {
                SCRATCH.with_borrow_mut(|scratch| work(index * size, y, Team::Alone, scratch));
            }
        });
    }
}

impl Encoder {
    /// Returns how many rows pass through a layer at a time.
    fn block_rows(&self) -> usize {
        let fitting = BLOCK_BYTES / (4 * self.plan.inner) / BLOCK_ROWS * BLOCK_ROWS;
        fitting.max(if self.isa.is_tiled() { TILED_BLOCK_ROWS } else { BLOCK_ROWS })
    }
}
