//! How hidden states become weights of tokens: what a text stands for, in words that may not be in it.

use std::collections::BTreeMap;

use modelfiles::recipe::Precision;

use super::{Linear, Loading, Norm};
use crate::{
    Error, Plan,
    architectures::Slot,
    plan::Activation,
    repository::{Predictions, Repository, SparseStep},
    threads::Team,
    tokens::Tokeniser,
};

/// Predictions that are held at a time: those of half a pack, for a vocabulary of BERT's size.
const PREDICTIONS: usize = 1 << 22;

/// The layers of a model that gives sparse output.
pub(super) enum Sparse {
    /// What a masked language model would put in place of each token (SPLADE: Formal et al., 2021).
    Predictions(Box<Layers>),
    /// A weight of each token of the text itself, of which a token that stands there twice has the greater (BGE-M3:
    /// Chen et al., 2024).
    Weights {
        linear: Linear,
        /// Tokens that stand around texts or for what is unknown: they have none.
        unused: Vec<u32>,
    },
}

/// The layers of a masked language model, behind the encoder.
pub(super) struct Layers {
    transform: Linear,
    activation: Activation,
    norm: Norm,
    decoder: Linear,
    /// Whether the weights of all places are added; else the greatest counts.
    sums: bool,
    /// Whether the logarithm is taken twice.
    twice: bool,
}

/// Reads the weights of tokens of a model whose queries are looked up: a tensor, or a list by token (OpenSearch's
/// inverse document frequencies).
pub(super) fn looked_up(
    repository: &Repository<'_>,
    folder: &str,
    plan: &Plan,
    tokeniser: &Tokeniser,
) -> Result<Vec<f32>, Error> {
    let Some(list) = repository.list_of_weights(folder)? else {
        return repository.module_weights(folder)?.vector("weight", plan.vocabulary);
    };
    let mut weights = vec![0.0; plan.vocabulary];
    for (token, weight) in list.entries() {
        let weight = weight.as_f64().ok_or_else(|| list.error("a weight is no number"))?;
        if let Some(place) = tokeniser.id(token).and_then(|id| weights.get_mut(id as usize)) {
            *place = weight as f32;
        }
    }
    Ok(weights)
}

impl Sparse {
    pub(super) fn load(
        step: &SparseStep,
        loading: Loading<'_>,
        tokeniser: &Tokeniser,
    ) -> Result<Self, Error> {
        let (width, arithmetic) = (loading.plan.hidden, loading.processor.arithmetic);
        let (weights, stem) = match step {
            SparseStep::Predictions(step) => {
                return Ok(Self::Predictions(Box::new(Layers::load(step, loading)?)));
            }
            SparseStep::File(path) => (loading.repository.weights_in(path)?, ""),
            SparseStep::Classifier => {
                let mut weights = loading.repository.weights(loading.plan)?;
                weights.anchor("classifier.weight")?;
                (weights, "classifier")
            }
        };
        let linear = Linear::load(&weights, stem, (width, 1), true, arithmetic)?;
        Ok(Self::Weights { linear, unused: tokeniser.meaningless() })
    }

    /// Returns the weights of texts that are not 0, by token id; of each its ids and its hidden states.
    pub(super) fn forward(
        &self,
        texts: &[(&[u32], &[f32])],
        team: Team<'_>,
    ) -> Result<Vec<Vec<(u32, f32)>>, Error> {
        let mut found = match self {
            Self::Predictions(layers) => layers.forward(texts, team)?,
            Self::Weights { linear, unused } => {
                let weights = |(ids, rows): &(&[u32], &[f32])| {
                    let weights = linear.forward(rows, Activation::Relu, team)?;
                    Ok(greatest(ids, &weights, unused))
                };
                texts.iter().map(weights).collect::<Result<_, Error>>()?
            }
        };
        // Above, what is no number can get lost among the others.
        for ((_, rows), found) in texts.iter().zip(&mut found) {
            if rows.iter().any(|x| !x.is_finite()) {
                *found = vec![(0, f32::NAN)];
            }
        }
        Ok(found)
    }
}

/// Returns the greatest weight of each token but the unused ones.
fn greatest(ids: &[u32], weights: &[f32], unused: &[u32]) -> Vec<(u32, f32)> {
    let mut found = BTreeMap::new();
    for (id, weight) in ids.iter().zip(weights).filter(|(id, _)| !unused.contains(id)) {
        let most = found.entry(*id).or_insert(0.0f32);
        *most = most.max(*weight);
    }
    found.into_iter().filter(|(_, weight)| *weight != 0.0).collect()
}

impl Layers {
    fn load(step: &Predictions, loading: Loading<'_>) -> Result<Self, Error> {
        let Loading { repository, architecture, plan, processor, precision } = loading;
        let (width, tokens) = (plan.hidden, plan.vocabulary);
        let mut weights = repository.weights(plan)?;
        weights.anchor(&format!("{}.weight", step.transform))?;
        let arithmetic = processor.arithmetic;
        let bias = weights.bias(step.bias, tokens)?.to_vec1()?;
        let sizes = (width, width);
        let transform = Linear::load(&weights, step.transform, sizes, step.has_biases, arithmetic)?;
        let norm = Norm::load(&weights, step.norm, width, step.has_biases, step.epsilon)?;
        let mut table = step.decoder.to_owned();
        if weights.anchor(&format!("{table}.weight")).is_err() {
            // Most are tied to the rows of tokens.
            table = architecture.stem(Slot::TokenTable, plan);
            weights.anchor(&format!("{table}.weight"))?;
        }
        let matrix = weights.matrix(&table, tokens, width)?;
        // Integers would lose the small differences that all weights are made of.
        let precision = if precision == Precision::Int8 { Precision::Bf16 } else { precision };
        let threads = processor.threads.count();
        let decoder = Linear::new(matrix.view(), width, bias, (arithmetic, precision), threads)?;
        let Predictions { activation, sums, twice, .. } = *step;
        Ok(Self { transform, activation, norm, decoder, sums, twice })
    }

    /// Predicts for the rows of all texts at once: the decoder has a row for each token, and it is read for each block.
    fn forward(
        &self,
        texts: &[(&[u32], &[f32])],
        team: Team<'_>,
    ) -> Result<Vec<Vec<(u32, f32)>>, Error> {
        let (tokens, width) = (self.decoder.outputs(), self.transform.outputs());
        let rows: Vec<f32> = texts.iter().flat_map(|(_, rows)| *rows).copied().collect();
        let mut hidden = self.transform.forward(&rows, self.activation, team)?;
        hidden.chunks_exact_mut(width).for_each(|row| self.norm.forward(row));
        let mut left = texts.iter().map(|(ids, _)| ids.len());
        let (mut found, mut pooled) = (Vec::new(), vec![0.0f32; tokens]);
        let mut rows_left = left.next().unwrap_or(0);
        for block in hidden.chunks((PREDICTIONS / tokens).max(1) * width) {
            let predictions = self.decoder.forward(block, Activation::Relu, team)?;
            for row in predictions.chunks_exact(tokens) {
                let values = pooled.iter_mut().zip(row);
                if self.sums {
                    values.for_each(|(sum, x)| *sum += self.weight(*x));
                } else {
                    values.for_each(|(most, x)| *most = if *x > *most { *x } else { *most });
                }
                rows_left -= 1;
                if rows_left == 0 {
                    found.push(self.weights(&pooled));
                    pooled.fill(0.0);
                    rows_left = left.next().unwrap_or(0);
                }
            }
        }
        Ok(found)
    }

    /// Returns the weights of a text that are not 0; of a maximum that of the greatest prediction.
    fn weights(&self, pooled: &[f32]) -> Vec<(u32, f32)> {
        let weight = |x: f32| if self.sums { x } else { self.weight(x) };
        let there = pooled.iter().enumerate().filter(|(_, x)| **x != 0.0);
        there.map(|(id, x)| (id as u32, weight(*x))).collect()
    }

    /// Returns the weight of a prediction that is not negative.
    fn weight(&self, x: f32) -> f32 {
        let once = x.ln_1p();
        if self.twice { once.ln_1p() } else { once }
    }
}
