//! How hidden states become one vector per text: pooling, dense layers, cut and normalisation.

use candle_core::{Device, Tensor};
use modelfiles::recipe::Pooling;

use crate::{
    Error,
    executor::stock,
    kernels::{Epilogue, Format, Inputs, Isa, Packed, Product, Rows, Source},
    plan::Activation,
    processor::Arithmetic,
    repository::{PoolingStep, Repository, Step},
    threads::Team,
    tokens::Tokens,
};

/// The steps behind the encoder.
pub(crate) struct Heads {
    pooling: PoolingStep,
    steps: Vec<Head>,
}

enum Head {
    Dense(Dense, Activation),
    Norm { weight: Vec<f32>, bias: Vec<f32>, epsilon: f32 },
    Normalize,
}

/// A dense layer behind the pooling: it sees one row per text, so it stays in f32.
enum Dense {
    Stock(stock::Linear),
    Packed(Isa, Packed),
}

impl Heads {
    /// Loads the layers that the repository names, behind an encoder of this width.
    pub(crate) fn load(
        repository: &Repository<'_>,
        arithmetic: Arithmetic,
        width: usize,
    ) -> Result<Self, Error> {
        let load = |step: &Step| match step {
            Step::Normalize => Ok(Head::Normalize),
            Step::Dense { folder, stem, inputs, outputs, bias, activation } => {
                let mut weights = repository.module_weights(folder)?;
                weights.anchor(&format!("{stem}.weight"))?;
                let weight = weights.weight(stem, &[*outputs, *inputs])?;
                let bias = bias.then(|| weights.bias(stem, *outputs)).transpose()?;
                Ok(Head::Dense(Dense::new(weight, bias, arithmetic)?, *activation))
            }
            Step::Norm { folder, stem, bias, epsilon } => {
                let mut weights = repository.module_weights(folder)?;
                weights.anchor(&format!("{stem}.weight"))?;
                let weight: Vec<f32> = weights.weight(stem, &[width])?.to_vec1()?;
                let bias = match bias {
                    true => weights.bias(stem, width)?.to_vec1()?,
                    false => vec![0.0; width],
                };
                Ok(Head::Norm { weight, bias, epsilon: *epsilon as f32 })
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
        hidden: &[f32],
        starts: &[usize],
        texts: &[&Tokens],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let width = hidden.len() / starts[texts.len()];
        let pooled = texts.iter().zip(starts.windows(2)).map(|(text, ends)| {
            let rows = &hidden[ends[0] * width..ends[1] * width];
            let modes = self.pooling.modes.iter();
            modes.flat_map(|mode| pool(*mode, rows, width, text.skipped)).collect()
        });
        self.follow(pooled.collect())
    }

    /// Computes the vector of a text without a token, for an encoder of this width.
    pub(crate) fn of_nothing(&self, width: usize) -> Result<Vec<f32>, Error> {
        let vectors = self.follow(vec![vec![0.0; width * self.pooling.modes.len()]])?;
        Ok(vectors.into_iter().flatten().collect())
    }

    /// Takes the steps behind the pooling.
    fn follow(&self, mut vectors: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, Error> {
        for step in &self.steps {
            match step {
                Head::Normalize => vectors.iter_mut().for_each(|vector| normalize(vector)),
                Head::Norm { weight, bias, epsilon } => {
                    vectors.iter_mut().for_each(|row| norm(row, weight, bias, *epsilon));
                }
                Head::Dense(dense, activation) => vectors = dense.forward(vectors, *activation)?,
            }
        }
        Ok(vectors)
    }
}

impl Dense {
    fn new(weight: Tensor, bias: Option<Tensor>, arithmetic: Arithmetic) -> Result<Self, Error> {
        let Arithmetic::Kernels(isa) = arithmetic else {
            return Ok(Self::Stock(stock::Linear { weight, bias }));
        };
        let (outputs, inputs) = weight.dims2()?;
        let weights = weight.flatten_all()?.to_vec1::<f32>()?;
        let bias = bias.map_or_else(|| Ok(vec![0.0; outputs]), |bias| bias.to_vec1())?;
        let read = |output: usize, to: &mut [f32]| {
            to.copy_from_slice(&weights[output * inputs..][..inputs]);
        };
        let source = Source { inputs, bias, read: &read };
        Ok(Self::Packed(isa, Packed::new(&source, Format::F32, isa.tile().1, 1)))
    }

    fn forward(&self, x: Vec<Vec<f32>>, activation: Activation) -> Result<Vec<Vec<f32>>, Error> {
        match self {
            Self::Stock(linear) => {
                let y = linear.forward(&Tensor::new(x, &Device::Cpu)?)?;
                Ok(stock::activate(&y, activation)?.to_vec2()?)
            }
            Self::Packed(isa, weights) => {
                let (rows, width, outputs) = (x.len(), weights.inputs(), weights.outputs());
                let from = Rows { values: &x.concat(), stride: width, width };
                let mut inputs = Inputs::default();
                isa.fill(weights.format(), &from, rows, &mut inputs);
                let epilogue = Epilogue::Write(activation);
                let mut y = vec![0.0; rows * outputs];
                let product = Product { weights, inputs: &inputs, rows, epilogue };
                isa.product(Team::Alone, product, &mut y, outputs);
                Ok(y.chunks_exact(outputs).map(<[f32]>::to_vec).collect())
            }
        }
    }
}

/// Pools the rows of one text; the first `skipped` belong to a prompt that takes no part.
fn pool(mode: Pooling, rows: &[f32], width: usize, skipped: usize) -> Vec<f32> {
    let used = &rows[skipped * width..];
    let count = used.len() / width;
    match mode {
        Pooling::Cls => used[..width].to_vec(),
        Pooling::Last => rows[rows.len() - width..].to_vec(),
        Pooling::Max => used.chunks_exact(width).fold(used[..width].to_vec(), |mut best, row| {
            best.iter_mut().zip(row).for_each(|(b, x)| *b = if *b > *x { *b } else { *x });
            // What is no number wins: the comparison above is false for it.
            best.iter_mut().zip(row).for_each(|(b, x)| *b += 0.0 * x);
            best
        }),
        Pooling::Mean => weighted(used, width, |_| 1.0, count as f32),
        Pooling::SqrtMean => weighted(used, width, |_| 1.0, (count as f32).sqrt()),
        Pooling::WeightedMean => {
            let weight = |i: usize| (skipped + i + 1) as f32;
            weighted(used, width, weight, (0..count).map(weight).sum())
        }
    }
}

/// Returns Σ weight(i)·row(i) / divisor.
fn weighted(rows: &[f32], width: usize, weight: impl Fn(usize) -> f32, divisor: f32) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for (i, row) in rows.chunks_exact(width).enumerate() {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += weight(i) * x);
    }
    sum.iter_mut().for_each(|s| *s /= divisor);
    sum
}

/// Normalises a row as a layer of the encoder does.
fn norm(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = row.iter().sum::<f32>() / count;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *x = (*x - mean) * scale * weight + bias;
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
    fn pooling_modes() {
        let rows = [1.0, -2.0, 3.0, 4.0, 5.0, 0.0];
        let check = |mode, skipped, wanted: [f32; 2]| {
            let got = pool(mode, &rows, 2, skipped);
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
