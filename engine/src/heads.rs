//! How hidden states become one vector per text: pooling, dense layers, cut and normalisation.

use candle_core::Tensor;
use modelfiles::recipe::Pooling;

use crate::{
    Error,
    ops::{Arithmetic, Linear, Pass},
    plan::Activation,
    repository::{PoolingStep, Repository, Step},
    tokens::Tokens,
};

/// The steps behind the encoder.
pub(crate) struct Heads {
    pooling: PoolingStep,
    steps: Vec<Head>,
}

enum Head {
    Dense(Linear, Activation),
    Normalize,
}

impl Heads {
    /// Loads the dense layers that the repository names.
    pub(crate) fn load(repository: &Repository<'_>, arithmetic: Arithmetic) -> Result<Self, Error> {
        let load = |step: &Step| match step {
            Step::Normalize => Ok(Head::Normalize),
            Step::Dense { folder, inputs, outputs, bias, activation } => {
                let weights = repository.module_weights(folder)?;
                let weight = weights.weight("linear", &[*outputs, *inputs])?;
                let bias = bias.then(|| weights.bias("linear", *outputs)).transpose()?;
                Ok(Head::Dense(Linear::new(weight, bias, arithmetic)?, *activation))
            }
        };
        let steps = repository.steps.iter().map(load).collect::<Result<_, Error>>()?;
        Ok(Self { pooling: repository.pooling.clone(), steps })
    }

    /// Says whether the vectors come out with length 1.
    pub(crate) fn normalizes(&self) -> bool {
        matches!(self.steps.last(), Some(Head::Normalize))
    }

    /// Computes the vector of each text from the hidden states of all.
    pub(crate) fn forward(
        &self,
        hidden: &Tensor,
        starts: &[usize],
        texts: &[&Tokens],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let hidden = hidden.to_vec2::<f32>()?;
        let pooled = texts.iter().zip(starts.windows(2)).map(|(text, ends)| {
            let rows = &hidden[ends[0]..ends[1]];
            self.pooling.modes.iter().flat_map(|mode| pool(*mode, rows, text.skipped)).collect()
        });
        let mut vectors: Vec<Vec<f32>> = pooled.collect();
        for step in &self.steps {
            match step {
                Head::Normalize => vectors.iter_mut().for_each(|vector| normalize(vector)),
                Head::Dense(linear, activation) => {
                    let x = Tensor::new(vectors, &candle_core::Device::Cpu)?;
                    vectors = linear.forward(&x, *activation, Pass { shared: false })?.to_vec2()?;
                }
            }
        }
        Ok(vectors)
    }
}

/// Pools the rows of one text; the first `skipped` belong to a prompt that takes no part.
fn pool(mode: Pooling, rows: &[Vec<f32>], skipped: usize) -> Vec<f32> {
    let used = &rows[skipped..];
    match mode {
        Pooling::Cls => used[0].clone(),
        Pooling::Last => rows[rows.len() - 1].clone(),
        Pooling::Max => used[1..].iter().fold(used[0].clone(), |mut best, row| {
            best.iter_mut().zip(row).for_each(|(b, x)| *b = b.max(*x));
            best
        }),
        Pooling::Mean => weighted(used, |_| 1.0, used.len() as f32),
        Pooling::SqrtMean => weighted(used, |_| 1.0, (used.len() as f32).sqrt()),
        Pooling::WeightedMean => {
            let weight = |i: usize| (skipped + i + 1) as f32;
            weighted(used, weight, (0..used.len()).map(weight).sum())
        }
    }
}

/// Returns Σ weight(i)·row(i) / divisor.
fn weighted(rows: &[Vec<f32>], weight: impl Fn(usize) -> f32, divisor: f32) -> Vec<f32> {
    let mut sum = vec![0.0; rows[0].len()];
    for (i, row) in rows.iter().enumerate() {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += weight(i) * x);
    }
    sum.iter_mut().for_each(|s| *s /= divisor);
    sum
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
    fn pooling_modes() {
        let rows = vec![vec![1.0, -2.0], vec![3.0, 4.0], vec![5.0, 0.0]];
        let check = |mode, skipped, wanted: [f32; 2]| {
            let got = pool(mode, &rows, skipped);
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{mode} {got:?}");
        };
        check(Pooling::Cls, 0, [1.0, -2.0]);
        check(Pooling::Last, 0, [5.0, 0.0]);
        check(Pooling::Max, 0, [5.0, 4.0]);
        check(Pooling::Mean, 0, [3.0, 2.0 / 3.0]);
        check(Pooling::Mean, 1, [4.0, 2.0]);
        check(Pooling::SqrtMean, 0, [9.0 / 3f32.sqrt(), 2.0 / 3f32.sqrt()]);
        check(Pooling::WeightedMean, 0, [22.0 / 6.0, 1.0]);
    }

    #[test]
    fn a_zero_vector_stays_zero() {
        let mut vector = [0.0; 3];
        normalize(&mut vector);
        assert_eq!(vector, [0.0; 3]);
    }
}
