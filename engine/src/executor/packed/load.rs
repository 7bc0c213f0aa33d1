//! How the weights of a plan come from its files into panels: row by row from the mapping, on all threads.

use modelfiles::recipe::Precision;

use super::{Block, Encoder};
use crate::{
    Error, Plan,
    architectures::Slot,
    executor::optional,
    kernels::{HeadNorms, Isa, Norm, Packed, Shape, Source},
    plan::{NormKind, Placement},
    weights::{Matrix, View, Weights},
};

/// Inputs whose products, 255·127 at most, add up to less than 2³¹.
const MOST_INTEGER_INPUTS: usize = 66_000;

/// Fills slots from weight files.
pub(crate) struct Loader<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) stem: fn(Slot) -> String,
    pub(crate) weights: &'a Weights,
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    pub(crate) threads: usize,
}

impl Loader<'_> {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn encoder(&self) -> Result<Encoder, Error> {
        let plan = self.plan;
        let before = plan.placement == Placement::Before;
        let shape = Shape {
            heads: plan.heads,
            kv_heads: plan.kv_heads,
            size: plan.head_size,
            causal: plan.causal,
        };
        Ok(Encoder {
            isa: self.isa,
            shape,
            tokens: self.matrix(Slot::TokenTable, plan.vocabulary, plan.hidden)?,
            positions: self.positions()?,
            embedding_norm: optional(plan.embedding_norm, || self.norm(Slot::EmbeddingNorm))?,
            blocks: (0..plan.layers).map(|layer| self.block(layer)).collect::<Result<_, _>>()?,
            final_norm: optional(before, || self.norm(Slot::FinalNorm))?,
            plan: plan.clone(),
        })
    }

    fn block(&self, layer: usize) -> Result<Block, Error> {
        let plan = self.plan;
        let (h, inner) = (plan.hidden, plan.inner);
        let (query, key) = (plan.query_width(), plan.key_width());
        let projections =
            [(Slot::Query(layer), query), (Slot::Key(layer), key), (Slot::Value(layer), key)];
        let head_norms = || {
            let query = self.rms_norm(Slot::QueryNorm(layer), plan.head_size)?;
            Ok(HeadNorms { query, key: self.rms_norm(Slot::KeyNorm(layer), plan.head_size)? })
        };
        Ok(Block {
            projection: self.linear(&projections, h, self.projection_precision(layer))?,
            head_norms: optional(plan.head_norm, head_norms)?,
            attention_output: self.linear(
                &[(Slot::AttentionOutput(layer), h)],
                query,
                self.precision,
            )?,
            attention_norm: self.norm(Slot::AttentionNorm(layer))?,
            gate: optional(plan.gated, || {
                self.linear(&[(Slot::Gate(layer), inner)], h, self.precision)
            })?,
            up: self.linear(&[(Slot::Up(layer), inner)], h, self.precision)?,
            down: self.linear(&[(Slot::Down(layer), h)], inner, self.precision)?,
            output_norm: self.norm(Slot::OutputNorm(layer))?,
        })
    }

    /// Returns the precision of queries, keys and values. Of all layers, integers hurt most in the last of these: in
    /// bf16 the last third keeps a part of what the neighbours of a text would lose, for an eighth of the time.
    fn projection_precision(&self, layer: usize) -> Precision {
        match self.precision {
            Precision::Int8 if self.plan.is_late(layer) => Precision::Bf16,
            precision => precision,
        }
    }

    /// Packs layers that read the same inputs as one.
    fn linear(
        &self,
        parts: &[(Slot, usize)],
        inputs: usize,
        precision: Precision,
    ) -> Result<Packed, Error> {
        let matrix = |(slot, outputs): &(Slot, usize)| self.matrix(*slot, *outputs, inputs);
        let matrices = parts.iter().map(matrix).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<View<'_>> = matrices.iter().map(Matrix::view).collect();
        let mut bias = Vec::new();
        for (slot, outputs) in parts {
            bias.extend(match self.plan.biases {
                true => self.vector(&(self.stem)(*slot), "bias", *outputs)?,
                false => vec![0.0; *outputs],
            });
        }
        let precision = match precision {
            // Sums of integers would not fit into 32 bits.
            Precision::Int8 if inputs > MOST_INTEGER_INPUTS => Precision::Bf16,
            precision => precision,
        };
        let read = |output: usize, to: &mut [f32]| read(&views, output, to);
        let source = Source { inputs, bias, read: &read };
        Ok(Packed::new(&source, self.isa.format(precision), self.isa.tile().1, self.threads))
    }

    /// Returns the position rows, each with the row of token type 0 added.
    fn positions(&self) -> Result<Vec<f32>, Error> {
        let (rows, width) = (self.plan.positions.rows(), self.plan.hidden);
        let mut positions = vec![0.0; rows * width];
        if rows > 0 {
            let table = self.matrix(Slot::PositionTable, rows, width)?;
            let view = table.view();
            positions.chunks_exact_mut(width).enumerate().for_each(|(i, row)| view.read(i, row));
        }
        if rows > 0 && self.plan.token_types > 0 {
            let table = self.matrix(Slot::TypeTable, self.plan.token_types, width)?;
            let mut first = vec![0.0; width];
            table.view().read(0, &mut first);
            for row in positions.chunks_exact_mut(width) {
                row.iter_mut().zip(&first).for_each(|(x, t)| *x += t);
            }
        }
        Ok(positions)
    }

    fn norm(&self, slot: Slot) -> Result<Norm, Error> {
        if self.plan.norm == NormKind::Rms {
            return self.rms_norm(slot, self.plan.hidden);
        }
        let bias = self.vector(&(self.stem)(slot), "bias", self.plan.hidden)?;
        Ok(Norm { bias: Some(bias), ..self.rms_norm(slot, self.plan.hidden)? })
    }

    fn rms_norm(&self, slot: Slot, width: usize) -> Result<Norm, Error> {
        let weight = self.vector(&(self.stem)(slot), "weight", width)?;
        Ok(Norm { weight, bias: None, epsilon: self.plan.epsilon as f32 })
    }

    fn vector(&self, stem: &str, kind: &str, size: usize) -> Result<Vec<f32>, Error> {
        let tensor = match kind {
            "bias" => self.weights.bias(stem, size)?,
            _ => self.weights.weight(stem, &[size])?,
        };
        Ok(tensor.to_vec1()?)
    }

    fn matrix(&self, slot: Slot, rows: usize, columns: usize) -> Result<Matrix, Error> {
        self.weights.matrix(&(self.stem)(slot), rows, columns)
    }
}

/// Reads an output of layers that stand behind one another.
fn read(views: &[View<'_>], mut output: usize, to: &mut [f32]) {
    for view in views {
        if output < view.rows {
            return view.read(output, to);
        }
        output -= view.rows;
    }
}
