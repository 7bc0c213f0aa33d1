//! What does a plan mean? Any encoder in stock candle operations: plain and slow, the measure of all kernels.
//!
//! Linear layers and norms run over the tokens of all texts at once, attention text by text.

mod load;

use candle_core::{D, DType, Device, Result as Computed, Tensor};
use candle_nn::ops;

pub(crate) use load::Loader;

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    executor::{adapters::TaskRows, experts::share, optional, relative::Sides},
    plan::{Activation, Placement, Positions, ProjectionNorm},
    positions,
    tokens::Tokens,
    weights::{Matrix, Weights},
};

/// Score elements that one step of attention may hold; longer texts take their queries in blocks.
const SCORE_BUDGET: usize = 1 << 24;

/// The weights of an encoder, in f32.
pub(crate) struct Encoder {
    plan: Plan,
    entry: Entry,
    task_rows: Option<TaskRows>,
    positions: Option<Tensor>,
    token_types: Option<Tensor>,
    embedding_norm: Option<Norm>,
    /// What is learned of distances: a row for each bucket.
    distances: Vec<f32>,
    blocks: Vec<Block>,
    final_norm: Option<Norm>,
}

/// What makes rows of what comes in.
enum Entry {
    Tokens(Matrix),
    Patches { linear: Linear, class: Option<Tensor> },
}

/// The feed-forward layer of a block, or its experts.
enum Inner {
    One { gate: Option<Linear>, up: Linear, down: Linear },
    Experts { router: Linear, experts: Vec<[Linear; 2]>, bias: Tensor, used: usize },
}

/// What all blocks know of a pack: the lengths of its texts, and their task.
#[derive(Clone, Copy)]
struct Way<'a> {
    lengths: &'a [usize],
    task: Option<usize>,
}

struct Block {
    layer: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    relative: Option<Sides>,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    attention_output: Linear,
    attention_norm: Option<Norm>,
    attention_after_norm: Option<Norm>,
    inner: Inner,
    output_norm: Norm,
    output_after_norm: Option<Norm>,
}

impl Encoder {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn load(
        plan: &Plan,
        architecture: &Architecture,
        weights: &Weights,
    ) -> Result<Self, Error> {
        let loader = Loader { plan, architecture, weights };
        let final_norm = !plan.placement.is_after();
        Ok(Self {
            entry: loader.entry()?,
            task_rows: TaskRows::load(plan, architecture, weights)?,
            positions: optional(plan.positions.rows() > 0, || {
                loader.table(Slot::PositionTable, plan.positions.rows())
            })?,
            token_types: optional(plan.token_types > 0, || {
                loader.table(Slot::TypeTable, plan.token_types)
            })?,
            embedding_norm: optional(plan.embedding_norm, || loader.norm(Slot::EmbeddingNorm))?,
            distances: loader.distances()?,
            blocks: (0..plan.layers).map(|layer| loader.block(layer)).collect::<Result<_, _>>()?,
            final_norm: optional(final_norm, || loader.norm(Slot::FinalNorm))?,
            plan: plan.clone(),
        })
    }

    /// Computes the hidden states of all texts, row after row: `[tokens, hidden]`.
    pub(crate) fn forward(&self, texts: &[&Tokens], pixels: &[f32]) -> Result<Vec<f32>, Error> {
        if texts.len() > 1 && self.task_rows.is_some() {
            // Each may be of another task.
            let alone = texts.iter().map(|text| self.forward(&[*text], pixels));
            return Ok(alone.collect::<Result<Vec<_>, _>>()?.concat());
        }
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let task = texts.first().and_then(|text| text.task);
        let mut x = self.embed(texts, pixels)?;
        for block in &self.blocks {
            x = self.run(block, &x, Way { lengths: &lengths, task })?;
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(&x)?;
        }
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn embed(&self, texts: &[&Tokens], pixels: &[f32]) -> Computed<Tensor> {
        let mut x = match &self.entry {
            Entry::Tokens(table) => self.rows_of_tokens(table, texts)?,
            Entry::Patches { linear, class } => {
                let x = Tensor::from_slice(pixels, ((), linear.weight.dim(1)?), &Device::Cpu)?;
                let x = linear.forward(&x)?.reshape((texts.len(), (), self.plan.hidden))?;
                let x = match class {
                    Some(row) => {
                        let row = row.reshape((1, 1, self.plan.hidden))?;
                        Tensor::cat(&[&row.repeat((texts.len(), 1, 1))?, &x], 1)?
                    }
                    None => x,
                };
                x.flatten(0, 1)?
            }
        };
        if self.plan.embedding_scale != 1.0 {
            x = (x * f64::from(self.plan.embedding_scale))?;
        }
        if let (Some(table), Positions::Learned { first, .. }) =
            (&self.positions, &self.plan.positions)
        {
            let numbers = texts.iter().flat_map(|text| *first..first + text.ids.len());
            x = (x + rows(table, numbers.map(|number| number as u32).collect())?)?;
        }
        if let Some(table) = &self.token_types {
            let kind = |text: &Tokens| {
                let second = text.second;
                (0..text.ids.len()).map(move |at| u32::from(at >= second))
            };
            x = (x + rows(table, texts.iter().flat_map(|text| kind(text)).collect())?)?;
        }
        match &self.embedding_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    fn rows_of_tokens(&self, table: &Matrix, texts: &[&Tokens]) -> Computed<Tensor> {
        let (table, width) = (table.view(), self.plan.hidden);
        let ids: Vec<u32> = texts.iter().flat_map(|text| text.ids.iter().copied()).collect();
        let mut values = vec![0.0; ids.len() * width];
        for (row, id) in values.chunks_exact_mut(width).zip(&ids) {
            table.read(*id as usize, row);
            if let (Some(rows), Some(task)) = (&self.task_rows, texts[0].task) {
                rows.add(task, *id, row);
            }
        }
        Tensor::from_vec(values, (ids.len(), width), &Device::Cpu)
    }

    fn run(&self, block: &Block, x: &Tensor, way: Way<'_>) -> Computed<Tensor> {
        let norm = |norm: &Option<Norm>, x: Tensor| match norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        };
        if self.plan.placement.is_after() {
            let mut y = norm(&block.attention_norm, (x + self.attention(block, x, way)?)?)?;
            if self.plan.placement == Placement::Twice {
                y = norm(&block.attention_after_norm, (x + y)?)?;
            }
            let x = y;
            return block.output_norm.forward(&(&x + self.feed_forward(block, &x, way.task)?)?);
        }
        let attention = self.attention(block, &norm(&block.attention_norm, x.clone())?, way)?;
        let x = (x + norm(&block.attention_after_norm, attention)?)?;
        let inner = self.feed_forward(block, &block.output_norm.forward(&x)?, way.task)?;
        &x + norm(&block.output_after_norm, inner)?
    }

    /// The attention of every text to itself.
    fn attention(&self, block: &Block, x: &Tensor, way: Way<'_>) -> Computed<Tensor> {
        let (mut contexts, mut start) = (Vec::new(), 0);
        for length in way.lengths {
            contexts.push(self.attend(block, &x.narrow(0, start, *length)?, way.task)?);
            start += length;
        }
        block.attention_output.forward_for(way.task, &Tensor::cat(&contexts, 0)?)
    }

    /// What the heads of one text see, `[length, heads · head_size]`; queries in blocks, to hold the score budget.
    fn attend(&self, block: &Block, x: &Tensor, task: Option<usize>) -> Computed<Tensor> {
        let (plan, length) = (&self.plan, x.dim(0)?);
        let heads = |linear: &Linear, norm: &Option<Norm>| {
            self.heads(linear.forward_for(task, x)?, norm.as_ref())
        };
        let query = heads(&block.query, &block.query_norm)?;
        let key = heads(&block.key, &block.key_norm)?;
        let (query, key) = match &plan.positions {
            Positions::Rotary { frequencies, near, .. } => {
                let near = near.as_ref().filter(|_| plan.reach(block.layer).is_some());
                let by = near.unwrap_or(frequencies);
                (turn(&query, by)?, turn(&key, by)?)
            }
            Positions::Learned { .. } | Positions::None { .. } => (query, key),
        };
        let query = (query * f64::from(plan.scale))?;
        let key = repeat(&key, plan.heads)?.t()?.contiguous()?;
        let value = repeat(&heads(&block.value, &None)?, plan.heads)?;
        let step = (SCORE_BUDGET / (plan.heads * length)).clamp(1, length);
        let contexts = (0..length).step_by(step).map(|start| {
            let rows = query.narrow(1, start, step.min(length - start))?.contiguous()?;
            let mut scores = rows.matmul(&key)?;
            if let Some(sides) = &block.relative {
                scores = (scores + self.relative(sides, &rows, &key, start)?)?;
            }
            if let Some(added) = self.added(block.layer, start, scores.dim(1)?, length)? {
                scores = scores.broadcast_add(&added)?;
            }
            ops::softmax(&scores, D::Minus1)?.matmul(&value)
        });
        let context = Tensor::cat(&contexts.collect::<Computed<Vec<_>>>()?, 1)?;
        context.transpose(0, 1)?.contiguous()?.reshape((length, plan.query_width()))
    }

    /// Splits into heads, `[heads, length, head_size]`, and normalises each or all if there is a norm for it.
    fn heads(&self, x: Tensor, norm: Option<&Norm>) -> Computed<Tensor> {
        let kind = self.plan.projection_norm;
        let normal = |of: ProjectionNorm, x: Tensor| match norm.filter(|_| kind == of) {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        };
        let length = x.dim(0)?;
        let all = normal(ProjectionNorm::Whole, x)?;
        let heads = all.reshape((length, (), self.plan.head_size))?;
        normal(ProjectionNorm::Heads, heads.transpose(0, 1)?.contiguous()?)
    }

    /// What is added to the scores of `rows` queries from `start`: numbers for distances, and −∞ where none may look.
    fn added(
        &self,
        layer: usize,
        start: usize,
        rows: usize,
        length: usize,
    ) -> Computed<Option<Tensor>> {
        let (plan, reach) = (&self.plan, self.plan.reach(layer));
        if plan.distances.is_none() && !plan.causal && reach.is_none() {
            return Ok(None);
        }
        let (heads, width) = (plan.heads, 2 * length - 1);
        let distances = plan.distances.map(|kind| kind.added(&self.distances, heads, length));
        let value = |head: usize, query: usize, key: usize| {
            let is_hidden = plan.causal && key > query
                || reach.is_some_and(|reach| key.abs_diff(query) > reach);
            match &distances {
                _ if is_hidden => f32::NEG_INFINITY,
                Some(values) => values[head * width + key + length - 1 - query],
                None => 0.0,
            }
        };
        let heads = if distances.is_some() { heads } else { 1 };
        let queries = (0..heads).flat_map(|head| (start..start + rows).map(move |row| (head, row)));
        let values: Vec<f32> = queries
            .flat_map(|(head, row)| (0..length).map(move |key| (head, row, key)))
            .map(|(head, row, key)| value(head, row, key))
            .collect();
        Tensor::from_vec(values, (heads, rows, length), &Device::Cpu).map(Some)
    }

    /// What the rows for distances give with queries, the first of which is number `start`, and with keys, which come
    /// as columns: `[heads, queries, keys]`. Only queries are scaled.
    fn relative(
        &self,
        sides: &Sides,
        queries: &Tensor,
        keys: &Tensor,
        start: usize,
    ) -> Computed<Tensor> {
        let (heads, rows, length) = (self.plan.heads, queries.dim(1)?, keys.dim(2)?);
        let places = self.plan.relative.map_or_else(Vec::new, |relative| relative.places(length));
        let place = |query: usize, key: usize| places[key + length - 1 - query] as u32;
        let split =
            |side: &Tensor| side.reshape((side.dim(0)?, heads, ()))?.transpose(0, 1)?.contiguous();
        let gather = |from: &Tensor, places: Vec<u32>, shape: (usize, usize)| {
            let places = Tensor::from_vec(places, (1, shape.0, shape.1), &Device::Cpu)?;
            from.gather(&places.broadcast_as((heads, shape.0, shape.1))?.contiguous()?, 2)
        };
        let mut sum = Tensor::zeros((heads, rows, length), DType::F32, &Device::Cpu)?;
        if let Some(side) = &sides.keys {
            let met = queries.matmul(&split(side)?.t()?)?;
            let at =
                (start..start + rows).flat_map(|query| (0..length).map(move |key| (query, key)));
            let places = at.map(|(query, key)| place(query, key)).collect();
            sum = (sum + gather(&met, places, (rows, length))?)?;
        }
        if let Some(side) = &sides.queries {
            let met =
                (split(side)? * f64::from(self.plan.scale))?.matmul(keys)?.t()?.contiguous()?;
            let at =
                (0..length).flat_map(|key| (start..start + rows).map(move |query| (query, key)));
            let places = at.map(|(query, key)| place(query, key)).collect();
            sum = (sum + gather(&met, places, (length, rows))?.t()?)?;
        }
        Ok(sum)
    }

    fn feed_forward(&self, block: &Block, x: &Tensor, task: Option<usize>) -> Computed<Tensor> {
        let activation = self.plan.activation;
        match &block.inner {
            Inner::One { gate, up, down } => {
                let up = up.forward_for(task, x)?;
                let inner = match gate {
                    Some(gate) => (activate(&gate.forward(x)?, activation)? * up)?,
                    None => activate(&up, activation)?,
                };
                down.forward_for(task, &inner)
            }
            Inner::Experts { router, experts, bias, used } => {
                let mut shares = router.forward(x)?.to_vec2()?;
                shares.iter_mut().for_each(|row| share(row, *used));
                let shares = Tensor::new(shares, &Device::Cpu)?;
                let mut y = x.zeros_like()?.broadcast_add(bias)?;
                for (expert, [up, down]) in experts.iter().enumerate() {
                    let found = down.forward(&activate(&up.forward(x)?, activation)?)?;
                    y = (y + found.broadcast_mul(&shares.narrow(1, expert, 1)?)?)?;
                }
                Ok(y)
            }
        }
    }
}

/// Turns the pairs `(i, i + size / 2)` of every head by its position times the frequency of the pair.
fn turn(heads: &Tensor, frequencies: &[f32]) -> Computed<Tensor> {
    let (_, length, size) = heads.dims3()?;
    let angles = positions::angles(frequencies, length);
    let angles = Tensor::from_iter(angles, &Device::Cpu)?.reshape((length, size / 2))?;
    let (cosine, sine) = (angles.cos()?, angles.sin()?);
    let (left, right) = (heads.narrow(2, 0, size / 2)?, heads.narrow(2, size / 2, size / 2)?);
    let turned_left = (left.broadcast_mul(&cosine)? - right.broadcast_mul(&sine)?)?;
    let turned_right = (right.broadcast_mul(&cosine)? + left.broadcast_mul(&sine)?)?;
    Tensor::cat(&[turned_left, turned_right], 2)
}

/// Repeats each head of `[kv_heads, length, head_size]` for the queries that share it.
fn repeat(heads: &Tensor, wanted: usize) -> Computed<Tensor> {
    let (found, length, size) = heads.dims3()?;
    let repeated = heads.unsqueeze(1)?.broadcast_as((found, wanted / found, length, size))?;
    repeated.contiguous()?.reshape((wanted, length, size))
}

/// Applies an activation to every element.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Computed<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::QuickGelu => x * ops::sigmoid(&(x * 1.702)?)?,
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => ops::sigmoid(x),
        Activation::Identity => Ok(x.clone()),
    }
}

/// Returns rows of a table.
fn rows(table: &Tensor, ids: Vec<u32>) -> Computed<Tensor> {
    table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)
}

/// y = x·Wᵀ + b.
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    /// For each task two small matrices, the second scaled: what is added is x·Aᵀ·Bᵀ.
    pub(crate) tasks: Vec<[Tensor; 2]>,
}

impl Linear {
    /// Returns y, row by row.
    pub(crate) fn forward(&self, x: &Tensor) -> Computed<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// Returns y with what a task adds.
    fn forward_for(&self, task: Option<usize>, x: &Tensor) -> Computed<Tensor> {
        let y = self.forward(x)?;
        match task.and_then(|task| self.tasks.get(task)) {
            Some([first, second]) => y + x.matmul(&first.t()?)?.matmul(&second.t()?)?,
            None => Ok(y),
        }
    }
}

/// A norm over the last dimension.
pub(crate) enum Norm {
    Layer { weight: Tensor, bias: Tensor, epsilon: f32 },
    Rms { weight: Tensor, epsilon: f32 },
}

impl Norm {
    /// Normalises rows.
    pub(crate) fn forward(&self, x: &Tensor) -> Computed<Tensor> {
        match self {
            Self::Layer { weight, bias, epsilon } => ops::layer_norm(x, weight, bias, *epsilon),
            Self::Rms { weight, epsilon } => ops::rms_norm(x, weight, *epsilon),
        }
    }
}
