//! How the weights of a plan come from its files into tensors.

use candle_core::{Device, Tensor};

use super::{Block, Entry, Inner, Linear, Norm};
use crate::{
    Error, Plan,
    architectures::{Architecture, Part, Slot},
    executor::{experts::Files, optional, relative::sides, token_table},
    plan::{Adapters, NormKind, Placement, ProjectionNorm},
    weights::{Matrix, Weights},
};

/// Fills slots from weight files.
pub(crate) struct Loader<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) architecture: &'a Architecture,
    pub(crate) weights: &'a Weights,
}

impl Loader<'_> {
    pub(super) fn entry(&self) -> Result<Entry, Error> {
        let Some(patches) = self.plan.patches else {
            return Ok(Entry::Tokens(token_table(self.plan, self.architecture, self.weights)?));
        };
        let (size, hidden) = (patches.size, self.plan.hidden);
        let stem = self.architecture.stem(Slot::Patches, self.plan);
        let weight = self.weights.weight(&stem, &[hidden, 3, size, size])?.flatten(1, 3)?;
        let bias = optional(patches.bias, || self.weights.bias(&stem, hidden))?;
        let class = optional(patches.class, || {
            self.weights.weight(&self.architecture.stem(Slot::Class, self.plan), &[hidden])
        })?;
        Ok(Entry::Patches { linear: Linear { weight, bias, tasks: Vec::new() }, class })
    }

    pub(super) fn block(&self, layer: usize) -> Result<Block, Error> {
        let (plan, biases) = (self.plan, self.plan.biases);
        let (h, query) = (plan.hidden, plan.query_width());
        let projection_norm = |slot, width| match plan.projection_norm {
            ProjectionNorm::None => Ok(None),
            ProjectionNorm::Heads => self.rms_norm(slot, plan.head_size).map(Some),
            ProjectionNorm::Whole => self.norm_over(slot, width).map(Some),
        };
        let around = plan.placement == Placement::Around;
        let again = around || plan.placement == Placement::Twice;
        Ok(Block {
            layer,
            query: self.linear(Slot::Query(layer), h, biases.projection)?,
            key: self.linear(Slot::Key(layer), h, biases.projection)?,
            value: self.linear(Slot::Value(layer), h, biases.projection)?,
            relative: plan.relative.map(|relative| sides(self, relative, layer)).transpose()?,
            query_norm: projection_norm(Slot::QueryNorm(layer), query)?,
            key_norm: projection_norm(Slot::KeyNorm(layer), plan.key_width())?,
            attention_output: self.linear(Slot::AttentionOutput(layer), query, biases.output)?,
            attention_norm: optional(plan.has_attention_norm(layer), || {
                self.norm(Slot::AttentionNorm(layer))
            })?,
            attention_after_norm: optional(again, || self.norm(Slot::AttentionAfterNorm(layer)))?,
            inner: self.inner(layer)?,
            output_norm: self.norm(Slot::OutputNorm(layer))?,
            output_after_norm: optional(around, || self.norm(Slot::OutputAfterNorm(layer)))?,
        })
    }

    fn inner(&self, layer: usize) -> Result<Inner, Error> {
        let (plan, h, biases) = (self.plan, self.plan.hidden, self.plan.biases);
        let Some(experts) = plan.experts(layer) else {
            return Ok(Inner::One {
                gate: optional(plan.gated, || self.linear(Slot::Gate(layer), h, biases.up))?,
                up: self.linear(Slot::Up(layer), h, biases.up)?,
                down: self.linear(Slot::Down(layer), plan.inner, biases.down)?,
            });
        };
        let plain = |weight: Tensor| Linear { weight, bias: None, tasks: Vec::new() };
        let at = (layer, experts.count);
        let files = Files::open(plan, self.architecture, self.weights, at)?;
        let tensor =
            |matrix: &Matrix, rows| Tensor::from_vec(matrix.values(h), (rows, h), &Device::Cpu);
        let [up, down] =
            [&files.up, &files.down].map(|all| tensor(all, experts.count * plan.inner));
        let (up, down) = (up?, down?);
        let part = |all: &Tensor, expert: usize| all.narrow(0, expert * plan.inner, plan.inner);
        let expert = |i| Ok([plain(part(&up, i)?), plain(part(&down, i)?.t()?.contiguous()?)]);
        Ok(Inner::Experts {
            router: plain(tensor(&files.router, experts.count)?),
            experts: (0..experts.count).map(expert).collect::<Result<_, Error>>()?,
            bias: Tensor::from_vec(files.bias, h, &Device::Cpu)?,
            used: experts.used,
        })
    }

    pub(crate) fn table(&self, slot: Slot, rows: usize) -> Result<Tensor, Error> {
        self.weights.weight(&self.architecture.stem(slot, self.plan), &[rows, self.plan.hidden])
    }

    pub(super) fn distances(&self) -> Result<Vec<f32>, Error> {
        let rows = self.plan.distances.map_or(0, |distances| distances.buckets());
        if rows == 0 {
            return Ok(Vec::new());
        }
        let stem = self.architecture.stem(Slot::DistanceTable, self.plan);
        Ok(self.weights.weight(&stem, &[rows, self.plan.heads])?.flatten_all()?.to_vec1()?)
    }

    pub(crate) fn linear(&self, slot: Slot, inputs: usize, bias: bool) -> Result<Linear, Error> {
        let part = self.architecture.part(slot, self.plan);
        let weight = self.weights.weight(&part.stem, &[part.of, inputs])?;
        let bias = optional(bias, || {
            Ok(self.weights.bias(&part.stem, part.of)?.narrow(0, part.first, part.rows)?)
        })?;
        let tasks = self.tasks(&part, inputs)?;
        Ok(Linear { weight: weight.narrow(0, part.first, part.rows)?, bias, tasks })
    }

    fn tasks(&self, part: &Part, inputs: usize) -> Result<Vec<[Tensor; 2]>, Error> {
        let Some(Adapters { tasks, rank, scale }) = &self.plan.adapters else {
            return Ok(Vec::new());
        };
        let count = tasks.len();
        let first = self.weights.adapter(&part.stem, 'A', [count, *rank, inputs])?.values(inputs);
        let second = self.weights.adapter(&part.stem, 'B', [count, part.of, *rank])?.values(*rank);
        let first = Tensor::from_vec(first, (count, *rank, inputs), &Device::Cpu)?;
        let second = Tensor::from_vec(second, (count, part.of, *rank), &Device::Cpu)?;
        let second = (second.narrow(1, part.first, part.rows)? * f64::from(*scale))?;
        (0..count).map(|task| Ok([first.get(task)?, second.get(task)?])).collect()
    }

    pub(crate) fn norm(&self, slot: Slot) -> Result<Norm, Error> {
        self.norm_over(slot, self.plan.hidden)
    }

    fn norm_over(&self, slot: Slot, size: usize) -> Result<Norm, Error> {
        let epsilon = self.plan.epsilon as f32;
        let stem = self.architecture.stem(slot, self.plan);
        let weight = || self.weights.weight(&stem, &[size]);
        Ok(match self.plan.norm {
            NormKind::Rms | NormKind::RmsLessOne => self.rms_norm(slot, size)?,
            NormKind::Layer => {
                Norm::Layer { weight: weight()?, bias: self.weights.bias(&stem, size)?, epsilon }
            }
            NormKind::Unbiased => {
                let weight = weight()?;
                Norm::Layer { bias: weight.zeros_like()?, weight, epsilon }
            }
        })
    }

    fn rms_norm(&self, slot: Slot, width: usize) -> Result<Norm, Error> {
        let mut weight = self.weights.weight(&self.architecture.stem(slot, self.plan), &[width])?;
        if self.plan.norm == NormKind::RmsLessOne {
            weight = (weight + 1.0)?;
        }
        Ok(Norm::Rms { weight, epsilon: self.plan.epsilon as f32 })
    }
}
