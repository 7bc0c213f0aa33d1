//! How a plan runs on a pack of texts.
//!
//! The tokens of all texts stand behind one another, `[tokens, hidden]`; nothing is ever padded. Only attention
//! looks at where texts begin and end.

mod adapters;
mod experts;
pub(crate) mod packed;
mod relative;
pub(crate) mod stock;

use modelfiles::recipe::Precision;

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    processor::{Arithmetic, Processor},
    threads::Team,
    tokens::Tokens,
    weights::{Matrix, Weights},
};

/// An encoder in one of the two arithmetics.
pub(crate) enum Encoder {
    Stock(Box<stock::Encoder>),
    Packed(Box<packed::Encoder>),
}

impl Encoder {
    /// Reads every tensor that the plan has a slot for.
    pub(crate) fn load(
        plan: &Plan,
        architecture: &Architecture,
        weights: &mut Weights,
        processor: &Processor,
        precision: Precision,
    ) -> Result<Self, Error> {
        if !plan.is_static() {
            let first = if plan.patches.is_some() { Slot::Patches } else { Slot::TokenTable };
            weights.anchor(&format!("{}.weight", architecture.stem(first, plan)))?;
        }
        Ok(match processor.arithmetic {
            Arithmetic::Stock => {
                Self::Stock(Box::new(stock::Encoder::load(plan, architecture, weights)?))
            }
            Arithmetic::Kernels(isa) => {
                let loader = packed::Loader {
                    plan,
                    architecture,
                    weights,
                    isa,
                    precision,
                    threads: processor.threads.count(),
                };
                Self::Packed(Box::new(loader.encoder()?))
            }
        })
    }

    /// Computes the hidden states of all texts, row after row, and gives them with the places where texts start
    /// (and the last ends) to `heads`. An encoder of images reads `pixels`: the values of all patches.
    pub(crate) fn forward<T>(
        &self,
        texts: &[&Tokens],
        pixels: &[f32],
        team: Team<'_>,
        heads: impl FnOnce(&[f32], &[usize]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut starts = vec![0];
        starts.extend(texts.iter().scan(0, |end, text| {
            *end += text.ids.len();
            Some(*end)
        }));
        match self {
            Self::Stock(encoder) => heads(&encoder.forward(texts, pixels)?, &starts),
            Self::Packed(encoder) => {
                let input = packed::Input { texts, pixels, starts: &starts };
                encoder.forward(&input, team, |hidden| heads(hidden, &starts))
            }
        }
    }
}

/// Checks that there are matrices and norms for every slot that the plan has, without reading them.
pub(crate) fn check(
    plan: &Plan,
    architecture: &Architecture,
    weights: &Weights,
) -> Result<(), Error> {
    if plan.is_static() {
        // The plan has its sizes from the same headers.
        return weights.static_sizes().map(drop);
    }
    let (hidden, query) = (plan.hidden, plan.query_width());
    let mut slots = vec![(Slot::TokenTable, vec![plan.vocabulary, hidden])];
    slots.push((Slot::PositionTable, vec![plan.positions.rows(), hidden]));
    slots.push((Slot::TypeTable, vec![plan.token_types, hidden]));
    slots.retain(|(_, shape)| shape[0] > 0);
    slots.extend(plan.embedding_norm.then(|| (Slot::EmbeddingNorm, vec![hidden])));
    for (slot, shape) in slots {
        weights.expect(&architecture.stem(slot, plan), &shape)?;
    }
    for l in 0..plan.layers {
        let gate = plan.gated.then_some((Slot::Gate(l), hidden));
        let inputs = [Slot::Query(l), Slot::Key(l), Slot::Value(l), Slot::Up(l)];
        let linear = inputs.map(|slot| (slot, hidden)).into_iter().chain(gate);
        let ends = [(Slot::AttentionOutput(l), query), (Slot::Down(l), plan.inner)];
        for (slot, width) in linear.chain(ends) {
            let part = architecture.part(slot, plan);
            weights.expect(&part.stem, &[part.of, width])?;
        }
        weights.expect(&architecture.stem(Slot::OutputNorm(l), plan), &[hidden])?;
    }
    Ok(())
}

/// Opens the rows of tokens.
fn token_table(
    plan: &Plan,
    architecture: &Architecture,
    weights: &Weights,
) -> Result<Matrix, Error> {
    if plan.is_static() {
        return weights.static_table(plan.vocabulary, plan.hidden);
    }
    weights.matrix(&architecture.stem(Slot::TokenTable, plan), plan.vocabulary, plan.hidden)
}

/// Reads what the plan has.
fn optional<T>(there: bool, read: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, Error> {
    there.then(read).transpose()
}
