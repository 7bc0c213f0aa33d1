//! How the weights of a plan come from its files into panels: row by row from the mapping, on all threads.

use candle_core::Tensor;
use modelfiles::recipe::Precision;

use super::{Block, Encoder, Entry, FeedForward, Inner, Layer, Mixture};
use crate::{
    Error, Plan,
    architectures::{Architecture, Part, Slot},
    executor::{adapters::TaskRows, experts::Files, optional, relative::sides, stock, token_table},
    kernels::{Isa, Norm, Packed, ProjectionNorms, Relative, Shape, Source},
    plan::{Experts, NormKind, Placement, ProjectionNorm},
    weights::{View, Weights},
};

/// Inputs whose products, 255·127 at most, add up to less than 2³¹.
const MOST_INTEGER_INPUTS: usize = 66_000;

/// Fills slots from weight files.
pub(crate) struct Loader<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) architecture: &'a Architecture,
    pub(crate) weights: &'a Weights,
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    pub(crate) threads: usize,
}

impl Loader<'_> {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn encoder(&self) -> Result<Encoder, Error> {
        let plan = self.plan;
        let shape = Shape {
            heads: plan.heads,
            kv_heads: plan.kv_heads,
            size: plan.head_size,
            causal: plan.causal,
            scale: plan.scale,
        };
        let ends_normal = !plan.placement.is_after();
        Ok(Encoder {
            isa: self.isa,
            shape,
            entry: self.entry()?,
            task_rows: TaskRows::load(plan, self.architecture, self.weights)?,
            added: self.added()?,
            second_type: self.second_type()?,
            embedding_norm: optional(plan.embedding_norm, || self.norm(Slot::EmbeddingNorm))?,
            distances: self.distances()?,
            blocks: (0..plan.layers).map(|layer| self.block(layer)).collect::<Result<_, _>>()?,
            final_norm: optional(ends_normal, || self.norm(Slot::FinalNorm))?,
            plan: plan.clone(),
        })
    }

    /// Patches are read in f32, whatever the precision: there is one such layer, and nothing before it makes up for it.
    fn entry(&self) -> Result<Entry, Error> {
        let Some(patches) = self.plan.patches else {
            return Ok(Entry::Tokens(token_table(self.plan, self.architecture, self.weights)?));
        };
        let (stem, hidden) = (self.stem(Slot::Patches), self.plan.hidden);
        let table = self.weights.table(&stem, &[hidden, 3, patches.size, patches.size])?;
        let view = table.view();
        let read = |output: usize, to: &mut [f32]| view.read(output, to);
        let bias = match patches.bias {
            true => self.vector(&stem, "bias", hidden)?,
            false => vec![0.0; hidden],
        };
        let source = Source { inputs: patches.width(), bias, read: &read };
        let format = self.isa.format(Precision::F32);
        let class =
            optional(patches.class, || self.vector(&self.stem(Slot::Class), "weight", hidden))?;
        Ok(Entry::Patches {
            weights: Packed::new(&source, format, self.isa.tile().1, self.threads),
            class: class.unwrap_or_default(),
        })
    }

    fn block(&self, layer: usize) -> Result<Block, Error> {
        let (plan, biases) = (self.plan, self.plan.biases);
        let (h, query) = (plan.hidden, plan.query_width());
        let projections = [Slot::Query(layer), Slot::Key(layer), Slot::Value(layer)];
        let linear = |slot, inputs, bias| self.linear(&[slot], inputs, bias, self.precision);
        let around = plan.placement == Placement::Around;
        let again = around || plan.placement == Placement::Twice;
        Ok(Block {
            reach: plan.reach(layer),
            projection: self.linear(
                &projections,
                h,
                biases.projection,
                self.projection_precision(layer),
            )?,
            projection_norms: self.projection_norms(layer)?,
            relative: self.relative(layer)?,
            attention_output: linear(Slot::AttentionOutput(layer), query, biases.output)?,
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
        let (plan, biases) = (self.plan, self.plan.biases);
        if let Some(experts) = plan.experts(layer) {
            return self.mixture(layer, experts).map(Inner::Mixture);
        }
        let (h, inner) = (plan.hidden, plan.inner);
        let linear = |slot, inputs, bias| self.linear(&[slot], inputs, bias, self.precision);
        Ok(Inner::One(Box::new(FeedForward {
            gate: optional(plan.gated, || linear(Slot::Gate(layer), h, biases.up))?,
            up: linear(Slot::Up(layer), h, biases.up)?,
            down: linear(Slot::Down(layer), inner, biases.down)?,
        })))
    }

    fn mixture(&self, layer: usize, experts: &Experts) -> Result<Mixture, Error> {
        let (plan, h, inner) = (self.plan, self.plan.hidden, self.plan.inner);
        let at = (layer, experts.count);
        let files = Files::open(plan, self.architecture, self.weights, at)?;
        let pack = |rows: View<'_>, precision| {
            let read = |output: usize, to: &mut [f32]| rows.read(output, to);
            self.pack(&Source { inputs: h, bias: vec![0.0; rows.rows], read: &read }, precision)
        };
        let expert = |expert: usize| {
            let up = pack(files.up.view().part(expert * inner, inner), self.precision);
            let down = files.down.view().part(expert * inner, inner);
            let mut turned = vec![0.0; h * inner];
            let mut row = vec![0.0; h];
            for input in 0..inner {
                down.read(input, &mut row);
                row.iter().enumerate().for_each(|(output, x)| turned[output * inner + input] = *x);
            }
            let read = |output: usize, to: &mut [f32]| {
                to.copy_from_slice(&turned[output * inner..][..inner]);
            };
            let source = Source { inputs: inner, bias: vec![0.0; h], read: &read };
            [up, self.pack(&source, self.precision)]
        };
        Ok(Mixture {
            router: pack(files.router.view(), Precision::F32),
            experts: (0..experts.count).map(expert).collect(),
            bias: files.bias,
            used: experts.used,
        })
    }

    fn projection_norms(&self, layer: usize) -> Result<Option<ProjectionNorms>, Error> {
        let (plan, slots) = (self.plan, (Slot::QueryNorm(layer), Slot::KeyNorm(layer)));
        let norm = |slot, width| match plan.projection_norm {
            ProjectionNorm::Whole => self.norm_over(slot, width),
            ProjectionNorm::Heads | ProjectionNorm::None => self.rms_norm(slot, plan.head_size),
        };
        optional(plan.projection_norm != ProjectionNorm::None, || {
            let query = norm(slots.0, plan.query_width())?;
            Ok(ProjectionNorms { query, key: norm(slots.1, plan.key_width())? })
        })
    }

    /// Packs the rows for distances.
    fn relative(&self, layer: usize) -> Result<Option<Relative>, Error> {
        let Some(relative) = self.plan.relative else { return Ok(None) };
        let Self { plan, architecture, weights, .. } = self;
        let sides = sides(&stock::Loader { plan, architecture, weights }, relative, layer)?;
        let pack = |side: Option<Tensor>| {
            let side = side.map(|side| side.flatten_all()?.to_vec1()).transpose()?;
            let panels = |rows: Vec<f32>| self.isa.panels(&rows, plan.heads, plan.head_size);
            Ok::<_, Error>(side.map(panels))
        };
        Ok(Some(Relative { keys: pack(sides.keys)?, queries: pack(sides.queries)? }))
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
        slots: &[Slot],
        inputs: usize,
        has_bias: bool,
        precision: Precision,
    ) -> Result<Layer, Error> {
        let parts = slots.iter().map(|slot| self.architecture.part(*slot, self.plan));
        let parts: Vec<_> = parts.collect();
        let matrix = |part: &Part| self.weights.matrix(&part.stem, part.of, inputs);
        let matrices = parts.iter().map(matrix).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<View<'_>> = matrices
            .iter()
            .zip(&parts)
            .map(|(matrix, part)| matrix.view().part(part.first, part.rows))
            .collect();
        let mut bias = Vec::new();
        for part in &parts {
            bias.extend(match has_bias {
                true => {
                    self.vector(&part.stem, "bias", part.of)?[part.first..][..part.rows].to_vec()
                }
                false => vec![0.0; part.rows],
            });
        }
        let precision = match precision {
            // Sums of integers would not fit into 32 bits.
            Precision::Int8 if inputs > MOST_INTEGER_INPUTS => Precision::Bf16,
            precision => precision,
        };
        let Some(adapters) = &self.plan.adapters else {
            let read = |output: usize, to: &mut [f32]| read(&views, output, to);
            let source = Source { inputs, bias, read: &read };
            return Ok(Layer { weights: self.pack(&source, precision), tasks: None });
        };
        let (count, rank) = (adapters.tasks.len(), adapters.rank);
        let part = &parts[0];
        if parts.iter().any(|other| other.stem != part.stem) {
            let what = "adapters of layers that lie apart";
            return Err(Error::Unsupported(format!("{what} cannot run in this version")));
        }
        let second = self.weights.adapter(&part.stem, 'B', [count, part.of, rank])?;
        let read = |output: usize, to: &mut [f32]| {
            read(&views, output, &mut to[..inputs]);
            for (task, to) in to[inputs..].chunks_exact_mut(rank).enumerate() {
                second.view().read(task * part.of + part.first + output, to);
                to.iter_mut().for_each(|x| *x *= adapters.scale);
            }
        };
        let source = Source { inputs: inputs + adapters.rows(), bias, read: &read };
        let weights = self.pack(&source, precision);
        let first = self.weights.adapter(&part.stem, 'A', [count, rank, inputs])?;
        let read = |output: usize, to: &mut [f32]| first.view().read(output, to);
        let source = Source { inputs, bias: vec![0.0; adapters.rows()], read: &read };
        Ok(Layer { weights, tasks: Some(self.pack(&source, Precision::F32)) })
    }

    fn pack(&self, source: &Source<'_>, precision: Precision) -> Packed {
        Packed::new(source, self.isa.format(precision), self.isa.tile().1, self.threads)
    }

    /// Returns what is added to the rows of tokens: the position rows, each with the row of token type 0; that row
    /// alone where there is no position table.
    fn added(&self) -> Result<Vec<f32>, Error> {
        let (rows, width) = (self.plan.positions.rows(), self.plan.hidden);
        let types = self.plan.token_types;
        let mut added = vec![0.0; if rows == 0 && types > 0 { width } else { rows * width }];
        if rows > 0 {
            let table = self.weights.matrix(&self.stem(Slot::PositionTable), rows, width)?;
            let view = table.view();
            added.chunks_exact_mut(width).enumerate().for_each(|(i, row)| view.read(i, row));
        }
        if types > 0 {
            let table = self.weights.matrix(&self.stem(Slot::TypeTable), types, width)?;
            let mut first = vec![0.0; width];
            table.view().read(0, &mut first);
            for row in added.chunks_exact_mut(width) {
                row.iter_mut().zip(&first).for_each(|(x, t)| *x += t);
            }
        }
        Ok(added)
    }

    fn second_type(&self) -> Result<Vec<f32>, Error> {
        let (types, width) = (self.plan.token_types, self.plan.hidden);
        if types < 2 {
            return Ok(Vec::new());
        }
        let table = self.weights.matrix(&self.stem(Slot::TypeTable), types, width)?;
        let (mut first, mut second) = (vec![0.0; width], vec![0.0; width]);
        table.view().read(0, &mut first);
        table.view().read(1, &mut second);
        Ok(second.iter().zip(first).map(|(second, first)| second - first).collect())
    }

    fn distances(&self) -> Result<Vec<f32>, Error> {
        let rows = self.plan.distances.map_or(0, |distances| distances.buckets());
        if rows == 0 {
            return Ok(Vec::new());
        }
        let stem = self.stem(Slot::DistanceTable);
        Ok(self.weights.weight(&stem, &[rows, self.plan.heads])?.flatten_all()?.to_vec1()?)
    }

    fn norm(&self, slot: Slot) -> Result<Norm, Error> {
        self.norm_over(slot, self.plan.hidden)
    }

    fn norm_over(&self, slot: Slot, width: usize) -> Result<Norm, Error> {
        let norm = self.rms_norm(slot, width)?;
        Ok(match self.plan.norm {
            NormKind::Rms | NormKind::RmsLessOne => norm,
            NormKind::Unbiased => Norm { bias: Some(vec![0.0; width]), ..norm },
            NormKind::Layer => {
                let bias = self.vector(&self.stem(slot), "bias", width)?;
                Norm { bias: Some(bias), ..norm }
            }
        })
    }

    fn rms_norm(&self, slot: Slot, width: usize) -> Result<Norm, Error> {
        let mut weight = self.vector(&self.stem(slot), "weight", width)?;
        if self.plan.norm == NormKind::RmsLessOne {
            weight.iter_mut().for_each(|weight| *weight += 1.0);
        }
        Ok(Norm { weight, bias: None, epsilon: self.plan.epsilon as f32 })
    }

    fn vector(&self, stem: &str, kind: &str, size: usize) -> Result<Vec<f32>, Error> {
        let tensor = match kind {
            "bias" => self.weights.bias(stem, size)?,
            _ => self.weights.weight(stem, &[size])?,
        };
        Ok(tensor.to_vec1()?)
    }

    fn stem(&self, slot: Slot) -> String {
        self.architecture.stem(slot, self.plan)
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
