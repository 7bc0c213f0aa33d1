//! How does SigLIP make one row of the rows of an image? A learned query, the probe, looks at all of them.
//!
//! The query is the same for every image, so what it asks of a row needs no keys: query · (W·row) is (Wᵀ·query) · row,
//! and what a bias adds is the same for all rows. Nor need values be made of rows: they are made of the mean.

use crate::{Error, repository::ProbeStep, weights::Weights};

/// What the probe asks of a row, and what becomes of the mean of the rows, for each head.
pub(crate) struct Probe {
    width: usize,
    /// A row for each head.
    looks: Vec<f32>,
    /// A row for each value of the result.
    values: Vec<f32>,
    bias: Vec<f32>,
    heads: usize,
}

impl Probe {
    /// Reads the probe of an encoder of this width.
    pub(super) fn load(step: &ProbeStep, weights: &Weights, width: usize) -> Result<Self, Error> {
        let ProbeStep { stem, heads, .. } = step;
        let size = width / heads;
        let table = |name: &str, shape: &[usize]| -> Result<Vec<f32>, Error> {
            Ok(weights.weight(&format!("{stem}.{name}"), shape)?.flatten_all()?.to_vec1()?)
        };
        let probe = table("probe", &[1, 1, width])?;
        let projection = table("attention.in_proj_weight", &[3 * width, width])?;
        let bias = table("attention.in_proj_bias", &[3 * width])?;
        let (queries, rest) = projection.split_at(width * width);
        let (keys, values) = rest.split_at(width * width);
        let scale = (size as f64).sqrt().recip();
        let mut looks = vec![0.0f64; heads * width];
        let rows = queries.chunks_exact(width).zip(keys.chunks_exact(width)).zip(&bias);
        for (i, ((query, key), bias)) in rows.enumerate() {
            let product = query.iter().zip(&probe).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let asked = (product.sum::<f64>() + f64::from(*bias)) * scale;
            let look = &mut looks[i / size * width..][..width];
            look.iter_mut().zip(key).for_each(|(sum, key)| *sum += asked * f64::from(*key));
        }
        Ok(Self {
            width,
            looks: looks.into_iter().map(|x| x as f32).collect(),
            values: values.to_vec(),
            bias: bias[2 * width..].to_vec(),
            heads: *heads,
        })
    }

    /// Makes one row of the rows of an image.
    pub(super) fn pool(&self, rows: &[f32]) -> Vec<f32> {
        let (width, size) = (self.width, self.width / self.heads);
        let values = self.values.chunks_exact(width * size).zip(self.bias.chunks_exact(size));
        let heads =
            self.looks.chunks_exact(width).zip(values).flat_map(|(look, (values, bias))| {
                let seen = seen(rows, look);
                let value = move |(row, bias): (&[f32], &f32)| dot(row, &seen) + bias;
                values.chunks_exact(width).zip(bias).map(value)
            });
        heads.collect()
    }
}

/// Returns the mean of rows, each weighed by how much it is like what is looked for.
fn seen(rows: &[f32], look: &[f32]) -> Vec<f32> {
    let scores: Vec<f32> = rows.chunks_exact(look.len()).map(|row| dot(row, look)).collect();
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
    let total: f32 = weights.iter().sum();
    let mut mean = vec![0.0; look.len()];
    for (row, weight) in rows.chunks_exact(look.len()).zip(weights) {
        let weight = weight / total;
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
    }
    mean
}

/// Returns the sum of products, in as many parts as a register holds.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest
}
