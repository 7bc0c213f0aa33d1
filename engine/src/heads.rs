//! How hidden states become what a model gives of a text: one vector, weights of tokens, a vector per token.

mod answer;
mod linear;
mod pooling;
mod probe;
mod sparse;

use std::{collections::BTreeSet, ops::Range};

use crate::{
    Error, Outputs, Plan, Processor, Vectors,
    architectures::Architecture,
    plan::Activation,
    repository::{ProbeStep, Queries, Repository, Step, Towers},
    threads::Team,
    tokens::{Tokeniser, Tokens},
};
use linear::Linear;
use modelfiles::recipe::{Pooling, Precision};
use pooling::pool;
use probe::Probe;
use sparse::Sparse;

/// What follows the encoder.
pub(crate) struct Heads {
    pooler: Pooler,
    steps: Vec<Head>,
    /// What follows the pooling of queries, where that is something else.
    query_steps: Option<Vec<Head>>,
    /// The weights of tokens of queries, where these pass no layer.
    looked_up: Option<Vec<f32>>,
    sparse: Option<Sparse>,
    /// What makes vectors of the rows of tokens but the first; without one the rows themselves are the vectors.
    per_token: Option<Linear>,
}

/// How the rows of a text become one.
enum Pooler {
    /// The results of these behind one another.
    Modes(Vec<Pooling>),
    /// A learned query looks at all.
    Probe(Probe),
}

enum Head {
    Dense(Linear, Activation),
    Norm(Norm),
    /// What these give is added to what they are given.
    Added(Vec<Self>),
    Normalize,
}

/// What heads are loaded for.
#[derive(Clone, Copy)]
pub(crate) struct Loading<'a> {
    pub(crate) repository: &'a Repository<'a>,
    pub(crate) architecture: &'a Architecture,
    pub(crate) plan: &'a Plan,
    pub(crate) processor: &'a Processor,
    pub(crate) precision: Precision,
}

/// What heads are to work on: the hidden states of texts, row after row, and where texts start and the last ends.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) starts: &'a [usize],
    pub(crate) texts: &'a [(&'a Tokens, Outputs)],
    pub(crate) team: Team<'a>,
}

impl Heads {
    /// Loads the layers that the repository names.
    pub(crate) fn load(loading: Loading<'_>, tokeniser: &Tokeniser) -> Result<Self, Error> {
        let Loading { repository, plan, processor, .. } = loading;
        let (width, arithmetic) = (plan.hidden, processor.arithmetic);
        let answer = repository.question.as_ref().map(|question| {
            answer::load(loading, question, tokeniser)
                .map(|linear| Head::Dense(linear, Activation::Identity))
        });
        let load_all = |steps: &[Step]| Head::load_all(loading, steps);
        let (mut query_steps, mut looked_up) = (None, None);
        match &repository.queries {
            Some(Queries::Steps(steps)) => query_steps = Some(load_all(steps)?),
            Some(Queries::LookUp(folder)) => {
                looked_up = Some(sparse::looked_up(repository, folder, plan, tokeniser)?);
            }
            None => {}
        }
        let per_token = repository.per_token.as_ref().map(|file| {
            let weights = repository.weights_in(file)?;
            Linear::load(&weights, "", (width, weights.rows("")?), true, arithmetic)
        });
        let sparse = repository.sparse.as_ref().map(|step| Sparse::load(step, loading, tokeniser));
        let mut steps = load_all(&repository.steps)?;
        steps.extend(answer.transpose()?);
        Ok(Self {
            pooler: Pooler::Modes(repository.pooling.modes.clone()),
            steps,
            query_steps,
            looked_up,
            sparse: sparse.transpose()?,
            per_token: per_token.transpose()?,
        })
    }

    /// Loads what follows the encoder of images.
    pub(crate) fn of_images(loading: Loading<'_>, towers: &Towers) -> Result<Self, Error> {
        let pooler = match &towers.probe {
            Some(probe) => Pooler::probe(loading, probe)?,
            None => Pooler::Modes(vec![Pooling::Cls]),
        };
        Ok(Self {
            pooler,
            steps: Head::load_all(loading, &towers.steps)?,
            query_steps: None,
            looked_up: None,
            sparse: None,
            per_token: None,
        })
    }

    /// Says whether the one vector comes out with length 1.
    pub(crate) fn normalizes(&self) -> bool {
        matches!(self.steps.last(), Some(Head::Normalize))
    }

    /// Computes what is wanted of each text.
    pub(crate) fn forward(&self, pass: Pass<'_>) -> Result<Vec<Vectors>, Error> {
        let Pass { hidden, starts, texts, team } = pass;
        let width = hidden.len() / starts[texts.len()];
        let rows = |text: usize| &hidden[starts[text] * width..starts[text + 1] * width];
        let mut found = vec![Vectors::default(); texts.len()];
        for is_query in [false, true] {
            let is_dense = |i: &usize| texts[*i].1.dense && texts[*i].0.is_query == is_query;
            let dense = (0..texts.len()).filter(is_dense);
            let places: Vec<(usize, Range<usize>)> =
                dense.flat_map(|i| pooled(texts[i].0).map(move |range| (i, range))).collect();
            let rows = |(text, range): &(usize, Range<usize>)| {
                let rows = &rows(*text)[range.start * width..range.end * width];
                let skipped = texts[*text].0.skipped.saturating_sub(range.start);
                self.pooler.pool(rows, width, skipped)
            };
            let vectors = self.follow(places.iter().map(rows).collect(), is_query)?;
            for ((text, _), vector) in places.into_iter().zip(vectors) {
                match texts[text].0.spans.is_empty() {
                    true => found[text].dense = vector,
                    false => found[text].parts.push(vector),
                }
            }
        }
        if let Some(sparse) = &self.sparse {
            let places: Vec<usize> = (0..texts.len()).filter(|i| texts[*i].1.sparse).collect();
            let read: Vec<_> =
                places.iter().map(|i| (texts[*i].0.ids.as_slice(), rows(*i))).collect();
            for (text, weights) in places.iter().zip(sparse.forward(&read, team)?) {
                found[*text].sparse = weights;
            }
        }
        for text in (0..texts.len()).filter(|i| texts[*i].1.multivector) {
            found[text].multivector = self.per_token(rows(text), width, team)?;
        }
        Ok(found)
    }

    /// Says whether a text passes no layer of the encoder: it has no token, or is a query whose tokens are looked up.
    pub(crate) fn skips_encoder(&self, text: &Tokens) -> bool {
        text.ids.is_empty() || text.is_query && self.looked_up.is_some()
    }

    /// Computes what is wanted of such a text, beside an encoder of this width.
    pub(crate) fn without_encoder(
        &self,
        text: &Tokens,
        width: usize,
        wanted: Outputs,
    ) -> Result<Vectors, Error> {
        let mut found = Vectors::default();
        if wanted.dense {
            let nothing = vec![0.0; self.pooler.width(width)];
            let mut vectors = self.follow(vec![nothing], text.is_query)?;
            match text.spans.len() {
                0 => found.dense = vectors.remove(0),
                parts => found.parts = vec![vectors.remove(0); parts],
            }
        }
        if let Some(weights) = self.looked_up.as_ref().filter(|_| wanted.sparse && text.is_query) {
            let weight = |id: u32| Some((id, *weights.get(id as usize)?));
            let ids: BTreeSet<u32> = text.ids.iter().copied().collect();
            found.sparse =
                ids.into_iter().filter_map(weight).filter(|(_, weight)| *weight != 0.0).collect();
        }
        Ok(found)
    }

    /// Takes the steps behind the pooling.
    fn follow(&self, vectors: Vec<Vec<f32>>, is_query: bool) -> Result<Vec<Vec<f32>>, Error> {
        let own = self.query_steps.as_ref().filter(|_| is_query);
        Head::follow(own.unwrap_or(&self.steps), vectors)
    }

    /// Returns a vector per token: of bge-m3 those of a layer of its own, without that of the first token.
    fn per_token(
        &self,
        rows: &[f32],
        width: usize,
        team: Team<'_>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let Some(linear) = &self.per_token else {
            return Ok(rows.chunks_exact(width).map(<[f32]>::to_vec).collect());
        };
        let rows = linear.forward(&rows[width..], Activation::Identity, team)?;
        let mut vectors: Vec<Vec<f32>> =
            rows.chunks_exact(linear.outputs()).map(<[f32]>::to_vec).collect();
        vectors.iter_mut().for_each(|vector| normalize(vector));
        Ok(vectors)
    }
}

impl Pooler {
    fn probe(loading: Loading<'_>, step: &ProbeStep) -> Result<Self, Error> {
        let mut weights = loading.repository.module_weights(&step.folder)?;
        weights.anchor(&format!("{}.probe", step.stem))?;
        Ok(Self::Probe(Probe::load(step, &weights, loading.plan.hidden)?))
    }

    /// Returns how long what comes out is, of rows of this width.
    fn width(&self, width: usize) -> usize {
        match self {
            Self::Modes(modes) => width * modes.len(),
            Self::Probe(_) => width,
        }
    }

    fn pool(&self, rows: &[f32], width: usize, skipped: usize) -> Vec<f32> {
        match self {
            Self::Modes(modes) => {
                modes.iter().flat_map(|mode| pool(*mode, rows, width, skipped)).collect()
            }
            Self::Probe(probe) => probe.pool(rows),
        }
    }
}

impl Head {
    /// Loads steps one after another.
    fn load_all(loading: Loading<'_>, steps: &[Step]) -> Result<Vec<Self>, Error> {
        let Loading { repository, processor, .. } = loading;
        let load = |step: &Step| match step {
            Step::Normalize => Ok(Self::Normalize),
            Step::Added(steps) => Ok(Self::Added(Self::load_all(loading, steps)?)),
            Step::Dense { folder, stem, inputs, outputs, bias, activation } => {
                let (sizes, arithmetic) = ((*inputs, *outputs), processor.arithmetic);
                let mut weights = repository.module_weights(folder)?;
                weights.anchor(&format!("{stem}.weight"))?;
                let linear = Linear::load(&weights, stem, sizes, *bias, arithmetic)?;
                Ok(Self::Dense(linear, *activation))
            }
            Step::Norm { folder, stem, width, bias, epsilon } => {
                let mut weights = repository.module_weights(folder)?;
                weights.anchor(&format!("{stem}.weight"))?;
                Ok(Self::Norm(Norm::load(&weights, stem, *width, *bias, *epsilon)?))
            }
        };
        steps.iter().map(load).collect()
    }

    /// Takes steps one after another.
    fn follow(steps: &[Self], mut vectors: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, Error> {
        for step in steps {
            match step {
                Self::Normalize => vectors.iter_mut().for_each(|vector| normalize(vector)),
                Self::Norm(norm) => vectors.iter_mut().for_each(|row| norm.forward(row)),
                Self::Dense(linear, activation) => {
                    let rows = linear.forward(&vectors.concat(), *activation, Team::Alone)?;
                    vectors = rows.chunks_exact(linear.outputs()).map(<[f32]>::to_vec).collect();
                }
                Self::Added(steps) => {
                    let added = Self::follow(steps, vectors.clone())?;
                    for (vector, added) in vectors.iter_mut().zip(added) {
                        vector.iter_mut().zip(added).for_each(|(x, y)| *x += y);
                    }
                }
            }
        }
        Ok(vectors)
    }
}

/// Returns the tokens that become a vector: all, or those of each part.
fn pooled(text: &Tokens) -> impl Iterator<Item = Range<usize>> {
    let whole = text.spans.is_empty().then_some(0..text.ids.len());
    whole.into_iter().chain(text.spans.iter().cloned())
}

/// A layer norm, as one of the encoder.
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn load(
        weights: &crate::weights::Weights,
        stem: &str,
        width: usize,
        bias: bool,
        epsilon: f64,
    ) -> Result<Self, Error> {
        let bias = match bias {
            true => weights.bias(stem, width)?.to_vec1()?,
            false => vec![0.0; width],
        };
        let weight = weights.weight(stem, &[width])?.to_vec1()?;
        Ok(Self { weight, bias, epsilon: epsilon as f32 })
    }

    /// Normalises a row.
    fn forward(&self, row: &mut [f32]) {
        let count = row.len() as f32;
        let mean = row.iter().sum::<f32>() / count;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
}

/// Divides a vector by its Euclidean norm; a zero vector stays zero.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|x| *x /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_vector_stays_zero() {
        let mut vector = [0.0; 3];
        normalize(&mut vector);
        assert_eq!(vector, [0.0; 3]);
    }
}
