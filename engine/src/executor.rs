//! How a plan runs on a pack of texts, in stock tensor operations: the specification for every faster form.
//!
//! The tokens of all texts stand behind one another, `[tokens, hidden]`; nothing is ever padded. Only attention
//! looks at where texts begin and end.

use candle_core::{D, Device, Tensor};
use candle_nn::ops;

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    plan::Activation,
    tokens::Tokens,
    weights::Weights,
};

/// The weights of an encoder, in f32.
pub(crate) struct Encoder {
    plan: Plan,
    tokens: Tensor,
    /// Position rows, with the row of token type 0 added: every token of a single text has that type.
    positions: Tensor,
    norm: Norm,
    blocks: Vec<Block>,
}

struct Block {
    /// Query, key and value as one layer.
    attention: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

/// y = x·Wᵀ + b.
pub(crate) struct Linear {
    /// `[outputs, inputs]`.
    weight: Tensor,
    bias: Option<Tensor>,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        self.bias.as_ref().map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
    }
}

impl Norm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}

/// Applies an activation to every element.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
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

impl Encoder {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn load(
        plan: &Plan,
        architecture: &Architecture,
        weights: &mut Weights,
    ) -> Result<Self, Error> {
        weights.anchor(&format!("{}.weight", (architecture.stem)(Slot::TokenTable)))?;
        let loader = Loader { plan, stem: architecture.stem, weights };
        Ok(Self {
            tokens: loader.table(Slot::TokenTable, plan.vocabulary)?,
            positions: loader.positions()?,
            norm: loader.norm(Slot::EmbeddingNorm)?,
            blocks: (0..plan.layers).map(|layer| loader.block(layer)).collect::<Result<_, _>>()?,
            plan: plan.clone(),
        })
    }

    /// Computes the hidden states of all texts, `[tokens, hidden]`, and where each text starts (and the last ends).
    pub(crate) fn forward(&self, texts: &[&Tokens]) -> Result<(Tensor, Vec<usize>), Error> {
        let (mut ids, mut rows, mut starts) = (Vec::new(), Vec::new(), vec![0]);
        for text in texts {
            let first = self.plan.first_position as u32;
            rows.extend(first..first + text.ids.len() as u32);
            ids.extend_from_slice(&text.ids);
            starts.push(ids.len());
        }
        let ids = Tensor::new(ids, &Device::Cpu)?;
        let rows = Tensor::new(rows, &Device::Cpu)?;
        let sum = (self.tokens.index_select(&ids, 0)? + self.positions.index_select(&rows, 0)?)?;
        let mut hidden = self.norm.forward(&sum)?;
        for block in &self.blocks {
            hidden = block.forward(&self.plan, &hidden, &starts)?;
        }
        Ok((hidden, starts))
    }
}

impl Block {
    fn forward(&self, plan: &Plan, x: &Tensor, starts: &[usize]) -> candle_core::Result<Tensor> {
        let projected = self.attention.forward(x)?;
        let texts = starts
            .windows(2)
            .map(|ends| attend(plan, &projected.narrow(0, ends[0], ends[1] - ends[0])?));
        let context = Tensor::cat(&texts.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        let attended = self.attention_output.forward(&context)?;
        let x = self.attention_norm.forward(&(attended + x)?)?;
        let inner = activate(&self.up.forward(&x)?, plan.activation)?;
        self.output_norm.forward(&(self.down.forward(&inner)? + x)?)
    }
}

/// Self-attention of one text, `[length, 3·hidden]` → `[length, hidden]`. The queries of a long text go in blocks, so
/// that the scores stay within their budget.
fn attend(plan: &Plan, projected: &Tensor) -> candle_core::Result<Tensor> {
    let (length, _) = projected.dims2()?;
    let size = plan.hidden / plan.heads;
    let part = |i: usize| {
        let part = projected.narrow(1, i * plan.hidden, plan.hidden)?;
        part.reshape((length, plan.heads, size))?.transpose(0, 1)?.contiguous()
    };
    let query = (part(0)? * (1.0 / (size as f64).sqrt()))?;
    let (key, value) = (part(1)?.t()?.contiguous()?, part(2)?);
    let block = plan.query_block(length);
    let blocks = (0..length).step_by(block).map(|start| {
        let rows = query.narrow(1, start, block.min(length - start))?.contiguous()?;
        ops::softmax(&rows.matmul(&key)?, D::Minus1)?.matmul(&value)
    });
    let context = Tensor::cat(&blocks.collect::<candle_core::Result<Vec<_>>>()?, 1)?;
    context.transpose(0, 1)?.contiguous()?.reshape((length, plan.hidden))
}

/// Fills slots from weight files.
struct Loader<'a> {
    plan: &'a Plan,
    stem: fn(Slot) -> String,
    weights: &'a Weights,
}

impl Loader<'_> {
    fn table(&self, slot: Slot, rows: usize) -> Result<Tensor, Error> {
        self.weights.weight(&(self.stem)(slot), &[rows, self.plan.hidden])
    }

    fn positions(&self) -> Result<Tensor, Error> {
        let rows = self.table(Slot::PositionTable, self.plan.positions)?;
        if self.plan.token_types == 0 {
            return Ok(rows);
        }
        let types = self.table(Slot::TypeTable, self.plan.token_types)?;
        Ok(rows.broadcast_add(&types.narrow(0, 0, 1)?)?)
    }

    fn norm(&self, slot: Slot) -> Result<Norm, Error> {
        let stem = (self.stem)(slot);
        Ok(Norm {
            weight: self.weights.weight(&stem, &[self.plan.hidden])?,
            bias: self.weights.bias(&stem, self.plan.hidden)?,
            epsilon: self.plan.epsilon as f32,
        })
    }

    fn linear(&self, slot: Slot, outputs: usize, inputs: usize) -> Result<Linear, Error> {
        let stem = (self.stem)(slot);
        let weight = self.weights.weight(&stem, &[outputs, inputs])?;
        Ok(Linear::new(weight, Some(self.weights.bias(&stem, outputs)?)))
    }

    fn attention(&self, layer: usize) -> Result<Linear, Error> {
        let h = self.plan.hidden;
        let parts = [Slot::Query(layer), Slot::Key(layer), Slot::Value(layer)];
        let stems = parts.map(self.stem);
        let weights = stems.each_ref().map(|stem| self.weights.weight(stem, &[h, h]));
        let biases = stems.each_ref().map(|stem| self.weights.bias(stem, h));
        let join = |parts: [Result<Tensor, Error>; 3]| -> Result<Tensor, Error> {
            Ok(Tensor::cat(&parts.into_iter().collect::<Result<Vec<_>, _>>()?, 0)?)
        };
        Ok(Linear::new(join(weights)?, Some(join(biases)?)))
    }

    fn block(&self, layer: usize) -> Result<Block, Error> {
        let (h, inner) = (self.plan.hidden, self.plan.inner);
        Ok(Block {
            attention: self.attention(layer)?,
            attention_output: self.linear(Slot::AttentionOutput(layer), h, h)?,
            attention_norm: self.norm(Slot::AttentionNorm(layer))?,
            up: self.linear(Slot::Up(layer), inner, h)?,
            down: self.linear(Slot::Down(layer), h, inner)?,
            output_norm: self.norm(Slot::OutputNorm(layer))?,
        })
    }
}
