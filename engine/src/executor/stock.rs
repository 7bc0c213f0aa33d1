//! What does a plan mean? Any encoder in stock candle operations: plain and slow, the measure of all kernels.
//!
//! Linear layers and norms run over the tokens of all texts at once, attention text by text.

use candle_core::{D, Device, Result as Computed, Tensor};
use candle_nn::ops;

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    executor::optional,
    plan::{Activation, NormKind, Placement, Positions, frequencies},
    tokens::Tokens,
    weights::Weights,
};

/// Score elements that one step of attention may hold; longer texts take their queries in blocks.
const SCORE_BUDGET: usize = 1 << 24;

/// The weights of an encoder, in f32.
pub(crate) struct Encoder {
    plan: Plan,
    tokens: Tensor,
    positions: Option<Tensor>,
    /// The row of token type 0, which every token of a single text has.
    token_type: Option<Tensor>,
    embedding_norm: Option<Norm>,
    blocks: Vec<Block>,
    final_norm: Option<Norm>,
}

struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    attention_output: Linear,
    attention_norm: Norm,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

impl Encoder {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn load(
        plan: &Plan,
        architecture: &Architecture,
        weights: &Weights,
    ) -> Result<Self, Error> {
        let loader = Loader { plan, stem: architecture.stem, weights };
        let final_norm = plan.placement == Placement::Before;
        Ok(Self {
            tokens: loader.table(Slot::TokenTable, plan.vocabulary)?,
            positions: optional(plan.positions.rows() > 0, || {
                loader.table(Slot::PositionTable, plan.positions.rows())
            })?,
            token_type: optional(plan.token_types > 0, || {
                Ok(loader.table(Slot::TypeTable, plan.token_types)?.narrow(0, 0, 1)?)
            })?,
            embedding_norm: optional(plan.embedding_norm, || loader.norm(Slot::EmbeddingNorm))?,
            blocks: (0..plan.layers).map(|layer| loader.block(layer)).collect::<Result<_, _>>()?,
            final_norm: optional(final_norm, || loader.norm(Slot::FinalNorm))?,
            plan: plan.clone(),
        })
    }

    /// Computes the hidden states of all texts, row after row: `[tokens, hidden]`.
    pub(crate) fn forward(&self, texts: &[&Tokens]) -> Result<Vec<f32>, Error> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let mut x = self.embed(texts)?;
        for block in &self.blocks {
            x = self.run(block, &x, &lengths)?;
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(&x)?;
        }
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn embed(&self, texts: &[&Tokens]) -> Computed<Tensor> {
        let ids = texts.iter().flat_map(|text| text.ids.iter().copied());
        let mut x = rows(&self.tokens, ids.collect())?;
        if let (Some(table), Positions::Learned { first, .. }) =
            (&self.positions, self.plan.positions)
        {
            let numbers = texts.iter().flat_map(|text| first..first + text.ids.len());
            x = (x + rows(table, numbers.map(|number| number as u32).collect())?)?;
        }
        if let Some(row) = &self.token_type {
            x = x.broadcast_add(row)?;
        }
        match &self.embedding_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    fn run(&self, block: &Block, x: &Tensor, lengths: &[usize]) -> Computed<Tensor> {
        match self.plan.placement {
            Placement::After => {
                let x = block.attention_norm.forward(&(x + self.attention(block, x, lengths)?)?)?;
                block.output_norm.forward(&(&x + self.feed_forward(block, &x)?)?)
            }
            Placement::Before => {
                let normal = block.attention_norm.forward(x)?;
                let x = (x + self.attention(block, &normal, lengths)?)?;
                let normal = block.output_norm.forward(&x)?;
                &x + self.feed_forward(block, &normal)?
            }
        }
    }

    /// The attention of every text to itself.
    fn attention(&self, block: &Block, x: &Tensor, lengths: &[usize]) -> Computed<Tensor> {
        let (mut contexts, mut start) = (Vec::new(), 0);
        for length in lengths {
            contexts.push(self.attend(block, &x.narrow(0, start, *length)?)?);
            start += length;
        }
        block.attention_output.forward(&Tensor::cat(&contexts, 0)?)
    }

    /// What the heads of one text see, `[length, heads · head_size]`; queries in blocks, to hold the score budget.
    fn attend(&self, block: &Block, x: &Tensor) -> Computed<Tensor> {
        let (plan, length) = (&self.plan, x.dim(0)?);
        let query = self.heads(&block.query, block.query_norm.as_ref(), x)?;
        let key = self.heads(&block.key, block.key_norm.as_ref(), x)?;
        let (query, key) = match plan.positions {
            Positions::Rotary { base, .. } => (turn(&query, base)?, turn(&key, base)?),
            Positions::Learned { .. } => (query, key),
        };
        let query = (query * (plan.head_size as f64).powf(-0.5))?;
        let key = repeat(&key, plan.heads)?.t()?.contiguous()?;
        let value = repeat(&self.heads(&block.value, None, x)?, plan.heads)?;
        let step = (SCORE_BUDGET / (plan.heads * length)).clamp(1, length);
        let contexts = (0..length).step_by(step).map(|start| {
            let rows = query.narrow(1, start, step.min(length - start))?.contiguous()?;
            let mut scores = rows.matmul(&key)?;
            if plan.causal {
                scores = scores.broadcast_add(&causal_mask(start, scores.dim(1)?, length)?)?;
            }
            ops::softmax(&scores, D::Minus1)?.matmul(&value)
        });
        let context = Tensor::cat(&contexts.collect::<Computed<Vec<_>>>()?, 1)?;
        context.transpose(0, 1)?.contiguous()?.reshape((length, plan.query_width()))
    }

    /// Projects into heads, `[heads, length, head_size]`, and normalises each if there is a norm for it.
    fn heads(&self, linear: &Linear, norm: Option<&Norm>, x: &Tensor) -> Computed<Tensor> {
        let heads = linear.forward(x)?.reshape((x.dim(0)?, (), self.plan.head_size))?;
        let heads = heads.transpose(0, 1)?.contiguous()?;
        match norm {
            Some(norm) => norm.forward(&heads),
            None => Ok(heads),
        }
    }

    fn feed_forward(&self, block: &Block, x: &Tensor) -> Computed<Tensor> {
        let up = block.up.forward(x)?;
        let inner = match &block.gate {
            Some(gate) => (activate(&gate.forward(x)?, self.plan.activation)? * up)?,
            None => activate(&up, self.plan.activation)?,
        };
        block.down.forward(&inner)
    }
}

/// Turns the pairs `(i, i + size / 2)` of every head by its position times the frequency of the pair.
fn turn(heads: &Tensor, base: f64) -> Computed<Tensor> {
    let (_, length, size) = heads.dims3()?;
    let frequencies = frequencies(base, size);
    let angles = (0..length).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f));
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

/// Returns what to add to the scores of `rows` queries from `start`, so that none sees what stands behind it.
fn causal_mask(start: usize, rows: usize, length: usize) -> Computed<Tensor> {
    let hides = |row: usize, key: usize| if key > start + row { f32::NEG_INFINITY } else { 0.0 };
    let values = (0..rows).flat_map(|row| (0..length).map(move |key| hides(row, key)));
    Tensor::from_iter(values, &Device::Cpu)?.reshape((rows, length))
}

/// Applies an activation to every element.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Computed<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
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
}

/// A norm over the last dimension.
enum Norm {
    Layer { weight: Tensor, bias: Tensor, epsilon: f32 },
    Rms { weight: Tensor, epsilon: f32 },
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Computed<Tensor> {
        match self {
            Self::Layer { weight, bias, epsilon } => ops::layer_norm(x, weight, bias, *epsilon),
            Self::Rms { weight, epsilon } => ops::rms_norm(x, weight, *epsilon),
        }
    }
}

/// Fills slots from weight files.
struct Loader<'a> {
    plan: &'a Plan,
    stem: fn(Slot) -> String,
    weights: &'a Weights,
}

impl Loader<'_> {
    fn block(&self, layer: usize) -> Result<Block, Error> {
        let plan = self.plan;
        let (h, inner) = (plan.hidden, plan.inner);
        let head_norm = |slot| optional(plan.head_norm, || self.rms_norm(slot, plan.head_size));
        Ok(Block {
            query: self.linear(Slot::Query(layer), plan.query_width(), h)?,
            key: self.linear(Slot::Key(layer), plan.key_width(), h)?,
            value: self.linear(Slot::Value(layer), plan.key_width(), h)?,
            query_norm: head_norm(Slot::QueryNorm(layer))?,
            key_norm: head_norm(Slot::KeyNorm(layer))?,
            attention_output: self.linear(Slot::AttentionOutput(layer), h, plan.query_width())?,
            attention_norm: self.norm(Slot::AttentionNorm(layer))?,
            gate: optional(plan.gated, || self.linear(Slot::Gate(layer), inner, h))?,
            up: self.linear(Slot::Up(layer), inner, h)?,
            down: self.linear(Slot::Down(layer), h, inner)?,
            output_norm: self.norm(Slot::OutputNorm(layer))?,
        })
    }

    fn table(&self, slot: Slot, rows: usize) -> Result<Tensor, Error> {
        self.weights.weight(&(self.stem)(slot), &[rows, self.plan.hidden])
    }

    fn linear(&self, slot: Slot, outputs: usize, inputs: usize) -> Result<Linear, Error> {
        let stem = (self.stem)(slot);
        let weight = self.weights.weight(&stem, &[outputs, inputs])?;
        let bias = optional(self.plan.biases, || self.weights.bias(&stem, outputs))?;
        Ok(Linear { weight, bias })
    }

    fn norm(&self, slot: Slot) -> Result<Norm, Error> {
        if self.plan.norm == NormKind::Rms {
            return self.rms_norm(slot, self.plan.hidden);
        }
        let stem = (self.stem)(slot);
        let weight = self.weights.weight(&stem, &[self.plan.hidden])?;
        let bias = self.weights.bias(&stem, self.plan.hidden)?;
        Ok(Norm::Layer { weight, bias, epsilon: self.plan.epsilon as f32 })
    }

    fn rms_norm(&self, slot: Slot, width: usize) -> Result<Norm, Error> {
        let weight = self.weights.weight(&(self.stem)(slot), &[width])?;
        Ok(Norm::Rms { weight, epsilon: self.plan.epsilon as f32 })
    }
}
