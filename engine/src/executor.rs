//! How a plan runs on a pack of texts.
//!
//! The tokens of all texts stand behind one another, `[tokens, hidden]`; nothing is ever padded. Only attention
//! looks at where texts begin and end.

use candle_core::Tensor;

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    ops::{self, Arithmetic, Linear, Norm, Pass},
    plan::Activation,
    tokens::Tokens,
    weights::Weights,
};

/// The weights of an encoder, in f32.
pub(crate) struct Encoder {
    plan: Plan,
    arithmetic: Arithmetic,
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

impl Encoder {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn load(
        plan: &Plan,
        architecture: &Architecture,
        weights: &mut Weights,
        arithmetic: Arithmetic,
    ) -> Result<Self, Error> {
        weights.anchor(&format!("{}.weight", (architecture.stem)(Slot::TokenTable)))?;
        let loader = Loader { plan, stem: architecture.stem, weights, arithmetic };
        Ok(Self {
            tokens: loader.table(Slot::TokenTable, plan.vocabulary)?,
            positions: loader.positions()?,
            norm: loader.norm(Slot::EmbeddingNorm)?,
            blocks: (0..plan.layers).map(|layer| loader.block(layer)).collect::<Result<_, _>>()?,
            plan: plan.clone(),
            arithmetic,
        })
    }

    /// Computes the hidden states of all texts, `[tokens, hidden]`, and where each text starts (and the last ends).
    pub(crate) fn forward(
        &self,
        texts: &[&Tokens],
        pass: Pass,
    ) -> Result<(Tensor, Vec<usize>), Error> {
        let (mut ids, mut rows, mut starts) = (Vec::new(), Vec::new(), vec![0]);
        for text in texts {
            let first = self.plan.first_position as u32;
            rows.extend(first..first + text.ids.len() as u32);
            ids.extend_from_slice(&text.ids);
            starts.push(ids.len());
        }
        let sum = (ops::rows(&self.tokens, ids)? + ops::rows(&self.positions, rows)?)?;
        let mut hidden = self.norm.forward(&sum)?;
        for block in &self.blocks {
            hidden = self.run(block, &hidden, &starts, pass)?;
        }
        Ok((hidden, starts))
    }

    fn run(
        &self,
        block: &Block,
        x: &Tensor,
        starts: &[usize],
        pass: Pass,
    ) -> Result<Tensor, Error> {
        let projected = block.attention.forward(x, Activation::Identity, pass)?;
        let context = ops::attend(&projected, starts, self.plan.heads, self.arithmetic, pass)?;
        let x = block.attention_output.add_norm(&context, x, &block.attention_norm, pass)?;
        let inner = block.up.forward(&x, self.plan.activation, pass)?;
        Ok(block.down.add_norm(&inner, &x, &block.output_norm, pass)?)
    }
}

/// Fills slots from weight files.
struct Loader<'a> {
    plan: &'a Plan,
    stem: fn(Slot) -> String,
    weights: &'a Weights,
    arithmetic: Arithmetic,
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
        let weight = self.weights.weight(&stem, &[self.plan.hidden])?;
        let bias = self.weights.bias(&stem, self.plan.hidden)?;
        Ok(Norm::new(weight, bias, self.plan.epsilon as f32, self.arithmetic)?)
    }

    fn linear(&self, slot: Slot, outputs: usize, inputs: usize) -> Result<Linear, Error> {
        let stem = (self.stem)(slot);
        let weight = self.weights.weight(&stem, &[outputs, inputs])?;
        let bias = self.weights.bias(&stem, outputs)?;
        Ok(Linear::new(weight, Some(bias), self.arithmetic)?)
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
        Ok(Linear::new(join(weights)?, Some(join(biases)?), self.arithmetic)?)
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
